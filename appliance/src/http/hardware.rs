//! The hardware of the node: what was found when it was checked, checking it now,
//! and warnings that somebody overrides.
//!
//! A check is named by its id, not by a number: it is the same in every report,
//! on every node and in every version.

use actix_web::{HttpRequest, get, post, web};
use ashlar_api::Timestamp;
use ashlar_api::hardware::{OverrideRequest, Report};
use ashlar_api::job::Kind;

use super::auth::Caller;
use super::error::Answer;
use super::request::{Body, NoQuery};
use super::{Shared, reply};

/// The hardware, as it was checked last
///
/// At each start, each day, and whenever somebody asks for it.
#[utoipa::path(responses((status = 200, body = Report)))]
#[get("/hardware")]
pub async fn read(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    Ok(reply::ok(&shared.app.hardware.report()?))
}

/// Checks the hardware now
///
/// It takes milliseconds; the answer is what was found. Until the machine has all its drivers it is refused.
#[utoipa::path(responses((status = 200, body = Report)))]
#[post("/hardware/check")]
pub async fn check_now(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    Ok(reply::ok(&shared.app.hardware.check().await?))
}

/// Overrides a warning
///
/// It is told no more until the check passes, or fails about something else.
/// What is critical can not be overridden, nor what is about something else than
/// whoever asks has seen.
#[utoipa::path(request_body = OverrideRequest, responses((status = 200, body = Report)))]
#[post("/hardware/{check}/override")]
pub async fn override_check(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
    Body(seen): Body<OverrideRequest>,
) -> Answer {
    let id = id(&request);
    let hardware = &shared.app.hardware;
    let report = hardware
        .override_check(id, &seen.identity, &caller.name, Timestamp::now())
        .await?;
    note(&shared, &caller, &report, id, "was overridden");
    Ok(reply::ok(&report))
}

/// Takes back that a warning was overridden
///
/// Where it was not, nothing changes.
#[utoipa::path(responses((status = 200, body = Report)))]
#[post("/hardware/{check}/withdraw")]
pub async fn withdraw(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
) -> Answer {
    let id = id(&request);
    let (report, said) = shared.app.hardware.withdraw(id).await?;
    if said.is_some() {
        note(&shared, &caller, &report, id, "is overridden no more");
    }
    Ok(reply::ok(&report))
}

fn id(request: &HttpRequest) -> &str {
    request.match_info().get("check").unwrap_or_default()
}

fn note(shared: &Shared, caller: &Caller, report: &Report, id: &str, what: &str) {
    if let Some(check) = report.check(id) {
        shared.note(caller, Kind::Hardware, id, &check.title, what);
    }
}
