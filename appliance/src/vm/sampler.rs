//! What is looked at while a machine runs: its load, its guest agent, the size
//! of its logs.
//!
//! It runs beside the owner, because an agent may be slow and the owner may
//! not. It keeps no connection of its own: QEMU takes one at a time, and that
//! one is the owner's, borrowed for each question.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashlar_api::metrics::VmSample;
use ashlar_api::{Bytes, Timestamp, VmId};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::admission::Ledger;
use super::fleet::Live;
use super::metrics::{self, BlockDevice, Counters, Flow};
use super::process::MOST_LOG;
use super::{agent, serial};
use crate::sys::cgroup::Cgroup;
use crate::sys::fs;

/// From one sample to the next.
const PACE: Duration = Duration::from_secs(5);
/// An agent that did not answer is asked again after so many samples, one that did after more.
const AGENT_AGAIN: (u32, u32) = (2, 6);

/// What is looked at.
#[derive(Debug)]
pub struct Subject {
    /// The machine.
    pub id: VmId,
    /// Its process.
    pub pid: u32,
    /// Its control group.
    pub group: Cgroup,
    /// The directory of its sockets.
    pub directory: PathBuf,
    /// Its processors.
    pub cpus: u16,
    /// The node's ends of its interfaces.
    pub taps: Vec<String>,
    /// Where the connection to QEMU is borrowed.
    pub live: watch::Receiver<Live>,
    /// Who is told how much memory it holds.
    pub ledger: Ledger,
}

/// What was seen last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The load.
    pub load: Option<VmSample>,
    /// The guest agent answers.
    pub agent: bool,
    /// What it said.
    pub addresses: Vec<IpAddr>,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    /// What was seen last.
    pub seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Sampler {
    /// Begins to look.
    pub fn start(subject: Subject) -> Sampler {
        let (tell, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(look(subject, tell));
        Sampler { seen, task }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(subject: Subject, tell: watch::Sender<Seen>) {
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Counters> = None;
    let mut seen = Seen::default();
    let mut rest = AGENT_AGAIN.0;
    loop {
        tick.tick().await;
        serial::cut(&subject.directory.join("serial.log"));
        if let Err(error) = fs::trim_log(&subject.directory.join("qemu.log"), MOST_LOG) {
            tracing::warn!(vm = %subject.id, "{error}");
        }
        let now = subject.count().await;
        subject.ledger.holds(subject.id, Bytes(now.memory));
        if let Some(before) = before.replace(now) {
            let sample = metrics::sample(&before, &now, subject.cpus, Timestamp::now());
            seen.load = Some(sample);
        }
        rest = rest.saturating_sub(1);
        if rest == 0 {
            let answer = agent::addresses(&subject.directory.join("agent.sock")).await;
            seen.agent = answer.is_ok();
            rest = match seen.agent {
                true => AGENT_AGAIN.1,
                false => AGENT_AGAIN.0,
            };
            seen.addresses = answer.unwrap_or_default();
        }
        tell.send_replace(seen.clone());
    }
}

impl Subject {
    async fn count(&self) -> Counters {
        let qmp = self.live.borrow().qmp.clone();
        let disk = match qmp {
            Some(qmp) => qmp
                .ask::<Vec<BlockDevice>>("query-blockstats", json!({}))
                .await
                .map_or(Flow::default(), |devices| metrics::disks(&devices)),
            None => Flow::default(),
        };
        let (cpu, memory) = metrics::usage(&self.group, self.pid);
        Counters {
            at: Instant::now(),
            cpu,
            memory,
            net: metrics::taps(&self.taps),
            disk,
        }
    }
}
