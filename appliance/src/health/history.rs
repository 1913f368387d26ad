//! What happened on this node: a bounded table of its own.
//!
//! It is in its own small file (`local.db`), because it is seen and not wanted:
//! it is not replicated, and losing it loses nothing but memories. One thread
//! writes, so that nobody who tells of an event waits for the disk; a reader has
//! its own connection. A file that cannot be opened is set aside, and if that
//! does not help the history lives in memory: it never keeps a node from working.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::Timestamp;
use ashlar_api::event::{Event, Severity};
use ashlar_api::job::Subject;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::broadcast;

/// How many events are kept.
pub const KEPT: u64 = 10_000;
/// How many events may wait for the disk.
const WAITING: usize = 512;

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("open the history {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// It cannot be read.
    #[error("read the history")]
    Read(#[source] rusqlite::Error),
    /// An event in it cannot be understood.
    #[error("read an event of the history")]
    Event(#[source] serde_json::Error),
    /// The thread that writes it cannot be started.
    #[error("start the thread that writes the history")]
    Thread(#[source] std::io::Error),
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: Option<Subject>,
    /// What happened, as one sentence.
    pub message: String,
    /// Who did it.
    pub by: Option<String>,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only older ones than this.
    pub before: Option<u64>,
    /// Only those that matter at least so much.
    pub severity: Option<Severity>,
    /// Only those about the object with this id.
    pub subject: Option<String>,
    /// Only those whose message or subject's name has this in it.
    pub text: Option<String>,
}

/// The history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    next: AtomicU64,
    reader: Mutex<Connection>,
    writer: SyncSender<Event>,
    told: broadcast::Sender<Event>,
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY,
    severity INTEGER NOT NULL,
    subject TEXT NOT NULL,
    searched TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS open_fault (
    fault TEXT PRIMARY KEY,
    boot TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;";

impl History {
    /// Opens the file, or begins a new one, or lives in memory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match connect(path) {
            Ok(pair) => Self::start(pair),
            Err(error) => {
                tracing::warn!("{}: set aside", crate::reconcile::chain(&error));
                let aside = path.with_extension("db.damaged");
                let _ = std::fs::rename(path, aside);
                for left in ["db-wal", "db-shm"] {
                    let _ = std::fs::remove_file(path.with_extension(left));
                }
                match connect(path) {
                    Ok(pair) => Self::start(pair),
                    Err(error) => {
                        tracing::warn!("{}: kept in memory", crate::reconcile::chain(&error));
                        Self::start(connect(&memory())?)
                    }
                }
            }
        }
    }

    fn start((writer, reader): (Connection, Connection)) -> Result<Self, Error> {
        let newest: Option<i64> = reader
            .query_row("SELECT max(id) FROM event", [], |row| row.get(0))
            .map_err(Error::Read)?;
        let next = newest.and_then(|id| u64::try_from(id).ok()).unwrap_or(0) + 1;
        let (sender, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write(&writer, &receiver))
            .map_err(Error::Thread)?;
        Ok(History(Arc::new(Inner {
            next: AtomicU64::new(next),
            reader: Mutex::new(reader),
            writer: sender,
            told: broadcast::channel(256).0,
        })))
    }

    /// Tells of an event: to whoever listens now, and to the file soon.
    pub fn tell(&self, new: NewEvent) -> Event {
        let event = Event {
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            at: Timestamp::now(),
            severity: new.severity,
            subject: new.subject,
            message: new.message,
            by: new.by,
        };
        match self.0.writer.try_send(event.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::warn!(event.message, "the history is too slow"),
            Err(TrySendError::Disconnected(_)) => tracing::warn!(event.message, "no history"),
        }
        // Nobody listening is no failure.
        let _ = self.0.told.send(event.clone());
        event
    }

    /// Hears of events.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.told.subscribe()
    }

    /// The newest `limit` events that pass the filter, and how many pass it in all.
    pub fn page(&self, filter: &Filter, limit: usize) -> Result<(Vec<Event>, usize), Error> {
        let before = filter
            .before
            .and_then(|id| i64::try_from(id).ok())
            .unwrap_or(i64::MAX);
        let severity = filter.severity.map_or(0, rank);
        let subject = filter.subject.as_deref().unwrap_or_default();
        let text = filter.text.as_deref().unwrap_or_default().to_lowercase();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        const WHERE: &str =
            "severity >= ?1 AND (?2 = '' OR subject = ?2) AND (?3 = '' OR instr(searched, ?3) > 0)";
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let total: i64 = reader
            .prepare_cached(&format!("SELECT count(*) FROM event WHERE {WHERE}"))
            .and_then(|mut s| s.query_row(params![severity, subject, text], |row| row.get(0)))
            .map_err(Error::Read)?;
        let documents: Vec<String> = reader
            .prepare_cached(&format!(
                "SELECT document FROM event WHERE {WHERE} AND id < ?4 ORDER BY id DESC LIMIT ?5"
            ))
            .and_then(|mut s| {
                s.query_map(params![severity, subject, text, before, limit], |row| {
                    row.get(0)
                })?
                .collect()
            })
            .map_err(Error::Read)?;
        drop(reader);
        let events = documents
            .iter()
            .map(|document| serde_json::from_str(document).map_err(Error::Event))
            .collect::<Result<_, _>>()?;
        Ok((events, usize::try_from(total).unwrap_or_default()))
    }

    /// Since when a fault is known in this boot; written down when it is new.
    /// The flag says whether it is new.
    pub fn fault_since(&self, fault: &str, boot: &str, now: Timestamp) -> (Timestamp, bool) {
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Option<String> = reader
            .prepare_cached("SELECT since FROM open_fault WHERE fault = ?1 AND boot = ?2")
            .and_then(|mut s| s.query_row([fault, boot], |row| row.get(0)).optional())
            .unwrap_or_default();
        if let Some(since) = known.and_then(|text| text.parse().ok()) {
            return (since, false);
        }
        let noted = reader.execute(
            "INSERT OR REPLACE INTO open_fault (fault, boot, since) VALUES (?1, ?2, ?3)",
            [fault, boot, &now.to_string()],
        );
        if let Err(error) = noted {
            tracing::warn!("the history cannot be written: {error}");
        }
        (now, true)
    }

    /// Forgets a fault that is over, and those of earlier boots.
    pub fn fault_over(&self, fault: &str, boot: &str) {
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = reader.execute(
            "DELETE FROM open_fault WHERE fault = ?1 OR boot <> ?2",
            [fault, boot],
        );
        if let Err(error) = gone {
            tracing::warn!("the history cannot be written: {error}");
        }
    }

    /// Which faults were open when the supervisor ended last, in this boot.
    pub fn open_faults(&self, boot: &str) -> Vec<String> {
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader
            .prepare_cached("SELECT fault FROM open_fault WHERE boot = ?1")
            .and_then(|mut s| s.query_map([boot], |row| row.get(0))?.collect())
            .unwrap_or_default()
    }
}

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    }
}

