//! Telling what changed: the revision to the domains, the objects to the
//! streams of the API. Both are hints that say "look": whoever misses one reads
//! the state and knows as much.

use std::sync::Arc;

use ashlar_api::job::Kind;
use tokio::sync::{broadcast, watch};

/// An object that was made, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its noun.
    pub kind: Kind,
    /// Its id; `*` when any of the noun may have changed.
    pub id: String,
    /// The state's revision with the change.
    pub revision: u64,
}

/// How many changes a listener can lag behind before it must read everything again.
const BACKLOG: usize = 1024;

/// Every noun that has records.
const KINDS: [Kind; 11] = [
    Kind::Site,
    Kind::Node,
    Kind::User,
    Kind::Token,
    Kind::Session,
    Kind::Network,
    Kind::Pool,
    Kind::Volume,
    Kind::Image,
    Kind::Vm,
    Kind::Job,
];

/// Where changes are told.
#[derive(Clone, Debug)]
pub struct News {
    revision: Arc<watch::Sender<u64>>,
    changes: broadcast::Sender<Changed>,
}

impl Default for News {
    fn default() -> Self {
        News {
            revision: Arc::new(watch::Sender::new(0)),
            changes: broadcast::channel(BACKLOG).0,
        }
    }
}

impl News {
    /// Begins with a revision.
    pub fn start(&self, revision: u64) {
        self.revision.send_replace(revision);
    }

    /// Tells of a command that came into force.
    pub fn tell(&self, revision: u64, changed: Vec<(Kind, String)>) {
        if changed.is_empty() {
            return;
        }
        self.revision.send_replace(revision);
        for (kind, id) in changed {
            // Nobody listening is no failure.
            let _ = self.changes.send(Changed { kind, id, revision });
        }
    }

    /// Tells that everything may be different.
    pub fn all(&self, revision: u64) {
        let everything = KINDS.iter().map(|kind| (*kind, "*".to_owned()));
        self.tell(revision, everything.collect());
    }

    /// The newest revision.
    #[cfg(test)]
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Hears of revisions.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Hears of objects.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }
}
