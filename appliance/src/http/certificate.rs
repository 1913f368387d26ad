//! The certificate: read, replace, make anew.

use actix_web::{get, post, put, web};
use ashlar_api::Timestamp;
use ashlar_api::certificate::{Certificate, CertificateReplace};
use ashlar_api::job::Kind;

use super::Shared;
use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::{Body, ChangeQuery, NoQuery};
use super::tls::Error;
use super::{node, reply};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(field) => vec![field].into(),
            Error::File { .. } | Error::Write(_) | Error::Make(_) | Error::Tls(_) => {
                Failure::internal("replace the certificate", &error)
            }
        }
    }
}

/// The certificate in use.
#[utoipa::path(responses((status = 200, body = Certificate)))]
#[get("/certificate")]
pub async fn read(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    Ok(reply::ok(&shared.app.certificate.facts()))
}

/// Uses another certificate from now on
///
/// Connections that are open keep the old one; no restart is needed.
#[utoipa::path(request_body = CertificateReplace, responses((status = 200, body = Certificate)))]
#[put("/certificate")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(new): Body<CertificateReplace>,
) -> Answer {
    let certificate = shared.app.certificate.clone();
    let dry = change.dry_run;
    let facts = web::block(move || {
        if dry {
            certificate.examine(&new, Timestamp::now())
        } else {
            certificate.replace(&new, Timestamp::now())
        }
    })
    .await
    .map_err(|error| Failure::internal("replace the certificate", &error))??;
    if !dry {
        told(&shared, &caller, &facts);
    }
    Ok(reply::ok(&facts))
}

/// Makes a new certificate of the appliance's own
///
/// With the names and addresses the node has now. Programs that pinned the old one must be told.
#[utoipa::path(responses((status = 200, body = Certificate)))]
#[post("/certificate/renew")]
pub async fn renew(shared: web::Data<Shared>, caller: Caller, _: web::Query<NoQuery>) -> Answer {
    let certificate = shared.app.certificate.clone();
    let name = node::own_name(&shared)?;
    let addresses = shared.app.seen.network.borrow().addresses.clone();
    let facts = web::block(move || certificate.renew(&name, &addresses, Timestamp::now()))
        .await
        .map_err(|error| Failure::internal("make a certificate", &error))??;
    told(&shared, &caller, &facts);
    Ok(reply::ok(&facts))
}

fn told(shared: &Shared, caller: &Caller, facts: &Certificate) {
    let what = format!(
        "has a new certificate; its SHA-256 is {}",
        facts.fingerprint
    );
    shared.note(caller, Kind::Site, "", "", &what);
    shared.feed.changed(Kind::Site, "*");
}
