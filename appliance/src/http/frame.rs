//! What every answer has in common: headers for safety, the redirect from HTTP,
//! and that whatever is refused is refused with a problem.
//!
//! No `Strict-Transport-Security`: with a certificate that the appliance signed
//! itself, browsers that were told so refuse the console for good when the
//! certificate changes, with no way on for its owner.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, AcceptEncoding, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use ashlar_api::error::Code;

use super::auth::Caller;
use super::error::{Failure, PROBLEM_JSON};

/// Scripts, styles and connections of our own only, WebSockets among them; `wasm-unsafe-eval` is what
/// running WebAssembly is called, and allows no `eval` of scripts.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'self'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Frames every answer.
pub async fn frame<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let local = request.app_data::<super::Local>().is_some();
    if !local && !request.app_config().secure() {
        let answer = redirect(&request);
        return Ok(request.into_response(answer));
    }
    let api = request.path().starts_with("/api/");
    let change = !matches!(*request.method(), Method::GET | Method::HEAD);
    bearable(&mut request);
    let answer = match next.call(request).await {
        Ok(answer) => answer.map_into_boxed_body(),
        Err(error) => return Err(error),
    };
    if api && change {
        let by = answer
            .request()
            .extensions()
            .get::<Caller>()
            .map(|c| c.name.clone());
        tracing::info!(
            method = %answer.request().method(),
            path = answer.request().path(),
            status = answer.status().as_u16(),
            by = by.as_deref().unwrap_or("nobody"),
            "request"
        );
    }
    let mut answer = problems_only(answer);
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(answer)
}

/// Leaves out a wish for encodings that nobody can fulfil: plain text is better than none.
fn bearable(request: &mut ServiceRequest) {
    let offers = [
        header::Encoding::gzip(),
        header::Encoding::deflate(),
        header::Encoding::identity(),
    ];
    let possible = request
        .get_header::<AcceptEncoding>()
        .is_none_or(|accept| accept.negotiate(offers.iter()).is_some());
    if !possible {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
}

/// To the same address over HTTPS.
fn redirect(request: &ServiceRequest) -> HttpResponse {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|v| v.to_str().ok());
    let host = host.and_then(without_port).filter(|host| is_plain(host));
    let Some(host) = host else {
        return Failure::new(Code::Malformed, "this address is served over HTTPS only")
            .error_response();
    };
    let rest = request
        .uri()
        .path_and_query()
        .map_or("/", |rest| rest.as_str());
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, format!("https://{host}{rest}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

fn without_port(host: &str) -> Option<&str> {
    if host.starts_with('[') {
        return host.find(']').map(|end| &host[..=end]);
    }
    host.split(':').next()
}

fn is_plain(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.[]:".contains(c))
}

/// Whatever refuses without a problem (actix does, before any handler) gets one.
fn problems_only(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = answer.status();
    if !(status.is_client_error() || status.is_server_error()) || is_problem(answer.headers()) {
        return answer;
    }
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::UNPROCESSABLE_ENTITY => Code::Invalid,
        status if status.is_client_error() => Code::Malformed,
        _ => Code::Internal,
    };
    let reason = status
        .canonical_reason()
        .unwrap_or("refused")
        .to_lowercase();
    let failure = Failure::new(code, format!("the request was refused: {reason}"));
    let (request, _) = answer.into_parts();
    ServiceResponse::new(request, failure.error_response())
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (host, plain) in [
            ("node:80", "node"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
        ] {
            assert_eq!(without_port(host), Some(plain));
            assert!(is_plain(plain));
        }
        for host in ["", "a b", "a/b", "a@b", "a\"b"] {
            assert!(!without_port(host).is_some_and(is_plain), "{host}");
        }
    }
}
