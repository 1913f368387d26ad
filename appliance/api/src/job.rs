//! Jobs: work that takes longer than an answer may. A job is durable: it is
//! written with the wish that causes it, survives the supervisor and the power
//! cord, and ends exactly once. Its progress is only seen, never stored.

use serde::{Deserialize, Serialize};

use crate::{JobId, Timestamp};

/// Which noun an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// The site as a whole.
    Site,
    /// A node.
    Node,
    /// A virtual machine.
    Vm,
    /// A volume.
    Volume,
    /// A storage pool.
    Pool,
    /// A drive of a node.
    Drive,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A network interface of a node.
    Link,
    /// A user.
    User,
    /// An API token.
    Token,
    /// A signed-in session.
    Session,
    /// A job.
    Job,
    /// A fault.
    Fault,
    /// A service of a node.
    Service,
    /// The releases of a node.
    Update,
    /// The hardware of a node; with an id, one check of it.
    Hardware,
}

/// What an object is called: its noun, id and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subject {
    /// Its noun.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Its name when this was written.
    pub name: String,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verb {
    /// Makes the object.
    Create,
    /// Receives an image from a browser or the command line.
    Upload,
    /// Fetches an image from a URL.
    Download,
    /// Fills a volume from an image.
    Fill,
    /// Removes the object.
    Delete,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum JobState {
    /// Waiting or at work.
    Running,
    /// Someone asked it to stop.
    Cancelling,
    /// Done.
    Succeeded,
    /// Ended without success.
    Failed,
    /// Stopped because someone asked.
    Cancelled,
}

impl JobState {
    /// True once the job is over.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            JobState::Succeeded | JobState::Failed | JobState::Cancelled
        )
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// Unique for ever.
    pub id: JobId,
    /// What it does.
    pub verb: Verb,
    /// To what.
    pub subject: Subject,
    /// Where it stands.
    pub state: JobState,
    /// Share that is done, 0 to 1; absent when it can not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f32>,
    /// What it is doing now, or why it failed, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who asked for it.
    pub by: String,
    /// True if it can be stopped.
    pub cancellable: bool,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished_at: Option<Timestamp>,
}
