//! Storage: drives, pools, volumes and images of this node.
//!
//! ```text
//!  drives ─► volume group (LVM) ─► thin pool ─┬─ vol-…     a volume: the disk of a machine
//!                                             ├─ vol-…
//!                                             └─ library   ext4, holds the images
//!
//!  client ─► uploads ─┐
//!  URL ─► fetch ──────┴─► <image>.part ─► check ─► <image> ─► qemu-img, as nobody ─► vol-…
//! ```
//!
//! [`observe`] is what there is, [`want`] what is wanted, [`plan`] the
//! difference; all three are plain data and pure functions. [`eyes`] and
//! [`apply`] touch the machine. What takes long (filling, fetching, checking)
//! is [`work`] beside the loop.
//!
//! Invariants: a drive with anything on it is touched only when its erasure was
//! confirmed; a volume that was ready once is never made again, only missed;
//! bytes of strangers are never read by a program with rights.

mod apply;
mod check;
mod domain;
mod drive;
mod erase;
mod events;
mod eyes;
mod faults;
mod fetch;
pub mod inspect;
mod library;
mod lvm;
pub mod observe;
pub mod plan;
mod qemu_img;
mod reader;
mod room;
mod status;
pub mod step;
mod uploads;
pub mod want;
mod work;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use ashlar_api::PoolId;

use crate::reconcile::{Retry, Retryable};
use crate::state::{ProposeError, StateError};
use crate::sys::cgroup::CgroupError;
use crate::sys::command::CommandError;
use crate::sys::fs::FsError;

pub use self::domain::{StorageDomain, take_down};
use self::lvm::LvmError;
use self::reader::ReaderError;
pub use self::status::Status;
pub use self::uploads::{UploadError, Uploads};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state could not be read.
    #[error("the state could not be read")]
    State(#[from] StateError),
    /// The state could not be told.
    #[error("the state could not be told")]
    Propose(#[from] ProposeError),
    /// LVM did not do it.
    #[error(transparent)]
    Lvm(#[from] LvmError),
    /// A file or mount is not as it should be.
    #[error(transparent)]
    File(#[from] FsError),
    /// The image library could not be made or kept.
    #[error("cannot {what}")]
    Library {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: Box<CommandError>,
    },
    /// A drive could not be had alone.
    #[error("cannot lock {}", .drive.display())]
    Hold {
        /// The drive.
        drive: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What is to be made needs something that may yet come.
    #[error("{message}")]
    Awaited {
        /// What it waits for.
        message: String,
    },
    /// Another disk has the name now.
    #[error("{} is not the drive any more that it was when it was looked at: nothing on it is touched", .drive.display())]
    Swapped {
        /// The device file.
        drive: PathBuf,
    },
    /// A drive that is to be erased may hold volumes of the pool.
    #[error(
        "{} bears the mark of the storage pool {pool}, and LVM does not see its volume group: it is not erased. If nothing \
         on it is needed, remove the pool, make it again and confirm that the drive is erased", .drive.display()
    )]
    Marked {
        /// The drive.
        drive: PathBuf,
        /// The pool.
        pool: PoolId,
    },
    /// A drive is described as part of a group that LVM does not see.
    #[error(
        "{} was part of a volume group, which LVM does not see, and its erasure was not confirmed", .drive.display()
    )]
    Unconfirmed {
        /// The drive.
        drive: PathBuf,
    },
    /// A drive could not be emptied.
    #[error("cannot erase {}", .drive.display())]
    Erase {
        /// The drive.
        drive: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A drive could not be emptied.
    #[error("cannot erase the signatures on {}", .drive.display())]
    Wipe {
        /// The drive.
        drive: PathBuf,
        /// What happened.
        source: Box<CommandError>,
    },
    /// A drive is too small for a pool.
    #[error("the drives have not enough room for a pool")]
    TooSmall,
    /// LVM made a group and does not see it.
    #[error("the volume group {group} was made and is not seen on its drives")]
    GroupUnseen {
        /// Its name.
        group: String,
    },
    /// What an earlier process left running could not be ended.
    #[error("cannot end what an earlier process left running")]
    Leftovers(#[source] CgroupError),
    /// A volume or image could not be opened for the program that fills it.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// The image that a volume is filled from is not there.
    #[error("the image is not there any more")]
    NoImage,
    /// The file of an image could not be opened.
    #[error("the file of the image can not be opened")]
    Image(#[source] std::io::Error),
}

impl Error {
    /// Whether something else uses the thing just now; programs that look at
    /// every new device do so for a moment.
    fn is_busy(&self) -> bool {
        match self {
            Error::Lvm(LvmError::InUse { .. }) => true,
            Error::Hold { source, .. } => source.kind() == std::io::ErrorKind::WouldBlock,
            Error::Erase { source, .. } | Error::Image(source) => {
                source.kind() == std::io::ErrorKind::ResourceBusy
            }
            Error::Wipe { source, .. } => source.stderr().contains("busy"),
            _ => false,
        }
    }

    /// Whether it says nothing of the thing itself: something kept it, or a tool could not do its work. What is being made
    /// is not given up for that.
    fn is_transient(&self) -> bool {
        match self {
            Error::Lvm(LvmError::Run { .. } | LvmError::Report(_) | LvmError::File { .. })
            | Error::Hold { .. }
            | Error::Swapped { .. }
            | Error::GroupUnseen { .. }
            | Error::Awaited { .. }
            | Error::State(_) => true,
            Error::Wipe { source, .. } if !matches!(**source, CommandError::Failed { .. }) => true,
            _ => self.is_busy(),
        }
    }
}

impl Retryable for Error {
    /// Everything here may pass by itself: a volume that is still open, a drive that comes back.
    fn retry(&self) -> Retry {
        match self {
            // A command that the rules refuse is refused again until something else changes.
            Error::Propose(ProposeError::Refused(_)) => Retry::OnChange,
            _ => Retry::Soon,
        }
    }
}
