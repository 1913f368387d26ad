//! What `/proc` says about the machine and about one process.
//!
//! Invariant: parsing is separate from reading, and a line the kernel adds later is skipped, never an error.
//! Counters (processor time) are given as they are; rates are made by whoever looks twice.

use std::path::Path;
use std::time::Duration;

use super::sysfs;

/// `/proc/meminfo`, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that the kernel manages.
    pub total: u64,
    /// Not used for anything.
    pub free: u64,
    /// What programs can still get without swapping.
    pub available: u64,
    /// Page cache and reclaimable kernel memory.
    pub cached: u64,
    /// Size of swap.
    pub swap_total: u64,
    /// Unused swap.
    pub swap_free: u64,
    /// Pages set aside as huge pages.
    pub huge_pages: u64,
}

/// The kernel has less than is built in: its own image and what the firmware and a graphics card keep are missing.
pub const MISSING_MEMORY: u64 = 256 << 20;
/// With less of what the kernel has, the system works and hardly any machine has room: 2 GiB are to be built in.
pub const LITTLE_MEMORY: u64 = (2 << 30) - MISSING_MEMORY;

impl Memory {
    /// Reads it; zeros when `/proc` is absent.
    pub fn read() -> Memory {
        Memory::read_in(Path::new("/proc"))
    }

    /// The same from another `/proc`.
    pub fn read_in(proc: &Path) -> Memory {
        Memory::parse(&sysfs::text(proc.join("meminfo")).unwrap_or_default())
    }

    fn parse(text: &str) -> Memory {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let words: Vec<&str> = line.unwrap_or_default().split_ascii_whitespace().collect();
            let number = words
                .first()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
            if words.get(1) == Some(&"kB") {
                number << 10
            } else {
                number
            }
        };
        Memory {
            total: field("MemTotal"),
            free: field("MemFree"),
            available: field("MemAvailable"),
            cached: field("Cached") + field("SReclaimable"),
            swap_total: field("SwapTotal"),
            swap_free: field("SwapFree"),
            huge_pages: field("HugePages_Total") * field("Hugepagesize"),
        }
    }
}

/// Time spent by all processors since the start, from the first line of `/proc/stat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Programs, guests included.
    pub user: Duration,
    /// The kernel, interrupts included.
    pub system: Duration,
    /// Nothing to do.
    pub idle: Duration,
    /// Nothing to do but wait for disks.
    pub iowait: Duration,
    /// Taken by the hypervisor under us.
    pub steal: Duration,
    /// Of `user`, virtual machines.
    pub guest: Duration,
}

impl CpuTime {
    /// Reads it; zeros when `/proc` is absent.
    pub fn read() -> CpuTime {
        CpuTime::parse(&sysfs::text("/proc/stat").unwrap_or_default())
    }

    fn parse(text: &str) -> CpuTime {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("cpu "))
            .unwrap_or_default();
        let mut ticks = line
            .split_ascii_whitespace()
            .filter_map(|word| word.parse::<u64>().ok());
        // The unit is fixed at 100 a second towards user space, whatever the kernel's own is.
        let mut next = || Duration::from_millis(ticks.next().unwrap_or(0).saturating_mul(10));
        let (user, nice, system, idle, iowait) = (next(), next(), next(), next(), next());
        let (irq, softirq, steal, guest, guest_nice) = (next(), next(), next(), next(), next());
        CpuTime {
            user: user + nice,
            system: system + irq + softirq,
            idle,
            iowait,
            steal,
            guest: guest + guest_nice,
        }
    }

    /// Time in which a processor did something.
    pub fn busy(&self) -> Duration {
        self.user + self.system + self.steal
    }

    /// All time.
    pub fn total(&self) -> Duration {
        self.busy() + self.idle + self.iowait
    }
}

/// How many processors are online.
pub fn processors() -> usize {
    let text = sysfs::text("/proc/stat").unwrap_or_default();
    let numbered = |line: &&str| {
        line.starts_with("cpu") && line.as_bytes().get(3).is_some_and(u8::is_ascii_digit)
    };
    text.lines().filter(numbered).count().max(1)
}

