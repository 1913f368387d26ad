//! The releases of the node: what is on the disk, receiving another one, changing to it.

use std::io;

use actix_web::http::header;
use actix_web::{HttpResponse, get, post, put, web};
use ashlar_api::error::Code;
use ashlar_api::job::Kind;
use ashlar_api::update::{Update, UpdateApply, UpdateFetch, UpdateRemove};
use futures_util::StreamExt;
use serde::Deserialize;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::{Body, NoQuery};
use super::{Shared, content, node, reply};
use crate::health::trial;
use crate::sys::init_socket::Request;
use crate::update::{BundleError, UpdateError, Wish};

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        let (title, remedy) = (error.to_string(), error.remedy());
        let code = match &error {
            UpdateError::Bundle(error) => match &**error {
                BundleError::NotABundle(_) | BundleError::Untrusted | BundleError::Manifest(_) => {
                    return Failure::invalid("bundle", title).remedy(remedy);
                }
                BundleError::Truncated | BundleError::Damaged => Code::ChecksumMismatch,
                BundleError::Read(_) => Code::Malformed,
                BundleError::TooLarge(_) => Code::TooLarge,
                BundleError::Architecture { .. }
                | BundleError::Running(_)
                | BundleError::Present(_)
                | BundleError::Older { .. }
                | BundleError::TooFar { .. } => Code::WrongState,
                BundleError::NoKeys { .. } | BundleError::Write(_) => Code::Unavailable,
            },
            UpdateError::NoSuchRelease(_) => {
                return Failure::invalid("version", title).remedy(remedy);
            }
            UpdateError::Busy
            | UpdateError::OnTrial
            | UpdateError::Running(_)
            | UpdateError::Elsewhere(_) => Code::WrongState,
            UpdateError::Unsound(_) => Code::ChecksumMismatch,
            UpdateError::NoRoom { .. } => Code::NoSpace,
            UpdateError::Source(source) => {
                return Failure::new(Code::Malformed, title)
                    .detail(source.to_string())
                    .remedy(remedy);
            }
            UpdateError::Esp(_)
            | UpdateError::Note(_)
            | UpdateError::Status(_)
            | UpdateError::Client(_) => {
                tracing::warn!("releases: {}", crate::reconcile::chain(&error));
                Code::Unavailable
            }
            UpdateError::Broken => return Failure::internal("change the releases", &error),
        };
        Failure::new(code, title).remedy(remedy)
    }
}

/// The releases of the node, and how the newest change went.
#[utoipa::path(responses((status = 200, body = Update)))]
#[get("/update")]
pub async fn read(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    Ok(reply::ok(&shared.app.updates.status()))
}

/// What is meant by a bundle that is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BundleQuery {
    /// Takes it even if it is older than what runs.
    #[param(default = false)]
    #[serde(default)]
    pub downgrade: bool,
}

/// Sends a bundle
///
/// It is verified while it comes. What runs is not touched: the release in it waits on the disk to be started.
#[utoipa::path(
    params(BundleQuery),
    request_body(content = String, content_type = "application/octet-stream", description = "The bundle, a file whose name ends in `.ashlar`."),
    responses((status = 200, body = Update))
)]
#[put("/update/bundle")]
pub async fn bundle(
    request: actix_web::HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    query: web::Query<BundleQuery>,
    mut payload: web::Payload,
) -> Answer {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let wish = Wish {
        source: caller.name.clone(),
        downgrade: query.downgrade,
    };
    let body =
        (&mut payload).map(|piece| piece.map_err(|error| io::Error::other(error.to_string())));
    match shared.app.updates.receive(wish, length, body).await {
        Ok(version) => {
            told(&shared, &caller, &format!("received version {version}"))?;
            Ok(reply::ok(&shared.app.updates.status()))
        }
        Err(error) => {
            content::drain(&mut payload).await;
            Err(error.into())
        }
    }
}

/// Fetches a bundle
///
/// `receiving` says how far it has come, and `refused` why it was not taken.
#[utoipa::path(request_body = UpdateFetch, responses((status = 202, body = Update)))]
#[post("/update/fetch")]
pub async fn fetch(
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
    Body(wish): Body<UpdateFetch>,
) -> Answer {
    let what = format!("fetches a release from {}", wish.url);
    shared.app.updates.fetch(wish)?;
    told(&shared, &caller, &what)?;
    Ok(HttpResponse::Accepted().json(shared.app.updates.status()))
}

/// Restarts the node into another release
///
/// It is on trial then: when it does not pass its checks, the one that runs now comes back by itself.
#[utoipa::path(request_body = UpdateApply, responses((status = 202, body = Update)))]
#[post("/update/apply")]
pub async fn apply(
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
    Body(wish): Body<UpdateApply>,
) -> Answer {
    let name = node::own_name(&shared)?;
    if wish.confirm != name {
        return Err(Failure::invalid(
            "confirm",
            format!("the node's name, `{name}`"),
        ));
    }
    // Whether init is there to be asked is found out before anything is changed.
    node::ask(&shared, Request::Status).await?;
    let what = format!("restarts into version {}", wish.version);
    let app = &shared.app;
    // What nobody has looked at yet would not be asked of the other release either.
    if !app.seen.is_whole() {
        let failure = Failure::new(Code::Unavailable, "not everything was looked at yet");
        return Err(failure.remedy("Try again in a moment."));
    }
    let before = trial::before(&app.seen, &app.store, app.boot).await?;
    let version = wish.version;
    app.updates
        .apply(version.clone(), &caller.name, before)
        .await?;
    if let Err(failure) = node::ask(&shared, Request::Reboot).await {
        app.updates.cancel(version).await?;
        return Err(failure);
    }
    shared.note(&caller, Kind::Node, app.node, name, &what);
    Ok(HttpResponse::Accepted().json(shared.app.updates.status()))
}

/// Removes a release from the disk.
#[utoipa::path(request_body = UpdateRemove, responses((status = 200, body = Update)))]
#[post("/update/remove")]
pub async fn remove(
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
    Body(wish): Body<UpdateRemove>,
) -> Answer {
    let what = format!("removed version {} from its disk", wish.version);
    shared.app.updates.remove(wish.version).await?;
    told(&shared, &caller, &what)?;
    Ok(reply::ok(&shared.app.updates.status()))
}

fn told(shared: &Shared, caller: &Caller, what: &str) -> Answer<()> {
    let name = node::own_name(shared)?;
    shared.note(caller, Kind::Node, shared.app.node, name, what);
    Ok(())
}
