//! The task that looks: samples the load, gathers faults, and writes what
//! changed into the history.
//!
//! It looks every five seconds, and at machines, jobs and the hardware's check when they change. For
//! faults it looks first when every domain has had a look, and the machine its
//! drivers: what nobody has seen yet is not missing. A first look is a beginning
//! and not a change: a supervisor that starts again must not tell of everything
//! once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashlar_api::certificate::Certificate;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::hardware::Report;
use ashlar_api::job::{JobState, Kind, Subject, Verb};
use ashlar_api::vm::VmPhase;
use ashlar_api::{BootId, JobId, Timestamp, VmId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::faults::{self, Facts};
use super::history::NewEvent;
use super::metrics::{Counters, STEP};
use super::seen::Seen;
use super::{Health, History};
use crate::hardware;
use crate::state::Store;
use crate::state::schema::{JobRecord, VmRecord};
use crate::sys::{clock, fs, proc};

/// How many looks at the load go by between two looks for faults.
const FAULTS_EVERY: u32 = 3;
/// A domain that does not get to its first look is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });
/// How many files are named when the system drive is full.
const LARGEST: usize = 3;

/// What the watcher looks at.
#[derive(Clone)]
pub struct Sources {
    /// What is wanted.
    pub store: Store,
    /// What the domains see.
    pub seen: Seen,
    /// The certificate.
    pub certificate: watch::Receiver<Certificate>,
    /// This start of the node.
    pub boot: BootId,
    /// Where init's faults are, such as `/run/ashlar`.
    pub run: PathBuf,
    /// The state partition, such as `/var/lib/ashlar`.
    pub state: PathBuf,
}

/// Looks until `stop` turns true.
pub async fn run(health: Health, sources: Sources, mut stop: watch::Receiver<bool>) {
    let mut watcher = Watcher::new(health, sources);
    let mut tick = tokio::time::interval(Duration::from_secs(STEP.into()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = watcher.sources.store.changes();
    let mut vms = watcher.sources.seen.vm.clone();
    let mut hardware = watcher.sources.seen.hardware.clone();
    let began = Instant::now();
    let mut ticks = 0u32;
    while !*stop.borrow_and_update() {
        // Every arm is cancel-safe: an interval keeps its next tick, channels
        // keep what was not received.
        tokio::select! {
            _ = tick.tick() => {
                watcher.sample();
                let is_time = ticks.is_multiple_of(FAULTS_EVERY);
                if is_time && watcher.may_look(began) {
                    watcher.look_for_faults();
                }
                // Until the first look, every tick is a time for it.
                ticks = if watcher.first { 0 } else { ticks.wrapping_add(1) };
            }
            changed = changes.recv() => match changed {
                Ok(changed) if changed.kind == Kind::Job => watcher.look_at_job(&changed.id),
                Ok(_) => {}
                // What was missed is not worth reading every job again.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            changed = vms.changed() => {
                if changed.is_err() {
                    return;
                }
                vms.borrow_and_update();
                watcher.look_at_vms();
                // The machines' domain is the last to look when a node starts.
                if watcher.first && watcher.sources.seen.is_whole() {
                    watcher.look_for_faults();
                }
            }
            changed = hardware.changed() => {
                if changed.is_err() {
                    return;
                }
                hardware.borrow_and_update();
                watcher.look_at_hardware();
                // Whoever asked for it wants to know what follows.
                if watcher.may_look(began) {
                    watcher.look_for_faults();
                }
            }
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

struct Watcher {
    health: Health,
    sources: Sources,
    boot: String,
    open: BTreeMap<String, Fault>,
    first: bool,
    phases: BTreeMap<VmId, VmPhase>,
    jobs: BTreeSet<JobId>,
    /// What was told of the hardware last; absent before the first look at it.
    hardware: Option<Report>,
}

impl Watcher {
    fn new(health: Health, sources: Sources) -> Self {
        Watcher {
            boot: sources.boot.to_string(),
            health,
            sources,
            open: BTreeMap::new(),
            first: true,
            phases: BTreeMap::new(),
            jobs: BTreeSet::new(),
            hardware: None,
        }
    }

    fn sample(&self) {
        self.health.metrics.add(Counters::read(), Timestamp::now());
        let vms = self.sources.seen.vm.borrow();
        let samples = vms.vms.iter().map(|(id, status)| (*id, status.load));
        self.health.metrics.add_vms(samples);
    }

    /// Whether everybody has had a look, or the time for that is over.
    fn may_look(&self, began: Instant) -> bool {
        self.sources.seen.is_whole() || began.elapsed() >= PATIENCE
    }

    fn look_for_faults(&mut self) {
        let mut now = BTreeMap::new();
        let when = Timestamp::now();
        for fault in self.gather(when) {
            let key = faults::key(&fault);
            // The same fault from two sources is told once, as the worse of the two.
            match now.get(&key) {
                Some(known) if worse(known, &fault) => {}
                _ => {
                    now.insert(key, fault);
                }
            }
        }
        if self.first {
            // Faults that were open when the supervisor ended are no news; those that went meanwhile are.
            self.first = false;
            for key in self.health.history.open_faults(&self.boot) {
                if !now.contains_key(&key) {
                    self.health.history.fault_over(&key, &self.boot);
                }
            }
        }
        for (key, fault) in &mut now {
            let (since, new) = self
                .health
                .history
                .fault_since(key, &self.boot, fault.since);
            fault.since = since;
            let before = self.open.get(key).map(|fault| fault.severity);
            if new || before.is_some_and(|before| before < fault.severity) {
                tell(
                    &self.health.history,
                    fault.severity,
                    fault.subject.clone(),
                    sentence(fault),
                );
            }
        }
        for (key, fault) in &self.open {
            if !now.contains_key(key) {
                self.health.history.fault_over(key, &self.boot);
                let message = format!("No more: {}", sentence(fault));
                tell(
                    &self.health.history,
                    Severity::Info,
                    fault.subject.clone(),
                    message,
                );
            }
        }
        let mut list: Vec<Fault> = now.values().cloned().collect();
        faults::sort(&mut list);
        self.open = now;
        self.health.faults.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&list);
            if changed {
                *known = Some(list);
            }
            changed
        });
    }

    fn gather(&self, now: Timestamp) -> Vec<Fault> {
        let seen = &self.sources.seen;
        let mut all = seen.network.borrow().faults.clone();
        all.extend(seen.vm.borrow().faults.iter().cloned());
        all.extend(seen.service.borrow().faults.iter().cloned());
        all.extend(seen.hardware.borrow().faults.iter().cloned());
        all.extend(self.health.reported());
        all.extend(seen.storage.borrow().faults.iter().cloned());
        let synchronised = clock::synchronised();
        let mut noted = faults::noted(&self.sources.run.join("faults"), now);
        // That it was wrong at the start matters until a time server has put it right.
        noted.retain(|fault| !(synchronised && fault.code == "clock"));
        all.extend(noted);
        let state = fs::space(&self.sources.state).ok();
        let largest = match state.as_ref().is_some_and(faults::is_nearly_full) {
            true => fs::largest(&self.sources.state, LARGEST),
            false => Vec::new(),
        };
        all.extend(faults::own(&Facts {
            now,
            uptime: proc::uptime(),
            synchronised,
            memory: proc::Memory::read(),
            certificate: self.sources.certificate.borrow().clone(),
            state,
            largest,
        }));
        all
    }

    fn look_at_job(&mut self, id: &str) {
        let Ok(id) = id.parse::<JobId>() else { return };
        let Ok(Some(job)) = self.sources.store.get::<JobRecord>(id) else {
            return;
        };
        if !job.state.is_over() {
            return;
        }
        if !self.jobs.insert(id) {
            return;
        }
        // Jobs that are over stay over; only what was told lately can be told twice.
        while self.jobs.len() > 1000 {
            self.jobs.pop_first();
        }
        let (severity, message) = story(&job);
        self.health.history.tell(NewEvent {
            severity,
            subject: Some(job.subject),
            message,
            by: Some(job.by).filter(|by| by != "ashlar"),
        });
    }

    /// What has changed about the hardware since the look before, also one before the start.
    fn look_at_hardware(&mut self) {
        let status = self.sources.seen.hardware.borrow().clone();
        let Some(now) = status.report.filter(|_| status.looked) else {
            return;
        };
        if let Some(before) = self.hardware.take().or(status.before) {
            for (severity, message, check) in hardware::news(&before, &now) {
                let subject = Subject {
                    kind: Kind::Hardware,
                    id: check.id.clone(),
                    name: check.title.clone(),
                };
                tell(&self.health.history, severity, Some(subject), message);
            }
        }
        self.hardware = Some(now);
    }

    fn look_at_vms(&mut self) {
        let now: BTreeMap<VmId, (VmPhase, String)> = {
            let seen = self.sources.seen.vm.borrow();
            seen.vms
                .iter()
                .map(|(id, status)| (*id, (status.phase, status.message.clone())))
                .collect()
        };
        for (id, (phase, message)) in &now {
            let before = self.phases.get(id).copied();
            let Some(before) = before.filter(|before| before != phase) else {
                continue;
            };
            let Some((severity, what)) = turn(before, *phase) else {
                continue;
            };
            let record = self.sources.store.get::<VmRecord>(*id).ok().flatten();
            let name = record.map_or_else(|| id.to_string(), |vm| vm.spec.name.to_string());
            let message = match message.as_str() {
                "" => format!("Virtual machine {name} {what}"),
                message => format!("Virtual machine {name} {what}: {message}"),
            };
            let subject = Subject {
                kind: Kind::Vm,
                id: id.to_string(),
                name,
            };
            tell(&self.health.history, severity, Some(subject), message);
        }
        self.phases = now
            .into_iter()
            .map(|(id, (phase, _))| (id, phase))
            .collect();
    }
}

fn worse(known: &Fault, other: &Fault) -> bool {
    known.severity >= other.severity
}

fn tell(history: &History, severity: Severity, subject: Option<Subject>, message: String) {
    history.tell(NewEvent {
        severity,
        subject,
        message,
        by: None,
    });
}

fn sentence(fault: &Fault) -> String {
    fault.title.clone()
}

/// What a change of phase means to a person; nothing, for those on the way.
fn turn(before: VmPhase, now: VmPhase) -> Option<(Severity, &'static str)> {
    match (before, now) {
        (VmPhase::Paused, VmPhase::Running) => Some((Severity::Info, "goes on")),
        (_, VmPhase::Running) => Some((Severity::Info, "runs")),
        (_, VmPhase::Paused) => Some((Severity::Info, "is held")),
        (VmPhase::Preparing, VmPhase::Stopped) => None,
        (_, VmPhase::Stopped) => Some((Severity::Info, "has stopped")),
        (_, VmPhase::Failed) => Some((Severity::Critical, "should run and cannot")),
        (_, VmPhase::Preparing | VmPhase::Starting | VmPhase::Stopping | VmPhase::Deleting) => None,
    }
}

/// What a job that is over did, as one sentence.
fn story(job: &JobRecord) -> (Severity, String) {
    let noun = noun(job.subject.kind);
    let name = &job.subject.name;
    let (done, doing) = match job.verb {
        Verb::Create => ("was made", "making"),
        Verb::Upload => ("was uploaded", "uploading"),
        Verb::Download => ("was downloaded", "downloading"),
        Verb::Fill => ("was filled from its image", "filling"),
        Verb::Delete => ("was deleted", "deleting"),
    };
    match job.state {
        JobState::Failed => {
            let why = if job.message.is_empty() {
                String::new()
            } else {
                format!(": {}", job.message)
            };
            (
                Severity::Warning,
                format!("{noun} {name}: {doing} it failed{why}"),
            )
        }
        JobState::Cancelled => (
            Severity::Info,
            format!("{noun} {name}: {doing} it was stopped"),
        ),
        JobState::Succeeded | JobState::Running | JobState::Cancelling => {
            (Severity::Info, format!("{noun} {name} {done}"))
        }
    }
}

/// A noun at the beginning of a sentence.
pub fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Site => "Site",
        Kind::Node => "Node",
        Kind::Vm => "Virtual machine",
        Kind::Volume => "Volume",
        Kind::Pool => "Pool",
        Kind::Drive => "Drive",
        Kind::Image => "Image",
        Kind::Network => "Network",
        Kind::Link => "Interface",
        Kind::User => "User",
        Kind::Token => "Token",
        Kind::Session => "Session",
        Kind::Job => "Job",
        Kind::Fault => "Fault",
        Kind::Service => "Service",
        Kind::Update => "Update",
        Kind::Hardware => "Hardware check",
    }
}
