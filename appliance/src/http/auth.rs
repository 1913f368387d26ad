//! Who is asking, and may they.
//!
//! ```text
//!   local socket (mode 0600)        ─► `local`, an administrator
//!   Authorization: Bearer <token>   ─► a token: what it may, and its maker still may
//!   cookie __Host-ashlar            ─► a session; changes also need X-CSRF-Token,
//!                                      WebSockets an Origin that is ours
//! ```
//!
//! [`guard`] runs before anything reads the body of a request. It asks the
//! [table](super::rules), which refuses what it does not know. Secrets are 256
//! random bits, so the database keeps their SHA-256: quick to look up, useless
//! to whoever copies it, and revoked by removing one record (which is why there
//! are no signed tokens). A session ends after twelve hours, used or not: a
//! working day, and no write to the log with each request. Roles are read from
//! the user at each request, so a demotion counts at once.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError, web};
use ashlar_api::error::Code;
use ashlar_api::user::Role;
use ashlar_api::{SessionId, Timestamp, TokenId, UserId};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Shared;
use super::error::{Answer, Failure};
use super::rules::{self, Access, Rule, Verdict};
use crate::state::schema::{SessionRecord, TokenRecord, UserRecord};

/// The cookie of a session. `__Host-` makes browsers refuse it unless it is
/// `Secure`, of this very host and of every path.
pub const COOKIE: &str = "__Host-ashlar";
/// The header that a session's changes need.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// How long a session lasts.
pub const SESSION_HOURS: i64 = 12;
/// The name of whoever uses the local socket.
pub const LOCAL: &str = "local";
/// What the secret of a token begins with, for those who search for leaked ones.
const TOKEN_PREFIX: &str = "ashlar_";

/// Whoever sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name under which it is written down.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How they are known.
    pub identity: Identity,
}

/// How a caller is known.
#[derive(Clone, Debug)]
pub enum Identity {
    /// By the socket that only root can open.
    Local,
    /// By a session's cookie.
    Session(Box<SessionRecord>),
    /// By a token.
    Token(Box<TokenRecord>),
}

impl Caller {
    fn local() -> Self {
        Caller {
            name: LOCAL.to_owned(),
            role: Role::Administrator,
            identity: Identity::Local,
        }
    }

    /// The user, unless it is the local socket.
    pub fn user(&self) -> Option<UserId> {
        match &self.identity {
            Identity::Local => None,
            Identity::Session(session) => Some(session.user),
            Identity::Token(token) => Some(token.user),
        }
    }

    /// The session, if it is one.
    pub fn session(&self) -> Option<SessionId> {
        match &self.identity {
            Identity::Session(session) => Some(session.id),
            Identity::Local | Identity::Token(_) => None,
        }
    }

    fn token(&self) -> Option<TokenId> {
        match &self.identity {
            Identity::Token(token) => Some(token.id),
            Identity::Local | Identity::Session(_) => None,
        }
    }

    /// Whether they may do what `role` may.
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether they would still be let in: asked by streams, which outlive their request.
    pub fn still_welcome(&self, shared: &Shared) -> bool {
        let now = Timestamp::now();
        let again = match &self.identity {
            Identity::Local => return true,
            Identity::Session(session) => shared
                .app
                .store
                .get::<SessionRecord>(session.id)
                .ok()
                .flatten()
                .and_then(|session| of_session(shared, session, now).ok()),
            Identity::Token(_) => self
                .token()
                .and_then(|id| shared.app.store.get::<TokenRecord>(id).ok().flatten())
                .and_then(|token| of_token(shared, token, now).ok()),
        };
        again.is_some_and(|again| again.role >= self.role)
    }
}

/// The line of the table that let a request in; handlers compare it with what the router found.
#[derive(Clone, Copy)]
struct Allowed(&'static Rule);

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Answer<Caller>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let found = request.match_pattern().unwrap_or_default();
        let agreed = extensions.get::<Allowed>().is_some_and(|allowed| {
            found.strip_prefix(ashlar_api::endpoint::BASE) == Some(allowed.0.pattern)
        });
        let caller = extensions.get::<Caller>().filter(|_| agreed).cloned();
        ready(caller.ok_or_else(|| {
            tracing::error!(found, "no line of the table for what the router found");
            Failure::new(Code::Forbidden, "nobody may do this")
        }))
    }
}

