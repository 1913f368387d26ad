//! Users and their passwords.

use std::collections::HashMap;

use actix_web::{HttpRequest, delete, get, post, put, web};
use ashlar_api::error::Code;
use ashlar_api::job::Kind;
use ashlar_api::user::{PasswordChange, Role, User, UserCreate, UserSpec, UserStatus};
use ashlar_api::{Page, Timestamp, UserId, endpoint};
use uuid::Uuid;

use super::auth::{self, Caller};
use super::error::{Answer, Failure};
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::Command;
use crate::state::schema::{SessionRecord, UserRecord};

fn sessions(shared: &Shared) -> Answer<HashMap<UserId, usize>> {
    let now = Timestamp::now();
    let mut counts = HashMap::new();
    for session in shared.app.store.list::<SessionRecord>()? {
        if session.expires_at > now {
            *counts.entry(session.user).or_default() += 1;
        }
    }
    Ok(counts)
}

fn view(record: UserRecord, sessions: &HashMap<UserId, usize>) -> User {
    User {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: false,
        status: UserStatus {
            sessions: sessions.get(&record.id).copied().unwrap_or_default(),
        },
        spec: record.spec,
    }
}

/// The users.
#[utoipa::path(responses((status = 200, body = Page<User>)))]
#[get("/users")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let sessions = sessions(&shared)?;
    let page = shared.page::<UserRecord, User>(&query, |user| view(user, &sessions))?;
    Ok(reply::ok(&page))
}

/// A user.
#[utoipa::path(responses((status = 200, body = User)))]
#[get("/users/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<UserId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<UserRecord>(id)?;
    Ok(reply::object(
        record.revision,
        &view(record, &sessions(&shared)?),
    ))
}

/// Makes a user.
#[utoipa::path(request_body = UserCreate, responses((status = 201, body = User)))]
#[post("/users")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(new): Body<UserCreate>,
) -> Answer {
    let mut record = UserRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        spec: new.spec,
        password_hash: shared.gate.passwords.hash(new.password).await?,
    };
    let command = Command::CreateUser {
        user: Box::new(record.clone()),
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(record, &HashMap::new())));
    }
    record = shared.need(record.id)?;
    shared.note(
        &caller,
        Kind::User,
        record.id,
        &record.spec.name,
        "was made",
    );
    Ok(reply::created(
        endpoint::USERS,
        record.id,
        record.revision,
        &[],
        &view(record, &HashMap::new()),
    ))
}

/// Changes a user.
#[utoipa::path(request_body = UserSpec, responses((status = 200, body = User)))]
#[put("/users/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<UserId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<UserSpec>,
) -> Answer {
    let command = Command::ReplaceUser {
        id,
        spec: spec.clone(),
        revision,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<UserRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else {
        shared.note(&caller, Kind::User, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(
        record.revision,
        &view(record, &sessions(&shared)?),
    ))
}

/// Removes a user
///
/// With the sessions and tokens; the last administrator stays.
#[utoipa::path(responses((status = 204)))]
#[delete("/users/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<UserId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let record = shared.need::<UserRecord>(id)?;
    shared
        .propose(&caller, Command::DeleteUser { id, revision }, *change)
        .await?;
    if !change.dry_run {
        shared.note(&caller, Kind::User, id, &record.spec.name, "was deleted");
    }
    Ok(reply::no_content())
}

/// Sets a password
///
/// One's own with the password so far; an administrator that of others without.
/// Ends the user's other sessions.
#[utoipa::path(request_body = PasswordChange, responses((status = 204)))]
#[post("/users/{id}/password")]
pub async fn password(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<UserId>,
    _: web::Query<NoQuery>,
    Body(new): Body<PasswordChange>,
) -> Answer {
    let own = caller.user() == Some(id);
    if !own && !caller.may(Role::Administrator) {
        return Err(Failure::new(
            Code::Forbidden,
            "only an administrator sets the passwords of others",
        ));
    }
    let record = shared.need::<UserRecord>(id)?;
    if own {
        let Some(current) = new.current else {
            return Err(Failure::invalid("current", "the password so far"));
        };
        let address = auth::address(&request);
        shared.gate.attempt(address, record.spec.name.as_str())?;
        let stored = Some(record.password_hash);
        if !shared.gate.passwords.verify(current, stored).await? {
            return Err(Failure::invalid("current", "not the password so far"));
        }
        shared.gate.succeeded(address, record.spec.name.as_str());
    }
    let password_hash = shared.gate.passwords.hash(new.new).await?;
    let command = Command::SetPassword {
        id,
        password_hash,
        keep: caller.session().filter(|_| own),
    };
    shared.app.store.propose(&caller.name, command).await?;
    shared.note(
        &caller,
        Kind::User,
        id,
        &record.spec.name,
        "has a new password",
    );
    Ok(reply::no_content())
}
