//! The owner of a machine: the one task that acts on its process.
//!
//! ```text
//!   what QEMU tells, the end of its process ─┐ (these first)
//!   what is wanted, the end of the node ─────┼─► Life::seen ─► Life::next ─► one action ─┐
//!   what the sampler saw, time ──────────────┘        ▲                                  │
//!                                                     └────── done, or failed ◄──────────┘
//! ```
//!
//! It waits in one place only, and there for everything; every action is
//! bounded. It can be dropped at any moment: what the next owner must know is
//! on the node by then. It ends when nobody wants to tell it anything any more,
//! or when nothing of its machine is left.

mod act;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ashlar_api::vm::{VmPhase, VmStatus};
use ashlar_api::{BootId, Bytes, Timestamp, VmId};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::OURSELVES;
use super::admission::Ledger;
use super::board::Board;
use super::fleet::Live;
use super::life::{Event, Guest, Life, Wish};
use super::place::Place;
use super::process::{self, Process, Started};
use super::qmp::{QmpError, QmpEvent};
use super::sampler::Sampler;
use super::settings;
use super::wanted::Wanted;
use crate::reconcile::{Waker, chain};
use crate::state::Store;
use crate::state::command::Command;
use crate::state::schema::Want;
use crate::sys::pidfd::{Exit, PidFd};

/// How soon a lost connection is made again, and a record that was not taken is told again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether what stood in the way of a start is gone.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// What should pass by itself and did not after this long is a fault.
const PASSES_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection that was lost may take to be made again.
const RECONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What all owners share.
#[derive(Clone)]
pub struct Surroundings {
    /// The records.
    pub store: Store,
    /// This start of the node.
    pub boot: BootId,
    /// Where things are.
    pub place: Place,
    /// Who was promised how much memory.
    pub ledger: Ledger,
    /// Wakes the domain.
    pub waker: Waker,
    /// Where status is told.
    pub board: Arc<Board>,
    /// When the node ends.
    pub ends: watch::Receiver<Option<Instant>>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Surroundings");
        text.field("place", &self.place).finish_non_exhaustive()
    }
}

/// The owner of a machine.
#[derive(Debug)]
pub struct Owner {
    around: Surroundings,
    id: VmId,
    wanted: watch::Receiver<Arc<Wanted>>,
    live: watch::Sender<Live>,
    gone: Arc<AtomicBool>,
    freed: watch::Receiver<u64>,
    life: Life,
    process: Option<Process>,
    kvm: Option<bool>,
    sampler: Option<Sampler>,
    /// Since when something on the node stands in the way of a start.
    blocked: Option<Instant>,
    /// When the connection is to be made again.
    reconnect: Option<Instant>,
    /// When the state is to be told again.
    tell_again: Option<Instant>,
    /// What the guest was asked to leave itself with.
    ballooned: Option<Bytes>,
    /// The bytes that QEMU gives each disk, as far as they are known.
    sizes: BTreeMap<String, u64>,
    /// What of the settings a running machine did not follow, told once.
    setting_trouble: String,
    /// What a disk reported.
    disk_trouble: String,
    /// What was told last, and since when.
    phase: (VmPhase, Timestamp),
}

/// Why an owner looks up.
enum Woken {
    Exit(Exit),
    Event(Result<QmpEvent, RecvError>),
    /// Something is wanted, or nobody wants anything any more.
    Wish(bool),
    Sampled,
    Freed,
    Time,
}

/// `query-status`.
#[derive(Deserialize)]
struct RunState {
    status: String,
}

/// What the guest does, by QEMU's word for it.
fn guest(status: &str) -> Guest {
    match status {
        "prelaunch" | "inmigrate" => Guest::Loaded,
        "paused" | "debug" | "save-vm" | "restore-vm" | "watchdog" => Guest::Held,
        "shutdown" => Guest::Off,
        "guest-panicked" | "internal-error" => Guest::Crashed,
        "io-error" => Guest::NoRoom,
        _ => Guest::Running,
    }
}

