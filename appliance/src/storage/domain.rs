//! The domain: reads the wishes, looks, does, tells.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashlar_api::fault::Fault;
use ashlar_api::{JobId, NodeId, PoolId, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::events::Events;
use super::eyes::{Eyes, devices, physical};
use super::lvm::Lvm;
use super::observe::{Content, Drive, Observed};
use super::plan::{self, Step};
use super::status::{self, Status};
use super::step::Disk;
use super::want::Desired;
use super::work::Works;
use super::{Error, apply, drive, faults, library, reader};
use crate::reconcile::progress::{Board, Progress};
use crate::reconcile::{Domain, Pass, Waker, chain};
use crate::state::Store;
use crate::state::schema::{Phase, PoolRecord};
use crate::sys::fs::Unmount;

/// The domain.
pub struct StorageDomain {
    store: Store,
    node: NodeId,
    board: Board,
    waker: Waker,
    status: watch::Sender<Status>,
    events: Events,
    eyes: Eyes,
    works: Works,
    /// True once what an earlier process left running was ended.
    cleaned: bool,
    /// Whether the machine has all its devices.
    settled: watch::Receiver<bool>,
    /// The devices of our groups, as last seen.
    devices: BTreeMap<String, Vec<PathBuf>>,
    /// Since when this process looks.
    began: Instant,
    /// What objects that are being made wait for, by their id.
    waits: BTreeMap<String, String>,
    /// What the last pass left to do.
    left: Vec<String>,
    /// Pools whose metadata could not be restored, and why, from the damaged drives that there were then.
    unrestorable: BTreeMap<PoolId, String>,
    /// Those drives.
    damaged: Vec<Disk>,
    /// Jobs of which something was told here.
    told: Vec<JobId>,
    since: BTreeMap<faults::Key, Timestamp>,
    /// Wakes the domain while a pool is missing.
    search: Option<JoinHandle<()>>,
}

/// How long until a missing pool is looked for again.
const SEARCH: Duration = Duration::from_secs(5);

impl StorageDomain {
    /// Begins to listen to the kernel. Needs a runtime.
    pub fn new(
        store: Store,
        node: NodeId,
        board: Board,
        waker: Waker,
        status: watch::Sender<Status>,
        settled: watch::Receiver<bool>,
    ) -> StorageDomain {
        waker.wake_when(settled.clone());
        StorageDomain {
            store,
            node,
            events: Events::listen(waker.clone()),
            eyes: Eyes::new(waker.clone()),
            works: Works::new(board.clone(), waker.clone()),
            board,
            waker,
            status,
            cleaned: false,
            settled,
            devices: BTreeMap::new(),
            began: Instant::now(),
            waits: BTreeMap::new(),
            left: Vec::new(),
            unrestorable: BTreeMap::new(),
            damaged: Vec::new(),
            told: Vec::new(),
            since: BTreeMap::new(),
            search: None,
        }
    }
}

impl StorageDomain {
    /// A pool that should be there and is not: what was remembered of its drives may be what is wrong, so they are read
    /// again, soon, and not only when the kernel tells of a change.
    fn search(&mut self, desired: &Desired, observed: &Observed) {
        if let Some(search) = self.search.take() {
            search.abort();
        }
        let is_wanted = |pool: &PoolRecord| matches!(pool.phase, Phase::Preparing | Phase::Ready);
        let mut wanted = desired.pools.iter().filter(|pool| is_wanted(pool));
        if wanted.all(|pool| observed.groups_of(pool.id).next().is_some()) {
            return;
        }
        self.events.note();
        let waker = self.waker.clone();
        self.search = Some(tokio::spawn(async move {
            tokio::time::sleep(SEARCH).await;
            waker.wake();
        }));
    }
}

impl StorageDomain {
    /// Faults that were there before keep the time since when they are.
    fn dated(&mut self, stories: impl IntoIterator<Item = Fault>) -> Vec<Fault> {
        let known = std::mem::take(&mut self.since);
        let mut faults = Vec::new();
        for mut fault in stories {
            let key = faults::key(&fault);
            fault.since = known.get(&key).copied().unwrap_or(fault.since);
            self.since.insert(key, fault.since);
            faults.push(fault);
        }
        faults
    }
}

impl Drop for StorageDomain {
    fn drop(&mut self) {
        if let Some(search) = self.search.take() {
            search.abort();
        }
        self.works.stop_all();
    }
}

impl Domain for StorageDomain {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Error = Error;

    const NAME: &'static str = "storage";

    fn desired(&mut self) -> Result<Desired, Error> {
        self.waits.clear();
        Ok(Desired::new(
            self.store.list()?,
            self.store.list()?,
            self.store.list()?,
            &self.store.list()?,
            &self.store.list()?,
        ))
    }

    async fn observe(&mut self) -> Result<Observed, Error> {
        if !self.cleaned {
            reader::kill_all().await.map_err(Error::Leftovers)?;
            self.cleaned = true;
        }
        // Asked before the look: what comes while it looks may be missed.
        let settled = *self.settled.borrow_and_update();
        let observed = self.eyes.look(&self.events, &self.works).await?;
        let damaged = observed.damaged.iter().map(|path| observed.disk(path));
        let damaged: Vec<Disk> = damaged.collect();
        if damaged != self.damaged {
            self.damaged = damaged;
            self.unrestorable.clear();
        }
        let observed = Observed {
            settled,
            unrestorable: self.unrestorable.clone(),
            ..observed
        };
        self.devices = devices(&observed.groups);
        Ok(observed)
    }

    fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
        plan::plan(desired, observed)
    }

    async fn apply(&mut self, step: Step) -> Result<(), Error> {
        let hands = apply::Hands {
            store: &self.store,
            began: self.began,
            works: &self.works,
            events: &self.events,
            devices: &self.devices,
            status: self.status.subscribe(),
        };
        let made = step.makes();
        let restored = match &step {
            Step::RestoreGroup { id, .. } => Some(*id),
            _ => None,
        };
        let done = apply::apply(hands, step).await;
        if let (Some(id), Err(error)) = (restored, &done)
            && !error.is_transient()
        {
            self.unrestorable.insert(id, chain(error));
        }
        if let (Some(id), Err(error)) = (made, &done) {
            self.waits.insert(id, chain(error));
        }
        done
    }

    fn publish(&mut self, desired: &Desired, observed: &Observed, pass: &Pass) {
        self.search(desired, observed);
        let stories = faults::faults(desired, observed, &pass.failures, self.node);
        let faults = self.dated(stories);
        let uploads = status::uploads(desired, observed);
        let waits = self.waits.iter().filter_map(|(id, message)| {
            let job = desired.job(id)?.id;
            Some((job, format!("Waiting: {message}")))
        });
        let waits: Vec<(JobId, String)> = waits.collect();
        for job in std::mem::take(&mut self.told) {
            if desired.jobs.values().all(|running| running.id != job) {
                self.board.clear(job);
            }
        }
        for (job, message) in waits {
            self.told.push(job);
            let share = None;
            self.board.set(job, Progress { share, message });
        }
        for (job, share) in uploads {
            self.told.push(job);
            let share = Some(share);
            let message = "Receiving the image".to_owned();
            self.board.set(job, Progress { share, message });
        }
        let seen = status::status(desired, observed, &faults, &self.waits);
        self.status.send_replace(Status {
            pass: Some(pass.clone()),
            faults,
            ..seen
        });
        // What was done made something else possible: no need to rest. A step
        // that is left again and again is tried at the pace of failures.
        if pass.failures.is_empty() && pass.left != self.left {
            self.waker.wake();
        }
        self.left.clone_from(&pass.left);
    }

    fn publish_blind(&mut self, pass: &Pass) {
        let faults = self.dated(faults::failing(&pass.failures, self.node));
        self.status.send_modify(|status| {
            status.pass = Some(pass.clone());
            status.faults = faults;
        });
    }
}

