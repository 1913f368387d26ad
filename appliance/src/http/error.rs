//! The one place where errors become answers.
//!
//! Everything that goes wrong in a handler ends as a [`Failure`]: a problem of
//! the API (RFC 9457) and the headers that belong to it. What actix refuses by
//! itself (a path, a query, a body) comes here too, so that a client never has
//! to read two kinds of error. What is a defect of ours is logged with its
//! whole chain and answered without it: causes name files and tables.

use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::error::{PathError, QueryPayloadError};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use ashlar_api::error::Code;
use ashlar_api::{FieldError, Problem};

use crate::hardware;
use crate::state::command::Refusal;
use crate::state::{ProposeError, StateError};
use crate::storage::UploadError;
use crate::vm::ConsoleError;

/// The content type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is not the one that was asked for.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a handler gives.
pub type Answer<T = HttpResponse> = Result<T, Failure>;

impl Failure {
    /// A failure with a code and a sentence.
    pub fn new(code: Code, title: impl Into<String>) -> Self {
        Problem::new(code, title).into()
    }

    /// Adds what the reader can do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.problem.remedy = remedy.into();
        self
    }

    /// Adds more about this case.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.problem.detail = detail.into();
        self
    }

    /// Adds a field at fault.
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.problem.fields.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
        self
    }

    /// Adds a header; one that can not be written as a header is left out.
    pub fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// There is no such object.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Failure::new(
            Code::NotFound,
            format!("there is no {what} with the id {id}"),
        )
        .remedy("It may have been deleted; read the list again.")
    }

    /// A field has a value that can not be accepted.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem::invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
        .into()
    }

    /// Too many attempts.
    pub fn too_many(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        Failure::new(Code::TooManyRequests, "too many attempts")
            .remedy(format!("Wait {seconds} seconds, then try again."))
            .header(header::RETRY_AFTER, seconds)
    }

    /// The address does not know the method.
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let list = allowed
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        Failure::new(
            Code::MethodNotAllowed,
            "this address does not know that method",
        )
        .remedy(format!("Use {list}."))
        .header(header::ALLOW, list)
    }

    /// A defect of the appliance, which is logged with its causes and answered without them.
    pub fn internal(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!("{what}: {}", crate::reconcile::chain(error));
        Failure::new(Code::Internal, "the appliance could not do this")
            .detail(format!("It failed to {what}."))
            .remedy("Try again. If it goes on, `ashlar node log` says why.")
    }

    /// The problem as the client reads it.
    #[cfg(test)]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure(Box::new(Inner {
            problem,
            headers: Vec::new(),
        }))
    }
}

impl From<Vec<FieldError>> for Failure {
    fn from(fields: Vec<FieldError>) -> Self {
        Problem::invalid(fields).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let title = refusal.to_string();
        match refusal {
            Refusal::NotFound { .. } => Failure::new(Code::NotFound, title)
                .remedy("It may have been deleted; read the list again."),
            Refusal::NameTaken { .. } => Failure::new(Code::NameTaken, title)
                .field("name", "this name is taken")
                .remedy("Choose another name."),
            Refusal::Changed { .. } => Failure::new(Code::Changed, title)
                .remedy("Read it again, make your change there, and send that."),
            Refusal::InUse { .. } => Failure::new(Code::InUse, title),
            Refusal::WrongState { remedy, .. } => {
                Failure::new(Code::WrongState, title).remedy(remedy)
            }
            Refusal::Invalid { field, message } => Failure::invalid(field, message),
            Refusal::Claimed => Failure::new(Code::Claimed, title).remedy("Sign in."),
            Refusal::Unclaimed => Failure::new(Code::Unclaimed, title)
                .remedy("Open the console and enter the code that the appliance's screen shows."),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure::internal("read the state", &error)
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        let title = error.to_string();
        match error {
            ProposeError::Refused(refusal) => refusal.into(),
            ProposeError::Unavailable { remedy, .. } => {
                tracing::error!("{title}");
                Failure::new(Code::Unavailable, title).remedy(remedy)
            }
            ProposeError::TimedOut => Failure::new(Code::TimedOut, title)
                .remedy("Look whether it came into force before you try again."),
        }
    }
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        let title = error.to_string();
        match error {
            UploadError::NoSuchImage => Failure::new(Code::NotFound, title)
                .remedy("It may have been deleted; read the list again."),
            UploadError::NotReceiving => Failure::new(Code::WrongState, title)
                .remedy("Make a new image, and send the bytes there."),
            UploadError::WrongOffset { held } => Failure::new(Code::WrongState, title)
                .remedy("The header Upload-Offset says where to go on.")
                .header(super::reply::UPLOAD_OFFSET, held),
            UploadError::TooLong => Failure::invalid(
                "Content-Range",
                "bytes inside the size that the image was made with",
            ),
            UploadError::NoLibrary => Failure::new(Code::Unavailable, title)
                .remedy("Look at the pool that keeps the images, then try again."),
            UploadError::NoSpace => Failure::new(Code::NoSpace, title)
                .remedy("Delete images or volumes that nobody needs; what was sent is kept."),
            UploadError::Busy => Failure::new(Code::Unavailable, title).remedy(
                "Wait for the other one to end, or for a minute if it was lost, then try again.",
            ),
            UploadError::Source(source) => Failure::new(Code::Malformed, title)
                .detail(source.to_string())
                .remedy("What came is kept; send the rest."),
            UploadError::Io(_) => Failure::internal("keep the bytes of an image", &error),
        }
    }
}

