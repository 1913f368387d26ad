//! The sizing tool. Nothing is read and nothing is changed: it is the same pure reckoning that the console and the
//! command line do by themselves, for programs that are written in other languages.

use actix_web::{post, web};
use ashlar_api::sizing::{self, Sizing, SizingSpec};

use super::auth::Caller;
use super::error::Answer;
use super::reply;
use super::request::{Body, NoQuery};

/// What planned nodes and drives come to
///
/// Room for volumes, what may fail, and how many machines fit. Nothing is
/// changed.
#[utoipa::path(request_body = SizingSpec, responses((status = 200, body = Sizing)))]
#[post("/sizing")]
pub async fn size(_: Caller, _: web::Query<NoQuery>, Body(plan): Body<SizingSpec>) -> Answer {
    Ok(reply::ok(&sizing::size(&plan)?))
}
