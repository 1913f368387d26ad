//! What there is of storage, as plain data: drives, volume groups, the image
//! library, and the long work that is being done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ashlar_api::pool::{DriveUsage, Media};
use ashlar_api::{Bytes, ImageId, PoolId, VolumeId};
use serde::{Deserialize, Serialize};

use super::lvm::{Group, Logical};
use super::step::Disk;
use super::want::Desired;
use crate::state::schema::{ImageContent, Phase, PoolRecord};

/// Smaller drives are not offered: a pool in them would hold next to nothing.
pub const SMALLEST_DRIVE: Bytes = Bytes::gib(1);

/// Everything that is seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// Whether the machine has all its devices by now: before, what is not seen may yet come.
    pub settled: bool,
    /// The drives.
    pub drives: Vec<Drive>,
    /// Volume groups on whole drives, ours and those of others.
    pub groups: Vec<Group>,
    /// Drives that are prepared for a group and in none.
    pub orphans: BTreeSet<PathBuf>,
    /// Drives that are part of a group which LVM does not see, because it can not read its metadata on them.
    pub damaged: BTreeSet<PathBuf>,
    /// Drives with a copy of LVM's metadata that is bad, whatever others there are.
    pub flawed: BTreeSet<PathBuf>,
    /// Pools whose metadata was restored since the machine was switched on.
    pub restored: BTreeSet<PoolId>,
    /// Pools whose metadata could not be restored from the drives as they are now, and why.
    pub unrestorable: BTreeMap<PoolId, String>,
    /// Active volumes without a device file, as `<group>/<volume>`.
    pub without_file: BTreeSet<String>,
    /// The library, when it is mounted.
    pub library: Option<Library>,
    /// Volumes that are being filled, or were.
    pub fills: BTreeMap<VolumeId, Work>,
    /// Images that are being fetched or checked, or were.
    pub images: BTreeMap<ImageId, Work>,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drive {
    /// Stable across restarts.
    pub id: String,
    /// As `sda`.
    pub name: String,
    /// Its device file.
    pub path: PathBuf,
    /// Which disk it is, until it goes: the same name with another number is another disk.
    #[serde(default)]
    pub sequence: Option<u64>,
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
    /// The node starts from it.
    pub system: bool,
    /// It has a partition for the state of an appliance, of this node or another.
    #[serde(default)]
    pub appliance: bool,
    /// What is on it.
    pub content: Content,
    /// What is built on it or on its partitions, as the kernel calls it.
    pub holders: Vec<String>,
    /// Why it can not be used, whatever is on it.
    pub problem: Option<String>,
    /// It has not answered: nothing is known of what is on it.
    #[serde(default)]
    pub mute: bool,
}

/// What is on a drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Nothing.
    Blank,
    /// A physical volume of LVM on the whole drive.
    Lvm,
    /// Something else, for a person.
    Data(String),
}

/// The image library, mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Library {
    /// The device it is on.
    pub device: PathBuf,
    /// Files of images.
    pub files: BTreeMap<ImageId, ImageFile>,
    /// Why nothing is known of its files.
    #[serde(default)]
    pub problem: Option<String>,
}

/// How much of an image is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// Size of the file that is still coming.
    pub partial: Option<Bytes>,
    /// Size of the complete file.
    pub whole: Option<Bytes>,
}

/// Long work on an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Work {
    /// Being done; `checking` once the bytes of an image are all here.
    Running {
        /// True while it is looked at, false while it comes.
        checking: bool,
    },
    /// Done: a volume is filled, an image is complete and was looked at.
    Done {
        /// What was found in the image.
        content: Option<ImageContent>,
    },
    /// It can not be done.
    Failed {
        /// Why, as one sentence.
        message: String,
    },
}

impl Observed {
    /// Whether what is not seen is gone: every device had time to appear, and every drive told what is on it.
    pub fn is_complete(&self) -> bool {
        self.settled && self.drives.iter().all(|drive| !drive.mute)
    }

    /// The group of a pool. Nothing when two claim to be it: neither is touched then.
    pub fn group(&self, pool: PoolId) -> Option<&Group> {
        let mut all = self.groups_of(pool);
        let first = all.next();
        match all.next() {
            Some(_) => None,
            None => first,
        }
    }

