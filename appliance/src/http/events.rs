//! What is happening, as server-sent events.
//!
//! ```text
//!   state changes ─┐
//!   domains' views ─┤ gathered for 250 ms,  ┌─► reader: bounded; who is too slow
//!   jobs, history  ─┼─► compared, written ──┼─► is greeted again and reads anew
//!   load, faults   ─┘   once for everybody  └─►
//! ```
//!
//! A message says what changed, not what it became (except for what cannot be
//! read again: events, load, progress), so a lost one costs a reader nothing but
//! a fresh look. While nobody reads, nothing is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, ContentEncoding};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, get, web};
use ashlar_api::JobId;
use ashlar_api::error::Code;
use ashlar_api::event::Change;
use ashlar_api::job::Kind;
use ashlar_api::vm::VmStatus;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::NoQuery;
use super::{Shared, job};
use crate::state::schema::JobRecord;

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(250);
/// A reader hears something at least so often.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How far a reader may fall behind.
const BACKLOG: usize = 256;
/// How many readers there may be.
const READERS: usize = 128;
/// More changes of one noun than this are told as one.
const MANY: usize = 32;

/// A message, written once for all readers.
#[derive(Clone, Debug)]
struct Message {
    text: Bytes,
    /// It may have changed what readers may see.
    rights: bool,
}

/// Where messages are told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<Message>,
    hello: Bytes,
    places: Arc<Semaphore>,
}

impl Feed {
    /// A feed that nobody reads yet.
    pub fn new(instance: &str) -> Self {
        let hello = Change::Hello {
            instance: instance.to_owned(),
            version: crate::sys::release::version().to_owned(),
        };
        Feed {
            sender: broadcast::channel(BACKLOG).0,
            hello: written(&hello),
            places: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Tells that an object changed; `*` for any of its noun.
    pub fn changed(&self, kind: Kind, id: &str) {
        self.tell(&Change::Object {
            kind,
            id: id.to_owned(),
        });
    }

    fn tell(&self, change: &Change) {
        let rights = matches!(
            change,
            Change::Object {
                kind: Kind::Session | Kind::Token | Kind::User,
                ..
            }
        );
        // Nobody reading is no failure.
        let _ = self.sender.send(Message {
            text: written(change),
            rights,
        });
    }

    fn is_read(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

/// A change as a server-sent event.
fn written(change: &Change) -> Bytes {
    let name = match change {
        Change::Hello { .. } => "hello",
        Change::Object { .. } => "object",
        Change::Job { .. } => "job",
        Change::Event { .. } => "event",
        Change::Metrics { .. } => "metrics",
    };
    // Serialising cannot fail, and JSON text has no line breaks.
    let data = serde_json::to_string(change).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// What is happening, for as long as the reader stays
///
/// The first message is `hello`; a `hello` later means that messages were lost:
/// read everything again.
#[utoipa::path(responses((status = 200, description = "Server-sent events; each `data` is a `Change`.", body = Change, content_type = "text/event-stream")))]
#[get("/events")]
pub async fn stream(shared: web::Data<Shared>, caller: Caller, _: web::Query<NoQuery>) -> Answer {
    let place = Arc::clone(&shared.feed.places).try_acquire_owned();
    let place = place.map_err(|_| {
        Failure::new(Code::TooManyRequests, "too many readers")
            .remedy("Close a window of the console.")
    })?;
    let reader = Reader {
        receiver: shared.feed.sender.subscribe(),
        heartbeat: Instant::now() + HEARTBEAT,
        greet: true,
        shared,
        caller,
        _place: place,
    };
    let messages = futures_util::stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok::<_, actix_web::Error>(text), reader))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header(ContentEncoding::Identity)
        .insert_header(("x-accel-buffering", "no"))
        .streaming(messages))
}

struct Reader {
    receiver: broadcast::Receiver<Message>,
    heartbeat: Instant,
    greet: bool,
    shared: web::Data<Shared>,
    caller: Caller,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next text for this reader; nothing when it may not read any more.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.greet) {
            return Some(self.shared.feed.hello.clone());
        }
        // Both arms are cancel-safe: a channel keeps what was not received, and
        // the time of the heartbeat is kept in `self`.
        tokio::select! {
            received = self.receiver.recv() => match received {
                Ok(message) => {
                    if message.rights && !self.caller.still_welcome(&self.shared) {
                        return None;
                    }
                    self.heartbeat = Instant::now() + HEARTBEAT;
                    Some(message.text)
                }
                Err(RecvError::Lagged(_)) => Some(self.shared.feed.hello.clone()),
                Err(RecvError::Closed) => None,
            },
            () = tokio::time::sleep_until(self.heartbeat) => {
                self.heartbeat = Instant::now() + HEARTBEAT;
                self.caller.still_welcome(&self.shared).then(|| Bytes::from_static(b": still here\n\n"))
            }
        }
    }
}

