//! Network interfaces of the node, as they are seen.

use actix_web::{get, web};
use ashlar_api::Page;
use ashlar_api::network::Link;

use super::auth::Caller;
use super::error::Answer;
use super::request::ListQuery;
use super::{Shared, reply};

/// The interfaces.
#[utoipa::path(responses((status = 200, body = Page<Link>)))]
#[get("/links")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let links = shared.app.seen.network.borrow().links.clone();
    let page = reply::page_of(
        links,
        &query,
        |link| link.name.clone(),
        |link| link.name.clone(),
    )?;
    Ok(reply::ok(&page))
}
