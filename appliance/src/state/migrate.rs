//! Opening a database file: the settings it runs with, whether it is sound,
//! and bringing an older one up to date.
//!
//! `PRAGMA user_version` counts the migrations that a file has seen. A file
//! from a newer program is refused, never guessed at: what an older program
//! would write into it could mean something else to the newer one. A file that
//! can not be read is refused too and left where it is; whether to set it aside
//! is for a person to decide.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StateError;

/// A database file and the migrations that lead to its present shape. A
/// migration that was released never changes; a new command or a new field in
/// the log is a migration as well, if only to tell older programs.
pub struct Schema {
    /// Its migrations, oldest first.
    pub migrations: &'static [&'static str],
    /// What is lost without the file and what to do about that, for messages.
    pub remedy: &'static str,
}

/// The raft log.
pub const RAFT: Schema = Schema {
    migrations: &[include_str!("../../migrations/raft/0001_log.sql")],
    remedy: "Set raft.db aside: the node then goes on with the settings in state.db, and only the last changes before the damage may be missing.",
};

/// The state machine.
pub const STATE: Schema = Schema {
    migrations: &[include_str!("../../migrations/state/0001_records.sql")],
    remedy: "Set state.db aside: it is made again from the newest snapshot and the log, and nothing is lost while those are sound.",
};

/// When a transaction counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on the disk. For the log: what was promised is kept.
    Every,
    /// In order, but the last ones can be lost with the power. For the state
    /// machine: the log has them and applies them again.
    Ordered,
}

/// How long a connection waits for another one that is writing.
const BUSY: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How many prepared statements a connection keeps: all that there are.
const STATEMENTS: usize = 128;

impl Schema {
    /// The newest format this program knows.
    pub fn version(&self) -> u32 {
        u32::try_from(self.migrations.len()).unwrap_or(u32::MAX)
    }

    /// Opens the file for writing, making it when it is absent, and brings it up to date.
    pub fn open(&self, path: &Path, durability: Durability) -> Result<Connection, StateError> {
        let failed = |source| self.classify(path, source);
        let mut db = Connection::open(path).map_err(failed)?;
        db.busy_timeout(BUSY).map_err(failed)?;
        self.known_version(path, &db)?;
        let synchronous = match durability {
            Durability::Every => "FULL",
            Durability::Ordered => "NORMAL",
        };
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -1024;
             PRAGMA journal_size_limit = 4194304;"
        ))
        .map_err(failed)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        self.examine(path, &db)?;
        self.migrate(path, &mut db)?;
        db.execute(
            "UPDATE about SET version = ?1 WHERE version <> ?1",
            [env!("CARGO_PKG_VERSION")],
        )
        .map_err(failed)?;
        Ok(db)
    }

    /// The format of an open file, which must be one that this program knows.
    pub fn known_version(&self, path: &Path, db: &Connection) -> Result<u32, StateError> {
        let found = version(db).map_err(|source| self.classify(path, source))?;
        if found > self.version() {
            return Err(self.newer(path, db, found));
        }
        Ok(found)
    }

    /// Brings an open file up to date.
    pub fn migrate(&self, path: &Path, db: &mut Connection) -> Result<(), StateError> {
        let found = self.known_version(path, db)?;
        for (number, migration) in (1u32..).zip(self.migrations) {
            if number <= found {
                continue;
            }
            tracing::info!(file = %path.display(), number, "migrate");
            let step = |db: &mut Connection| {
                let transaction = db.transaction()?;
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "user_version", number)?;
                transaction.commit()
            };
            step(db).map_err(|source| StateError::Migrate {
                file: path.to_owned(),
                number,
                source,
            })?;
        }
        Ok(())
    }

    /// Looks for damage. The files are small, so the whole of them is read.
    fn examine(&self, path: &Path, db: &Connection) -> Result<(), StateError> {
        let verdict: String = db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|source| self.classify(path, source))?;
        if verdict == "ok" {
            Ok(())
        } else {
            Err(self.damaged(path, verdict))
        }
    }

    /// An error of SQLite as one of ours.
    pub fn classify(&self, path: &Path, source: rusqlite::Error) -> StateError {
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                self.damaged(path, source.to_string())
            }
            _ => StateError::File {
                file: path.to_owned(),
                source,
            },
        }
    }

    /// The file can not be used, with what was found.
    pub fn damaged(&self, path: &Path, detail: impl Into<String>) -> StateError {
        StateError::Damaged {
            file: path.to_owned(),
            detail: detail.into(),
            remedy: self.remedy,
            aside: path.to_owned(),
        }
    }

    fn newer(&self, path: &Path, db: &Connection, found: u32) -> StateError {
        // Only to say it: a format that moved even this is still refused.
        let program = db
            .query_row("SELECT version FROM about", [], |row| row.get(0))
            .unwrap_or_else(|_| "unknown".to_owned());
        StateError::Newer {
            file: path.to_owned(),
            found,
            program,
            known: self.version(),
        }
    }
}

fn version(db: &Connection) -> rusqlite::Result<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Opens a file for reading only.
pub fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.execute_batch("PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY;")?;
    Ok(db)
}
