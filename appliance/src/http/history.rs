//! What happened.

use actix_web::{get, web};
use ashlar_api::Page;
use ashlar_api::event::{Event, Severity};
use serde::Deserialize;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::limit;
use super::{Shared, reply};
use crate::health::history::{Error, Filter};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::internal("read the history", &error)
    }
}

/// Which events are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// How many at most; 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 100)]
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only older ones than the event with this id: `next` of the page before.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only those with this text in them.
    #[serde(default)]
    pub name: Option<String>,
    /// Only those that matter at least so much.
    #[serde(default)]
    #[param(inline)]
    pub severity: Option<Severity>,
    /// Only those about the object with this id.
    #[serde(default)]
    pub subject: Option<String>,
}

/// What happened, newest first.
#[utoipa::path(responses((status = 200, body = Page<Event>)))]
#[get("/history")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<HistoryQuery>) -> Answer {
    let limit = limit(query.limit)?;
    let query = query.into_inner();
    let filter = Filter {
        before: query.after,
        severity: query.severity,
        subject: query.subject,
        text: query.name,
    };
    let (mut items, total) = shared.app.health.history.page(&filter, limit + 1)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|event| event.id.to_string());
    Ok(reply::ok(&Page { items, total, next }))
}
