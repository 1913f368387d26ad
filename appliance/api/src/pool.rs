//! Drives of a node, and pools made of them.

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings};
use crate::{Bytes, Condition, Name, PoolId};

/// What is wanted of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolSpec {
    /// Its name.
    pub name: Name,
    /// Its drives, by [`Drive::id`].
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 64))]
    pub drives: Vec<String>,
}

/// A new pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolCreate {
    /// What is wanted.
    pub spec: PoolSpec,
    /// Drives whose present content may be erased, named once more by id. A
    /// drive that holds anything and is not named here is refused.
    #[serde(default)]
    pub erase: Vec<String>,
}

impl Check for PoolSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            !self.drives.is_empty(),
            "drives",
            "choose at least one drive",
        );
        f.require(self.drives.len() <= 64, "drives", "at most 64 drives");
        for (i, drive) in self.drives.iter().enumerate() {
            f.require(
                !self.drives[..i].contains(drive),
                &format!("drives[{i}]"),
                "this drive is named twice",
            );
            let ok =
                (1..=128).contains(&drive.len()) && drive.chars().all(|c| c.is_ascii_graphic());
            f.require(
                ok,
                &format!("drives[{i}]"),
                "the id of a drive, as `GET /api/v1/drives` gives it",
            );
        }
    }
}

impl Check for PoolCreate {
    fn check_into(&self, f: &mut Findings) {
        f.within("spec", &self.spec);
        for (i, drive) in self.erase.iter().enumerate() {
            f.require(
                self.spec.drives.contains(drive),
                &format!("erase[{i}]"),
                "only drives of this pool can be erased",
            );
        }
    }
}

/// What is seen of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// How it is.
    pub condition: Condition,
    /// Room for data.
    pub size: Bytes,
    /// Room that holds data.
    pub used: Bytes,
    /// Room promised to volumes; can be more than there is.
    pub promised: Bytes,
    /// Share of the room for metadata that is used, 0 to 1.
    pub metadata_used: f32,
    /// How many volumes it has.
    pub volumes: usize,
    /// Name of the LVM volume group.
    pub volume_group: String,
    /// How many drives it can lose without losing data.
    pub failures_survived: u32,
}

object!(
    /// A storage pool.
    Pool, PoolId, PoolSpec, PoolStatus
);

/// A drive of a node. Drives are seen, not made: they have no spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drive {
    /// Stable across restarts: the WWN, else model and serial number, else the name.
    pub id: String,
    /// Name of the device now, such as `nvme0n1`.
    pub name: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// How it is attached.
    pub bus: String,
    /// Its size.
    pub size: Bytes,
    /// What it is made of.
    pub media: Media,
    /// What it is used for.
    pub usage: DriveUsage,
    /// What is on it, for a person, such as `NTFS, GPT with 3 partitions`; empty when nothing was found.
    #[serde(default)]
    pub content: String,
}

/// What a drive is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Media {
    /// NVMe flash.
    Nvme,
    /// Other flash.
    Ssd,
    /// Spinning disks.
    Hdd,
    /// A virtual drive.
    Virtual,
}

/// What a drive is used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DriveUsage {
    /// Nothing is on it.
    Free,
    /// The node starts from it.
    System,
    /// It is part of a pool.
    Pool {
        /// The pool.
        pool: PoolId,
    },
    /// It holds data that is not ours.
    Foreign,
    /// It holds a pool of an appliance that this site does not know.
    ForeignPool {
        /// Name of its volume group.
        volume_group: String,
    },
    /// It can not be used.
    Unusable {
        /// Why.
        reason: String,
    },
}
