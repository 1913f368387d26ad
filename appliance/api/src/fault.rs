//! Faults: what is wrong now, told as a story (what, where, since when, what to
//! do). A fault goes away by itself when its cause does.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::event::Severity;
use crate::job::Subject;

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fault {
    /// Which kind of fault, such as `pool-nearly-full`; one per code and subject.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, as one short sentence.
    pub title: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}
