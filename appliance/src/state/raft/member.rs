//! Who takes part: a member is a node under its machine id, a peer is how the
//! others reach it.

use std::fmt;

use ashlar_api::NodeId;
use serde::{Deserialize, Serialize};

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Member(pub NodeId);

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How a member is reached. In the log for ever: fields are only added, with defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address; empty while it is alone.
    #[serde(default)]
    pub address: String,
}

/// openraft's test suite numbers its members.
#[cfg(test)]
impl From<u64> for Member {
    fn from(number: u64) -> Self {
        Member(NodeId(uuid::Uuid::from_u128(u128::from(number))))
    }
}
