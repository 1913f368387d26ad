//! Services: the programs that the supervisor keeps running on a node.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A program that the supervisor keeps running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// Its name, such as `udevd`.
    pub name: String,
    /// True if it runs.
    pub running: bool,
    /// Since when it runs or does not.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// How it ended last, or why it can not be started.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
