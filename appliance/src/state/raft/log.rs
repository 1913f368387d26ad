//! The log and the vote, in `raft.db`.
//!
//! Appending is one transaction with one flush; the entries are readable and
//! durable when it returns, so openraft's two promises are kept at once. While
//! it runs further proposals gather, and openraft hands them over together with
//! the next append: that is the group commit.
//!
//! What is known to be agreed (`committed`) is written along with the next
//! append and costs nothing; after a start it may lag a little behind, which
//! openraft allows.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::OptionalSend;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Types;
use super::member::Member;
use crate::state::StateError;
use crate::state::lock::Lock;
use crate::state::migrate::{Durability, RAFT, reader};

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("{what} in {}", file.display())]
    Database {
        what: &'static str,
        file: PathBuf,
        source: rusqlite::Error,
    },
    #[error("{what} in {}", file.display())]
    Document {
        what: &'static str,
        file: PathBuf,
        source: serde_json::Error,
    },
    #[error("the thread that was to {0} panicked")]
    Thread(&'static str),
}

/// What goes wrong inside one access.
enum Failure {
    Database(rusqlite::Error),
    Document(serde_json::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Database(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::Document(error)
    }
}

type Access<T> = Result<T, Failure>;

/// The log. Clones share the file.
#[derive(Clone)]
pub struct Log {
    file: PathBuf,
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    committed: Arc<Mutex<Option<LogIdOf<Types>>>>,
    /// Nobody else opens the log while anybody here still can write to it.
    _lock: Arc<Lock>,
}

/// What the log says about itself.
pub struct Summary {
    /// The last entry that was removed.
    pub purged: Option<LogIdOf<Types>>,
    /// Whether anything was ever promised or written.
    pub is_new: bool,
}

impl Log {
    /// Opens the log of a member. A log without an owner becomes its log.
    pub fn open(path: &Path, member: Member, lock: Arc<Lock>) -> Result<Log, StateError> {
        let failed = |source| RAFT.classify(path, source);
        let writer = RAFT.open(path, Durability::Every)?;
        let owner: Option<String> = writer
            .query_row("SELECT node FROM about", [], |row| row.get(0))
            .map_err(failed)?;
        match owner {
            None => {
                writer
                    .execute("UPDATE about SET node = ?1", [member.to_string()])
                    .map_err(failed)?;
            }
            Some(owner) if owner != member.to_string() => {
                return Err(StateError::Foreign {
                    file: path.to_owned(),
                    owner,
                    node: member.to_string(),
                });
            }
            Some(_) => {}
        }
        let committed = promised(&writer, "committed").map_err(|failure| match failure {
            Failure::Database(source) => failed(source),
            Failure::Document(error) => RAFT.damaged(path, error.to_string()),
        })?;
        Ok(Log {
            file: path.to_owned(),
            reader: Arc::new(Mutex::new(reader(path).map_err(failed)?)),
            writer: Arc::new(Mutex::new(writer)),
            committed: Arc::new(Mutex::new(committed)),
            _lock: lock,
        })
    }

    /// Makes a new log begin behind an entry that only the state has.
    pub fn found(&self, member: Member, last: &LogIdOf<Types>) -> Result<(), StateError> {
        let term = last.committed_leader_id().term.saturating_add(1);
        let vote: VoteOf<Types> = VoteOf::<Types>::new(term, member);
        let mut db = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut begin = || -> Access<()> {
            let transaction = db.transaction()?;
            promise(&transaction, "vote", &vote)?;
            promise(&transaction, "purged", last)?;
            Ok(transaction.commit()?)
        };
        begin().map_err(|failure| self.refuse(failure))
    }

    /// What is in it, for comparing it with the state.
    pub fn summary(&self) -> Result<Summary, StateError> {
        let db = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || -> Access<Summary> {
            let vote: Option<VoteOf<Types>> = promised(&db, "vote")?;
            let purged = promised(&db, "purged")?;
            let last = last_entry(&db)?;
            Ok(Summary {
                is_new: vote.is_none() && purged.is_none() && last.is_none(),
                purged,
            })
        };
        read().map_err(|failure| self.refuse(failure))
    }

    fn refuse(&self, failure: Failure) -> StateError {
        match failure {
            Failure::Database(source) => RAFT.classify(&self.file, source),
            Failure::Document(error) => RAFT.damaged(&self.file, error.to_string()),
        }
    }