impl From<hardware::Error> for Failure {
    fn from(error: hardware::Error) -> Self {
        let title = error.to_string();
        match error {
            hardware::Error::NoSuchCheck(_) => Failure::new(Code::NotFound, title)
                .remedy("`GET /api/v1/hardware` lists the checks."),
            hardware::Error::NotChecked | hardware::Error::NotSettled => Failure::new(
                Code::Unavailable,
                title,
            )
            .remedy(
                "It is checked once the machine has all its drivers, some seconds after the start.",
            ),
            hardware::Error::NotOverridable { remedy, .. } => {
                Failure::new(Code::WrongState, title).remedy(remedy)
            }
            hardware::Error::Keep(_) => {
                tracing::error!("{}", crate::reconcile::chain(&error));
                Failure::new(Code::Unavailable, title)
                    .remedy("Look whether the system drive is full, then try again.")
            }
            hardware::Error::Look(_) => Failure::internal("look at the hardware", &error),
        }
    }
}

impl From<ConsoleError> for Failure {
    fn from(error: ConsoleError) -> Self {
        let title = error.to_string();
        match error {
            ConsoleError::NoSuchVm => Failure::new(Code::NotFound, title)
                .remedy("It may have been deleted; read the list again."),
            ConsoleError::NotRunning => {
                Failure::new(Code::WrongState, title).remedy("Start it first.")
            }
            ConsoleError::Failed { .. } => {
                tracing::warn!("a console: {}", crate::reconcile::chain(&error));
                Failure::new(Code::Unavailable, title)
                    .remedy("Try again. If it goes on, `ashlar node log` says why.")
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.problem, f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        // Serialising cannot fail: the type holds text and numbers only.
        let body = serde_json::to_vec(&self.0.problem).unwrap_or_default();
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        for header in &self.0.headers {
            answer.insert_header(header.clone());
        }
        answer.body(body)
    }
}

/// For a path whose parts cannot be read, such as an id that is none.
pub fn path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    Failure::new(Code::NotFound, "there is nothing at this address")
        .detail(error.to_string())
        .into()
}

/// For a query that cannot be read.
pub fn query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let message = match &error {
        QueryPayloadError::Deserialize(error) => error.to_string(),
        other => other.to_string(),
    };
    Failure::invalid("query", message)
        .remedy("The OpenAPI document at /api/v1/openapi.json lists what this address understands.")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_failure_is_a_problem_with_its_headers() {
        let answer = Failure::too_many(Duration::from_secs(4)).error_response();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "5");
        assert_eq!(
            answer.headers().get(header::CONTENT_TYPE).unwrap(),
            PROBLEM_JSON
        );
        let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.code, Code::TooManyRequests);
        assert_eq!(problem.status, 429);
    }

    #[test]
    fn refusals_keep_their_meaning() {
        let failure = Failure::from(Refusal::Invalid {
            field: "nics[0].network".into(),
            message: "there is no such network".into(),
        });
        assert_eq!(failure.problem().status, 422);
        assert_eq!(failure.problem().fields[0].field, "nics[0].network");
        let failure = Failure::from(Refusal::Changed {
            wanted: 1,
            found: 2,
        });
        assert_eq!(failure.status_code(), 412);
    }
}
