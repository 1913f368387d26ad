//! What an owner does: one action at a time, each bounded, each told to the life.

use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Exit, Owner, PASSES_WITHIN, Wanted};
use crate::reconcile::chain;
use crate::vm::admission::{self, Promise};
use crate::vm::fleet::Live;
use crate::vm::life::{Action, Event, Obstacle, Wish};
use crate::vm::place::EraseError;
use crate::vm::process::{self, Process, ProcessError};
use crate::vm::qmp::{Qmp, QmpError};
use crate::vm::sampler::{Sampler, Subject};
use crate::vm::{agent, link};
use ashlar_api::Bytes;

/// Why an action could not be done.
#[derive(Debug, thiserror::Error)]
enum ActError {
    #[error("its process is gone")]
    NoProcess,
    #[error("its process does not answer")]
    NoMonitor,
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error(transparent)]
    Group(#[from] crate::sys::cgroup::CgroupError),
}

impl Owner {
    /// Does one thing and takes in how it went.
    pub(super) async fn perform(&mut self, action: Action, wanted: &Wanted, wish: &Wish) {
        tracing::info!(vm = %wanted.assignment.record.spec.name, ?action, "acts");
        if action == Action::Start {
            self.start(wanted, wish).await;
            return;
        }
        let done = match action {
            Action::Start => return,
            Action::Resume => self.resume().await,
            Action::Pause => self.say("stop").await,
            Action::Ask => self.ask().await,
            Action::Reset => self.reset(wish).await,
            Action::Quit => match self.say("quit").await {
                // It may be gone before the answer is.
                Err(ActError::Qmp(QmpError::Closed { .. })) => Ok(()),
                other => other,
            },
            Action::Kill => self.kill(),
            Action::Erase => self.around.place.erase(self.id).map_err(ActError::from),
        };
        // What an action fulfils is what was wanted when it began.
        match done {
            Ok(()) => self.life.seen(Event::Done(action), wish, Instant::now()),
            Err(error) => {
                let text = chain(&error);
                tracing::warn!(vm = %self.id, ?action, "{text}");
                if let ActError::Qmp(error) = &error {
                    self.failed_to_ask(error);
                }
                self.life
                    .seen(Event::Failed(action, text), wish, Instant::now());
            }
        }
    }

    fn qmp(&self) -> Result<Qmp, ActError> {
        let process = self.process.as_ref().ok_or(ActError::NoProcess)?;
        let monitor = process.monitor.as_ref().ok_or(ActError::NoMonitor)?;
        Ok(monitor.qmp.clone())
    }

    async fn say(&self, command: &str) -> Result<(), ActError> {
        self.qmp()?.run(command, json!({})).await?;
        Ok(())
    }

    async fn start(&mut self, wanted: &Wanted, wish: &Wish) {
        if let Some(obstacle) = self.obstacle(wanted) {
            let since = *self.blocked.get_or_insert_with(Instant::now);
            let passing = obstacle.passing && since.elapsed() < PASSES_WITHIN;
            let obstacle = Obstacle {
                passing,
                ..obstacle
            };
            self.life
                .seen(Event::Blocked(obstacle), wish, Instant::now());
            return;
        }
        self.blocked = None;
        self.disk_trouble.clear();
        self.publish(wanted, wish);
        self.live.send_replace(Live {
            up: true,
            qmp: None,
        });
        match process::start(&self.around.place, &wanted.assignment).await {
            Ok(process) => {
                self.watch(process);
                self.life
                    .seen(Event::Done(Action::Start), wish, Instant::now());
            }
            Err(error) => {
                self.live.send_replace(Live::default());
                self.around.ledger.release(self.id);
                let text = chain(&error);
                tracing::warn!(vm = %self.id, "cannot be started: {text}");
                let failed = Event::Failed(Action::Start, format!("It can not be started: {text}"));
                self.life.seen(failed, wish, Instant::now());
            }
        }
    }

    /// What on the node stands in the way of a start; memory is promised when nothing does.
    fn obstacle(&self, wanted: &Wanted) -> Option<Obstacle> {
        let assignment = &wanted.assignment;
        let waits = |message: String, remedy: &str| {
            Some(Obstacle {
                passing: true,
                message,
                remedy: remedy.to_owned(),
            })
        };
        if let Some(disk) = assignment.disks.iter().find(|disk| !disk.exists()) {
            return waits(
                format!("Its disk {} is not there", disk.display()),
                "See that the drives of its pool are there and that the pool is healthy; it then starts by itself",
            );
        }
        if let Some(medium) = assignment.cdrom.as_ref().filter(|path| !path.exists()) {
            return waits(
                format!(
                    "The image {} in its CD drive is not there",
                    medium.display()
                ),
                "See that the pool with the images is there, or take the image out of the drive; it then starts by itself",
            );
        }
        let absent = assignment
            .nics
            .iter()
            .find(|nic| !link::exists(&nic.bridge));
        if let Some(nic) = absent {
            return waits(
                format!(
                    "The bridge {} of one of its networks is not there",
                    nic.bridge
                ),
                "See what the network says; the machine starts by itself when its network is there",
            );
        }
        let spec = &assignment.record.spec;
        let need = need(spec.memory, spec.cpus);
        self.around.ledger.reserve(self.id, need).err()
    }

