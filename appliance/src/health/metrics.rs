//! Load over time, of the node and of each machine.
//!
//! ```text
//!   /proc, /sys ──5 s──► hour: 720 samples ──each 60──► day: 288 averages of 5 minutes
//!   vm status ─────────► hour per machine, while it runs
//! ```
//!
//! All of it is in memory and small: what a chart shows is worth nothing after
//! a restart, and a system drive should not be written to every five seconds.
//! Counters of the kernel become rates here, between two looks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ashlar_api::metrics::{Range, Sample, Series, VmSample};
use ashlar_api::{Bytes, Timestamp, VmId};
use tokio::sync::watch;

use crate::sys::proc::{CpuTime, Memory};
use crate::sys::sysfs;

/// Seconds from one sample to the next.
pub const STEP: u32 = 5;
/// Samples of an hour.
const HOUR: usize = 720;
/// Samples that one of the day is the average of.
const FOLD: usize = 60;
/// Averages of a day.
const DAY: usize = 288;

/// Counters of the kernel at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    when: Instant,
    cpu: CpuTime,
    memory_used: u64,
    net_rx: u64,
    net_tx: u64,
    disk_read: u64,
    disk_write: u64,
}

impl Counters {
    /// Looks. What is absent counts as zero.
    pub fn read() -> Self {
        let memory = Memory::read();
        let (net_rx, net_tx) = uplinks();
        let (disk_read, disk_write) = drives();
        Counters {
            when: Instant::now(),
            cpu: CpuTime::read(),
            memory_used: memory.total.saturating_sub(memory.available),
            net_rx,
            net_tx,
            disk_read,
            disk_write,
        }
    }

    /// The load since `before`. Counters that went backwards (a drive was pulled) count as still.
    fn since(&self, before: &Counters, at: Timestamp) -> Sample {
        let elapsed = self
            .when
            .duration_since(before.when)
            .as_secs_f64()
            .max(0.001);
        let rate = |now: u64, then: u64| {
            // Whole bytes per second are as exact as anybody reads them.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate of bytes is far below 2^53 and not negative"
            )]
            let rate = (now.saturating_sub(then) as f64 / elapsed) as u64;
            rate
        };
        let total = self.cpu.total().saturating_sub(before.cpu.total());
        let busy = self.cpu.busy().saturating_sub(before.cpu.busy());
        let cpu = if total > Duration::ZERO {
            busy.as_secs_f32() / total.as_secs_f32()
        } else {
            0.0
        };
        Sample {
            at,
            cpu: cpu.clamp(0.0, 1.0),
            memory_used: Bytes(self.memory_used),
            net_rx: rate(self.net_rx, before.net_rx),
            net_tx: rate(self.net_tx, before.net_tx),
            disk_read: rate(self.disk_read, before.disk_read),
            disk_write: rate(self.disk_write, before.disk_write),
        }
    }
}

/// Bytes received and sent on interfaces that are hardware: bridges and taps
/// carry the same bytes once more.
fn uplinks() -> (u64, u64) {
    let root = std::path::Path::new("/sys/class/net");
    let hardware = sysfs::names(root)
        .into_iter()
        .map(|name| root.join(name))
        .filter(|link| link.join("device").exists());
    hardware.fold((0, 0), |(rx, tx), link| {
        let count = |name| sysfs::parse::<u64>(link.join("statistics").join(name)).unwrap_or(0);
        (rx + count("rx_bytes"), tx + count("tx_bytes"))
    })
}

/// Bytes read from and written to drives that are hardware: volumes on them count once more.
fn drives() -> (u64, u64) {
    let root = std::path::Path::new("/sys/block");
    let hardware = sysfs::names(root)
        .into_iter()
        .map(|name| root.join(name))
        .filter(|drive| drive.join("device").exists());
    hardware.fold((0, 0), |(read, written), drive| {
        let stat = sysfs::text(drive.join("stat")).unwrap_or_default();
        let (r, w) = sectors(&stat);
        (read + r * 512, written + w * 512)
    })
}

/// Sectors read and written, from a block device's `stat`: the third and seventh number.
fn sectors(stat: &str) -> (u64, u64) {
    let mut numbers = stat
        .split_ascii_whitespace()
        .map(|word| word.parse().unwrap_or(0));
    let read = numbers.nth(2).unwrap_or(0);
    (read, numbers.nth(3).unwrap_or(0))
}

/// The rings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rings: Mutex<Rings>,
    newest: watch::Sender<Option<Sample>>,
}

#[derive(Debug, Default)]
struct Rings {
    before: Option<Counters>,
    hour: VecDeque<Sample>,
    fold: Vec<Sample>,
    day: VecDeque<Sample>,
    vms: HashMap<VmId, VecDeque<VmSample>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics(Arc::new(Inner {
            rings: Mutex::default(),
            newest: watch::Sender::new(None),
        }))
    }
}

impl Metrics {
    /// Takes in what the counters say now.
    pub fn add(&self, counters: Counters, at: Timestamp) {
        let mut rings = self.rings();
        let Some(before) = rings.before.replace(counters) else {
            return;
        };
        let sample = counters.since(&before, at);
        push(&mut rings.hour, sample, HOUR);
        rings.fold.push(sample);
        if rings.fold.len() >= FOLD {
            let samples = std::mem::take(&mut rings.fold);
            if let Some(average) = average(&samples) {
                push(&mut rings.day, average, DAY);
            }
        }
        drop(rings);
        self.0.newest.send_replace(Some(sample));
    }

