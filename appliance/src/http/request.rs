//! Reading requests: bodies, queries, conditions.
//!
//! A body is read whole (within a size and a time), parsed into the API's type
//! with the path of whatever does not fit, and checked, before a handler sees
//! it. So a handler never meets a value that breaks a rule of its own type.

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpRequest};
use ashlar_api::FieldError;
use ashlar_api::error::Code;
use ashlar_api::validate::Check;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Answer, Failure};

/// The largest body of an ordinary request. The largest that makes sense is a
/// machine with 256 KiB of user-data.
const LARGEST: usize = 1 << 20;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A JSON body that was parsed and checked.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Check + 'static> FromRequest for Body<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Answer<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = json(request);
        let length = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let payload = payload.take();
        Box::pin(async move {
            kind?;
            if length.is_some_and(|length| length > LARGEST) {
                return Err(too_large());
            }
            let bytes = tokio::time::timeout(PATIENCE, read(payload))
                .await
                .map_err(|_| {
                    Failure::new(
                        Code::Malformed,
                        "the body of the request did not arrive in time",
                    )
                })??;
            let value: T = parse(&bytes)?;
            value.check()?;
            Ok(Body(value))
        })
    }
}

/// A body is JSON, or nothing is said of it by a client that sends none.
fn json(request: &HttpRequest) -> Answer<()> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(
        Code::UnsupportedMediaType,
        "the body of the request is not JSON",
    )
    .remedy("Send JSON, with the header `Content-Type: application/json`."))
}

fn too_large() -> Failure {
    Failure::new(Code::TooLarge, "the request is larger than accepted")
        .remedy(format!("A body has at most {} KiB.", LARGEST / 1024))
}

async fn read(mut payload: Payload) -> Answer<BytesMut> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| {
            Failure::new(
                Code::Malformed,
                "the body of the request did not arrive whole",
            )
            .detail(error.to_string())
        })?;
        if bytes.len() + piece.len() > LARGEST {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Parses, and names what does not fit by its path.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return malformed(&inner);
        }
        let field = match path.as_str() {
            "." | "" => String::new(),
            // A part that serde could not name.
            path => path.replace(".?", "").replace('?', ""),
        };
        let message = position_free(&inner.to_string());
        Failure::from(vec![FieldError { field, message }])
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(Code::Malformed, "the body of the request is not JSON").detail(error.to_string())
}

/// Positions in the text mean nothing to whoever did not write the text by hand.
fn position_free(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message.to_owned(),
    }
}

/// The id in the address. One that cannot be read names nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: FromStr<Err: std::fmt::Display>> FromRequest for Id<T> {
    type Error = Failure;
    type Future = std::future::Ready<Answer<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = request.match_info().get("id").unwrap_or_default();
        std::future::ready(text.parse().map(Id).map_err(|error: T::Err| {
            Failure::new(Code::NotFound, "there is nothing at this address")
                .detail(error.to_string())
        }))
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// How many objects at most; 1 to 500.
    #[param(minimum = 1, maximum = 500, default = 100)]
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only those after this one: `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Only those whose name has this in it, in upper or lower case.
    #[serde(default)]
    pub name: Option<String>,
}

/// How many objects a page has unless it is said.
const PAGE: usize = 100;
/// How many it has at most.
const LARGEST_PAGE: usize = 500;

/// The limit of a page.
pub fn limit(wanted: Option<usize>) -> Answer<usize> {
    match wanted {
        None => Ok(PAGE),
        Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Failure::invalid(
            "limit",
            format!("between 1 and {LARGEST_PAGE}"),
        )),
    }
}

/// How a change is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangeQuery {
    /// Only says whether it would be accepted: everything is checked, nothing is changed.
    #[param(default = false)]
    #[serde(default)]
    pub dry_run: bool,
}

/// A query without parameters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// The revision that the object must still have, from `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<u64>);

impl FromRequest for IfMatch {
    type Error = Failure;
    type Future = std::future::Ready<Answer<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(match request.headers().get(header::IF_MATCH) {
            None => Ok(IfMatch(None)),
            Some(value) => revision(value.to_str().unwrap_or_default()),
        })
    }
}

fn revision(text: &str) -> Answer<IfMatch> {
    let text = text.trim();
    if text == "*" {
        return Ok(IfMatch(None));
    }
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok())
        .map(|revision| IfMatch(Some(revision)))
        .ok_or_else(|| {
            Failure::new(Code::Malformed, "the header If-Match cannot be read")
                .remedy("Send the ETag of the object as it was answered, such as `\"17\"`.")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError;
    use ashlar_api::user::UserCreate;
    use ashlar_api::vm::VmSpec;
    use proptest::prelude::*;

    fn field<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> (u16, String) {
        let failure = parse::<T>(text.as_bytes()).unwrap_err();
        let problem = failure.problem();
        let field = problem.fields.first().map(|f| f.field.clone());
        (problem.status, field.unwrap_or_default())
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(field::<UserCreate>("{"), (400, String::new()));
        assert_eq!(field::<UserCreate>("{} x"), (422, String::new()));
        assert_eq!(field::<UserCreate>("7"), (422, String::new()));
        let role = r#"{"spec":{"name":"ann","role":"king"},"password":"x"}"#;
        assert_eq!(field::<UserCreate>(role), (422, "spec.role".into()));
        let name = r#"{"spec":{"name":"-ann","role":"viewer"},"password":"x"}"#;
        assert_eq!(field::<UserCreate>(name), (422, "spec.name".into()));
        let disk = r#"{"name":"a","cpus":1,"memory":1,"disks":[{"type":"new","pool":"x"}]}"#;
        assert_eq!(field::<VmSpec>(disk), (422, "disks[0]".into()));
        let unknown = r#"{"name":"a","cpus":1,"memory":1,"colour":"red"}"#;
        assert_eq!(field::<VmSpec>(unknown), (422, "colour".into()));
        let after = r#"{"name":"a","cpus":1,"memory":67108864} x"#;
        assert_eq!(field::<VmSpec>(after), (400, String::new()));
    }

    #[test]
    fn conditions_are_revisions() {
        assert_eq!(revision("\"17\"").unwrap(), IfMatch(Some(17)));
        assert_eq!(revision("*").unwrap(), IfMatch(None));
        for bad in ["17", "\"x\"", "", "W/\"17\"", "\"1\", \"2\""] {
            assert!(revision(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_a_bad_request(text in ".{0,400}") {
            if let Err(failure) = parse::<VmSpec>(text.as_bytes()) {
                prop_assert!(failure.status_code().is_client_error());
            }
        }
    }
}
