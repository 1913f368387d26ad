//! Why a release could not be received, started or removed.

use std::io;

use ashlar_api::Bytes;
use ashlar_api::update::Version;

use super::bundle::BundleError;
use super::esp::EspError;
use crate::sys::fs::FsError;
use crate::sys::https::ClientError;

/// Why something about releases could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(Box<BundleError>),
    /// The system partition can not be used.
    #[error("the system partition can not be used")]
    Esp(#[from] EspError),
    /// The attempt could not be written down.
    #[error("the attempt could not be written down")]
    Note(#[source] FsError),
    /// Something else is being done.
    #[error("another release is being received or changed just now")]
    Busy,
    /// The release that runs has not passed its checks.
    #[error("the release that runs is on trial")]
    OnTrial,
    /// It runs.
    #[error("version {0} runs")]
    Running(Version),
    /// It does not run from this system partition.
    #[error("version {0}, which runs, is not on the system partition beside the state")]
    Elsewhere(Version),
    /// It is damaged.
    #[error("version {0} on the disk is damaged")]
    Unsound(Version),
    /// It is not there.
    #[error("there is no version {0} on the disk")]
    NoSuchRelease(Version),
    /// There is not enough room.
    #[error("the release needs {needed}, and the system partition has {free} free")]
    NoRoom {
        /// What it needs.
        needed: Bytes,
        /// What there is.
        free: Bytes,
    },
    /// The one who sends it broke off or was silent.
    #[error("the bundle did not come to its end")]
    Source(#[source] io::Error),
    /// The source answers with something else.
    #[error("the source answers {0}")]
    Status(u16),
    /// The source can not be asked.
    #[error("the bundle can not be fetched")]
    Client(#[from] ClientError),
    /// A defect: the work ended without a result.
    #[error("the work broke off")]
    Broken,
}

impl From<BundleError> for UpdateError {
    fn from(error: BundleError) -> Self {
        UpdateError::Bundle(Box::new(error))
    }
}

impl UpdateError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let text = match self {
            UpdateError::Bundle(error) => return error.remedy(),
            UpdateError::Esp(_) => "Look at the health of the system drive.",
            UpdateError::Note(_) => "Look whether the system drive is full.",
            UpdateError::Busy => "Wait for it to end, then try again.",
            UpdateError::OnTrial => "Wait until it has passed its checks, then try again.",
            UpdateError::Running(_) => "Choose another version.",
            UpdateError::Elsewhere(_) => "Start the node from the disk that holds its state.",
            UpdateError::Unsound(_) => {
                "Remove it, receive it again, and look at the health of the system drive."
            }
            UpdateError::NoSuchRelease(_) => {
                "Receive it first; the list of releases says which there are."
            }
            UpdateError::NoRoom { .. } => "Remove a release that nobody needs.",
            UpdateError::Source(_) => "Send it again.",
            UpdateError::Status(_) => "Check the address in a browser.",
            UpdateError::Client(_) => "Send the bundle from your own computer instead.",
            UpdateError::Broken => "Try again. If it goes on, `ashlar node log` says why.",
        };
        text.to_owned()
    }
}