/// Gathers and tells until `stop` turns true.
pub async fn feed(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let app = &shared.app;
    let mut changes = app.store.changes();
    let mut told = app.board.listen();
    let mut events = app.health.history.listen();
    let mut samples = app.health.metrics.listen();
    let mut faults = app.health.watch_faults();
    let mut certificate = app.certificate.watch();
    let mut updates = app.updates.watch();
    let mut seen = app.seen.clone();
    let mut gathered = Gathered::default();
    let mut due: Option<Instant> = None;
    loop {
        let now_due = due.unwrap_or_else(Instant::now);
        // Every arm is cancel-safe: channels keep what was not received, watches
        // their newest value, and the due time is kept outside.
        tokio::select! {
            () = tokio::time::sleep_until(now_due), if due.is_some() => {
                due = None;
                gathered.tell(&shared);
            }
            changed = changes.recv() => match changed {
                Ok(changed) => gathered.note(changed.kind, changed.id),
                Err(RecvError::Lagged(_)) => gathered.note_all(),
                Err(RecvError::Closed) => return,
            },
            job = told.recv() => match job {
                Ok(job) => { gathered.jobs.insert(job); }
                Err(RecvError::Lagged(_)) => gathered.note(Kind::Job, "*".to_owned()),
                Err(RecvError::Closed) => return,
            },
            event = events.recv() => if let Ok(event) = event {
                shared.feed.tell(&Change::Event { event });
                continue;
            },
            sample = ended(samples.changed()) => {
                if !sample { return; }
                if let Some(sample) = *samples.borrow_and_update() {
                    shared.feed.tell(&Change::Metrics { sample });
                }
                continue;
            }
            alive = ended(faults.changed()) => {
                if !alive { return; }
                gathered.note(Kind::Fault, "*".to_owned());
            }
            alive = ended(certificate.changed()) => {
                if !alive { return; }
                gathered.note(Kind::Site, "*".to_owned());
            }
            alive = ended(updates.changed()) => {
                if !alive { return; }
                gathered.note(Kind::Update, "*".to_owned());
            }
            alive = ended(seen.network.changed()) => { if !alive { return; } gathered.network = true; }
            alive = ended(seen.storage.changed()) => { if !alive { return; } gathered.storage = true; }
            alive = ended(seen.vm.changed()) => { if !alive { return; } gathered.vm = true; }
            alive = ended(seen.service.changed()) => { if !alive { return; } gathered.service = true; }
            alive = ended(seen.hardware.changed()) => {
                if !alive { return; }
                gathered.note(Kind::Hardware, "*".to_owned());
            }
            alive = ended(stop.changed()) => { if !alive || *stop.borrow() { return; } continue; }
        }
        if !shared.feed.is_read() {
            // Whoever comes later reads everything anyway.
            gathered = Gathered::default();
            due = None;
        } else if due.is_none() {
            due = Some(Instant::now() + GATHER);
        }
    }
}

/// Whether what is watched is still there.
async fn ended(changed: impl Future<Output = Result<(), watch::error::RecvError>>) -> bool {
    changed.await.is_ok()
}

/// What was gathered and not told yet, and what was seen when it was told last.
#[derive(Default)]
struct Gathered {
    objects: BTreeMap<&'static str, (Option<Kind>, BTreeSet<String>)>,
    jobs: BTreeSet<JobId>,
    network: bool,
    storage: bool,
    vm: bool,
    service: bool,
    last: Last,
}

/// What was seen when it was told last; absent before the first time.
#[derive(Default)]
struct Last {
    network: Option<crate::network::Status>,
    storage: Option<crate::storage::Status>,
    vm: Option<crate::vm::Status>,
    service: Option<crate::service::Status>,
}

const ALL: [Kind; 12] = [
    Kind::Site,
    Kind::Node,
    Kind::Vm,
    Kind::Volume,
    Kind::Pool,
    Kind::Image,
    Kind::Network,
    Kind::User,
    Kind::Token,
    Kind::Session,
    Kind::Job,
    Kind::Update,
];

