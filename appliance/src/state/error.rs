//! Why the state can not be opened, read or changed, with what to do about it:
//! most of these end on the machine's own screen, where nothing else explains them.

use std::io;
use std::path::{Path, PathBuf};

use super::command::Refusal;
use super::raft::AgreeError;
use super::raft::snapshot::SnapshotError;

/// Why the state can not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder can not be used.
    #[error("use {}", path.display())]
    Directory {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process; end that one first", path.display())]
    Locked {
        /// Which folder.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "{} was written by a newer version of Ashlar ({program}, format {found}); this is version {}, which knows formats up to {known}",
        file.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The program that wrote it.
        program: String,
        /// The newest format that this program knows.
        known: u32,
    },
    /// It can not be read.
    #[error("{} is damaged: {detail}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What was found.
        detail: String,
        /// What to do.
        remedy: &'static str,
        /// The file without which it goes on: not always the one that is damaged.
        aside: PathBuf,
    },
    /// It is another node's.
    #[error(
        "{} belongs to the node {owner}, and this node is {node}",
        file.display()
    )]
    Foreign {
        /// Which file.
        file: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who this is.
        node: String,
    },
    /// It could not be brought up to date.
    #[error("bring {} to format {number}", file.display())]
    Migrate {
        /// Which file.
        file: PathBuf,
        /// Which format.
        number: u32,
        /// Why.
        source: rusqlite::Error,
    },
    /// It can not be opened, read or written now.
    #[error("use the database {}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The snapshots can not be used.
    #[error("use the snapshots of the state")]
    Snapshots(#[source] SnapshotError),
    /// The log does not come up.
    #[error("bring the log of the state up")]
    Log(#[source] AgreeError),
}

impl StateError {
    /// The file that a person may have set aside, with [`super::Store::set_aside`], to go on without it.
    pub fn aside(&self) -> Option<&Path> {
        match self {
            StateError::Damaged { aside, .. } => Some(aside),
            StateError::Foreign { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Whether it may be over when it is tried again. What a person has to decide is not.
    pub fn may_pass(&self) -> bool {
        match self {
            StateError::Newer { .. } | StateError::Damaged { .. } | StateError::Foreign { .. } => {
                false
            }
            StateError::Directory { .. }
            | StateError::Locked { .. }
            | StateError::Migrate { .. }
            | StateError::File { .. }
            | StateError::Snapshots(_)
            | StateError::Log(_) => true,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            StateError::Damaged { remedy, .. } => (*remedy).to_owned(),
            StateError::Foreign { .. } => "If this drive was moved here from another machine, set raft.db aside to take \
                 its settings over; else put the drive back where it belongs."
                .to_owned(),
            StateError::Newer { program, .. } => format!(
                "Start version {program} or a newer one again, for instance from the boot menu. Nothing was changed."
            ),
            _ if self.is_full() => "It is tried again by itself. The system drive is full. Restart the node, which removes old files that it set \
                 aside; if that does not help, remove the largest files from the partition ashlar-state with a rescue \
                 system."
                .to_owned(),
            StateError::Locked { .. } => {
                "It is tried again by itself. If this stays, restart the node.".to_owned()
            }
            _ => "It is tried again by itself. If this stays, restart the node; if that does not help, the system drive \
                 may be failing: replace it and install anew."
                .to_owned(),
        }
    }

    /// Whether no room on the drive is the reason.
    fn is_full(&self) -> bool {
        match self {
            StateError::Directory { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            StateError::Migrate { source, .. } | StateError::File { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            // Their causes are texts by the time they come here.
            StateError::Snapshots(_) | StateError::Log(_) => {
                let text = chain(self);
                text.contains("disk is full") || text.contains("No space left")
            }
            _ => false,
        }
    }
}

/// Why a proposal is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be written; nothing changed.
    #[error("the change could not be written: {message}")]
    Unavailable {
        /// Why.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// Nobody knows: it may still come into force.
    #[error("the change took too long and was given up; it may still come into force")]
    TimedOut,
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
