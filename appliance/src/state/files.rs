//! The files of the state, and what each can do without the others.
//!
//! ```text
//!   lock         held while they are open
//!   raft.db      what was agreed and promised; flushed at every change
//!   state.db     what follows from it
//!   snapshots/   one copy of state.db; the log before it was removed
//! ```
//!
//! `state.db` can be made again from the newest snapshot and the log, and is:
//! when it is missing, openraft does so by itself. A missing `raft.db` is never
//! replaced silently, because with it go promises that other members rely on;
//! setting it aside is a person's decision, after which a new log is founded on
//! what is in `state.db`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_api::{NodeId, Timestamp};
use openraft::alias::LogIdOf;

use super::command::Command;
use super::error::{ProposeError, StateError};
use super::lock::Lock;
use super::migrate::RAFT;
use super::news::News;
use super::raft::Types;
use super::raft::log::Log;
use super::raft::machine::Machine;
use super::raft::member::Member;
use super::raft::snapshot::Snapshots;
use super::room::{self, Needs};

/// Where the state is, and the right to write it.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
    node: NodeId,
    lock: Arc<Lock>,
}

impl Files {
    /// Takes the folder, making it when there is none.
    pub async fn lock(directory: &Path, node: NodeId) -> Result<Files, StateError> {
        fs::create_dir_all(directory).map_err(|source| StateError::Directory {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Files {
            directory: directory.to_owned(),
            node,
            lock: Arc::new(Lock::take(directory).await?),
        })
    }

    /// Who this node is in the log.
    pub fn member(&self) -> Member {
        Member(self.node)
    }

    /// The database with the records.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state.db")
    }

    fn raft(&self) -> PathBuf {
        self.directory.join("raft.db")
    }

    /// The snapshots.
    pub fn snapshots(&self) -> Result<Snapshots, StateError> {
        Snapshots::open(&self.directory.join("snapshots")).map_err(StateError::Snapshots)
    }

    /// A failure of the folder as a whole.
    pub fn failed(&self, source: io::Error) -> StateError {
        StateError::Directory {
            path: self.directory.clone(),
            source,
        }
    }

    /// Opens the files and compares them: what one of them lost must be in another.
    pub fn open(&self, news: News) -> Result<(Log, Machine), StateError> {
        room::prepare(&self.directory);
        let snapshots = self.snapshots()?;
        let newest = snapshots
            .current()
            .map_err(StateError::Snapshots)?
            .and_then(|snapshot| snapshot.meta.last_log_id);
        let machine = Machine::open(&self.state(), snapshots, news)?;
        let log = Log::open(&self.raft(), self.member(), Arc::clone(&self.lock))?;
        let summary = log.summary()?;
        let applied = machine.end()?.entry;
        let known = applied.max(newest);
        if summary.is_new && known.is_some() {
            return Err(RAFT.damaged(&self.raft(), "it is empty, and the state is not"));
        }
        if summary.purged > known {
            return Err(StateError::Damaged {
                file: self.state(),
                detail: "it lacks changes that are neither in the log nor in a snapshot any more"
                    .to_owned(),
                remedy: "Put a copy of the state partition back; or set raft.db aside to go on with what is left.",
                aside: self.raft(),
            });
        }
        Ok((log, machine))
    }

    /// Sets one of the two databases aside; see [`super::Store::set_aside`].
    pub fn set_aside(&self, file: &Path) -> Result<PathBuf, StateError> {
        let is_raft = file == self.raft();
        if !is_raft && file != self.state() {
            let message = format!("{} is no file of the state", file.display());
            return Err(self.failed(io::Error::new(io::ErrorKind::InvalidInput, message)));
        }
        let kept = self.rename(file).map_err(|source| self.failed(source))?;
        tracing::warn!(file = %file.display(), kept = %kept.display(), "set aside");
        if is_raft {
            self.found_log()?;
        }
        Ok(kept)
    }

    /// Renames a database with its write-ahead log. What is in that log and not
    /// in the database goes with it.
    fn rename(&self, file: &Path) -> io::Result<PathBuf> {
        let mark = format!("{}{}", room::ASIDE, Timestamp::now().as_second());
        let named = |path: &Path, more: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(more);
            PathBuf::from(name)
        };
        let kept = named(file, &mark);
        for part in ["", "-wal", "-shm"] {
            match fs::rename(named(file, part), named(&kept, part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::File::open(&self.directory)?.sync_all()?;
        Ok(kept)
    }

    /// Begins a new log behind the last entry of the state, with this node as
    /// its only member.
    fn found_log(&self) -> Result<(), StateError> {
        let snapshots = self.snapshots()?;
        if let Some(newest) = snapshots.current().map_err(StateError::Snapshots)?
            && self.applied(&snapshots)? < newest.meta.last_log_id
        {
            for part in ["", "-wal", "-shm"] {
                let mut file = self.state().into_os_string();
                file.push(part);
                match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(self.failed(error));
                    }
                    _ => {}
                }
            }
            let part = self.directory.join("state.db.part");
            let take = || {
                fs::copy(&newest.snapshot.0, &part)?;
                fs::File::open(&part)?.sync_all()?;
                fs::rename(&part, self.state())
            };
            take().map_err(|source| self.failed(source))?;
        }
        if !self.state().exists() {
            return Ok(());
        }
        let machine = Machine::open(&self.state(), snapshots.clone(), News::default())?;
        let Some(last) = machine.end()?.entry else {
            return Ok(());
        };
        machine.belong_to(self.member(), &last)?;
        // Older snapshots name other members.
        snapshots
            .build(&self.state())
            .map_err(StateError::Snapshots)?;
        Log::open(&self.raft(), self.member(), Arc::clone(&self.lock))?.found(self.member(), &last)
    }

    /// The last entry in the state; none when there is no state.
    fn applied(&self, snapshots: &Snapshots) -> Result<Option<LogIdOf<Types>>, StateError> {
        if !self.state().exists() {
            return Ok(None);
        }
        let machine = Machine::open(&self.state(), snapshots.clone(), News::default())?;
        Ok(machine.end()?.entry)
    }

    /// Refuses what could fill the drive, while there is still room to delete.
    pub fn room_for(&self, command: &Command) -> Result<(), ProposeError> {
        let needs = if makes_something(command) {
            Needs::ToCreate
        } else {
            Needs::ToWrite
        };
        room::ask(&self.directory, needs).map_err(|room| ProposeError::Unavailable {
            message: format!("the system drive is full: it has only {room} left for settings"),
            remedy: match needs {
                Needs::ToCreate => {
                    "Delete virtual machines, volumes, users or tokens that are not needed, then try again; the overview \
                     says what fills the drive."
                }
                Needs::ToWrite => {
                    "Restart the node, which removes old files that it set aside; if that does not help, remove the \
                     largest files from the partition ashlar-state with a rescue system."
                }
            }
            .to_owned(),
        })
    }
}

fn makes_something(command: &Command) -> bool {
    matches!(
        command,
        Command::CreateUser { .. }
            | Command::CreateToken { .. }
            | Command::CreateNetwork { .. }
            | Command::CreatePool { .. }
            | Command::CreateVolume { .. }
            | Command::CreateImage { .. }
            | Command::CreateVm { .. }
    )
}
