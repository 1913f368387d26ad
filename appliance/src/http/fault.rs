//! What is wrong now.

use actix_web::{get, web};
use ashlar_api::Page;
use ashlar_api::fault::Fault;

use super::auth::Caller;
use super::error::Answer;
use super::request::ListQuery;
use super::{Shared, reply};
use crate::health::faults::key;

/// The faults, the worst first.
#[utoipa::path(responses((status = 200, body = Page<Fault>)))]
#[get("/faults")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let page = reply::page_of(shared.app.health.faults(), &query, key, |fault| {
        fault.title.clone()
    })?;
    Ok(reply::ok(&page))
}
