//! Snapshots: the whole of `state.db` as one file, so that the log can be cut
//! and a member that is far behind can catch up.
//!
//! A snapshot is written beside its place, flushed, and moved there, so a file
//! under its name is whole whenever the power goes. It says itself which entry
//! it ends with; its name only sorts. One is kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{RaftSnapshotBuilder, Snapshot, SnapshotMeta};
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::{Types, io_error};
use crate::state::migrate::reader;

/// A snapshot in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile(pub PathBuf);

/// Why a snapshot could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// SQLite failed.
    #[error("{what} {}", file.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What it says about itself can not be read.
    #[error("read what {} is a snapshot of", file.display())]
    Document {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file system failed.
    #[error("{what} {}", file.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a state ends: the last entry and the last membership in it.
pub struct End {
    /// The last entry.
    pub entry: Option<LogIdOf<Types>>,
    /// The last membership.
    pub membership: StoredMembershipOf<Types>,
}

/// Reads where the state in a database ends.
pub fn end(db: &Connection, file: &Path) -> Result<End, SnapshotError> {
    let (entry, membership): (Option<String>, Option<String>) = db
        .prepare_cached("SELECT entry, membership FROM applied")
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(|source| SnapshotError::Database {
            what: "read the end of",
            file: file.to_owned(),
            source,
        })?;
    Ok(End {
        entry: parse(entry, file)?,
        membership: parse(membership, file)?.unwrap_or_default(),
    })
}

fn parse<T: DeserializeOwned>(
    text: Option<String>,
    file: &Path,
) -> Result<Option<T>, SnapshotError> {
    text.map(|text| {
        serde_json::from_str(&text).map_err(|source| SnapshotError::Document {
            file: file.to_owned(),
            source,
        })
    })
    .transpose()
}

/// The folder of the snapshots.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// Where it is.
    pub folder: PathBuf,
}

const PART: &str = "part";

impl Snapshots {
    /// Opens the folder; removes what an interruption left.
    pub fn open(folder: &Path) -> Result<Snapshots, SnapshotError> {
        let at = |what, source| SnapshotError::File {
            what,
            file: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(|source| at("make", source))?;
        let snapshots = Snapshots {
            folder: folder.to_owned(),
        };
        for file in snapshots.files()? {
            if file.extension().is_some_and(|extension| extension == PART) {
                fs::remove_file(&file).map_err(|source| at("tidy up", source))?;
            }
        }
        Ok(snapshots)
    }

    /// Everything in the folder, in order of name.
    fn files(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let read = || -> io::Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for file in fs::read_dir(&self.folder)? {
                files.push(file?.path());
            }
            files.sort();
            Ok(files)
        };
        read().map_err(|source| SnapshotError::File {
            what: "list",
            file: self.folder.clone(),
            source,
        })
    }

    /// The newest snapshot that can be read.
    pub fn current(&self) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, SnapshotError> {
        for file in self.files()?.into_iter().rev() {
            if file.extension().is_none_or(|extension| extension != "db") {
                continue;
            }
            match describe(&file) {
                Ok(meta) => {
                    return Ok(Some(Snapshot {
                        meta,
                        snapshot: SnapshotFile(file),
                    }));
                }
                // An older one or the state itself stands in for it.
                Err(error) => {
                    tracing::warn!("skip a snapshot: {}", crate::state::error::chain(&error));
                }
            }
        }
        Ok(None)
    }

    /// Writes the present state of `database` as the one snapshot.
    pub fn build(&self, database: &Path) -> Result<SnapshotOf<Types, SnapshotFile>, SnapshotError> {
        let part = self.folder.join(format!("new.{PART}"));
        let failed = |what, source| SnapshotError::Database {
            what,
            file: database.to_owned(),
            source,
        };
        remove(&part)?;
        let db = reader(database).map_err(|source| failed("open", source))?;
        db.execute("VACUUM INTO ?1", [part.to_string_lossy()])
            .map_err(|source| failed("copy", source))?;
        drop(db);
        self.keep(&part)
    }

    /// Takes a snapshot file in as the one snapshot.
    pub fn keep(&self, part: &Path) -> Result<SnapshotOf<Types, SnapshotFile>, SnapshotError> {
        let meta = describe(part)?;
        let number = meta.last_log_id.as_ref().map_or(0, |last| last.index);
        let file = self.folder.join(format!("{number:020}.db"));
        let at = |what, source| SnapshotError::File {
            what,
            file: file.clone(),
            source,
        };
        let flush = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        flush(part).map_err(|source| at("flush", source))?;
        fs::rename(part, &file).map_err(|source| at("put in place", source))?;
        flush(&self.folder).map_err(|source| at("flush the folder of", source))?;
        for other in self.files()? {
            if other != file {
                remove(&other)?;
            }
        }
        Ok(Snapshot {
            meta,
            snapshot: SnapshotFile(file),
        })
    }

    /// Where a snapshot can be written that is then kept.
    pub fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{PART}"))
    }
}

fn remove(file: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SnapshotError::File {
            what: "remove",
            file: file.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// What a file is a snapshot of.
fn describe(file: &Path) -> Result<SnapshotMetaOf<Types>, SnapshotError> {
    let db = reader(file).map_err(|source| SnapshotError::Database {
        what: "open",
        file: file.to_owned(),
        source,
    })?;
    let end = end(&db, file)?;
    Ok(SnapshotMeta {
        last_log_id: end.entry,
        last_membership: end.membership,
    })
}

/// Makes a snapshot off the async threads, while the state machine goes on.
pub struct Builder {
    /// Where it goes.
    pub snapshots: Snapshots,
    /// What it is made of.
    pub database: PathBuf,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotFile>, io::Error> {
        let (snapshots, database) = (self.snapshots.clone(), self.database.clone());
        tokio::task::spawn_blocking(move || snapshots.build(&database))
            .await
            .map_err(io_error)?
            .map_err(io_error)
    }
}
