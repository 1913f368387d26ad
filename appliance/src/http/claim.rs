//! Becoming the owner, once.

use actix_web::{HttpRequest, post, web};
use ashlar_api::error::Code;
use ashlar_api::event::Severity;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::node::NodeSpec;
use ashlar_api::site::{ClaimCheck, ClaimRequest};
use ashlar_api::user::{Role, Session, UserSpec};
use ashlar_api::{Timestamp, UserId};
use uuid::Uuid;

use super::error::{Answer, Failure};
use super::request::{Body, NoQuery};
use super::{Shared, auth, claim_code, reply, session};
use crate::health::NewEvent;
use crate::state::command::{Command, Refusal};
use crate::state::schema::{NodeRecord, UserRecord};

/// Charges an attempt and compares the code.
fn admit(shared: &Shared, request: &HttpRequest, typed: &str) -> Answer<()> {
    shared.gate.claim(auth::address(request))?;
    if shared.app.store.site()?.is_some() {
        return Err(Refusal::Claimed.into());
    }
    let code = claim_code::ensure(&shared.app.run)?;
    if claim_code::is_right(typed, &code) {
        return Ok(());
    }
    Err(Failure::new(
        Code::Forbidden,
        "this is not the code on the appliance's screen",
    )
    .field("code", "not the code on the appliance's screen")
    .remedy("Look at the screen that is attached to the machine, or at its serial line."))
}

/// Tries a claim code
///
/// So that nobody fills in the rest for nothing. Five tries a minute.
#[utoipa::path(request_body = ClaimCheck, responses((status = 204)))]
#[post("/claim/check")]
pub async fn check(
    request: HttpRequest,
    shared: web::Data<Shared>,
    _: web::Query<NoQuery>,
    Body(check): Body<ClaimCheck>,
) -> Answer {
    admit(&shared, &request, &check.code)?;
    Ok(reply::no_content())
}

/// Makes the sender the owner
///
/// Needs the code on the appliance's screen; makes the site and its first
/// administrator, and signs in.
#[utoipa::path(request_body = ClaimRequest, responses((status = 201, body = Session)))]
#[post("/claim")]
pub async fn claim(
    request: HttpRequest,
    shared: web::Data<Shared>,
    _: web::Query<NoQuery>,
    Body(claim): Body<ClaimRequest>,
) -> Answer {
    admit(&shared, &request, &claim.code)?;
    let password_hash = shared.gate.passwords.hash(claim.password).await?;
    let management = shared
        .app
        .store
        .get::<NodeRecord>(shared.app.node)?
        .map(|node| node.spec.management)
        .unwrap_or_default();
    let user = UserRecord {
        id: UserId::from(Uuid::now_v7()),
        revision: 0,
        created_at: Timestamp::now(),
        spec: UserSpec {
            name: claim.user.clone(),
            full_name: String::new(),
            role: Role::Administrator,
        },
        password_hash,
    };
    let command = Command::Claim {
        site: claim.site.clone(),
        node: shared.app.node,
        node_spec: NodeSpec {
            name: claim.node_name,
            management,
        },
        user: Box::new(user.clone()),
    };
    shared
        .app
        .store
        .propose(claim.user.as_str(), command)
        .await?;
    // The code is of no use any more; a file that stays is refused by the state itself.
    if let Err(failure) = claim_code::forget(&shared.app.run) {
        tracing::warn!("{failure}");
    }
    shared.app.health.history.tell(NewEvent {
        severity: Severity::Info,
        subject: Some(Subject {
            kind: Kind::Site,
            id: String::new(),
            name: claim.site.name.to_string(),
        }),
        message: format!("Site {} was claimed", claim.site.name),
        by: Some(claim.user.to_string()),
    });
    session::open(&shared, &request, &user).await
}
