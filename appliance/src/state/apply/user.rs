//! Users, their sessions and API tokens.

use ashlar_api::user::{Role as Rank, UserSpec};
use ashlar_api::{SessionId, TokenId, UserId};

use super::link::Role;
use super::tables::Tables;
use super::{Step, invalid, wrong_state};
use crate::state::command::Refusal;
use crate::state::schema::{SessionRecord, TokenRecord, UserRecord};

/// How many sessions one user can have open; a new one closes the oldest.
pub const SESSIONS: usize = 50;

/// Makes a user.
pub fn create(t: &mut Tables<'_>, user: &UserRecord) -> Step {
    claimed(t)?;
    t.insert(user.clone())
}

fn claimed(t: &Tables<'_>) -> Step {
    match t.site()? {
        Some(_) => Ok(()),
        None => Err(Refusal::Unclaimed.into()),
    }
}

/// Changes a user. Tokens lose what their owner may not do any more.
pub fn replace(t: &mut Tables<'_>, id: UserId, spec: &UserSpec, revision: Option<u64>) -> Step {
    let mut user: UserRecord = t.need_revision(id, revision)?;
    if user.spec == *spec {
        return Ok(());
    }
    if spec.role < Rank::Administrator {
        another_administrator(t, &user)?;
    }
    user.spec = spec.clone();
    t.free_name(&user)?;
    t.put(user)?;
    for token in t.linked(Role::Token, id)? {
        if let Some(mut token) = t.get_text::<TokenRecord>(&token)?
            && token.spec.role > spec.role
        {
            token.spec.role = spec.role;
            t.put(token)?;
        }
    }
    Ok(())
}

fn another_administrator(t: &Tables<'_>, user: &UserRecord) -> Step {
    let is_administrator = |user: &UserRecord| user.spec.role == Rank::Administrator;
    if !is_administrator(user) {
        return Ok(());
    }
    let others = t.all::<UserRecord>()?;
    if others
        .iter()
        .any(|o| o.id != user.id && is_administrator(o))
    {
        return Ok(());
    }
    Err(wrong_state(
        format!("`{}` is the last administrator", user.spec.name),
        "make another user an administrator first",
    ))
}

/// Sets a password and closes the user's sessions but one.
pub fn set_password(
    t: &mut Tables<'_>,
    id: UserId,
    password_hash: &str,
    keep: Option<SessionId>,
) -> Step {
    let mut user: UserRecord = t.need(id)?;
    user.password_hash = password_hash.to_owned();
    t.put(user)?;
    let keep = keep.map(|keep| keep.to_string());
    for session in t.linked(Role::Session, id)? {
        if Some(&session) != keep.as_ref() {
            t.remove::<SessionRecord>(&session)?;
        }
    }
    Ok(())
}

/// Removes a user with everything that acts in the user's name.
pub fn delete(t: &mut Tables<'_>, id: UserId, revision: Option<u64>) -> Step {
    let user: UserRecord = t.need_revision(id, revision)?;
    another_administrator(t, &user)?;
    for session in t.linked(Role::Session, id)? {
        t.remove::<SessionRecord>(&session)?;
    }
    for token in t.linked(Role::Token, id)? {
        t.remove::<TokenRecord>(&token)?;
    }
    Ok(t.remove::<UserRecord>(&id.to_string())?)
}

/// Makes an API token.
pub fn create_token(t: &mut Tables<'_>, token: &TokenRecord) -> Step {
    claimed(t)?;
    let user: UserRecord = t.need(token.user)?;
    if token.spec.role > user.spec.role {
        let message = "a token can not do more than the user who makes it";
        return Err(invalid("role", message));
    }
    if token.spec.expires_at.is_some_and(|end| end <= t.at) {
        return Err(invalid("expires_at", "a moment in the future"));
    }
    let secrets = t.all::<TokenRecord>()?;
    if secrets.iter().any(|o| o.secret_hash == token.secret_hash) {
        return Err(invalid("secret_hash", "another token has this secret"));
    }
    t.insert(token.clone())
}

/// Removes an API token.
pub fn delete_token(t: &mut Tables<'_>, id: TokenId) -> Step {
    t.need::<TokenRecord>(id)?;
    Ok(t.remove::<TokenRecord>(&id.to_string())?)
}

/// Opens a session; removes those that have ended and, when there are many, the oldest.
pub fn open_session(t: &mut Tables<'_>, session: &SessionRecord) -> Step {
    claimed(t)?;
    t.need::<UserRecord>(session.user)?;
    let mut own = Vec::new();
    for other in t.all::<SessionRecord>()? {
        if other.expires_at <= t.at {
            t.remove::<SessionRecord>(&other.id.to_string())?;
        } else if other.secret_hash == session.secret_hash {
            return Err(invalid("secret_hash", "another session has this secret"));
        } else if other.user == session.user {
            own.push((other.created_at, other.id));
        }
    }
    own.sort_unstable();
    let spare = (own.len() + 1).saturating_sub(SESSIONS);
    for (_, id) in own.iter().take(spare) {
        t.remove::<SessionRecord>(&id.to_string())?;
    }
    t.insert(session.clone())
}

/// Closes a session; nothing when it is closed.
pub fn close_session(t: &mut Tables<'_>, id: SessionId) -> Step {
    Ok(t.remove::<SessionRecord>(&id.to_string())?)
}
