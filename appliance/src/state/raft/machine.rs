//! The state machine of openraft: `state.db`.
//!
//! Entries that come together are applied in one transaction, each in its own
//! savepoint, with the last entry's id in the same transaction: after a crash
//! the file holds some prefix of the log, entry by entry, never half of one.
//! Answers and news go out after the transaction.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::job::Kind;
use futures_util::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, Membership, OptionalSend, StoredMembership};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::member::Member;
use super::snapshot::{Builder, End, SnapshotError, SnapshotFile, Snapshots, end};
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
    #[error(transparent)]
    End(#[from] SnapshotError),
    #[error("the snapshot {} is being read by someone else", .0.display())]
    Busy(PathBuf),
    #[error("use the snapshot")]
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
            other => STATE.damaged(path, crate::state::error::chain(&other)),
        })?;
        news.start(revision);
        Ok(Machine {
            file: path.to_owned(),
            writer: Arc::new(Mutex::new(writer)),
            snapshots,
            news,
        })
    }

    /// Where the state ends.
    pub fn end(&self) -> Result<End, StateError> {
        let db = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        end(&db, &self.file)
            .map_err(|error| STATE.damaged(&self.file, crate::state::error::chain(&error)))
    }

    /// Makes a node the only member, for a log that is founded anew behind `last`.
    pub fn belong_to(&self, member: Member, last: &LogIdOf<Types>) -> Result<(), StateError> {
        let alone = Membership::new_with_defaults(vec![BTreeSet::from([member])], []);
        let stored: StoredMembershipOf<Types> = StoredMembership::new(Some(*last), alone);
        let text = serde_json::to_string(&stored)
            .map_err(|error| STATE.damaged(&self.file, error.to_string()))?;
        let db = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        db.execute("UPDATE applied SET membership = ?1", [text])
            .map_err(|source| STATE.classify(&self.file, source))?;
        Ok(())
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
        let file = self.file.clone();
        let end = self.on_writer(move |db| Ok(end(db, &file)?)).await?;
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
    STATE
        .known_version(&from.0, &source)
        .map_err(MachineError::Migrate)?;
    let backup = Backup::new(&source, db).map_err(failed)?;
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(MachineError::Busy(from.0.clone())),
    }
}

/// All tables of a state as JSON, to compare replicas.
#[cfg(test)]
pub fn dump(db: &Connection) -> rusqlite::Result<serde_json::Value> {
    use serde_json::{Map, Value};
    let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text));
    let mut dump = Map::new();
    let mut tables = db.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%document TEXT%' ORDER BY name",
    )?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        let mut statement = db.prepare(&format!("SELECT id, document FROM {table} ORDER BY id"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
        let rows = rows.into_iter().map(|(id, text)| (id, parse(text)));
        dump.insert(table, Value::Object(rows.collect()));
    }
    let mut links =
        db.prepare("SELECT role || ' ' || target || ' ' || source FROM link ORDER BY 1")?;
    let links: Vec<String> = links
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    dump.insert("link".to_owned(), Value::from(links));
    let revision: i64 = db.query_row("SELECT revision FROM applied", [], |row| row.get(0))?;
    dump.insert("revision".to_owned(), Value::from(revision));
    Ok(Value::Object(dump))
}