/// The processor's name, as `AMD EPYC 7543 32-Core Processor`.
pub fn processor_model() -> Option<String> {
    let text = sysfs::text("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Time since the kernel started.
pub fn uptime() -> Duration {
    let text = sysfs::text("/proc/uptime").unwrap_or_default();
    let seconds = text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its short name.
    pub name: String,
    /// Its parent.
    pub parent: u32,
    /// Processor time it used.
    pub cpu: Duration,
    /// Time from the start of the kernel to its start.
    pub started: Duration,
    /// Bytes of memory in use, shared pages included.
    pub resident: u64,
}

impl Process {
    /// Looks at one process; `None` when there is none with this id.
    pub fn read(pid: u32) -> Option<Process> {
        let directory = Path::new("/proc").join(pid.to_string());
        let stat = sysfs::text(directory.join("stat"))?;
        let status = sysfs::text(directory.join("status")).unwrap_or_default();
        Process::parse(&stat, &status)
    }

    fn parse(stat: &str, status: &str) -> Option<Process> {
        // The name may hold blanks and brackets; the last bracket ends it.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Numbered from 3 in the manual, from 0 here.
        let field = |number: usize| {
            fields
                .get(number - 3)
                .and_then(|word| word.parse::<u64>().ok())
        };
        let ticks = |number| Some(Duration::from_millis(field(number)?.saturating_mul(10)));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Some(Process {
            name,
            parent: u32::try_from(field(4)?).ok()?,
            cpu: ticks(14)? + ticks(15)?,
            started: ticks(22)?,
            resident: resident.unwrap_or(0) << 10,
        })
    }
}

/// The words of the kernel's command line; none when it can not be read.
pub fn kernel_words() -> Vec<String> {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_recorded_meminfo() {
        let text = "MemTotal:       24663328 kB\nMemFree:        21500000 kB\nMemAvailable:   22900000 kB\n\
                    Buffers:           12345 kB\nCached:          1000000 kB\nSwapCached:            0 kB\n\
                    SwapTotal:             0 kB\nSwapFree:              0 kB\nSReclaimable:      24 kB\n\
                    HugePages_Total:      16\nHugepagesize:       2048 kB\n";
        let memory = Memory::parse(text);
        assert_eq!(memory.total, 24_663_328 << 10);
        assert_eq!(memory.cached, 1_000_024 << 10);
        assert_eq!(memory.huge_pages, 32 << 20);
        let now = Memory::read();
        assert!(now.total > now.free && now.available > 0);
    }

    #[test]
    fn reads_recorded_stat() {
        let text =
            "cpu  1000 200 300 5000 50 1 2 3 40 5\ncpu0 500 100 150 2500 25 0 1 1 20 2\nintr 12\n";
        let time = CpuTime::parse(text);
        assert_eq!(time.user, Duration::from_secs(12));
        assert_eq!(time.system, Duration::from_millis(3030));
        assert_eq!(time.guest, Duration::from_millis(450));
        assert_eq!(time.total(), Duration::from_millis(65_560));
        assert!(CpuTime::read().total() > Duration::ZERO);
        assert!(processors() >= 1);
        assert!(processor_model().is_some());
        assert!(uptime() > Duration::ZERO);
    }

    #[test]
    fn looks_at_a_process() {
        let stat = "812 (a) b (c) S 1 812 812 0 -1 4194560 2000 0 7 0 120 30 0 0 20 0 4 0 5500 300000 900 1 1 1";
        let process =
            Process::parse(stat, "Name:\ta\nVmRSS:\t    3600 kB\nRssAnon:\t 1 kB\n").unwrap();
        assert_eq!((process.name.as_str(), process.parent), ("a) b (c", 1));
        assert_eq!(
            (process.cpu, process.started),
            (Duration::from_millis(1500), Duration::from_secs(55))
        );
        assert_eq!(process.resident, 3600 << 10);
        let us = Process::read(std::process::id()).unwrap();
        assert!(us.resident > 1 << 20 && us.parent > 0);
        assert_eq!(Process::read(u32::MAX), None);
    }
}
