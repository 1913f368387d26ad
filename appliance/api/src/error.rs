//! Errors on the wire: RFC 9457 problem details, with what we add to them: a
//! stable code for programs, the fields at fault, and a remedy for people.

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;

/// What kind of failure it is; stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum Code {
    /// The request could not be read (400).
    Malformed,
    /// A field has a value that can not be accepted (422).
    Invalid,
    /// Nobody is signed in, or the credentials are wrong (401).
    Unauthenticated,
    /// The user may not do this (403).
    Forbidden,
    /// The guard against forged requests was missing (403).
    Forged,
    /// There is no such object or address (404).
    NotFound,
    /// The address does not know this method (405).
    MethodNotAllowed,
    /// The content type is not understood (415).
    UnsupportedMediaType,
    /// The name is taken (409).
    NameTaken,
    /// Something else uses the object (409).
    InUse,
    /// The object is not in a state in which this can be done (409).
    WrongState,
    /// The object changed since it was read (412).
    Changed,
    /// The disk holds data that was not confirmed to be erased (409).
    DataPresent,
    /// There is not enough room or memory (409).
    NoSpace,
    /// The request is larger than accepted (413).
    TooLarge,
    /// Content does not match its checksum (422).
    ChecksumMismatch,
    /// Too many attempts; wait (429).
    TooManyRequests,
    /// The appliance has no owner yet (409).
    Unclaimed,
    /// The appliance has an owner already (409).
    Claimed,
    /// The part that could answer is not ready (503).
    Unavailable,
    /// It took too long and was given up (503).
    TimedOut,
    /// A defect of the appliance (500).
    Internal,
}

impl Code {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Code::Malformed => 400,
            Code::Unauthenticated => 401,
            Code::Forbidden | Code::Forged => 403,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::NameTaken
            | Code::InUse
            | Code::WrongState
            | Code::DataPresent
            | Code::NoSpace
            | Code::Unclaimed
            | Code::Claimed => 409,
            Code::Changed => 412,
            Code::TooLarge => 413,
            Code::UnsupportedMediaType => 415,
            Code::Invalid | Code::ChecksumMismatch => 422,
            Code::TooManyRequests => 429,
            Code::Internal => 500,
            Code::Unavailable | Code::TimedOut => 503,
        }
    }
}

/// An error as the API gives it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// What kind of failure it is.
    pub code: Code,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for a person.
    pub title: String,
    /// More about this one case.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What the reader can do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
}

impl Problem {
    /// A problem with a code and a sentence.
    pub fn new(code: Code, title: impl Into<String>) -> Self {
        Problem {
            code,
            status: code.status(),
            title: title.into(),
            detail: String::new(),
            remedy: String::new(),
            fields: Vec::new(),
        }
    }
    /// Adds what the reader can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
    /// Adds more about this case.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
    /// Adds a field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldError {
            field: field.into(),
            message: message.into(),
        });
        self
    }
    /// The answer to values that break rules.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let title = match fields.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields can not be accepted as they are", many.len()),
        };
        Problem {
            fields,
            ..Problem::new(Code::Invalid, title)
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)?;
        for part in [&self.detail, &self.remedy] {
            if !part.is_empty() {
                write!(f, ". {part}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
