//! The owners that there are, and how they are reached.
//!
//! The domain and the consoles share it; owners do not. When the last of those
//! that share it is gone, every owner ends by itself and leaves its process
//! alone: that is how a supervisor ends without its guests noticing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ashlar_api::VmId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::owner::{Owner, Surroundings};
use super::qmp::Qmp;
use super::serial::Serial;
use super::wanted::Wanted;

/// Every owner.
#[derive(Debug)]
pub struct Fleet {
    owners: Mutex<BTreeMap<VmId, Handle>>,
    ends: watch::Sender<Option<Instant>>,
}

/// How far the process of a machine is there.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// There is a process, or there may be one.
    pub up: bool,
    /// The connection to it. Whoever borrows it gives it back soon.
    pub qmp: Option<Qmp>,
}

/// One owner.
#[derive(Debug)]
struct Handle {
    wanted: watch::Sender<Arc<Wanted>>,
    gone: Arc<AtomicBool>,
    live: watch::Receiver<Live>,
    serial: Arc<Serial>,
    task: JoinHandle<()>,
}

/// An owner as the domain sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tended {
    /// What it was told.
    pub wanted: Arc<Wanted>,
    /// Nothing of its machine is left on the node.
    pub gone: bool,
}

/// What consoles need of a machine.
#[derive(Debug)]
pub struct Reach {
    /// Its process.
    pub live: watch::Receiver<Live>,
    /// Its serial line.
    pub serial: Arc<Serial>,
}

impl Default for Fleet {
    fn default() -> Self {
        Fleet {
            owners: Mutex::default(),
            ends: watch::Sender::new(None),
        }
    }
}

impl Fleet {
    fn owners(&self) -> MutexGuard<'_, BTreeMap<VmId, Handle>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears when the node ends.
    pub fn ends(&self) -> watch::Receiver<Option<Instant>> {
        self.ends.subscribe()
    }

    /// The node ends; guests are cut at this moment.
    pub fn end(&self, until: Instant) {
        self.ends.send_replace(Some(until));
    }

    /// The owners that there are. One that ended without its machine being gone does not count.
    pub fn tended(&self) -> BTreeMap<VmId, Tended> {
        let owners = self.owners();
        let tended = owners.iter().filter_map(|(id, handle)| {
            let gone = handle.gone.load(Ordering::Acquire);
            let wanted = Arc::clone(&handle.wanted.borrow());
            (gone || !handle.task.is_finished()).then_some((*id, Tended { wanted, gone }))
        });
        tended.collect()
    }

    /// Gives a machine an owner.
    pub fn tend(&self, surroundings: Surroundings, wanted: Arc<Wanted>) {
        let id = wanted.assignment.record.id;
        let directory = surroundings.place.runtime(id);
        let (tell, told) = watch::channel(wanted);
        let (live_out, live) = watch::channel(Live {
            up: true,
            qmp: None,
        });
        let gone = Arc::new(AtomicBool::new(false));
        let owner = Owner::new(surroundings, told, live_out, Arc::clone(&gone));
        let handle = Handle {
            wanted: tell,
            gone,
            live,
            serial: Arc::new(Serial::new(&directory)),
            task: tokio::spawn(owner.run()),
        };
        self.owners().insert(id, handle);
    }

    /// Tells an owner what is wanted now.
    pub fn tell(&self, wanted: Arc<Wanted>) {
        if let Some(handle) = self.owners().get(&wanted.assignment.record.id) {
            handle.wanted.send_replace(wanted);
        }
    }

    /// Lets an owner go; it leaves its process alone.
    pub fn dismiss(&self, id: VmId) {
        self.owners().remove(&id);
    }

    /// How a machine is reached; `None` when there is none.
    pub fn reach(&self, id: VmId) -> Option<Reach> {
        let owners = self.owners();
        let handle = owners.get(&id)?;
        Some(Reach {
            live: handle.live.clone(),
            serial: Arc::clone(&handle.serial),
        })
    }

    /// The machines that have an owner.
    pub fn ids(&self) -> Vec<VmId> {
        self.owners().keys().copied().collect()
    }
}
