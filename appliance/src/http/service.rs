//! Programs that the supervisor keeps running, as they are seen.

use actix_web::{get, web};
use ashlar_api::Page;
use ashlar_api::service::Service;

use super::auth::Caller;
use super::error::Answer;
use super::request::ListQuery;
use super::{Shared, reply};

/// The services.
#[utoipa::path(responses((status = 200, body = Page<Service>)))]
#[get("/services")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let services = shared.app.seen.service.borrow().services.clone();
    let page = reply::page_of(services, &query, |s| s.name.clone(), |s| s.name.clone())?;
    Ok(reply::ok(&page))
}
