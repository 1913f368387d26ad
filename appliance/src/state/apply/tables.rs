//! The tables of the state, as records, inside one command.
//!
//! Every write goes through [`Tables::put`] and [`Tables::remove`], which keep
//! the links beside the documents and note what changed. All records that a
//! command changes get the same revision: that of the state with the command.

use std::collections::BTreeSet;

use ashlar_api::Timestamp;
use ashlar_api::job::{Kind, Subject};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::{Linked, Role};
use super::{Stop, invalid};
use crate::state::command::Refusal;
use crate::state::schema::{Record, SiteRecord};

/// Why the state machine could not go on. Not a refusal: the database failed
/// or holds what can not be read.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// SQLite failed.
    #[error("apply a command to the state")]
    Database(#[from] rusqlite::Error),
    /// A document is not what it should be.
    #[error("read the {noun} {id}")]
    Document {
        /// Of which noun.
        noun: &'static str,
        /// Which one.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The one site's key.
pub const SITE: &str = "site";

/// Runs statements without results.
pub fn batch(db: &Connection, sql: &str) -> Result<(), ApplyError> {
    Ok(db.execute_batch(sql)?)
}

/// The state, as one command sees and changes it.
pub struct Tables<'t> {
    db: &'t Connection,
    /// Who proposed the command.
    pub by: &'t str,
    /// When it was proposed.
    pub at: Timestamp,
    before: u64,
    changed: BTreeSet<(Kind, String)>,
}

impl<'t> Tables<'t> {
    pub fn new(db: &'t Connection, by: &'t str, at: Timestamp) -> Result<Self, ApplyError> {
        let before = revision(db)?;
        Ok(Tables {
            db,
            by,
            at,
            before,
            changed: BTreeSet::new(),
        })
    }

    /// The revision that changed records get.
    fn revision(&self) -> u64 {
        self.before + 1
    }

    /// Ends the command: the state's revision with it, and what changed.
    pub fn finish(self) -> Result<(u64, Vec<(Kind, String)>), ApplyError> {
        if self.changed.is_empty() {
            return Ok((self.before, Vec::new()));
        }
        let revision = self.revision();
        self.db
            .prepare_cached("UPDATE applied SET revision = ?1")?
            .execute([i64::try_from(revision).unwrap_or(i64::MAX)])?;
        Ok((revision, self.changed.into_iter().collect()))
    }

    /// A record, if it is there.
    pub fn get<R: Record>(&self, id: R::Id) -> Result<Option<R>, ApplyError> {
        self.get_text(&id.to_string())
    }

    /// A record by the text of its id.
    pub fn get_text<R: Record>(&self, id: &str) -> Result<Option<R>, ApplyError> {
        self.read(
            &format!("SELECT document FROM {} WHERE id = ?1", R::TABLE),
            R::NOUN,
            id,
        )
    }

    fn read<T: DeserializeOwned>(
        &self,
        sql: &str,
        noun: &'static str,
        id: &str,
    ) -> Result<Option<T>, ApplyError> {
        let document: Option<String> = self
            .db
            .prepare_cached(sql)?
            .query_row([id], |row| row.get(0))
            .optional()?;
        document
            .map(|document| {
                serde_json::from_str(&document).map_err(|source| ApplyError::Document {
                    noun,
                    id: id.to_owned(),
                    source,
                })
            })
            .transpose()
    }

    /// A record that must be there.
    pub fn need<R: Record>(&self, id: R::Id) -> Result<R, Stop> {
        self.get(id)?.ok_or_else(|| {
            Stop::Refused(Refusal::NotFound {
                what: R::NOUN.to_owned(),
                id: id.to_string(),
            })
        })
    }

    /// A record that must be there and as it was when it was read.
    pub fn need_revision<R: Record>(&self, id: R::Id, wanted: Option<u64>) -> Result<R, Stop> {
        let record: R = self.need(id)?;
        unchanged(wanted, record.revision())?;
        Ok(record)
    }

    /// Every record of a noun, in order of id.
    pub fn all<R: Record>(&self) -> Result<Vec<R>, ApplyError> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT id, document FROM {} ORDER BY id",
            R::TABLE
        ))?;
        let mut rows = statement.query([])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let document = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            records.push(serde_json::from_str(document).map_err(|source| {
                ApplyError::Document {
                    noun: R::NOUN,
                    id: row.get(0).unwrap_or_default(),
                    source,
                }
            })?);
        }
        Ok(records)
    }

    /// Whether there is any record of a noun.
    pub fn any<R: Record>(&self) -> Result<bool, ApplyError> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", R::TABLE);
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_row([], |row| row.get(0))?)
    }

    /// Makes a record whose id and name must be free.
    pub fn insert<R: Linked>(&mut self, record: R) -> Result<(), Stop> {
        if self.get::<R>(record.id())?.is_some() {
            let message = format!("there is a {} with this id already", R::NOUN);
            return Err(invalid("id", message));
        }
        self.free_name(&record)?;
        Ok(self.put(record)?)
    }

    /// Refuses a name that another record of the noun has.
    pub fn free_name<R: Record>(&self, record: &R) -> Result<(), Stop> {
        if !R::UNIQUE_NAME {
            return Ok(());
        }
        let name = record.name();
        let sql = format!("SELECT id FROM {} WHERE name = ?1", R::TABLE);
        let holder: Option<String> = self
            .db
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([&name], |row| row.get(0)).optional())
            .map_err(ApplyError::from)?;
        match holder {
            Some(holder) if holder != record.id().to_string() => {
                Err(Stop::Refused(Refusal::NameTaken {
                    what: R::NOUN.to_owned(),
                    name,
                }))
            }
            _ => Ok(()),
        }
    }

    /// Writes a record with the command's revision.
    pub fn put<R: Linked>(&mut self, mut record: R) -> Result<(), ApplyError> {
        record.set_revision(self.revision());
        let id = record.id().to_string();
        let document = document(R::NOUN, &id, &record)?;
        let sql = format!(
            "INSERT INTO {} (id, name, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, document = excluded.document",
            R::TABLE
        );
        self.db
            .prepare_cached(&sql)?
            .execute(params![id, record.name(), document])?;
        self.unlink(&id)?;
        for (role, target) in record.links() {
            self.db
                .prepare_cached(
                    "INSERT OR IGNORE INTO link (role, target, source) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![role.text(), target, id])?;
        }
        self.changed.insert((R::KIND, id));
        Ok(())
    }

    /// Removes a record.
    pub fn remove<R: Record>(&mut self, id: &str) -> Result<(), ApplyError> {
        let sql = format!("DELETE FROM {} WHERE id = ?1", R::TABLE);
        if self.db.prepare_cached(&sql)?.execute([id])? > 0 {
            self.unlink(id)?;
            self.changed.insert((R::KIND, id.to_owned()));
        }
        Ok(())
    }

    fn unlink(&self, source: &str) -> Result<(), ApplyError> {
        self.db
            .prepare_cached("DELETE FROM link WHERE source = ?1")?
            .execute([source])?;
        Ok(())
    }

    /// Ids of the records that need this thing in this role, in order.
    pub fn linked(&self, role: Role, target: impl ToString) -> Result<Vec<String>, ApplyError> {
        let mut statement = self.db.prepare_cached(
            "SELECT source FROM link WHERE role = ?1 AND target = ?2 ORDER BY source",
        )?;
        let rows =
            statement.query_map(params![role.text(), target.to_string()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Every thing that is needed in this role, with who needs it, in order of the thing.
    pub fn targets(&self, role: Role) -> Result<Vec<(String, String)>, ApplyError> {
        let mut statement = self.db.prepare_cached(
            "SELECT target, source FROM link WHERE role = ?1 ORDER BY target, source",
        )?;
        let rows = statement.query_map([role.text()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The site, once it is claimed.
    pub fn site(&self) -> Result<Option<SiteRecord>, ApplyError> {
        self.read("SELECT document FROM site WHERE id = ?1", SITE, SITE)
    }

    /// Writes the site with the command's revision.
    pub fn put_site(&mut self, mut site: SiteRecord) -> Result<(), ApplyError> {
        site.revision = self.revision();
        let document = document(SITE, SITE, &site)?;
        self.db
            .prepare_cached(
                "INSERT INTO site (id, document) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            )?
            .execute([SITE, &document])?;
        self.changed.insert((Kind::Site, SITE.to_owned()));
        Ok(())
    }

    /// A record as people say it: the noun and the name.
    pub fn called<R: Record>(&self, id: &str) -> Result<String, ApplyError> {
        Ok(match self.get_text::<R>(id)? {
            Some(record) => format!("the {} `{}`", R::NOUN, record.name()),
            None => format!("a {}", R::NOUN),
        })
    }
}

/// Several records as people say them, the first few by name.
pub fn called_all<R: Record>(t: &Tables<'_>, ids: &[String]) -> Result<String, ApplyError> {
    const NAMED: usize = 3;
    let mut names = Vec::new();
    for id in ids.iter().take(NAMED) {
        names.push(t.called::<R>(id)?);
    }
    let text = names.join(", ");
    Ok(match ids.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    })
}

/// What a record is called, for jobs.
pub fn subject<R: Record>(record: &R) -> Subject {
    Subject {
        kind: R::KIND,
        id: record.id().to_string(),
        name: record.name(),
    }
}

/// Refuses a change of what was changed since it was read.
pub fn unchanged(wanted: Option<u64>, found: u64) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != found => Err(Refusal::Changed { wanted, found }),
        _ => Ok(()),
    }
}

/// The state's revision.
pub fn revision(db: &Connection) -> Result<u64, ApplyError> {
    let revision: i64 = db
        .prepare_cached("SELECT revision FROM applied")?
        .query_row([], |row| row.get(0))?;
    Ok(u64::try_from(revision).unwrap_or_default())
}

fn document<T: Serialize>(noun: &'static str, id: &str, value: &T) -> Result<String, ApplyError> {
    serde_json::to_string(value).map_err(|source| ApplyError::Document {
        noun,
        id: id.to_owned(),
        source,
    })
}