/// A name for a database in memory that two connections can share.
fn memory() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("file:history-{n}?mode=memory&cache=shared"))
}

fn connect(path: &Path) -> Result<(Connection, Connection), Error> {
    let open = || {
        let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        // What a power cut takes from the end of a history is no loss worth a flush each.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256;",
        )?;
        db.execute_batch(SCHEMA)?;
        Ok(db)
    };
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    Ok((open().map_err(failed)?, open().map_err(failed)?))
}

fn write(db: &Connection, events: &Receiver<Event>) {
    while let Ok(event) = events.recv() {
        let written = insert(db, &event);
        if let Err(error) = written {
            tracing::warn!("the history cannot be written: {error}");
        }
    }
}

fn insert(db: &Connection, event: &Event) -> rusqlite::Result<()> {
    let Ok(document) = serde_json::to_string(event) else {
        return Ok(());
    };
    let (subject, name) = match &event.subject {
        Some(subject) => (subject.id.as_str(), subject.name.as_str()),
        None => ("", ""),
    };
    let id = i64::try_from(event.id).unwrap_or(i64::MAX);
    let searched = format!("{} {name}", event.message).to_lowercase();
    db.prepare_cached(
        "INSERT OR REPLACE INTO event (id, severity, subject, searched, document) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![id, rank(event.severity), subject, searched, document])?;
    let oldest = i64::try_from(event.id.saturating_sub(KEPT)).unwrap_or(0);
    db.prepare_cached("DELETE FROM event WHERE id <= ?1")?
        .execute([oldest])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::job::Kind;

    fn event(message: &str, severity: Severity) -> NewEvent {
        NewEvent {
            severity,
            subject: Some(Subject {
                kind: Kind::Vm,
                id: "7".into(),
                name: "web-1".into(),
            }),
            message: message.into(),
            by: None,
        }
    }

    /// Waits until the thread has written what was told.
    fn page(history: &History, filter: &Filter, total: usize) -> Vec<Event> {
        for _ in 0..500 {
            let (events, found) = history.page(filter, 3).unwrap();
            if found == total {
                return events;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the history was not written");
    }

    #[test]
    fn is_read_newest_first_and_filtered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("local.db");
        let history = History::open(&path).unwrap();
        let mut heard = history.listen();
        for n in 0..10 {
            let severity = if n % 2 == 0 {
                Severity::Info
            } else {
                Severity::Critical
            };
            history.tell(event(&format!("Event {n}"), severity));
        }
        let all = page(&history, &Filter::default(), 10);
        assert_eq!(all.iter().map(|e| e.id).collect::<Vec<_>>(), [10, 9, 8]);
        let older = Filter {
            before: Some(3),
            ..Filter::default()
        };
        assert_eq!(page(&history, &older, 10).len(), 2);
        let bad = Filter {
            severity: Some(Severity::Warning),
            ..Filter::default()
        };
        assert!(
            page(&history, &bad, 5)
                .iter()
                .all(|e| e.severity == Severity::Critical)
        );
        let named = Filter {
            text: Some("WEB".into()),
            subject: Some("7".into()),
            ..Filter::default()
        };
        assert_eq!(page(&history, &named, 10).len(), 3);
        let text = Filter {
            text: Some("event 4".into()),
            ..Filter::default()
        };
        assert_eq!(page(&history, &text, 1)[0].id, 5);
        assert_eq!(heard.try_recv().unwrap().message, "Event 0");
        drop(history);
        let again = History::open(&path).unwrap();
        assert_eq!(again.tell(event("after", Severity::Info)).id, 11);
    }

    #[test]
    fn stays_bounded() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(SCHEMA).unwrap();
        for id in [1, 2, KEPT, KEPT + 1] {
            let event = Event {
                id,
                at: Timestamp::now(),
                severity: Severity::Info,
                subject: None,
                message: "x".into(),
                by: None,
            };
            insert(&db, &event).unwrap();
        }
        let left: Vec<i64> = db
            .prepare("SELECT id FROM event ORDER BY id")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(left, [2, 10_000, 10_001]);
    }

    #[test]
    fn a_damaged_file_or_none_keeps_nobody_from_working() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("local.db");
        std::fs::write(&path, vec![7u8; 8192]).unwrap();
        let history = History::open(&path).unwrap();
        history.tell(event("hello", Severity::Info));
        assert_eq!(page(&history, &Filter::default(), 1).len(), 1);
        assert!(directory.path().join("local.db.damaged").exists());
        let nowhere = History::open(Path::new("/proc/none/local.db")).unwrap();
        nowhere.tell(event("hello", Severity::Info));
        assert_eq!(page(&nowhere, &Filter::default(), 1).len(), 1);
    }

    #[test]
    fn faults_keep_their_beginning_within_a_boot() {
        let history = History::open(Path::new("/proc/none/local.db")).unwrap();
        let first: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        assert_eq!(history.fault_since("a", "boot-1", first), (first, true));
        assert_eq!(history.fault_since("a", "boot-1", later), (first, false));
        assert_eq!(history.open_faults("boot-1"), ["a"]);
        assert_eq!(history.fault_since("a", "boot-2", later), (later, true));
        history.fault_over("a", "boot-2");
        assert!(history.open_faults("boot-2").is_empty());
    }
}