/// Waits for the end of a process.
async fn ended(pidfd: &PidFd) -> Exit {
    loop {
        match pidfd.wait().await {
            Ok(exit) => return exit,
            Err(error) => tracing::warn!(pid = pidfd.pid(), "cannot watch the process: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !pidfd.is_alive() {
            return Exit::Unknown;
        }
    }
}

/// A message with its first letter in upper case, as the sentences of the status have.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

impl Owner {
    /// The owner of the machine in `wanted`.
    pub fn new(
        around: Surroundings,
        wanted: watch::Receiver<Arc<Wanted>>,
        live: watch::Sender<Live>,
        gone: Arc<AtomicBool>,
    ) -> Owner {
        let id = wanted.borrow().assignment.record.id;
        Owner {
            id,
            wanted,
            live,
            gone,
            freed: around.ledger.freed(),
            around,
            life: Life::default(),
            process: None,
            kvm: None,
            sampler: None,
            blocked: None,
            reconnect: None,
            tell_again: None,
            ballooned: None,
            sizes: BTreeMap::new(),
            setting_trouble: String::new(),
            disk_trouble: String::new(),
            phase: (VmPhase::default(), Timestamp::now()),
        }
    }

    /// Looks after the machine until nobody tells it anything any more or nothing of it is left.
    pub async fn run(mut self) {
        if !self.find().await {
            return;
        }
        loop {
            self.wanted.mark_unchanged();
            self.around.ends.mark_unchanged();
            let (wanted, wish) = self.wish();
            let now = Instant::now();
            self.life.note_wish(&wish, now);
            self.settle_end(&wish).await;
            let next = self.life.next(&wish, now);
            if let Some(action) = next.action {
                self.perform(action, &wanted, &wish).await;
                continue;
            }
            if !self.life.is_blocked() {
                self.blocked = None;
            }
            self.forget_start(&wish);
            self.publish(&wanted, &wish);
            if self.life.is_gone() {
                self.gone.store(true, Ordering::Release);
                self.around.waker.wake();
                return;
            }
            let woken = self.wait(next.wake).await;
            if !self.take_in(woken).await {
                return;
            }
        }
    }

    /// What is wanted now, also as its life sees it. Only the loop marks it
    /// as seen: a wish that comes while something is awaited must wake it.
    fn wish(&self) -> (Arc<Wanted>, Wish) {
        let wanted = Arc::clone(&self.wanted.borrow());
        let wish = wanted.wish(*self.around.ends.borrow());
        (wanted, wish)
    }

    fn see(&mut self, event: Event) {
        let (_, wish) = self.wish();
        self.life.seen(event, &wish, Instant::now());
    }

    async fn wait(&mut self, wake: Option<Instant>) -> Woken {
        let times = [
            wake,
            self.reconnect,
            self.tell_again,
            self.blocked.map(|_| Instant::now() + LOOK_AGAIN),
        ];
        let until = times.into_iter().flatten().min();
        let (pidfd, events) = match &mut self.process {
            Some(process) => (
                Some(&process.pidfd),
                process.monitor.as_mut().map(|monitor| &mut monitor.events),
            ),
            None => (None, None),
        };
        let exit = async {
            match pidfd {
                Some(pidfd) => ended(pidfd).await,
                None => std::future::pending().await,
            }
        };
        let event = async {
            match events {
                Some(events) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        let sampled = async {
            if let Some(sampler) = &mut self.sampler
                && sampler.seen.changed().await.is_ok()
            {
                return;
            }
            std::future::pending().await
        };
        let time = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        // Every arm is cancel-safe: the end of a process stays visible, a
        // channel keeps what was not taken, a watch its newest value. What
        // happened comes before what is wanted, so that a wish is never
        // weighed against a guest that is no more.
        tokio::select! {
            biased;
            exit = exit => Woken::Exit(exit),
            event = event => Woken::Event(event),
            changed = self.wanted.changed() => Woken::Wish(changed.is_ok()),
            changed = self.around.ends.changed() => Woken::Wish(changed.is_ok()),
            () = sampled => Woken::Sampled,
            _ = self.freed.changed() => Woken::Freed,
            () = time => Woken::Time,
        }
    }

    /// Takes in why it looked up. False when nobody wants anything any more.
    async fn take_in(&mut self, woken: Woken) -> bool {
        match woken {
            Woken::Exit(exit) => self.exited(exit).await,
            Woken::Event(Ok(event)) => self.told(event).await,
            // Some were missed: the state tells as much.
            Woken::Event(Err(RecvError::Lagged(_))) => self.ask_guest().await,
            Woken::Event(Err(RecvError::Closed)) => self.lose_monitor(),
            Woken::Wish(false) => return false,
            Woken::Wish(true) => self.follow().await,
            Woken::Sampled => self.follow().await,
            Woken::Freed | Woken::Time => {}
        }
        if self.reconnect.is_some_and(|at| at <= Instant::now()) {
            self.connect().await;
        }
        if self.blocked.is_some() {
            self.see(Event::Unblocked);
        }
        true
    }

    /// Something that QEMU told.
    async fn told(&mut self, event: QmpEvent) {
        match event.name.as_str() {
            "BLOCK_IO_ERROR" => {
                let text = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
                if !event.data["nospace"].as_bool().unwrap_or(false) {
                    let (node, what, why) = (text("node-name"), text("operation"), text("reason"));
                    tracing::warn!(vm = %self.id, node, what, "a disk failed: {why}");
                    self.disk_trouble = format!("Its {node} failed at a {what}: {why}");
                }
                self.ask_guest().await;
            }
            "STOP" | "RESUME" | "SHUTDOWN" | "RESET" | "GUEST_PANICKED" | "SUSPEND" | "WAKEUP" => {
                self.ask_guest().await;
            }
            _ => {}
        }
    }

    /// Asks what the guest does.
    async fn ask_guest(&mut self) {
        let monitor = self.process.as_ref().and_then(|p| p.monitor.as_ref());
        let Some(qmp) = monitor.map(|monitor| monitor.qmp.clone()) else {
            return;
        };
        match qmp.ask::<RunState>("query-status", json!({})).await {
            Ok(state) => self.see(Event::Guest(guest(&state.status))),
            Err(error) => self.failed_to_ask(&error),
        }
    }

    fn failed_to_ask(&mut self, error: &QmpError) {
        match error {
            QmpError::Refused { .. } | QmpError::Reply { .. } => {
                tracing::warn!(vm = %self.id, "{}", chain(error));
            }
            _ => self.lose_monitor(),
        }
    }

    fn lose_monitor(&mut self) {
        if let Some(process) = &mut self.process {
            process.monitor = None;
            self.live.send_modify(|live| live.qmp = None);
            self.reconnect = Some(Instant::now() + AGAIN);
            self.see(Event::Monitor(false));
        }
    }

    async fn connect(&mut self) {
        self.reconnect = None;
        let directory = self.around.place.runtime(self.id);
        let Some(process) = &mut self.process else {
            return;
        };
        match process.connect(&directory, RECONNECT_LIMIT).await {
            Ok(()) => {
                self.connected();
                self.see(Event::Monitor(true));
                self.ask_guest().await;
            }
            Err(error) => {
                tracing::debug!(vm = %self.id, "{}", chain(&error));
                self.reconnect = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// Hands the connection out.
    fn connected(&mut self) {
        let monitor = self.process.as_ref().and_then(|p| p.monitor.as_ref());
        let Some(monitor) = monitor else { return };
        self.kvm = Some(monitor.kvm);
        let qmp = Some(monitor.qmp.clone());
        self.live.send_replace(Live { up: true, qmp });
    }

    /// Has a running machine follow the settings that it can follow.
    async fn follow(&mut self) {
        let (wanted, _) = self.wish();
        let Some(process) = &mut self.process else {
            return;
        };
        let spec = &wanted.assignment.record.spec;
        let mut trouble = String::new();
        if let Err(error) = settings::plug(&process.started.spec, &wanted.assignment.nics).await {
            trouble = chain(&error);
        }
        let qmp = process.monitor.as_ref().map(|monitor| &monitor.qmp);
        if let Some(qmp) = qmp {
            let (started, assignment) = (&process.started.spec, &wanted.assignment);
            if let Err(error) = settings::grow(qmp, started, assignment, &mut self.sizes).await {
                trouble = chain(&error);
            }
        }
        if let Some(qmp) = qmp
            && process.started.ran
        {
            let leave = settings::balloon(&process.started.spec, spec);
            let has = self.ballooned.unwrap_or(process.started.spec.memory);
            if leave != has {
                let value = json!({ "value": leave.0 });
                match qmp.run("balloon", value).await {
                    Ok(_) => self.ballooned = Some(leave),
                    Err(error) => trouble = chain(&error),
                }
            }
            if spec.cdrom != process.started.spec.cdrom {
                let medium = wanted.assignment.cdrom.as_deref();
                // A medium that is not complete yet has no path; the obstacle tells about it.
                if spec.cdrom.is_none() || medium.is_some() {
                    match settings::change_medium(qmp, medium).await {
                        Ok(()) => {
                            process.started.spec.cdrom = spec.cdrom;
                            let directory = self.around.place.runtime(self.id);
                            if let Err(error) = process.started.write(&directory) {
                                trouble = chain(&error);
                            }
                        }
                        Err(error) => trouble = chain(&error),
                    }
                }
            }
        }
        if !trouble.is_empty() && trouble != self.setting_trouble {
            tracing::warn!(vm = %self.id, "a change could not be followed: {trouble}");
        }
        self.setting_trouble = trouble;
    }

    /// Writes down that the guest ended by itself and shall stay so.
    async fn settle_end(&mut self, wish: &Wish) {
        if !self.life.has_ended(wish) {
            // There is nothing to tell any more: a moment that has passed would never let it sleep.
            self.tell_again = None;
            return;
        }
        if self.tell_again.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.tell_again = None;
        let command = Command::EndVm {
            id: self.id,
            boot: self.around.boot,
        };
        match self.around.store.propose(OURSELVES, command).await {
            Ok(revision) => self.see(Event::EndSettled(revision)),
            Err(error) => {
                tracing::warn!(vm = %self.id, "write down that it ended: {}", chain(&error));
                self.tell_again = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// Forgets what the process was started with, once its end is known to the state.
    fn forget_start(&mut self, wish: &Wish) {
        if self.life.is_up() || self.life.has_ended(wish) {
            return;
        }
        let directory = self.around.place.runtime(self.id);
        if let Err(error) = Started::remove(&directory) {
            tracing::warn!(vm = %self.id, "{}", chain(&error));
        }
    }

    /// Tells what is seen.
    fn publish(&mut self, wanted: &Wanted, wish: &Wish) {
        let record = &wanted.assignment.record;
        let story = self.life.story(wish, Instant::now());
        if story.phase != self.phase.0 {
            self.phase = (story.phase, Timestamp::now());
        }
        let seen = self.sampler.as_ref().map(|sampler| sampler.seen.borrow());
        let seen = seen.map(|seen| seen.clone()).unwrap_or_default();
        let mut message = sentence(&story.message);
        let started = self.process.as_ref().map(|process| &process.started);
        if message.is_empty() && started.is_some() {
            let trouble = [&self.disk_trouble, &self.setting_trouble];
            let trouble = trouble.into_iter().find(|trouble| !trouble.is_empty());
            message = trouble.map(|text| sentence(text)).unwrap_or_default();
        }
        let status = VmStatus {
            phase: story.phase,
            since: Some(self.phase.1),
            message,
            remedy: story.remedy,
            wanted: matches!(wish.want, Want::On | Want::Paused),
            kvm: self.kvm.filter(|_| started.is_some()),
            pid: self.process.as_ref().map(|process| process.pidfd.pid()),
            agent: seen.agent,
            addresses: seen.addresses,
            pending: started
                .map(|started| settings::pending(&started.spec, &record.spec))
                .unwrap_or_default(),
            load: seen.load,
        };
        self.around.board.show(self.id, &record.spec.name, status);
    }

    /// Looks for what an earlier supervisor left, until that is known: what can
    /// not be seen is not taken for nothing, because a start would kill it.
    /// False when nobody wants to know any more.
    async fn find(&mut self) -> bool {
        let mut told = String::new();
        let found = loop {
            let (wanted, _) = self.wish();
            let record = &wanted.assignment.record;
            let error = match process::find(&self.around.place, record).await {
                Ok(found) => break found,
                Err(error) => chain(&error),
            };
            if error != told {
                tracing::error!(vm = %self.id, "look for its process: {error}");
                self.cannot_look(&wanted, &error);
                told = error;
            }
            // Cancel-safe: a wish that comes at the end of the time is seen in the next round.
            let wished = tokio::time::timeout(AGAIN, self.wanted.changed()).await;
            if matches!(wished, Ok(Err(_))) {
                return false;
            }
        };
        match found {
            process::Found::Nothing => {}
            process::Found::Ended(started) => self.see(Event::Vanished {
                restarts: started.restarts,
                resets: started.resets,
            }),
            process::Found::Running(process) => {
                self.adopt(process).await;
                return true;
            }
        }
        self.live.send_replace(Live::default());
        true
    }

    /// Tells that nobody knows whether it runs.
    fn cannot_look(&self, wanted: &Wanted, why: &str) {
        let status = VmStatus {
            phase: VmPhase::Failed,
            since: Some(self.phase.1),
            message: format!("It is not known whether it runs: {why}"),
            remedy: "It is looked for again by itself; if this stays, restart the node".to_owned(),
            wanted: matches!(wanted.want, Want::On | Want::Paused),
            ..VmStatus::default()
        };
        let name = &wanted.assignment.record.spec.name;
        self.around.board.show(self.id, name, status);
    }

    async fn adopt(&mut self, process: Process) {
        let pid = process.pidfd.pid();
        tracing::info!(vm = %self.id, pid, "was found running");
        self.phase = (VmPhase::Running, process.started.at);
        let adopted = Event::Adopted {
            guest: match process.started.ran {
                true => Guest::Running,
                false => Guest::Loaded,
            },
            restarts: process.started.restarts,
            resets: process.started.resets,
        };
        let answers = process.monitor.is_some();
        self.promise(&process);
        self.watch(process);
        self.see(adopted);
        if answers {
            self.ask_guest().await;
        } else {
            self.see(Event::Monitor(false));
            self.reconnect = Some(Instant::now() + AGAIN);
        }
    }
}