    /// Takes in what is seen of machines: newer samples are kept, machines that
    /// are not among `vms` any more are forgotten.
    pub fn add_vms(&self, vms: impl Iterator<Item = (VmId, Option<VmSample>)>) {
        let mut rings = self.rings();
        let mut old = std::mem::take(&mut rings.vms);
        for (id, sample) in vms {
            let mut ring = old.remove(&id).unwrap_or_default();
            if let Some(sample) = sample
                && ring.back().is_none_or(|last| last.at < sample.at)
            {
                push(&mut ring, sample, HOUR);
            }
            if !ring.is_empty() {
                rings.vms.insert(id, ring);
            }
        }
    }

    /// The node's load so far.
    pub fn series(&self, range: Range) -> Series<Sample> {
        let rings = self.rings();
        match range {
            Range::Hour => Series {
                step: STEP,
                samples: rings.hour.iter().copied().collect(),
            },
            Range::Day => Series {
                step: STEP * 60,
                samples: rings.day.iter().copied().collect(),
            },
        }
    }

    /// A machine's load so far.
    pub fn vm_series(&self, id: VmId) -> Series<VmSample> {
        let samples = self
            .rings()
            .vms
            .get(&id)
            .map(|ring| ring.iter().copied().collect())
            .unwrap_or_default();
        Series {
            step: STEP,
            samples,
        }
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<Sample> {
        *self.0.newest.borrow()
    }

    /// Hears of each new sample.
    pub fn listen(&self) -> watch::Receiver<Option<Sample>> {
        self.0.newest.subscribe()
    }

    fn rings(&self) -> std::sync::MutexGuard<'_, Rings> {
        self.0.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(item);
}

fn average(samples: &[Sample]) -> Option<Sample> {
    let last = samples.last()?;
    let count = samples.len() as u64;
    let mean = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>() / count;
    Some(Sample {
        at: last.at,
        cpu: samples.iter().map(|s| s.cpu).sum::<f32>() / samples.len() as f32,
        memory_used: Bytes(mean(|s| s.memory_used.0)),
        net_rx: mean(|s| s.net_rx),
        net_tx: mean(|s| s.net_tx),
        disk_read: mean(|s| s.disk_read),
        disk_write: mean(|s| s.disk_write),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(seconds: u64, start: Instant) -> Counters {
        Counters {
            when: start + Duration::from_secs(seconds),
            cpu: CpuTime {
                user: Duration::from_millis(250 * seconds),
                idle: Duration::from_millis(750 * seconds),
                ..CpuTime::default()
            },
            memory_used: 1 << 30,
            net_rx: 1000 * seconds,
            net_tx: 0,
            disk_read: 512 * seconds,
            disk_write: 1 << 20,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap()
    }

    #[test]
    fn counters_become_rates_and_rings_stay_bounded() {
        let metrics = Metrics::default();
        let start = Instant::now();
        for n in 0..2000 {
            metrics.add(counters(5 * n, start), at(5 * n));
        }
        let hour = metrics.series(Range::Hour);
        assert_eq!((hour.step, hour.samples.len()), (5, HOUR));
        let sample = hour.samples[HOUR - 1];
        assert!((sample.cpu - 0.25).abs() < 0.001);
        assert_eq!(
            (sample.net_rx, sample.disk_read, sample.disk_write),
            (1000, 512, 0)
        );
        let day = metrics.series(Range::Day);
        assert_eq!((day.step, day.samples.len()), (300, 1999 / FOLD));
        assert_eq!(day.samples[0].net_rx, 1000);
        assert_eq!(metrics.newest().map(|s| s.at), Some(at(9995)));
    }

    #[test]
    fn counters_that_go_backwards_are_still() {
        let start = Instant::now();
        let mut later = counters(10, start);
        later.net_rx = 0;
        later.cpu = CpuTime::default();
        let sample = later.since(&counters(5, start), at(10));
        assert_eq!((sample.net_rx, sample.cpu), (0, 0.0));
    }

    #[test]
    fn machines_are_kept_while_they_are_there() {
        let metrics = Metrics::default();
        let id = VmId::from(uuid::Uuid::now_v7());
        let sample = |n| VmSample {
            at: at(n),
            cpu: 0.5,
            memory: Bytes::mib(512),
            net_rx: n,
            net_tx: 0,
            disk_read: 0,
            disk_write: 0,
        };
        metrics.add_vms([(id, Some(sample(5)))].into_iter());
        metrics.add_vms([(id, Some(sample(5)))].into_iter());
        metrics.add_vms([(id, Some(sample(10)))].into_iter());
        metrics.add_vms([(id, None)].into_iter());
        assert_eq!(metrics.vm_series(id).samples.len(), 2);
        metrics.add_vms(std::iter::empty());
        assert!(metrics.vm_series(id).samples.is_empty());
    }

    #[test]
    fn reads_recorded_stat() {
        let stat = "  123 4 5678 90 11 12 1314 15 0 16 17 0 0 0 0 0 0";
        assert_eq!(sectors(stat), (5678, 1314));
        assert_eq!(sectors(""), (0, 0));
        assert!(Counters::read().memory_used > 0);
    }
}
