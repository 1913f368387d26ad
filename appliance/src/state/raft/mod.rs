//! Agreement: openraft behind a trait of our own.
//!
//! ```text
//!   Store ── Consensus::agree(Proposal) ──► openraft ──► log.rs      raft.db, one fsync an append
//!                                              ├───────► machine.rs  state.db, change + last entry in one transaction
//!                                              ├───────► snapshot.rs VACUUM INTO, fsync, rename
//!                                              └───────► transport.rs (no other member yet)
//! ```
//!
//! What has to be durable is the log: an answer is given after the entry is on
//! the disk. `state.db` is written in order but not flushed each time; what a
//! power cut takes from its end is applied again from the log, because entries
//! are only removed from the log once a snapshot that holds them is on the disk.
//! So a change costs one flush, not two, and either file can be made again from
//! the other and the newest snapshot.

pub mod log;
pub mod machine;
pub mod member;
pub mod snapshot;
pub mod transport;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::{Config, SnapshotPolicy};

use super::command::{Proposal, Verdict};
use log::Log;
use machine::Machine;
use member::{Member, Peer};
use transport::Transport;

openraft::declare_raft_types!(
    /// The types that openraft works with here.
    pub Types:
        D = Proposal,
        R = Verdict,
        NodeId = Member,
        Node = Peer,
);

/// A snapshot is made, and the log before it removed, after so many entries.
pub const COMPACT_AFTER: u64 = 5000;
/// So many entries stay in the log behind a snapshot, for members that are a little behind.
const KEPT_ENTRIES: u64 = 500;
/// How long an agreement may take.
const AGREEMENT: Duration = Duration::from_secs(15);
/// How long the log may take to be applied again at the start.
const RECOVERY: Duration = Duration::from_secs(120);

/// Why nothing was agreed.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// Another member decides, or none can. The proposal was not accepted.
    #[error("this node does not lead the site")]
    NotLeading,
    /// It took too long; the proposal may still come into force.
    #[error("no agreement within {} seconds", AGREEMENT.as_secs())]
    TimedOut,
    /// The log or the state can not be written; nothing goes on until it is opened again.
    #[error("the log stopped: {0}")]
    Stopped(String),
}

/// A boxed future, so that the trait can be an object.
pub type Agreeing<'a> = Pin<Box<dyn Future<Output = Result<Verdict, AgreeError>> + Send + 'a>>;

/// What the store needs of a replicated log, and all that the rest of the
/// program knows about the one it has.
pub trait Consensus: Send + Sync {
    /// Has a proposal written to the log of a majority and applied here.
    fn agree(&self, proposal: Proposal) -> Agreeing<'_>;
    /// Stops; what was agreed is kept.
    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// openraft with our log and state machine.
pub struct Replica(openraft::Raft<Types, Machine>);

/// Errors of the parts, as openraft wants them: with the whole chain, because it keeps one text.
pub fn io_error(error: impl std::error::Error + 'static) -> io::Error {
    io::Error::other(crate::state::error::chain(&error))
}

impl Replica {
    /// Starts with what is in the files; founds a cluster of one when they are new.
    /// Returns once everything that was ever agreed has been applied.
    pub async fn start(member: Member, log: Log, machine: Machine) -> Result<Replica, AgreeError> {
        let config = config().validate().map_err(|error| {
            AgreeError::Stopped(format!("its settings contradict one another: {error}"))
        })?;
        let raft = openraft::Raft::new(member, Arc::new(config), Transport, log, machine)
            .await
            .map_err(stopped)?;
        if !raft.is_initialized().await.map_err(stopped)? {
            let members = std::collections::BTreeMap::from([(member, Peer::default())]);
            raft.initialize(members)
                .await
                .map_err(|error| AgreeError::Stopped(error.to_string()))?;
        }
        raft.wait_for_recovery(Some(RECOVERY))
            .await
            .map_err(|error| AgreeError::Stopped(error.to_string()))?;
        raft.wait(Some(RECOVERY))
            .current_leader(member, "a cluster of one leads itself")
            .await
            .map_err(|error| AgreeError::Stopped(error.to_string()))?;
        // It stays the leader, and nobody waits for its heartbeat: the clock would only wake the node.
        raft.runtime_config().tick(false);
        Ok(Replica(raft))
    }

    #[cfg(test)]
    pub fn raft(&self) -> &openraft::Raft<Types, Machine> {
        &self.0
    }
}

fn stopped(fatal: Fatal<Types>) -> AgreeError {
    AgreeError::Stopped(fatal.to_string())
}

fn config() -> Config {
    Config {
        cluster_name: "ashlar".to_owned(),
        // A tick is a fifth of a heartbeat; it ends with the election of a cluster of one.
        heartbeat_interval: 500,
        election_timeout_min: 1500,
        election_timeout_max: 3000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(COMPACT_AFTER),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
}

impl Consensus for Replica {
    fn agree(&self, proposal: Proposal) -> Agreeing<'_> {
        Box::pin(async move {
            let written = tokio::time::timeout(AGREEMENT, self.0.client_write(proposal)).await;
            match written {
                Err(_) => Err(AgreeError::TimedOut),
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(RaftError::Fatal(fatal))) => Err(stopped(fatal)),
                Ok(Err(RaftError::APIError(error))) => Err(match error {
                    ClientWriteError::ForwardToLeader(_) => AgreeError::NotLeading,
                    // Whether it is in force is decided elsewhere now.
                    ClientWriteError::LogEntryDiscarded(_) => AgreeError::TimedOut,
                    other => AgreeError::Stopped(other.to_string()),
                }),
            }
        })
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if let Err(error) = self.0.shutdown().await {
                tracing::warn!("the log did not stop in order: {error}");
            }
        })
    }
}
