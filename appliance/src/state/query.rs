//! Reading: the tables as records, on read-only connections.
//!
//! Every call is one statement, so what it returns is one moment of the state;
//! WAL lets it go on while the state machine writes. Connections are few and
//! kept, with their prepared statements: a list of a thousand machines is
//! parsing JSON and nothing else.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::de::DeserializeOwned;

use super::migrate::{STATE, reader};
use super::schema::{Record, SessionRecord, SiteRecord, TokenRecord};
use super::{StateError, Store};

/// How many idle connections are kept.
const KEPT: usize = 4;

/// Read-only connections to `state.db`.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn new(path: &Path) -> Readers {
        Readers {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Lends a connection.
    pub fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let failed = |source| STATE.classify(&self.path, source);
        let db = match idle {
            Some(db) => db,
            None => reader(&self.path).map_err(failed)?,
        };
        let result = read(&db).map_err(failed)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(db);
        }
        Ok(result)
    }

    fn documents<T: DeserializeOwned>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
    ) -> Result<Vec<T>, StateError> {
        let parsed = self.with(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            let mut parsed = Vec::new();
            while let Some(row) = rows.next()? {
                parsed.push(parse(row)?);
            }
            Ok(parsed)
        })?;
        parsed
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error: serde_json::Error| self.unreadable(&error))
    }

    fn document<T: DeserializeOwned>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
    ) -> Result<Option<T>, StateError> {
        self.with(|db| {
            db.prepare_cached(sql)?
                .query_row(parameters, parse)
                .optional()
        })?
        .transpose()
        .map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> StateError {
        STATE.damaged(&self.path, format!("a record can not be read: {error}"))
    }
}

/// The document in the first column.
fn parse<T: DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<serde_json::Result<T>> {
    Ok(serde_json::from_str(row.get_ref(0)?.as_str()?))
}

/// Where a page ended: what to give as `after` to get the next one.
pub fn cursor<R: Record>(last: &R) -> String {
    if R::UNIQUE_NAME {
        last.name()
    } else {
        format!("{}{SEPARATOR}{}", last.name(), last.id())
    }
}

/// Neither in a name nor in a time nor in an id.
const SEPARATOR: char = '~';

impl Store {
    /// Every record of a noun: in order of name, or the newest first where names are times.
    pub fn list<R: Record>(&self) -> Result<Vec<R>, StateError> {
        let order = if R::NEWEST_FIRST { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT document FROM {} ORDER BY name {order}, id {order}",
            R::TABLE
        );
        self.readers().documents(&sql, &[])
    }

    /// One record by id.
    pub fn get<R: Record>(&self, id: R::Id) -> Result<Option<R>, StateError> {
        let sql = format!("SELECT document FROM {} WHERE id = ?1", R::TABLE);
        self.readers().document(&sql, &[&id.to_string()])
    }

    /// One record by name, in upper or lower case; the first where a name is not unique.
    pub fn find<R: Record>(&self, name: &str) -> Result<Option<R>, StateError> {
        let sql = format!(
            "SELECT document FROM {} WHERE name = ?1 ORDER BY id LIMIT 1",
            R::TABLE
        );
        self.readers().document(&sql, &[&name])
    }

    /// At most `limit` records after the one that `after` names (see [`cursor`]),
    /// whose name has `filter` in it, with the number of all that match.
    pub fn page<R: Record>(
        &self,
        after: Option<&str>,
        limit: usize,
        filter: Option<&str>,
    ) -> Result<(Vec<R>, usize), StateError> {
        let (order, beyond) = if R::NEWEST_FIRST {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        };
        // Jobs and sessions are named by their time; a person looks for what they are about.
        let searched = match R::TABLE {
            "job" => "document ->> '$.subject.name'",
            "session" => "document ->> '$.address'",
            _ => "name",
        };
        let matches = format!("(?1 = '' OR instr(lower({searched}), ?1) > 0)");
        let filter = filter.unwrap_or_default().to_ascii_lowercase();
        // A cursor without an id stands behind all records of its name.
        let (name, id) = match after {
            Some(after) => match after.split_once(SEPARATOR) {
                Some((name, id)) => (name, id),
                None => (after, ""),
            },
            None => ("", ""),
        };
        let position = match (after, id) {
            (None, _) => "?2 = ?2 AND ?3 = ?3".to_owned(),
            (Some(_), "") => format!("name {beyond} ?2 AND ?3 = ?3"),
            (Some(_), _) => format!("(name, id) {beyond} (?2, ?3)"),
        };
        let sql = format!(
            "SELECT document FROM {} WHERE {matches} AND {position}
             ORDER BY name {order}, id {order} LIMIT ?4",
            R::TABLE
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let items = self
            .readers()
            .documents(&sql, &[&filter, &name, &id, &limit])?;
        let sql = format!("SELECT count(*) FROM {} WHERE {matches}", R::TABLE);
        let total: i64 = self
            .readers()
            .with(|db| db.prepare_cached(&sql)?.query_row([&filter], |r| r.get(0)))?;
        Ok((items, usize::try_from(total).unwrap_or_default()))
    }

    /// The site; none until it is claimed.
    pub fn site(&self) -> Result<Option<SiteRecord>, StateError> {
        self.readers().document("SELECT document FROM site", &[])
    }

    /// The session that a cookie's secret belongs to.
    pub fn session_by_hash(&self, secret_hash: &str) -> Result<Option<SessionRecord>, StateError> {
        self.readers().document(
            "SELECT document FROM session WHERE document ->> '$.secret_hash' = ?1",
            &[&secret_hash],
        )
    }

    /// The token that a secret belongs to.
    pub fn token_by_hash(&self, secret_hash: &str) -> Result<Option<TokenRecord>, StateError> {
        self.readers().document(
            "SELECT document FROM token WHERE document ->> '$.secret_hash' = ?1",
            &[&secret_hash],
        )
    }
}
