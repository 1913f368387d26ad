//! The state machine of openraft: `state.db`.
//!
//! Entries that come together are applied in one transaction, each in its own
//! savepoint, with the last entry's id in the same transaction: after a crash
//! the file holds some prefix of the log, entry by entry, never half of one.
//! Answers and news go out after the transaction.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::job::Kind;
use futures_util::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, StoredMembership};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::snapshot::{Builder, SnapshotFile, Snapshots, end};
use super::{Types, io_error};
use crate::state::StateError;
use crate::state::apply::{self, ApplyError};
use crate::state::command::Verdict;
use crate::state::migrate::{Durability, STATE, reader};
use crate::state::news::News;

/// How many entries are applied in one transaction at most.
const BATCH: usize = 256;

/// The state machine.
pub struct Machine {
    file: PathBuf,
    writer: Arc<Mutex<Connection>>,
    snapshots: Snapshots,
    news: News,
}

/// Why the state could not be changed.
#[derive(Debug, thiserror::Error)]
enum MachineError {
    #[error("write what was applied to {}", file.display())]
    Write {
        file: PathBuf,
        source: rusqlite::Error,
    },
    #[error("write where the log stands")]
    Document(#[from] serde_json::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the snapshot {} is being read by someone else", .0.display())]
    Busy(PathBuf),
    #[error("bring the snapshot up to date")]
    Migrate(#[source] StateError),
}

/// What became of one entry.
struct Applied {
    verdict: Verdict,
    changed: Vec<(Kind, String)>,
}

impl Machine {
    /// Opens the state. The news start with its revision.
    pub fn open(path: &Path, snapshots: Snapshots, news: News) -> Result<Machine, StateError> {
        let writer = STATE.open(path, Durability::Ordered)?;
        let revision = apply::revision(&writer).map_err(|error| match error {
            ApplyError::Database(source) => STATE.classify(path, source),
            other => STATE.damaged(path, crate::reconcile::chain(&other)),
        })?;
        news.start(revision);
        Ok(Machine {
            file: path.to_owned(),
            writer: Arc::new(Mutex::new(writer)),
            snapshots,
            news,
        })
    }

    /// The last entry that is in the state.
    pub fn last_entry(&self) -> Result<Option<LogIdOf<Types>>, StateError> {
        let db = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        end(&db, &self.file)
            .map(|end| end.entry)
            .map_err(|error| STATE.damaged(&self.file, crate::reconcile::chain(&error)))
    }

    async fn on_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, MachineError> + Send + 'static,
    ) -> Result<T, io::Error> {
        let writer = Arc::clone(&self.writer);
        tokio::task::spawn_blocking(move || {
            work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(io_error)?
        .map_err(io_error)
    }

    async fn apply_batch(&self, batch: Vec<EntryResponder<Types>>) -> Result<(), io::Error> {
        let (entries, responders): (Vec<_>, Vec<Option<ApplyResponder<Types>>>) =
            batch.into_iter().unzip();
        let file = self.file.clone();
        let applied = self
            .on_writer(move |db| apply_entries(db, &file, &entries))
            .await?;
        for (applied, responder) in applied.into_iter().zip(responders) {
            if let Verdict::Applied { revision } = applied.verdict {
                self.news.tell(revision, applied.changed);
            }
            if let Some(responder) = responder {
                responder.send(applied.verdict);
            }
        }
        Ok(())
    }
}

type Entry = openraft::alias::EntryOf<Types>;

fn apply_entries(
    db: &mut Connection,
    file: &Path,
    entries: &[Entry],
) -> Result<Vec<Applied>, MachineError> {
    let write = |source| MachineError::Write {
        file: file.to_owned(),
        source,
    };
    let transaction = db.transaction().map_err(write)?;
    let mut applied = Vec::with_capacity(entries.len());
    for entry in entries {
        let (verdict, changed) = match &entry.payload {
            EntryPayload::Normal(proposal) => apply::apply(&transaction, proposal)?,
            EntryPayload::Blank => (unchanged(&transaction)?, Vec::new()),
            EntryPayload::Membership(membership) => {
                let stored: StoredMembershipOf<Types> =
                    StoredMembership::new(Some(entry.log_id()), membership.clone());
                let text = serde_json::to_string(&stored)?;
                transaction
                    .prepare_cached("UPDATE applied SET membership = ?1")
                    .and_then(|mut statement| statement.execute([text]))
                    .map_err(write)?;
                (unchanged(&transaction)?, Vec::new())
            }
        };
        applied.push(Applied { verdict, changed });
    }
    if let Some(last) = entries.last() {
        let text = serde_json::to_string(&last.log_id())?;
        transaction
            .prepare_cached("UPDATE applied SET entry = ?1")
            .and_then(|mut statement| statement.execute([text]))
            .map_err(write)?;
    }
    transaction.commit().map_err(write)?;
    Ok(applied)
}

/// The verdict on an entry that changes no record.
fn unchanged(db: &Connection) -> Result<Verdict, ApplyError> {
    let revision = apply::revision(db)?;
    Ok(Verdict::Applied { revision })
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let db = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let end = end(&db, &self.file).map_err(io_error)?;
        Ok((end.entry, end.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(entry) = entries.next().await {
            batch.push(entry?);
            if batch.len() == BATCH {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        if !batch.is_empty() {
            self.apply_batch(batch).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            snapshots: self.snapshots.clone(),
            database: self.file.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let (file, snapshots) = (self.file.clone(), self.snapshots.clone());
        let revision = self
            .on_writer(move |db| {
                install(db, &file, &snapshot)?;
                STATE.migrate(&file, db).map_err(MachineError::Migrate)?;
                Ok((apply::revision(db)?, snapshot))
            })
            .await
            .and_then(|(revision, snapshot)| {
                // A snapshot of our own is in place already; one from elsewhere is taken in.
                if snapshot.0.parent() != Some(&snapshots.folder)
                    || snapshot
                        .0
                        .extension()
                        .is_some_and(|extension| extension == "part")
                {
                    let part = snapshots.part("received");
                    std::fs::copy(&snapshot.0, &part)?;
                    snapshots.keep(&part).map_err(io_error)?;
                }
                Ok(revision)
            })?;
        self.news.all(revision);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, io::Error> {
        let snapshots = self.snapshots.clone();
        tokio::task::spawn_blocking(move || snapshots.current())
            .await
            .map_err(io_error)?
            .map_err(io_error)
    }
}

/// Puts a snapshot in place of the whole state, in one transaction of SQLite's.
fn install(db: &mut Connection, file: &Path, from: &SnapshotFile) -> Result<(), MachineError> {
    let failed = |source| MachineError::Write {
        file: file.to_owned(),
        source,
    };
    let source = reader(&from.0).map_err(failed)?;
    let backup = Backup::new(&source, db).map_err(failed)?;
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(MachineError::Busy(from.0.clone())),
    }
}