    async fn on<T: Send + 'static>(
        &self,
        db: &Arc<Mutex<Connection>>,
        what: &'static str,
        access: impl FnOnce(&mut Connection) -> Access<T> + Send + 'static,
    ) -> Result<T, io::Error> {
        let db = Arc::clone(db);
        let done = tokio::task::spawn_blocking(move || {
            access(&mut db.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let file = self.file.clone();
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Database(source))) => {
                Err(super::io_error(LogError::Database { what, file, source }))
            }
            Ok(Err(Failure::Document(source))) => {
                Err(super::io_error(LogError::Document { what, file, source }))
            }
            Err(_) => Err(super::io_error(LogError::Thread(what))),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Access<T> + Send + 'static,
    ) -> Result<T, io::Error> {
        self.on(&self.writer, what, |db| {
            let transaction = db.transaction()?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Connection) -> Access<T> + Send + 'static,
    ) -> Result<T, io::Error> {
        self.on(&self.reader, what, |db| look(db)).await
    }

    fn committed(&self) -> Option<LogIdOf<Types>> {
        *self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the columns of `promise`.
fn promised<T: DeserializeOwned>(db: &Connection, column: &'static str) -> Access<Option<T>> {
    let text: Option<String> = db
        .prepare_cached(&format!("SELECT {column} FROM promise"))?
        .query_row([], |row| row.get(0))?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

fn promise<T: Serialize>(db: &Connection, column: &'static str, value: &T) -> Access<()> {
    let text = serde_json::to_string(value)?;
    db.prepare_cached(&format!("UPDATE promise SET {column} = ?1"))?
        .execute([text])?;
    Ok(())
}

fn last_entry(db: &Connection) -> Access<Option<EntryOf<Types>>> {
    let text: Option<String> = db
        .prepare_cached("SELECT document FROM entry ORDER BY position DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// SQLite counts in signed numbers; no log gets that far.
fn position(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read("read entries", move |db| {
            let mut statement = db.prepare_cached(
                "SELECT document FROM entry WHERE position >= ?1 AND position < ?2 ORDER BY position",
            )?;
            let mut rows = statement.query(params![position(from), position(until)])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
                entries.push(serde_json::from_str(text)?);
            }
            Ok(entries)
        })
        .await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        self.read("read the vote", |db| promised(db, "vote")).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        self.read("read where the log stands", |db| {
            let purged: Option<LogIdOf<Types>> = promised(db, "purged")?;
            let last = last_entry(db)?.map(|entry| entry.log_id());
            Ok(LogState {
                last_log_id: last.or(purged),
                last_purged_log_id: purged,
            })
        })
        .await
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        let vote = *vote;
        self.write("write the vote", move |db| promise(db, "vote", &vote))
            .await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        *self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<Types>>, io::Error> {
        Ok(self.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<EntryOf<Types>> = entries.into_iter().collect();
        let committed = self.committed();
        let appended = self
            .write("append entries", move |db| {
                let mut statement = db.prepare_cached(
                    "INSERT OR REPLACE INTO entry (position, document) VALUES (?1, ?2)",
                )?;
                for entry in &entries {
                    let text = serde_json::to_string(entry)?;
                    statement.execute(params![position(entry.index()), text])?;
                }
                if let Some(committed) = committed {
                    promise(db, "committed", &committed)?;
                }
                Ok(())
            })
            .await;
        match appended {
            Ok(()) => {
                callback.io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.io_completed(Err(io::Error::other(error.to_string())));
                Err(error)
            }
        }
    }

    async fn truncate_after(
        &mut self,
        last_log_id: Option<LogIdOf<Types>>,
    ) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |last| last.index.saturating_add(1));
        self.write("cut the end of the log", move |db| {
            db.execute("DELETE FROM entry WHERE position >= ?1", [position(first)])?;
            Ok(())
        })
        .await
    }

    async fn purge(&mut self, log_id: LogIdOf<Types>) -> Result<(), io::Error> {
        self.write("remove old entries", move |db| {
            promise(db, "purged", &log_id)?;
            db.execute(
                "DELETE FROM entry WHERE position <= ?1",
                [position(log_id.index)],
            )?;
            Ok(())
        })
        .await
    }
}