    /// All groups that bear the mark of a pool.
    pub fn groups_of(&self, pool: PoolId) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .filter(move |group| group.ours && group.pool == Some(pool))
    }

    /// The drives of a pool on which LVM can not read its metadata, when it does not see the pool's group for that.
    pub fn damaged(&self, pool: &PoolRecord) -> Vec<&Drive> {
        if pool.phase != Phase::Ready || self.groups_of(pool.id).next().is_some() {
            return Vec::new();
        }
        let drives = self.drives.iter().filter(|drive| !drive.system);
        drives
            .filter(|drive| self.damaged.contains(&drive.path))
            .filter(|drive| pool.spec.drives.contains(&drive.id))
            .collect()
    }

    /// The disk that a device file led to in this look.
    pub fn disk(&self, path: &Path) -> Disk {
        let drive = self.drives.iter().find(|drive| drive.path == path);
        Disk {
            path: path.to_owned(),
            sequence: drive.and_then(|drive| drive.sequence),
        }
    }

    /// A drive by its id.
    pub fn drive(&self, id: &str) -> Option<&Drive> {
        self.drives.iter().find(|drive| drive.id == id)
    }

    /// The library, when it is the one that is wanted and can be read. What is mounted in its
    /// place, or nothing, is never written to: that could be the small file
    /// system of the state.
    pub fn usable_library(&self, desired: &Desired) -> Option<&Library> {
        let wanted = desired.library_device()?;
        self.library
            .as_ref()
            .filter(|library| library.device == wanted && library.problem.is_none())
    }

    /// The file of an image.
    pub fn file(&self, image: ImageId) -> ImageFile {
        self.library
            .as_ref()
            .and_then(|library| library.files.get(&image))
            .copied()
            .unwrap_or_default()
    }

    /// What a drive is used for.
    pub fn usage(&self, drive: &Drive, desired: &Desired) -> DriveUsage {
        if drive.system {
            return DriveUsage::System;
        }
        let group = self
            .groups
            .iter()
            .find(|group| group.devices.contains(&drive.path));
        if let Some(group) = group {
            let known = group.pool.filter(|pool| desired.pool(*pool).is_some());
            return match known {
                Some(pool) if group.ours => DriveUsage::Pool { pool },
                _ if group.ours => DriveUsage::ForeignPool {
                    volume_group: group.name.clone(),
                },
                _ => DriveUsage::Foreign,
            };
        }
        let holds = |pool: &&PoolRecord| self.damaged(pool).contains(&drive);
        if let Some(pool) = desired.pools.iter().find(holds) {
            return DriveUsage::Pool { pool: pool.id };
        }
        if let Some(reason) = self.problem(drive) {
            return DriveUsage::Unusable { reason };
        }
        match drive.content {
            Content::Blank => DriveUsage::Free,
            Content::Lvm | Content::Data(_) => DriveUsage::Foreign,
        }
    }

    /// Why a drive can not be used for a pool now.
    pub fn problem(&self, drive: &Drive) -> Option<String> {
        let holder = || Some(format!("{} of the kernel uses it", drive.holders.first()?));
        self.unfit(drive).or_else(holder)
    }

    /// Why a drive can not be used for a pool, now or in a moment.
    pub fn unfit(&self, drive: &Drive) -> Option<String> {
        if let Some(problem) = &drive.problem {
            return Some(problem.clone());
        }
        if drive.size < SMALLEST_DRIVE {
            return Some(format!("it is smaller than {SMALLEST_DRIVE}"));
        }
        let twin = self
            .drives
            .iter()
            .find(|other| other.id == drive.id && other.name != drive.name);
        twin.map(|twin| format!("{} says that it is the same drive", twin.name))
    }
}

impl Group {
    /// A volume of this group that bears our mark.
    pub fn volume(&self, name: &str) -> Option<&Logical> {
        self.volumes
            .iter()
            .find(|volume| volume.ours && volume.name == name)
    }

    /// Whether volumes in it can be made and changed: a thin pool, and every drive there.
    pub fn is_whole(&self) -> bool {
        self.thin.is_some() && self.missing == 0
    }
}