    /// Promises a process that was found what it was promised when it was started.
    pub(super) fn promise(&self, process: &Process) {
        let spec = &process.started.spec;
        let promise = Promise {
            most: need(spec.memory, spec.cpus),
            held: Bytes(0),
        };
        self.around.ledger.note(self.id, promise);
    }

    /// Begins to look after a process.
    pub(super) fn watch(&mut self, process: Process) {
        let place = &self.around.place;
        let nics = process.started.spec.nics.iter();
        let taps = nics
            .filter_map(|nic| nic.mac)
            .map(crate::state::schema::VmRecord::tap);
        match place.cgroup(self.id) {
            Ok(group) => {
                self.sampler = Some(Sampler::start(Subject {
                    id: self.id,
                    pid: process.pidfd.pid(),
                    group,
                    directory: place.runtime(self.id),
                    cpus: process.started.spec.cpus,
                    taps: taps.collect(),
                    live: self.live.subscribe(),
                    ledger: self.around.ledger.clone(),
                }));
            }
            Err(error) => tracing::warn!(vm = %self.id, "its load is not seen: {error}"),
        }
        self.ballooned = None;
        self.sizes.clear();
        self.reconnect = None;
        self.process = Some(process);
        self.connected();
    }

    async fn resume(&mut self) -> Result<(), ActError> {
        let directory = self.around.place.runtime(self.id);
        let process = self.process.as_mut().ok_or(ActError::NoProcess)?;
        if !process.started.ran {
            // Written first: a guest that may have run is never taken for one that did not.
            process.started.ran = true;
            process.started.write(&directory)?;
        }
        self.say("cont").await
    }

    /// Asks the guest to end: by its agent, which a desktop obeys without a question, and by the button.
    async fn ask(&mut self) -> Result<(), ActError> {
        let answers = |sampler: &Sampler| sampler.seen.borrow().agent;
        if self.sampler.as_ref().is_some_and(answers) {
            let socket = self.around.place.runtime(self.id).join("agent.sock");
            if let Err(error) = agent::shutdown(&socket).await {
                tracing::debug!(vm = %self.id, "{}", chain(&error));
            }
        }
        self.say("system_powerdown").await
    }

    async fn reset(&mut self, wish: &Wish) -> Result<(), ActError> {
        self.say("system_reset").await?;
        let directory = self.around.place.runtime(self.id);
        if let Some(process) = &mut self.process {
            process.started.restarts = wish.restarts;
            process.started.resets = wish.resets;
            process.started.write(&directory)?;
        }
        Ok(())
    }

    fn kill(&self) -> Result<(), ActError> {
        if let Some(process) = &self.process
            && let Err(error) = process.pidfd.signal(Signal::SIGKILL)
        {
            tracing::warn!(vm = %self.id, "cannot kill its process: {error}");
        }
        Ok(self.around.place.cgroup(self.id)?.kill()?)
    }

    /// The process ended.
    pub(super) async fn exited(&mut self, exit: Exit) {
        let Some(process) = self.process.take() else {
            return;
        };
        self.sampler = None;
        self.reconnect = None;
        drop(process);
        self.live.send_replace(Live::default());
        let place = &self.around.place;
        let mut short = false;
        match place.cgroup(self.id) {
            Ok(group) => {
                short = group.stats().oom_kills > 0;
                // Threads of a process that was just killed may need a moment.
                for _ in 0..20 {
                    if group.kill().and_then(|()| group.remove()).is_ok() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
            Err(error) => tracing::warn!(vm = %self.id, "{error}"),
        }
        self.around.ledger.release(self.id);
        let words = process::last_words(&place.runtime(self.id));
        let how = match exit {
            _ if short => "It was ended because the node had no memory left".to_owned(),
            Exit::Unknown => "Its process ended unexpectedly".to_owned(),
            exit => format!("Its process ended unexpectedly ({exit})"),
        };
        tracing::info!(vm = %self.id, %exit, "ended; last words: {words}");
        self.see(Event::Exited(format!("{how}; QEMU's last words: {words}")));
    }
}

/// What a machine may take, QEMU's own included.
fn need(memory: Bytes, cpus: u16) -> Bytes {
    Bytes(memory.0.saturating_add(admission::overhead(memory, cpus).0))
}
