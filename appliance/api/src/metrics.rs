//! Load over time: of the node and of each machine.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Timestamp};

/// The load of a node at one moment. Rates are per second since the sample before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    /// When it was taken.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Busy share of all processors, 0 to 1.
    pub cpu: f32,
    /// Memory in use (total less available).
    pub memory_used: Bytes,
    /// Received on the uplinks, bytes per second.
    pub net_rx: u64,
    /// Sent on the uplinks, bytes per second.
    pub net_tx: u64,
    /// Read from drives, bytes per second.
    pub disk_read: u64,
    /// Written to drives, bytes per second.
    pub disk_write: u64,
}

/// The load of a virtual machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmSample {
    /// When it was taken.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Busy share of the machine's own processors, 0 to 1.
    pub cpu: f32,
    /// Memory of the node that the machine holds.
    pub memory: Bytes,
    /// Received by the machine, bytes per second.
    pub net_rx: u64,
    /// Sent by the machine, bytes per second.
    pub net_tx: u64,
    /// Read by the machine, bytes per second.
    pub disk_read: u64,
    /// Written by the machine, bytes per second.
    pub disk_write: u64,
}

/// A stretch of samples, oldest first, at even distances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Series<T> {
    /// Seconds from one sample to the next.
    pub step: u32,
    /// The samples.
    pub samples: Vec<T>,
}

/// How far back a series goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Range {
    /// The last hour, every five seconds.
    #[default]
    Hour,
    /// The last day, every five minutes.
    Day,
}
