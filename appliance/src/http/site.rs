//! The site, and what anybody may know.

use actix_web::{get, put, web};
use ashlar_api::event::Severity;
use ashlar_api::job::Kind;
use ashlar_api::site::{Health, HealthState, Site, SiteSpec, SiteStatus};

use super::Shared;
use super::auth::Caller;
use super::error::{Answer, Failure};
use super::reply;
use super::request::{Body, ChangeQuery, IfMatch, NoQuery};
use crate::state::command::{Command, Refusal};
use crate::state::schema::SiteRecord;

/// State and version, for anybody.
#[utoipa::path(responses((status = 200, body = Health)))]
#[get("/health")]
pub async fn health(shared: web::Data<Shared>, _: web::Query<NoQuery>) -> Answer {
    let claimed = shared.app.store.site()?.is_some();
    let state = match shared.app.health.severity() {
        _ if !claimed => HealthState::Unclaimed,
        Some(Severity::Critical) => HealthState::Critical,
        Some(Severity::Warning) => HealthState::Degraded,
        _ if !shared.app.health.has_looked() => HealthState::Starting,
        Some(Severity::Info) | None => HealthState::Healthy,
    };
    Ok(reply::ok(&Health {
        state,
        version: crate::sys::release::version().to_owned(),
    }))
}

fn view(shared: &Shared, record: SiteRecord) -> Site {
    let worst = shared.app.health.worst();
    let worst = worst.filter(|fault| fault.severity > Severity::Info);
    Site {
        revision: record.revision,
        spec: record.spec,
        status: SiteStatus {
            claimed: true,
            headline: worst.map(|fault| fault.title).unwrap_or_default(),
            certificate_fingerprint: shared.app.certificate.fingerprint(),
        },
    }
}

fn need(shared: &Shared) -> Answer<SiteRecord> {
    shared
        .app
        .store
        .site()?
        .ok_or_else(|| Failure::from(Refusal::Unclaimed))
}

/// The site.
#[utoipa::path(responses((status = 200, body = Site)))]
#[get("/site")]
pub async fn read(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    let record = need(&shared)?;
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Changes the site.
#[utoipa::path(request_body = SiteSpec, responses((status = 200, body = Site)))]
#[put("/site")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<SiteSpec>,
) -> Answer {
    let command = Command::ReplaceSite {
        spec: spec.clone(),
        revision,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = need(&shared)?;
    if change.dry_run {
        record.spec = spec;
    } else {
        shared.note(&caller, Kind::Site, "", &record.spec.name, "was changed");
    }
    Ok(reply::object(record.revision, &view(&shared, record)))
}
