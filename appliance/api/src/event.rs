//! What the appliance tells while it happens: the stream of changes
//! (`GET /api/v1/events`, server-sent events) and the history of what happened.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::job::{Job, Kind, Subject};
use crate::metrics::Sample;

/// How much an event or a fault matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it when there is time.
    Warning,
    /// Something does not work, or data is at risk.
    Critical,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Grows by one with each event of the node.
    pub id: u64,
    /// When it happened.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What happened, as one sentence.
    pub message: String,
    /// Who did it; absent when the appliance itself did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// One message of the stream. The name of the server-sent event is `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Change {
    /// First message of every stream: what the reader talks to. A different
    /// boot or start than before means that everything must be read again.
    Hello {
        /// Changes with every start of the supervisor.
        instance: String,
        /// Version of the appliance.
        version: String,
    },
    /// An object was created, changed (spec or status) or removed: read it again.
    Object {
        /// Its noun.
        kind: Kind,
        /// Its id; `*` when any of the noun may have changed.
        id: String,
    },
    /// A job moved on.
    Job {
        /// The job as it stands.
        job: Job,
    },
    /// Something happened.
    Event {
        /// What.
        event: Event,
    },
    /// The node's load, every few seconds.
    Metrics {
        /// The newest values.
        sample: Sample,
    },
}
