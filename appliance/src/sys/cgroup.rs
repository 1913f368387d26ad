//! Control groups, version 2: what a child may use, what it uses, and a kill that nothing escapes.
//!
//! Invariant: processes live in leaves only (`service/<name>`, `vm/<id>`, `init`, `supervisor`); the groups above
//! hold none, as the kernel demands of groups that hand controllers on. A group is also our memory of what runs:
//! after a restart of the supervisor `processes` says what is still there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pidfd::PidFd;
use super::{fs, sysfs};

/// Handed on to every group when the kernel has them.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "io", "pids"];

/// Why something about a control group failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 file system is mounted.
    #[error("no cgroup2 file system is mounted")]
    NotMounted,
    /// An attribute could not be written.
    #[error("cannot write {value:?} to {}", .path.display())]
    Write {
        /// The attribute.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An attribute could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The attribute.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// One of its processes could not be opened.
    #[error("cannot open the process {pid} of the control group {}", .path.display())]
    Process {
        /// The group.
        path: PathBuf,
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The group could not be made.
    #[error("cannot make the control group {}", .path.display())]
    Create {
        /// The group.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The group could not be removed; `EBUSY` means that processes are left in it.
    #[error("cannot remove the control group {}", .path.display())]
    Remove {
        /// The group.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One control group, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

/// How much processor time, out of every period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    /// Microseconds of processor time in each period, over all processors.
    pub quota: u64,
    /// Microseconds.
    pub period: u64,
}

/// Limits on one block device; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoMax {
    /// Device number.
    pub device: (u32, u32),
    /// Bytes read a second.
    pub read_bytes: Option<u64>,
    /// Bytes written a second.
    pub write_bytes: Option<u64>,
    /// Reads a second.
    pub read_ops: Option<u64>,
    /// Writes a second.
    pub write_ops: Option<u64>,
}

/// What a group may use. `None` leaves the attribute as it is; see each field for how to lift a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processor time; `Some(None)` lifts the limit.
    pub cpu_max: Option<Option<CpuMax>>,
    /// Share of the processors under contention, 1 to 10000, 100 is the kernel's default.
    pub cpu_weight: Option<u32>,
    /// Bytes of memory above which the group is killed; `Some(None)` lifts the limit.
    pub memory_max: Option<Option<u64>>,
    /// Bytes of memory above which it is slowed down and reclaimed; `Some(None)` lifts the limit.
    pub memory_high: Option<Option<u64>>,
    /// Bytes of memory that are not taken from it.
    pub memory_min: Option<u64>,
    /// Limits per block device.
    pub io_max: Vec<IoMax>,
    /// Share of the disks under contention, 1 to 10000, 100 is the kernel's default.
    pub io_weight: Option<u32>,
    /// Most processes and threads; `Some(None)` lifts the limit.
    pub pids_max: Option<Option<u64>>,
}

/// What a group used and uses. Absent numbers mean that the controller is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time since the group was made.
    pub cpu_usage: Duration,
    /// Of it, time in which it had to wait because of `cpu.max`.
    pub cpu_throttled: Duration,
    /// Bytes of memory now, page cache included.
    pub memory: Option<u64>,
    /// Of it, anonymous memory.
    pub memory_anonymous: Option<u64>,
    /// Of it, memory that has a name and no file on a disk, as a memfd has.
    pub memory_shared: Option<u64>,
    /// Bytes of memory at most so far.
    pub memory_peak: Option<u64>,
    /// How often the kernel killed a process of it for memory.
    pub oom_kills: u64,
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub written_bytes: u64,
}

impl Cgroup {
    /// The top of the hierarchy, wherever it is mounted.
    pub fn root() -> Result<Cgroup, CgroupError> {
        let mounts = fs::mounts().map_err(|_| CgroupError::NotMounted)?;
        let mount = mounts
            .into_iter()
            .find(|mount| mount.kind == "cgroup2")
            .ok_or(CgroupError::NotMounted)?;
        Ok(Cgroup { path: mount.target })
    }

    /// A group by its place under the top, as `service/chrony`.
    pub fn named(place: impl AsRef<Path>) -> Result<Cgroup, CgroupError> {
        Ok(Cgroup {
            path: Cgroup::root()?.path.join(place),
        })
    }