/// Lets go of everything, when the machine is about to end: no guest runs any more.
pub async fn take_down() -> Vec<Error> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), Error>| errors.extend(result.err());
    note(reader::kill_all().await.map_err(Error::Leftovers));
    if let Err(error) = library::unmount(Unmount::Plain) {
        note(Err(error));
        // Whoever still has a file open in it keeps the volume; the end of the machine writes it out.
        note(library::unmount(Unmount::Lazy));
    }
    let drives = match drives() {
        Ok(drives) => drives,
        Err(error) => {
            note(Err(error));
            return errors;
        }
    };
    match Lvm::on(physical(&drives)).report().await {
        Ok(report) => {
            for (group, devices) in devices(&report.groups) {
                let lvm = Lvm::on(devices);
                note(lvm.deactivate(&group).await.map_err(Error::from));
            }
        }
        Err(error) => note(Err(error.into())),
    }
    errors
}

/// The drives that can hold a group of ours: those that the kernel built volumes on. Nothing is read from any.
fn drives() -> Result<Vec<Drive>, Error> {
    let (blocks, system) = drive::present()?;
    let probed = drive::Probed {
        content: Content::Lvm,
        problem: None,
        mute: false,
    };
    let used = blocks.iter().filter(|block| !block.holders.is_empty());
    Ok(used
        .map(|block| drive::drive(block, &probed, system.contains(&block.name)))
        .collect())
}
