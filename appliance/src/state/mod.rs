//! What is wanted, replicated.
//!
//! ```text
//!   http, domains ── propose(Command) ──► raft log (raft.db) ──► state machine (state.db) ──► watch(revision)
//!                 ◄── list, get (read-only connections to state.db) ──
//! ```
//!
//! One node is a cluster of one: the log, the snapshots and the elections are
//! those that several nodes will use. A command and the index of its log entry
//! land in `state.db` in one transaction, so that after any crash each command
//! has been applied exactly once. A command that was answered is in the log on
//! the disk; see `raft/` for why that is enough.
//!
//! Files in the state partition: `raft.db`, `state.db`, `snapshots/`, and `lock`.

mod apply;
pub mod command;
mod lock;
mod migrate;
mod news;
pub mod query;
mod raft;
pub mod schema;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_api::{NodeId, Timestamp};
use tokio::sync::{broadcast, watch};

use command::{Command, Proposal, Refusal, Verdict};
use lock::Lock;
use query::Readers;
use raft::log::Log;
use raft::machine::Machine;
use raft::member::Member;
use raft::snapshot::{SnapshotError, Snapshots};
use raft::{AgreeError, Consensus, Replica};

pub use news::Changed;
use news::News;

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
        "{} was written by a newer version of Ashlar ({program}, format {found}); this is version {}, which knows formats up to {known}. Start version {program} or a newer one again, or set the file aside to begin without it",
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
    #[error("{} is damaged: {detail}. What to do: {remedy}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What was found.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It is another node's.
    #[error(
        "{} belongs to the node {owner}, and this node is {node}. Restore the machine id, or set the file aside",
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

/// The state: read it, propose changes, hear of changes. A cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    consensus: Box<dyn Consensus>,
    readers: Readers,
    news: News,
}

impl Store {
    /// Opens the state in a folder, making it when there is none, and applies
    /// what was agreed and is not in it yet.
    pub async fn open(directory: &Path, node: NodeId) -> Result<Store, StateError> {
        std::fs::create_dir_all(directory).map_err(|source| StateError::Directory {
            path: directory.to_owned(),
            source,
        })?;
        let lock = Arc::new(Lock::take(directory).await?);
        let news = News::default();
        let (folder, said) = (directory.to_owned(), news.clone());
        let opened = tokio::task::spawn_blocking(move || files(&folder, node, lock, said)).await;
        let (log, machine) = opened.map_err(|error| StateError::Directory {
            path: directory.to_owned(),
            source: io::Error::other(error),
        })??;
        let replica = Replica::start(Member(node), log, machine)
            .await
            .map_err(StateError::Log)?;
        Ok(Store(Arc::new(Inner {
            consensus: Box::new(replica),
            readers: Readers::new(&directory.join(STATE_FILE)),
            news,
        })))
    }

    /// Proposes a change and waits until it is in force, here and for good.
    /// Returns the revision of the state with it.
    pub async fn propose(&self, by: &str, command: Command) -> Result<u64, ProposeError> {
        let proposal = Proposal {
            by: by.to_owned(),
            at: Timestamp::now(),
            command,
        };
        match self.0.consensus.agree(proposal).await {
            Ok(Verdict::Applied { revision }) => Ok(revision),
            Ok(Verdict::Refused { refusal }) => Err(refusal.into()),
            Err(AgreeError::TimedOut) => Err(ProposeError::TimedOut),
            Err(error @ AgreeError::NotLeading) => Err(ProposeError::Unavailable {
                message: error.to_string(),
                remedy: "try again in a few seconds".to_owned(),
            }),
            Err(error @ AgreeError::Stopped(_)) => Err(ProposeError::Unavailable {
                message: error.to_string(),
                remedy: "make sure that the system drive has room and works, then restart the node"
                    .to_owned(),
            }),
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.0.news.revision()
    }

    /// Hears of every new revision.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.news.watch()
    }

    /// Hears of every object that changes.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.0.news.changes()
    }

    /// Stops taking proposals and closes the log, for an orderly end.
    pub async fn close(&self) {
        self.0.consensus.stop().await;
    }

    fn readers(&self) -> &Readers {
        &self.0.readers
    }
}

const RAFT_FILE: &str = "raft.db";
const STATE_FILE: &str = "state.db";
const SNAPSHOT_FOLDER: &str = "snapshots";

/// Opens the files and compares them: what one of them lost must be in another.
fn files(
    directory: &Path,
    node: NodeId,
    lock: Arc<Lock>,
    news: News,
) -> Result<(Log, Machine), StateError> {
    let snapshots =
        Snapshots::open(&directory.join(SNAPSHOT_FOLDER)).map_err(StateError::Snapshots)?;
    let newest = snapshots
        .current()
        .map_err(StateError::Snapshots)?
        .and_then(|snapshot| snapshot.meta.last_log_id);
    let state_file = directory.join(STATE_FILE);
    let machine = Machine::open(&state_file, snapshots, news)?;
    let raft_file = directory.join(RAFT_FILE);
    let log = Log::open(&raft_file, Member(node), lock)?;
    let summary = log.summary()?;
    let applied = machine.last_entry()?;
    if summary.is_new && applied.is_some() {
        return Err(migrate::RAFT.damaged(&raft_file, "it is empty, and state.db is not"));
    }
    if summary.purged > applied.clone().max(newest) {
        let detail = "it lacks changes that are neither in the log nor in a snapshot any more";
        return Err(migrate::STATE.damaged(&state_file, detail));
    }
    Ok((log, machine))
}
