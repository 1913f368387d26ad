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
//! openraft stops for good when a write fails. The drive may come back (it was
//! full, or hung), so the store opens the files again by itself.

mod apply;
pub mod command;
mod error;
mod files;
mod lock;
mod migrate;
mod news;
pub mod query;
mod raft;
mod room;
pub mod schema;
#[cfg(test)]
mod tests;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ashlar_api::{NodeId, Timestamp};
use tokio::sync::{Mutex, broadcast, watch};

use command::{Command, Proposal, Verdict};
use files::Files;
use news::News;
use query::Readers;
use raft::{AgreeError, Consensus, Replica};

pub use error::{ProposeError, StateError};
pub use news::Changed;
pub use room::TO_CREATE as ROOM_TO_CREATE;

/// The state: read it, propose changes, hear of changes. A cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    files: Files,
    news: News,
    readers: Readers,
    /// None once it is closed. Nobody waits for anything while holding it: a
    /// proposal is bounded by the agreement alone.
    consensus: RwLock<Option<Arc<dyn Consensus>>>,
    /// Held by whoever opens the files again.
    reviving: Mutex<()>,
}

impl Inner {
    fn consensus(&self) -> Option<Arc<dyn Consensus>> {
        let consensus = self.consensus.read();
        consensus.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another consensus in the place of this one, if that is still in use.
    fn replace(&self, old: &Arc<dyn Consensus>, new: &Arc<dyn Consensus>) -> bool {
        let consensus = self.consensus.write();
        let mut consensus = consensus.unwrap_or_else(PoisonError::into_inner);
        let current = consensus.as_mut().filter(|now| Arc::ptr_eq(now, old));
        current.map(|now| *now = Arc::clone(new)).is_some()
    }

    fn take(&self) -> Option<Arc<dyn Consensus>> {
        let consensus = self.consensus.write();
        consensus.unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits between attempts to open the files again: the first, and the longest.
const REVIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Store {
    /// Opens the state in a folder, making it when there is none, and applies
    /// what was agreed and is not in it yet.
    pub async fn open(directory: &Path, node: NodeId) -> Result<Store, StateError> {
        let files = Files::lock(directory, node).await?;
        let news = News::default();
        let consensus = start(&files, &news).await?;
        Ok(Store(Arc::new(Inner {
            readers: Readers::new(&files.state()),
            files,
            news,
            consensus: RwLock::new(Some(consensus)),
            reviving: Mutex::new(()),
        })))
    }

    /// Sets a file aside that [`Store::open`] refused, because somebody asked
    /// for it, and prepares the others to go on without it. The file is kept
    /// under the name that is returned.
    pub async fn set_aside(
        directory: &Path,
        node: NodeId,
        file: &Path,
    ) -> Result<PathBuf, StateError> {
        let files = Files::lock(directory, node).await?;
        let file = file.to_owned();
        blocking(&files, move |files| files.set_aside(&file)).await
    }

    /// Proposes a change and waits until it is in force, here and for good.
    /// Returns the revision of the state with it.
    pub async fn propose(&self, by: &str, command: Command) -> Result<u64, ProposeError> {
        self.0.files.room_for(&command)?;
        let proposal = Proposal {
            by: by.to_owned(),
            at: Timestamp::now(),
            command,
        };
        let Some(consensus) = self.0.consensus() else {
            return Err(ProposeError::Unavailable {
                message: "the node is ending".to_owned(),
                remedy: "try again when it has started".to_owned(),
            });
        };
        match consensus.agree(proposal).await {
            Ok(Verdict::Applied { revision }) => Ok(revision),
            Ok(Verdict::Refused { refusal }) => Err(refusal.into()),
            Err(AgreeError::TimedOut) => Err(ProposeError::TimedOut),
            Err(error @ AgreeError::NotLeading) => Err(ProposeError::Unavailable {
                message: error.to_string(),
                remedy: "try again in a few seconds".to_owned(),
            }),
            Err(error @ AgreeError::Stopped(_)) => {
                tracing::error!("{error}");
                tokio::spawn(revive(Arc::downgrade(&self.0), consensus));
                Err(ProposeError::Unavailable {
                    message: format!("{error}; the change may or may not come into force"),
                    remedy: "look whether it did, and try again in a minute; if this goes on, the system drive is full or failing"
                        .to_owned(),
                })
            }
        }
    }

    /// The newest revision.
    #[cfg(test)]
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
        if let Some(consensus) = self.0.take() {
            consensus.stop().await;
        }
    }

    fn readers(&self) -> &Readers {
        &self.0.readers
    }
}

/// Opens the files and brings the log up.
async fn start(files: &Files, news: &News) -> Result<Arc<dyn Consensus>, StateError> {
    let news = news.clone();
    let (log, machine) = blocking(files, move |files| files.open(news)).await?;
    let replica = Replica::start(files.member(), log, machine)
        .await
        .map_err(StateError::Log)?;
    Ok(Arc::new(replica))
}

/// Works on the files off the async threads.
async fn blocking<T: Send + 'static>(
    files: &Files,
    work: impl FnOnce(&Files) -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let own = files.clone();
    let done = tokio::task::spawn_blocking(move || work(&own)).await;
    done.map_err(|error| files.failed(error.into()))?
}

/// Replaces a consensus that stopped by a new one on the same files, as long as
/// the store is wanted. Reading goes on meanwhile, and proposals are told at
/// once that the old one stopped.
async fn revive(store: std::sync::Weak<Inner>, stopped: Arc<dyn Consensus>) {
    let Some(inner) = store.upgrade() else { return };
    let Ok(_turn) = inner.reviving.try_lock() else {
        return;
    };
    let mut wait = REVIVE.0;
    stopped.stop().await;
    loop {
        let current = inner.consensus();
        if !current.is_some_and(|now| Arc::ptr_eq(&now, &stopped)) {
            return;
        }
        match start(&inner.files, &inner.news).await {
            Ok(new) if inner.replace(&stopped, &new) => {
                tracing::info!("the state is open again");
                return;
            }
            // It was closed meanwhile.
            Ok(new) => return new.stop().await,
            Err(error) => tracing::error!("open the state again: {}", error::chain(&error)),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(REVIVE.1);
    }
}