impl Gathered {
    fn note(&mut self, kind: Kind, id: String) {
        if kind == Kind::Job
            && let Ok(job) = id.parse()
        {
            self.jobs.insert(job);
            return;
        }
        let entry = self.objects.entry(crate::health::noun(kind)).or_default();
        entry.0 = Some(kind);
        entry.1.insert(id);
    }

    fn note_all(&mut self) {
        for kind in ALL {
            self.note(kind, "*".to_owned());
        }
    }

    fn tell(&mut self, shared: &Shared) {
        self.compare(shared);
        for (kind, ids) in std::mem::take(&mut self.objects).into_values() {
            let Some(kind) = kind else { continue };
            if ids.contains("*") || ids.len() > MANY {
                shared.feed.changed(kind, "*");
                continue;
            }
            for id in ids {
                shared.feed.changed(kind, &id);
            }
        }
        for id in std::mem::take(&mut self.jobs) {
            match shared.app.store.get::<JobRecord>(id) {
                Ok(Some(record)) => {
                    shared.feed.tell(&Change::Job {
                        job: job::view(&shared.app.board, record),
                    });
                }
                Ok(None) | Err(_) => shared.feed.changed(Kind::Job, &id.to_string()),
            }
        }
    }

    /// Finds out which objects are seen differently than before.
    fn compare(&mut self, shared: &Shared) {
        let seen = &shared.app.seen;
        if std::mem::take(&mut self.network) {
            let now = seen.network.borrow().clone();
            let before = self.last.network.take().unwrap_or_default();
            self.differing(Kind::Network, &before.networks, &now.networks);
            if before.links != now.links {
                self.note(Kind::Link, "*".to_owned());
            }
            if before.addresses != now.addresses {
                self.note(Kind::Node, "*".to_owned());
            }
            self.last.network = Some(now);
        }
        if std::mem::take(&mut self.storage) {
            let now = seen.storage.borrow().clone();
            let before = self.last.storage.take().unwrap_or_default();
            self.differing(Kind::Pool, &before.pools, &now.pools);
            self.differing(Kind::Volume, &before.volumes, &now.volumes);
            self.differing(Kind::Image, &before.images, &now.images);
            if before.drives != now.drives {
                self.note(Kind::Drive, "*".to_owned());
            }
            self.last.storage = Some(now);
        }
        if std::mem::take(&mut self.vm) {
            let now = seen.vm.borrow().clone();
            let before = self.last.vm.take().unwrap_or_default();
            // Load changes all the time and of all machines at once: one message for all of them.
            let plain = |vms: &BTreeMap<_, VmStatus>| {
                vms.iter()
                    .map(|(id, s)| {
                        (
                            *id,
                            VmStatus {
                                load: None,
                                ..s.clone()
                            },
                        )
                    })
                    .collect::<BTreeMap<_, _>>()
            };
            let (then, after) = (plain(&before.vms), plain(&now.vms));
            if then == after && before.vms != now.vms {
                self.note(Kind::Vm, "*".to_owned());
            }
            self.differing(Kind::Vm, &then, &after);
            self.last.vm = Some(now);
        }
        if std::mem::take(&mut self.service) {
            let now = seen.service.borrow().clone();
            let before = self.last.service.take().unwrap_or_default();
            if before.services != now.services {
                self.note(Kind::Service, "*".to_owned());
            }
            self.last.service = Some(now);
        }
    }

    fn differing<K: Ord + std::fmt::Display, S: PartialEq>(
        &mut self,
        kind: Kind,
        before: &BTreeMap<K, S>,
        now: &BTreeMap<K, S>,
    ) {
        for (id, status) in now {
            if before.get(id) != Some(status) {
                self.note(kind, id.to_string());
            }
        }
        for id in before.keys() {
            if !now.contains_key(id) {
                self.note(kind, id.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_event() {
        let text = written(&Change::Object {
            kind: Kind::Vm,
            id: "7".into(),
        });
        assert_eq!(
            text,
            "event: object\ndata: {\"type\":\"object\",\"kind\":\"vm\",\"id\":\"7\"}\n\n"
        );
    }

    #[test]
    fn only_what_differs_is_told() {
        let mut gathered = Gathered::default();
        let before = BTreeMap::from([(1, "a"), (2, "b"), (3, "c")]);
        let now = BTreeMap::from([(1, "a"), (2, "x"), (4, "d")]);
        gathered.differing(Kind::Volume, &before, &now);
        let (_, ids) = &gathered.objects["Volume"];
        assert_eq!(ids.iter().collect::<Vec<_>>(), ["2", "3", "4"]);
        gathered.note(Kind::Job, "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d".into());
        assert_eq!(gathered.jobs.len(), 1);
    }
}
