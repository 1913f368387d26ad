//! Volumes: the disks of virtual machines, cut from a pool as they fill.

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings, is_text};
use crate::{Bytes, Condition, ImageId, Name, PoolId, VmId, VolumeId};

/// Volumes are made of blocks of this size.
pub const BLOCK: u64 = 4 * Bytes::MIB;
/// The largest volume.
pub const LARGEST: Bytes = Bytes(64 * Bytes::TIB);

/// What is wanted of a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeSpec {
    /// Its name.
    pub name: Name,
    /// What it is for, in free text.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: String,
    /// The pool it is cut from.
    pub pool: PoolId,
    /// Its size; rounded up to 4 MiB. It can grow, never shrink.
    #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 4_194_304, maximum = 70_368_744_177_664_i64))]
    pub size: Bytes,
    /// The image it is filled from when it is made; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
}

impl Check for VolumeSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.description, 1000),
            "description",
            "at most 1000 characters, no control characters",
        );
        check_size(self.size, "size", f);
    }
}

/// The rule for sizes of volumes.
pub fn check_size(size: Bytes, field: &str, f: &mut Findings) {
    f.require(
        size.0 >= BLOCK && size <= LARGEST,
        field,
        "between 4 MiB and 64 TiB",
    );
}

/// Where a volume stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VolumePhase {
    /// Being made or filled.
    #[default]
    Preparing,
    /// Can be used.
    Ready,
    /// Could not be made; see the condition.
    Failed,
    /// Being removed.
    Deleting,
}

/// What is seen of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeStatus {
    /// Where it stands.
    pub phase: VolumePhase,
    /// How it is.
    pub condition: Condition,
    /// Its size now.
    pub size: Bytes,
    /// Room that it takes in the pool.
    pub used: Bytes,
    /// The machine it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
}

object!(
    /// A volume.
    Volume, VolumeId, VolumeSpec, VolumeStatus
);