    /// A group by its directory.
    #[cfg(test)]
    pub fn at(path: impl Into<PathBuf>) -> Cgroup {
        Cgroup { path: path.into() }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A group inside this one.
    pub fn child(&self, name: &str) -> Cgroup {
        Cgroup {
            path: self.path.join(name),
        }
    }

    /// The groups directly inside, by name.
    pub fn children(&self) -> Vec<String> {
        let mut names = sysfs::names(&self.path);
        names.retain(|name| self.path.join(name).is_dir());
        names
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.path.join("cgroup.procs").exists()
    }

    /// Makes it and the groups above it, handing the controllers down to it. That it exists is success.
    pub fn create(&self) -> Result<(), CgroupError> {
        std::fs::create_dir_all(&self.path).map_err(|source| CgroupError::Create {
            path: self.path.clone(),
            source,
        })?;
        let root = Cgroup::root()?;
        let Ok(below) = self.path.strip_prefix(&root.path) else {
            return Ok(());
        };
        let mut above = root;
        for part in below {
            above.enable_controllers()?;
            above.path.push(part);
        }
        Ok(())
    }

    /// Hands every controller that is there on to the groups inside.
    pub fn enable_controllers(&self) -> Result<(), CgroupError> {
        let there = sysfs::text(self.path.join("cgroup.controllers")).unwrap_or_default();
        let handed_on = sysfs::text(self.path.join("cgroup.subtree_control")).unwrap_or_default();
        for name in CONTROLLERS {
            let has = |list: &str| list.split(' ').any(|word| word == name);
            if has(&there) && !has(&handed_on) {
                self.write("cgroup.subtree_control", &format!("+{name}"))?;
            }
        }
        Ok(())
    }

    /// Sets limits.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        for (attribute, value) in settings(limits) {
            self.write(attribute, &value)?;
        }
        Ok(())
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The ids of its processes, ascending; none when the group is absent.
    pub fn procs(&self) -> Result<Vec<u32>, CgroupError> {
        let path = self.path.join("cgroup.procs");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mut pids: Vec<u32> =
                    text.lines().filter_map(|line| line.parse().ok()).collect();
                pids.sort_unstable();
                Ok(pids)
            }
            Err(error) if gone(&error) => Ok(Vec::new()),
            Err(source) => Err(CgroupError::Read { path, source }),
        }
    }

    /// Its living processes, each by a descriptor that is certainly that process: the id is looked for again after
    /// opening, so it cannot have been given to a stranger in between. A process that lives and cannot be opened is
    /// an error: taken for none, it would be started a second time.
    pub fn processes(&self) -> Result<Vec<PidFd>, CgroupError> {
        let opened = self.procs()?.into_iter().map(|pid| (pid, PidFd::open(pid)));
        let opened: Vec<_> = opened.collect();
        self.living(opened, &self.procs()?)
    }

    fn living(
        &self,
        opened: Vec<(u32, io::Result<PidFd>)>,
        still: &[u32],
    ) -> Result<Vec<PidFd>, CgroupError> {
        let mut living = Vec::new();
        for (pid, process) in opened {
            match process {
                _ if !still.contains(&pid) => {}
                Ok(process) if process.is_alive() => living.push(process),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                Err(source) => {
                    return Err(CgroupError::Process {
                        path: self.path.clone(),
                        pid,
                        source,
                    });
                }
            }
        }
        Ok(living)
    }

    /// Whether a process lives in it or below.
    pub fn is_populated(&self) -> bool {
        let events = sysfs::text(self.path.join("cgroup.events")).unwrap_or_default();
        keyed(&events, "populated") == Some(1)
    }

    /// Kills all its processes and those below, also such as are being forked in this moment.
    pub fn kill(&self) -> Result<(), CgroupError> {
        match self.write("cgroup.kill", "1") {
            Err(CgroupError::Write { source, .. }) if gone(&source) => Ok(()),
            other => other,
        }
    }

    /// Removes it and the groups below it, all without processes. That it is absent is success.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for name in self.children() {
            self.child(&name).remove()?;
        }
        match std::fs::remove_dir(&self.path) {
            Err(source) if !gone(&source) => Err(CgroupError::Remove {
                path: self.path.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// What it uses.
    pub fn stats(&self) -> Stats {
        let text = |name: &str| sysfs::text(self.path.join(name)).unwrap_or_default();
        let (cpu, events, memory) = (text("cpu.stat"), text("memory.events"), text("memory.stat"));
        let (read_bytes, written_bytes) = io_totals(&text("io.stat"));
        let micros = |key| Duration::from_micros(keyed(&cpu, key).unwrap_or(0));
        Stats {
            cpu_usage: micros("usage_usec"),
            cpu_throttled: micros("throttled_usec"),
            memory: sysfs::parse(self.path.join("memory.current")),
            memory_anonymous: keyed(&memory, "anon"),
            memory_shared: keyed(&memory, "shmem"),
            memory_peak: sysfs::parse(self.path.join("memory.peak")),
            oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
            read_bytes,
            written_bytes,
        }
    }

    fn write(&self, attribute: &str, value: &str) -> Result<(), CgroupError> {
        let path = self.path.join(attribute);
        std::fs::write(&path, value).map_err(|source| CgroupError::Write {
            path,
            value: value.to_owned(),
            source,
        })
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

/// The attributes to write, as the kernel wants them.
fn settings(limits: &Limits) -> Vec<(&'static str, String)> {
    let bytes = |value: Option<u64>| value.map_or("max".to_owned(), |bytes| bytes.to_string());
    let mut list = Vec::new();
    if let Some(limit) = limits.cpu_max {
        let text = match limit {
            Some(CpuMax { quota, period }) => format!("{quota} {period}"),
            None => "max".to_owned(),
        };
        list.push(("cpu.max", text));
    }
    list.extend(
        limits
            .cpu_weight
            .map(|weight| ("cpu.weight", weight.to_string())),
    );
    list.extend(
        limits
            .memory_min
            .map(|least| ("memory.min", least.to_string())),
    );
    list.extend(limits.memory_high.map(|most| ("memory.high", bytes(most))));
    list.extend(limits.memory_max.map(|most| ("memory.max", bytes(most))));
    list.extend(
        limits
            .io_weight
            .map(|weight| ("io.weight", format!("default {weight}"))),
    );
    for io in &limits.io_max {
        let (major, minor) = io.device;
        let (rbps, wbps) = (bytes(io.read_bytes), bytes(io.write_bytes));
        let (riops, wiops) = (bytes(io.read_ops), bytes(io.write_ops));
        list.push((
            "io.max",
            format!("{major}:{minor} rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}"),
        ));
    }
    list.extend(limits.pids_max.map(|most| ("pids.max", bytes(most))));
    list
}

/// A number from lines of `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key))?
        .1
        .trim()
        .parse()
        .ok()
}

/// Bytes read and written over all devices of `io.stat`.
fn io_totals(text: &str) -> (u64, u64) {
    let sum = |name: &str| -> u64 {
        let words = text.split_ascii_whitespace();
        words
            .filter_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    /// A group of its own for a test, made for real.
    pub fn scratch(name: &str) -> Cgroup {
        let group = Cgroup::named(format!("ashlar-test-{name}-{}", std::process::id())).unwrap();
        group.create().unwrap();
        group
    }

    #[test]
    fn holds_counts_and_kills_processes() {
        let parent = scratch("kill");
        let group = parent.child("inner");
        group.create().unwrap();
        group.create().unwrap();
        assert!(group.exists() && !group.is_populated());
        assert_eq!(parent.children(), ["inner"]);
        // It waits to be moved: what it starts before stays where it was, and outlives this test.
        let mut child = Command::new("sh")
            .args(["-c", "read go; sleep 100 & sleep 100 & wait"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        group.add(child.id()).unwrap();
        let mut word = child.stdin.take().unwrap();
        word.write_all(b"go\n").unwrap();
        let limit = Instant::now() + Duration::from_secs(5);
        while group.procs().unwrap().len() < 3 && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(group.procs().unwrap().len(), 3);
        assert!(group.procs().unwrap().contains(&child.id()));
        assert!(parent.is_populated());
        assert!(
            group
                .processes()
                .unwrap()
                .iter()
                .any(|fd| fd.pid() == child.id())
        );
        assert!(matches!(group.remove(), Err(CgroupError::Remove { .. })));
        assert!(group.stats().cpu_usage < Duration::from_secs(5));
        parent.kill().unwrap();
        child.wait().unwrap();
        let limit = Instant::now() + Duration::from_secs(5);
        while group.is_populated() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        parent.remove().unwrap();
        parent.remove().unwrap();
        group.kill().unwrap();
        assert_eq!(group.procs().unwrap(), Vec::<u32>::new());
        assert!(!group.exists());
    }

    #[test]
    fn a_process_that_cannot_be_opened_is_not_taken_for_none() {
        let group = Cgroup::at("/nowhere");
        let ours = std::process::id();
        let opened = |errno| {
            let failed = Err(io::Error::from_raw_os_error(errno));
            vec![(7, failed), (ours, PidFd::open(ours))]
        };
        let gone = group.living(opened(nix::libc::ESRCH), &[7, ours]).unwrap();
        assert_eq!(gone.iter().map(PidFd::pid).collect::<Vec<_>>(), [ours]);
        // One that ended meanwhile matters to nobody.
        let left = group.living(opened(nix::libc::EINVAL), &[ours]).unwrap();
        assert_eq!(left.len(), 1);
        let error = group.living(opened(nix::libc::EMFILE), &[7, ours]);
        assert!(matches!(error, Err(CgroupError::Process { pid: 7, .. })));
    }

    #[test]
    fn writes_limits_as_the_kernel_wants_them() {
        let limits = Limits {
            cpu_max: Some(Some(CpuMax {
                quota: 150_000,
                period: 100_000,
            })),
            cpu_weight: Some(200),
            memory_max: Some(None),
            memory_high: Some(Some(1 << 30)),
            memory_min: Some(0),
            io_max: vec![IoMax {
                device: (254, 16),
                write_ops: Some(500),
                ..IoMax::default()
            }],
            io_weight: None,
            pids_max: Some(Some(64)),
        };
        let list: Vec<_> = settings(&limits)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            list,
            [
                "cpu.max=150000 100000",
                "cpu.weight=200",
                "memory.min=0",
                "memory.high=1073741824",
                "memory.max=max",
                "io.max=254:16 rbps=max wbps=max riops=max wiops=500",
                "pids.max=64",
            ]
        );
        let directory = tempfile::tempdir().unwrap();
        Cgroup::at(directory.path()).limit(&limits).unwrap();
        assert_eq!(
            std::fs::read_to_string(directory.path().join("memory.max")).unwrap(),
            "max"
        );
    }

    #[test]
    fn reads_recorded_statistics() {
        let directory = tempfile::tempdir().unwrap();
        let put =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        put(
            "cpu.stat",
            "usage_usec 2500000\nuser_usec 1\nsystem_usec 2\nnr_periods 3\nnr_throttled 1\nthrottled_usec 7\n",
        );
        put("memory.current", "73400320\n");
        put(
            "memory.stat",
            "anon 4194304\nfile 1024\nshmem 512\nanon_thp 9\n",
        );
        put(
            "memory.events",
            "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n",
        );
        put(
            "io.stat",
            "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n254:16 rbytes=1 wbytes=0 rios=1\n",
        );
        let group = Cgroup::at(directory.path());
        let stats = group.stats();
        assert_eq!(stats.cpu_usage, Duration::from_millis(2500));
        assert_eq!(stats.cpu_throttled, Duration::from_micros(7));
        assert_eq!(
            (stats.memory, stats.memory_anonymous, stats.memory_peak),
            (Some(73_400_320), Some(4_194_304), None)
        );
        assert_eq!(stats.memory_shared, Some(512));
        assert_eq!(
            (stats.oom_kills, stats.read_bytes, stats.written_bytes),
            (1, 4097, 8192)
        );
    }

    #[test]
    fn hands_controllers_on_once() {
        let directory = tempfile::tempdir().unwrap();
        let put =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        put("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
        put("cgroup.subtree_control", "cpu memory pids\n");
        let group = Cgroup::at(directory.path());
        group.enable_controllers().unwrap();
        assert_eq!(
            std::fs::read_to_string(directory.path().join("cgroup.subtree_control")).unwrap(),
            "+io"
        );
    }
}
