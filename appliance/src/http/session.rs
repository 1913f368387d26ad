//! Signing in and out, and the sessions that are open.

use std::net::IpAddr;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use ashlar_api::error::Code;
use ashlar_api::event::Severity;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::user::{LoginRequest, Role, Session};
use ashlar_api::{Page, SessionId, Timestamp, endpoint};
use jiff::ToSpan;
use uuid::Uuid;

use super::auth::{self, Caller, Identity};
use super::error::{Answer, Failure};
use super::request::{Body, Id, ListQuery, NoQuery};
use super::{Shared, password, reply};
use crate::health::NewEvent;
use crate::state::command::{Command, Refusal};
use crate::state::schema::{SessionRecord, UserRecord};

fn view(record: &SessionRecord, user: &UserRecord, own: Option<SessionId>) -> Session {
    Session {
        id: record.id,
        user_id: user.id,
        user: user.spec.name.clone(),
        role: user.spec.role,
        csrf_token: String::new(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        address: record.address.clone(),
        agent: record.agent.clone(),
        current: own == Some(record.id),
    }
}

/// Opens a session for a user whose password (or claim code) was right.
pub async fn open(shared: &Shared, request: &HttpRequest, user: &UserRecord) -> Answer {
    let secret = auth::random_hex()?;
    let now = Timestamp::now();
    let record = SessionRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: now,
        expires_at: now
            .checked_add(auth::SESSION_HOURS.hours())
            .map_err(|error| Failure::internal("reckon with the clock", &error))?,
        user: user.id,
        secret_hash: auth::sha256_hex(&secret),
        csrf_token: auth::random_hex()?,
        address: auth::address(request).to_string(),
        agent: auth::agent(request),
    };
    let command = Command::OpenSession {
        session: Box::new(record.clone()),
    };
    shared
        .app
        .store
        .propose(user.spec.name.as_str(), command)
        .await?;
    told(
        shared,
        Severity::Info,
        user.spec.name.as_str(),
        auth::address(request),
        "signed in",
    );
    let session = Session {
        csrf_token: record.csrf_token.clone(),
        ..view(&record, user, Some(record.id))
    };
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, endpoint::SESSION))
        .cookie(auth::session_cookie(&secret))
        .json(&session))
}

fn told(shared: &Shared, severity: Severity, user: &str, address: IpAddr, what: &str) {
    shared.app.health.history.tell(NewEvent {
        severity,
        subject: Some(Subject {
            kind: Kind::User,
            id: String::new(),
            name: user.to_owned(),
        }),
        message: format!("{user} {what} from {address}"),
        by: None,
    });
}

/// Signs in
///
/// The session is a cookie; its `csrf_token` must come with every request that changes something.
#[utoipa::path(request_body = LoginRequest, responses((status = 201, body = Session)))]
#[post("/session")]
pub async fn login(
    request: HttpRequest,
    shared: web::Data<Shared>,
    _: web::Query<NoQuery>,
    Body(login): Body<LoginRequest>,
) -> Answer {
    let address = auth::address(&request);
    shared.gate.attempt(address, &login.user)?;
    if shared.app.store.site()?.is_none() {
        return Err(Refusal::Unclaimed.into());
    }
    let user = shared.app.store.find::<UserRecord>(&login.user)?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let right = shared.gate.passwords.verify(login.password, stored).await?;
    match user.filter(|_| right) {
        Some(user) => {
            shared.gate.succeeded(address, &login.user);
            open(&shared, &request, &user).await
        }
        None => {
            // What was typed is not repeated: people type passwords into the wrong field.
            told(
                &shared,
                Severity::Warning,
                "Somebody",
                address,
                "failed to sign in",
            );
            Err(password::wrong())
        }
    }
}

/// Who is signed in.
#[utoipa::path(responses((status = 200, body = Session)))]
#[get("/session")]
pub async fn current(shared: web::Data<Shared>, caller: Caller, _: web::Query<NoQuery>) -> Answer {
    let Identity::Session(record) = &caller.identity else {
        return Err(
            Failure::new(Code::NotFound, "this request comes without a session").detail(format!(
                "It was let in as {} by a token or by the local socket.",
                caller.name
            )),
        );
    };
    let user = shared.need::<UserRecord>(record.user)?;
    Ok(reply::ok(&Session {
        csrf_token: record.csrf_token.clone(),
        ..view(record, &user, Some(record.id))
    }))
}

/// Signs out.
#[utoipa::path(responses((status = 204)))]
#[delete("/session")]
pub async fn logout(shared: web::Data<Shared>, caller: Caller, _: web::Query<NoQuery>) -> Answer {
    if let Some(id) = caller.session() {
        shared
            .app
            .store
            .propose(&caller.name, Command::CloseSession { id })
            .await?;
    }
    Ok(HttpResponse::NoContent().cookie(auth::no_cookie()).finish())
}

/// The sessions that are open
///
/// One's own; an administrator sees everybody's.
#[utoipa::path(responses((status = 200, body = Page<Session>)))]
#[get("/sessions")]
pub async fn list(
    shared: web::Data<Shared>,
    caller: Caller,
    query: web::Query<ListQuery>,
) -> Answer {
    let now = Timestamp::now();
    let users = shared.app.store.list::<UserRecord>()?;
    let sessions = shared.app.store.list::<SessionRecord>()?;
    let open = sessions.iter().filter(|session| session.expires_at > now);
    let seen = open.filter_map(|session| {
        let user = users.iter().find(|user| user.id == session.user)?;
        (caller.may(Role::Administrator) || caller.user() == Some(user.id))
            .then(|| view(session, user, caller.session()))
    });
    let page = reply::page_of(
        seen.collect(),
        &query,
        |s| s.id.to_string(),
        |s| s.user.to_string(),
    )?;
    Ok(reply::ok(&page))
}

/// Ends a session.
#[utoipa::path(responses((status = 204)))]
#[delete("/sessions/{id}")]
pub async fn revoke(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<SessionId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let session = shared.app.store.get::<SessionRecord>(id)?;
    // Whether a session of somebody else exists is nobody's business.
    let own = session.filter(|s| caller.may(Role::Administrator) || caller.user() == Some(s.user));
    if own.is_none() {
        return Err(Failure::not_found("session", id));
    }
    shared
        .app
        .store
        .propose(&caller.name, Command::CloseSession { id })
        .await?;
    Ok(reply::no_content())
}
