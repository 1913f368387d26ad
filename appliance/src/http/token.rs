//! API tokens: for programs.

use actix_web::{HttpResponse, delete, get, http::header, post, web};
use ashlar_api::error::Code;
use ashlar_api::job::Kind;
use ashlar_api::user::{Role, Token, TokenCreated, TokenSpec};
use ashlar_api::{Page, Timestamp, TokenId, endpoint};
use uuid::Uuid;

use super::auth::{self, Caller, Identity};
use super::error::{Answer, Failure};
use super::request::{Body, Id, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::Command;
use crate::state::schema::{TokenRecord, UserRecord};

fn view(record: TokenRecord, user: &UserRecord) -> Token {
    Token {
        id: record.id,
        user: user.spec.name.clone(),
        created_at: record.created_at,
        spec: record.spec,
    }
}

fn may_see(caller: &Caller, token: &TokenRecord) -> bool {
    caller.may(Role::Administrator) || caller.user() == Some(token.user)
}

/// The tokens
///
/// One's own; an administrator sees everybody's. Secrets are never shown again.
#[utoipa::path(responses((status = 200, body = Page<Token>)))]
#[get("/tokens")]
pub async fn list(
    shared: web::Data<Shared>,
    caller: Caller,
    query: web::Query<ListQuery>,
) -> Answer {
    let users = shared.app.store.list::<UserRecord>()?;
    let tokens = shared.app.store.list::<TokenRecord>()?;
    let seen = tokens
        .into_iter()
        .filter(|token| may_see(&caller, token))
        .filter_map(|token| {
            let user = users.iter().find(|user| user.id == token.user)?;
            Some(view(token, user))
        });
    let page = reply::page_of(
        seen.collect(),
        &query,
        |t| t.id.to_string(),
        |t| t.spec.name.to_string(),
    )?;
    Ok(reply::ok(&page))
}

fn need(shared: &Shared, caller: &Caller, id: TokenId) -> Answer<TokenRecord> {
    let token = shared.app.store.get::<TokenRecord>(id)?;
    token
        .filter(|token| may_see(caller, token))
        .ok_or_else(|| Failure::not_found("API token", id))
}

/// A token.
#[utoipa::path(responses((status = 200, body = Token)))]
#[get("/tokens/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<TokenId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let token = need(&shared, &caller, id)?;
    let user = shared.need::<UserRecord>(token.user)?;
    Ok(reply::ok(&view(token, &user)))
}

/// Makes a token
///
/// The answer holds its secret, this once. Only somebody signed in with a
/// password can make one, so that a token that leaked can not make itself heirs.
#[utoipa::path(request_body = TokenSpec, responses((status = 201, body = TokenCreated)))]
#[post("/tokens")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    _: web::Query<NoQuery>,
    Body(spec): Body<TokenSpec>,
) -> Answer {
    let Identity::Session(session) = &caller.identity else {
        return Err(
            Failure::new(Code::Forbidden, "only a signed-in user can make a token")
                .remedy("Sign in with a name and a password: `ashlar login`, or the console."),
        );
    };
    if spec.role > caller.role {
        return Err(Failure::invalid("role", "at most your own role"));
    }
    let user = shared.need::<UserRecord>(session.user)?;
    let secret = auth::token_secret()?;
    let record = TokenRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        user: user.id,
        spec,
        secret_hash: auth::sha256_hex(&secret),
    };
    let command = Command::CreateToken {
        token: Box::new(record.clone()),
    };
    shared.app.store.propose(&caller.name, command).await?;
    shared.note(
        &caller,
        Kind::Token,
        record.id,
        &record.spec.name,
        "was made",
    );
    let location = format!("{}/{}", endpoint::TOKENS, record.id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .json(&TokenCreated {
            token: view(record, &user),
            secret,
        }))
}

/// Revokes a token.
#[utoipa::path(responses((status = 204)))]
#[delete("/tokens/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<TokenId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let token = need(&shared, &caller, id)?;
    shared
        .app
        .store
        .propose(&caller.name, Command::DeleteToken { id })
        .await?;
    shared.note(&caller, Kind::Token, id, &token.spec.name, "was revoked");
    Ok(reply::no_content())
}