/// Lets in whom the table lets in. Outside `/api` it lets everybody in: there
/// is the console, which holds no secret.
pub async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match admit(&request) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(failure) => {
            let answer = failure.error_response();
            Ok(request.into_response(answer))
        }
    }
}

fn admit(request: &ServiceRequest) -> Answer<()> {
    // What the router will read: percent-encoding is undone already.
    let path = request.match_info().as_str();
    if path != "/api" && !path.starts_with("/api/") {
        return Ok(());
    }
    let rule = match rules::find(request.method(), path) {
        Verdict::Rule(rule) => rule,
        Verdict::Methods(methods) => return Err(Failure::method_not_allowed(&methods)),
        Verdict::Nothing => return Err(nothing_here()),
    };
    request.extensions_mut().insert(Allowed(rule));
    let Access::Role(role) = rule.access else {
        return Ok(());
    };
    let caller = identify(request)?;
    if !caller.may(role) {
        return Err(
            Failure::new(Code::Forbidden, format!("{} may not do this", caller.name)).remedy(
                format!("It needs the role `{}`; ask an administrator.", word(role)),
            ),
        );
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

/// For an address that is none.
pub fn nothing_here() -> Failure {
    Failure::new(Code::NotFound, "there is nothing at this address")
        .remedy("The OpenAPI document at /api/v1/openapi.json lists every address.")
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Administrator => "administrator",
    }
}

fn identify(request: &ServiceRequest) -> Answer<Caller> {
    let shared = request
        .app_data::<web::Data<Shared>>()
        .ok_or_else(unauthenticated)?;
    if request.app_data::<super::Local>().is_some() {
        return Ok(Caller::local());
    }
    let now = Timestamp::now();
    if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
        let secret = authorization
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim())
            .ok_or_else(|| {
                unauthenticated().detail("The header Authorization must be `Bearer <token>`.")
            })?;
        let token = shared.app.store.token_by_hash(&sha256_hex(secret))?;
        return of_token(shared, token.ok_or_else(unauthenticated)?, now);
    }
    let secret = cookie(request.request()).ok_or_else(unauthenticated)?;
    let session = shared.app.store.session_by_hash(&sha256_hex(&secret))?;
    let caller = of_session(shared, session.ok_or_else(unauthenticated)?, now)?;
    if let Identity::Session(session) = &caller.identity {
        unforged(request.method(), request.headers(), request.uri(), session)?;
    }
    Ok(caller)
}

fn of_session(shared: &Shared, session: SessionRecord, now: Timestamp) -> Answer<Caller> {
    let user = shared.app.store.get::<UserRecord>(session.user)?;
    let user = user.filter(|_| now < session.expires_at);
    let user = user.ok_or_else(unauthenticated)?;
    Ok(Caller {
        name: user.spec.name.to_string(),
        role: user.spec.role,
        identity: Identity::Session(Box::new(session)),
    })
}

fn of_token(shared: &Shared, token: TokenRecord, now: Timestamp) -> Answer<Caller> {
    let user = shared.app.store.get::<UserRecord>(token.user)?;
    let user = user.filter(|_| token.spec.expires_at.is_none_or(|end| now < end));
    let user = user.ok_or_else(unauthenticated)?;
    Ok(Caller {
        name: user.spec.name.to_string(),
        role: token.spec.role.min(user.spec.role),
        identity: Identity::Token(Box::new(token)),
    })
}

