//! The steps by which storage is brought to what is wanted, as plain data: what
//! they need is in them, so that a plan can be shown, compared and recorded.

use std::path::PathBuf;

use ashlar_api::{Bytes, ImageId, JobId, PoolId, VolumeId};
use serde::Serialize;

use crate::state::command::Outcome;
use crate::state::schema::ImageContent;

/// What long work is done on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A volume.
    Volume(VolumeId),
    /// An image.
    Image(ImageId),
}

/// A drive that a step changes: its name, and which disk had it when the plan was made. Names are given anew when drives
/// come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its device file.
    pub path: PathBuf,
    /// The kernel's number of the disk.
    pub sequence: Option<u64>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Ends long work, or forgets how it ended.
    StopWork(Subject),
    /// Tells the state that a pool was made, or could not be.
    SettlePool {
        /// The pool.
        id: PoolId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tells the state that a volume was made, or could not be.
    SettleVolume {
        /// The volume.
        id: VolumeId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tells the state that an image is complete, or can not be used.
    SettleImage {
        /// The image.
        id: ImageId,
        /// How it ended.
        outcome: Outcome,
        /// What was found in it.
        content: Option<ImageContent>,
    },
    /// Takes the library out of the tree.
    UnmountLibrary,
    /// Removes the files of an image.
    RemoveFiles(ImageId),
    /// Removes a volume.
    RemoveVolume {
        /// Its group.
        group: String,
        /// Its name.
        name: String,
    },
    /// Removes a volume group and empties its drives.
    RemoveGroup {
        /// Its name.
        group: String,
        /// Whether it has lost drives, which must be given up first.
        partial: bool,
        /// Its drives.
        drives: Vec<Disk>,
    },
    /// Makes the volume group of a pool, and its thin pool.
    CreatePool {
        /// The pool.
        id: PoolId,
        /// The drives.
        drives: Vec<Disk>,
        /// Those of them whose content is erased before.
        erase: Vec<PathBuf>,
        /// Those of them that are prepared for a group of LVM and in none, as an attempt leaves them that was cut short.
        /// They hold no volume; they are erased when they bear no description of a group either.
        orphans: Vec<PathBuf>,
    },
    /// Says what a pool waits for, and gives it up in the end.
    AwaitPool {
        /// The pool.
        id: PoolId,
        /// What it waits for.
        message: String,
    },
    /// Makes the thin pool in the group of a pool.
    CreateThin {
        /// The pool.
        id: PoolId,
        /// Room in the group.
        room: Bytes,
    },
    /// Writes LVM's metadata of a pool anew, from the newest complete text that is left on its drives.
    RestoreGroup {
        /// The pool.
        id: PoolId,
        /// Its drives.
        drives: Vec<Disk>,
    },
    /// Writes those copies of a group's metadata anew that are bad.
    RenewMetadata(String),
    /// Makes the volumes of a group usable.
    ActivateGroup(String),
    /// Makes the device files of a group that are not there.
    MakeFiles(String),
    /// Makes the library's volume and its file system.
    CreateLibrary {
        /// Its group.
        group: String,
        /// Its size.
        size: Bytes,
        /// Whether an earlier attempt left a volume behind.
        again: bool,
    },
    /// Puts the library into the tree.
    MountLibrary {
        /// Its device.
        device: PathBuf,
    },
    /// Makes the library larger.
    GrowLibrary {
        /// Its group.
        group: String,
        /// Its size.
        size: Bytes,
    },
    /// Makes an empty volume.
    CreateVolume {
        /// The volume.
        id: VolumeId,
        /// Its group.
        group: String,
        /// Its name.
        name: String,
        /// Its size.
        size: Bytes,
    },
    /// Makes a volume and begins to fill it.
    FillVolume {
        /// The volume.
        id: VolumeId,
        /// Its group.
        group: String,
        /// Its name.
        name: String,
        /// Its size.
        size: Bytes,
        /// The image.
        image: ImageId,
        /// Whether an earlier attempt left a volume behind.
        again: bool,
        /// The job that hears of progress.
        job: Option<JobId>,
    },
    /// Marks a volume as filled.
    CompleteVolume {
        /// Its group.
        group: String,
        /// Its name.
        name: String,
    },
    /// Makes a volume larger.
    GrowVolume {
        /// Its group.
        group: String,
        /// Its name.
        name: String,
        /// Its size.
        size: Bytes,
    },
    /// Begins to check an image whose bytes are all here.
    CheckImage {
        /// The image.
        id: ImageId,
        /// The job that hears of progress.
        job: Option<JobId>,
    },
    /// Begins to fetch an image, then to check it.
    FetchImage {
        /// The image.
        id: ImageId,
        /// The job that hears of progress.
        job: Option<JobId>,
    },
    /// Tells the state that an image is gone.
    ForgetImage(ImageId),
    /// Tells the state that a volume is gone.
    ForgetVolume(VolumeId),
    /// Tells the state that a pool is gone.
    ForgetPool(PoolId),
}

impl Step {
    /// The object that it makes: while it fails, that one waits.
    pub fn makes(&self) -> Option<String> {
        match self {
            Step::CreatePool { id, .. }
            | Step::AwaitPool { id, .. }
            | Step::CreateThin { id, .. } => Some(id.to_string()),
            Step::CreateVolume { id, .. } | Step::FillVolume { id, .. } => Some(id.to_string()),
            _ => None,
        }
    }
}
