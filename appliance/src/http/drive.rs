//! Drives of the node, as they are seen.

use actix_web::{get, web};
use ashlar_api::Page;
use ashlar_api::pool::Drive;

use super::auth::Caller;
use super::error::Answer;
use super::request::ListQuery;
use super::{Shared, reply};

/// The drives.
#[utoipa::path(responses((status = 200, body = Page<Drive>)))]
#[get("/drives")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let drives = shared.app.seen.storage.borrow().drives.clone();
    let page = reply::page_of(
        drives,
        &query,
        |drive| drive.id.clone(),
        |drive| drive.name.clone(),
    )?;
    Ok(reply::ok(&page))
}