/// Refuses what another site could have had this browser send.
fn unforged(
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
    session: &SessionRecord,
) -> Answer<()> {
    if headers.contains_key(header::UPGRADE) || headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        // Scripts cannot set headers on a WebSocket, but browsers always say from where it is opened.
        let origin = headers.get(header::ORIGIN).and_then(|v| v.to_str().ok());
        let host = headers
            .get(header::HOST)
            .and_then(|v| v.to_str().ok())
            .or_else(|| uri.authority().map(|a| a.as_str()));
        let same = match (origin.and_then(|o| o.strip_prefix("https://")), host) {
            (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
            _ => false,
        };
        return if same {
            Ok(())
        } else {
            Err(forged("open this from the appliance's own console"))
        };
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let given = headers.get(CSRF_HEADER).map(|v| v.as_bytes());
    match given {
        Some(given) if same_secret(given, session.csrf_token.as_bytes()) => Ok(()),
        _ => Err(forged(
            "send the session's `csrf_token` (GET /api/v1/session) as the header X-CSRF-Token",
        )),
    }
}

fn forged(remedy: &str) -> Failure {
    Failure::new(Code::Forged, "the guard against forged requests is missing").remedy(remedy)
}

/// Nobody is signed in, or no more.
pub fn unauthenticated() -> Failure {
    Failure::new(Code::Unauthenticated, "nobody is signed in")
        .remedy("Sign in, or send a token as `Authorization: Bearer …`.")
        .header(header::WWW_AUTHENTICATE, "Bearer")
}

/// Compares without telling by its time how much is right.
pub fn same_secret(given: &[u8], wanted: &[u8]) -> bool {
    given.ct_eq(wanted).into()
}

/// The secret in the session's cookie.
fn cookie(request: &HttpRequest) -> Option<String> {
    let cookie = request.cookie_raw(COOKIE)?;
    Some(cookie.value().to_owned()).filter(|value| !value.is_empty())
}

/// The cookie that holds a session's secret.
pub fn session_cookie(secret: &str) -> Cookie<'static> {
    let mut cookie = Cookie::new(COOKIE, secret.to_owned());
    cookie.set_path("/");
    cookie.set_secure(true);
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Strict);
    cookie.set_max_age(actix_web::cookie::time::Duration::hours(SESSION_HOURS));
    cookie
}

/// The cookie that takes the session's away.
pub fn no_cookie() -> Cookie<'static> {
    let mut cookie = session_cookie("");
    cookie.make_removal();
    cookie
}

/// From which address a request comes; the loopback for the local socket.
pub fn address(request: &HttpRequest) -> IpAddr {
    request
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| {
            peer.ip().to_canonical()
        })
}

/// With which program, as far as it says; cut to what is worth keeping.
pub fn agent(request: &HttpRequest) -> String {
    let agent = request.headers().get(header::USER_AGENT);
    let agent = agent.and_then(|v| v.to_str().ok()).unwrap_or_default();
    agent
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// 256 random bits, hexadecimal.
pub fn random_hex() -> Answer<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!("the source of random numbers failed: {error}");
        Failure::new(Code::Internal, "the appliance has no random numbers")
    })?;
    Ok(hex(&bytes))
}

/// The secret of a new token.
pub fn token_secret() -> Answer<String> {
    Ok(format!("{TOKEN_PREFIX}{}", random_hex()?))
}

/// SHA-256 of a text, hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn session() -> SessionRecord {
        let now = Timestamp::now();
        SessionRecord {
            id: uuid::Uuid::now_v7().into(),
            revision: 1,
            created_at: now,
            expires_at: now,
            user: uuid::Uuid::now_v7().into(),
            secret_hash: String::new(),
            csrf_token: "right".into(),
            address: String::new(),
            agent: String::new(),
        }
    }

    fn check(method: Method, headers: &[(&str, &str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        unforged(&method, &headers, &Uri::from_static("/"), &session()).is_ok()
    }

    #[test]
    fn changes_need_the_token() {
        assert!(check(Method::GET, &[]));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert!(!check(method.clone(), &[]));
            assert!(!check(method.clone(), &[("x-csrf-token", "wrong")]));
            assert!(!check(method.clone(), &[("x-csrf-token", "righ")]));
            assert!(check(method, &[("x-csrf-token", "right")]));
        }
    }

    #[test]
    fn web_sockets_must_come_from_us() {
        let open = |origin: &str| {
            check(
                Method::GET,
                &[
                    ("upgrade", "websocket"),
                    ("host", "node:8443"),
                    ("origin", origin),
                ],
            )
        };
        assert!(open("https://node:8443"));
        assert!(open("https://NODE:8443"));
        for origin in [
            "https://evil",
            "https://node",
            "http://node:8443",
            "https://node:8443.evil",
            "null",
            "",
        ] {
            assert!(!open(origin), "{origin}");
        }
        assert!(!check(
            Method::GET,
            &[("upgrade", "websocket"), ("host", "node")]
        ));
    }

    #[test]
    fn the_cookie_is_strict() {
        let text = session_cookie("x").to_string();
        for part in [
            "__Host-ashlar=x",
            "HttpOnly",
            "SameSite=Strict",
            "Secure",
            "Path=/",
            "Max-Age=43200",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("Domain"));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (random_hex().unwrap(), random_hex().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
        assert_eq!(
            sha256_hex(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
