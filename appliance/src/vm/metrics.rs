//! The load of a machine: two readings of counters make one sample.
//!
//! The processor time and the memory are those of the control group, so QEMU's
//! own share is in them: it is what the machine costs the node. The page cache
//! is not: the kernel gives it back when somebody needs it. Disk counters
//! are QEMU's, which alone knows what the guest did; packets are counted by the
//! kernel at the tap, where what the node sent is what the guest received.

use std::path::Path;
use std::time::{Duration, Instant};

use ashlar_api::metrics::VmSample;
use ashlar_api::{Bytes, Timestamp};
use serde::Deserialize;

use crate::sys::cgroup::{Cgroup, Stats};
use crate::sys::proc::Process;
use crate::sys::sysfs;

/// Counters of a machine at one moment; all but memory only grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    /// When they were read.
    pub at: Instant,
    /// Processor time.
    pub cpu: Duration,
    /// Bytes of memory held.
    pub memory: u64,
    /// Bytes that the guest received and sent.
    pub net: Flow,
    /// Bytes that the guest read and wrote.
    pub disk: Flow,
}

/// Bytes in and out of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Read or received.
    pub into: u64,
    /// Written or sent.
    pub out: u64,
}

impl std::iter::Sum for Flow {
    fn sum<I: Iterator<Item = Flow>>(flows: I) -> Flow {
        flows.fold(Flow::default(), |a, b| Flow {
            into: a.into.saturating_add(b.into),
            out: a.out.saturating_add(b.out),
        })
    }
}

/// One device of `query-blockstats`.
#[derive(Debug, Deserialize)]
pub struct BlockDevice {
    stats: BlockCounters,
}

#[derive(Debug, Deserialize)]
struct BlockCounters {
    #[serde(default)]
    rd_bytes: u64,
    #[serde(default)]
    wr_bytes: u64,
}

/// What a machine's disks read and wrote so far.
pub fn disks(devices: &[BlockDevice]) -> Flow {
    let flow = |device: &BlockDevice| Flow {
        into: device.stats.rd_bytes,
        out: device.stats.wr_bytes,
    };
    devices.iter().map(flow).sum()
}

/// What the guest received and sent so far through these taps.
pub fn taps(names: &[String]) -> Flow {
    let flow = |name: &String| {
        let counters = Path::new("/sys/class/net").join(name).join("statistics");
        let count = |file: &str| sysfs::parse(counters.join(file)).unwrap_or(0);
        Flow {
            into: count("tx_bytes"),
            out: count("rx_bytes"),
        }
    };
    names.iter().map(flow).sum()
}

/// Processor time and memory of a machine's process.
pub fn usage(group: &Cgroup, pid: u32) -> (Duration, u64) {
    let stats = group.stats();
    let process = Process::read(pid);
    let resident = process.as_ref().map_or(0, |process| process.resident);
    // A kernel without the controllers still tells about the process.
    let cpu = match stats.cpu_usage {
        Duration::ZERO => process.map_or(Duration::ZERO, |process| process.cpu),
        usage => usage,
    };
    (cpu, held(&stats).unwrap_or(resident))
}

/// Memory that the kernel can not take back, as it can page cache.
fn held(stats: &Stats) -> Option<u64> {
    let shared = stats.memory_shared.unwrap_or(0);
    Some(stats.memory_anonymous?.saturating_add(shared))
}

/// The load between two readings of a machine with so many processors.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, and a share has no use for more digits"
)]
pub fn sample(before: &Counters, now: &Counters, cpus: u16, at: Timestamp) -> VmSample {
    let seconds = now
        .at
        .saturating_duration_since(before.at)
        .as_secs_f64()
        .max(0.001);
    // A counter that went back belongs to a new process: it began at zero.
    let rate = |before: u64, now: u64| {
        let grown = now.checked_sub(before).unwrap_or(now);
        (grown as f64 / seconds) as u64
    };
    let busy = now
        .cpu
        .checked_sub(before.cpu)
        .unwrap_or(now.cpu)
        .as_secs_f64();
    let share = busy / seconds / f64::from(cpus.max(1));
    VmSample {
        at,
        cpu: share.clamp(0.0, 1.0) as f32,
        memory: Bytes(now.memory),
        net_rx: rate(before.net.into, now.net.into),
        net_tx: rate(before.net.out, now.net.out),
        disk_read: rate(before.disk.into, now.disk.into),
        disk_write: rate(before.disk.out, now.disk.out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_make_rates() {
        let at = Instant::now();
        let before = Counters {
            at,
            cpu: Duration::from_secs(10),
            memory: 1 << 20,
            net: Flow { into: 1000, out: 0 },
            disk: Flow {
                into: 5000,
                out: 700,
            },
        };
        let now = Counters {
            at: at + Duration::from_secs(5),
            cpu: Duration::from_secs(15),
            memory: 2 << 20,
            net: Flow {
                into: 6000,
                out: 50,
            },
            disk: Flow {
                into: 100,
                out: 700,
            },
        };
        let stamp = Timestamp::UNIX_EPOCH;
        let sample = sample(&before, &now, 2, stamp);
        assert_eq!(
            sample,
            VmSample {
                at: stamp,
                cpu: 0.5,
                memory: Bytes::mib(2),
                net_rx: 1000,
                net_tx: 10,
                disk_read: 20,
                disk_write: 0,
            }
        );
    }

    #[test]
    fn page_cache_is_not_held() {
        let mut stats = Stats {
            memory: Some(900),
            ..Stats::default()
        };
        assert_eq!(held(&stats), None);
        stats.memory_anonymous = Some(300);
        assert_eq!(held(&stats), Some(300));
        stats.memory_shared = Some(50);
        assert_eq!(held(&stats), Some(350));
    }

    #[test]
    fn disks_are_added_up() {
        let text = include_str!("testdata/qmp/blockstats.json");
        let devices: Vec<BlockDevice> = serde_json::from_str(text).unwrap();
        assert_eq!(devices.len(), 3);
        let sum = disks(&devices);
        assert!(sum.into > 0, "{sum:?}");
    }
}
