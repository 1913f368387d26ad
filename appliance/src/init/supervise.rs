//! Keeping the supervisor running.
//!
//! Invariant: it is always started again. A fault that passes (memory was short, a file was being replaced) must not
//! need a person; a fault that stays makes the waits longer and, after some tries, the screen say so. Guests do not
//! depend on it and are not touched. One that lives and does nothing any more is killed, and then it is as if it had
//! ended by itself: [`Pulse`] tells the two apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ashlar_api::event::Severity;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;

use super::fault::Fault;
use super::log;
use super::pulse::{self, Pulse};
use crate::sys::cgroup::Cgroup;
use crate::sys::child::{Child, ChildError, Launch};
use crate::sys::fs;
use crate::sys::pidfd::{Exit, PidFd};
use crate::sys::sysfs;

/// Its words, as they came.
pub const LOG: &str = "/run/ashlar/log/supervisor.log";
/// What of them is kept.
const MOST_LOG: u64 = 4 << 20;
const PROGRAM: &str = "/usr/bin/ashlar";
/// Guests are killed for memory before it, and it before nothing else.
const OOM_SCORE: i32 = -900;
const DESCRIPTORS: u64 = 65536;
/// By itself the C library takes the first large block that is freed, that of a password's hash, for a sign that there
/// will be more, and from then on keeps tens of MiB; it also keeps a heap for each thread (mallopt(3)).
const MALLOC: &str = "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=262144:glibc.malloc.trim_threshold=524288";

/// After running this long it counts as healthy.
const HEALTHY: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After so many quick ends the screen tells.
const PATIENCE: u32 = 5;
/// The fault about a supervisor that hung goes when none has hung for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Its code.
pub const HUNG: &str = "supervisor-hung";

/// The process that runs, 0 if none, for whoever ends the machine after process 1 failed. Nobody else gets its number
/// before it is reaped, and it is forgotten then.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// When to start again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    quick: u32,
}

impl Backoff {
    /// The wait after an end, given how long it ran: at once, then doubling from half a second.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY {
            self.quick = 0;
        }
        self.quick = self.quick.saturating_add(1);
        match self.quick {
            1 => Duration::ZERO,
            more => FIRST_WAIT
                .saturating_mul(1 << (more - 2).min(10))
                .min(LONGEST_WAIT),
        }
    }

    /// Whether it has failed so often that a person should know.
    pub fn is_hopeless(self) -> bool {
        self.quick >= PATIENCE
    }
}

/// The supervisor, running or about to.
#[derive(Debug)]
pub struct Supervised {
    child: Option<Child>,
    started: Instant,
    due: Option<Instant>,
    backoff: Backoff,
    starts: u32,
    last_end: Option<String>,
    asked: bool,
    pulse: Pulse,
    /// What is told of one that was killed because it hung, once it has ended.
    hangs: Option<String>,
    hung: u32,
    hung_last: Option<Instant>,
    news: Option<Fault>,
}

impl Supervised {
    /// To be started at once.
    pub fn new() -> Supervised {
        let now = Instant::now();
        let backoff = Backoff::default();
        Supervised {
            child: None,
            started: now,
            due: Some(now),
            backoff,
            starts: 0,
            last_end: None,
            asked: false,
            pulse: Pulse::new(pulse::patience(), now),
            hangs: None,
            hung: 0,
            hung_last: None,
            news: None,
        }
    }

    /// The one that runs now, to be ended, when what was known of it is lost. Not to be started again.
    pub fn running_now() -> Supervised {
        let pid = RUNNING.load(Ordering::Acquire);
        let pidfd = (pid != 0).then(|| PidFd::open(pid).ok()).flatten();
        Supervised {
            child: pidfd.map(|pidfd| Child { pid, pidfd }),
            due: None,
            ..Supervised::new()
        }
    }

    /// Kills it because somebody asked, which is no failure: it starts again at once.
    pub fn replace(&mut self) {
        self.asked = self.is_running();
        self.signal(Signal::SIGKILL);
    }

    /// It gave a sign, if it is the process with this number that did.
    pub fn beat(&mut self, pid: u32) {
        if self.child.as_ref().is_some_and(|child| child.pid == pid) {
            self.pulse.beat();
        }
    }

    /// Kills it when it has given no sign for too long.
    fn look(&mut self, now: Instant) {
        let (Some(child), Some(silent)) = (&self.child, self.pulse.look(now)) else {
            return;
        };
        let silent = silent.as_secs();
        if self.hangs.is_none() {
            log::error(format_args!(
                "the supervisor hangs: it gave no sign for {silent} s; its threads: {}; it is killed and started again",
                threads(Path::new("/proc"), child.pid)
            ));
            self.hangs = Some(format!("it gave no sign for {silent} s and was killed"));
        } else if child.pidfd.is_alive() {
            log::error(format_args!(
                "the supervisor was killed and does not end: it waits for the kernel; its threads: {}",
                threads(Path::new("/proc"), child.pid)
            ));
        }
        // One that is stopped, or waits for a lock, hears nothing else.
        self.signal(Signal::SIGKILL);
    }

    /// What is to be told of a hang, once.
    pub fn news(&mut self) -> Option<Fault> {
        self.news.take()
    }

    /// Whether what was told of a hang is so long ago that it may be taken back; true once.
    pub fn hang_is_over(&mut self, now: Instant) -> bool {
        let over = |last: &mut Instant| now.saturating_duration_since(*last) >= REMEMBERED;
        self.hung_last.take_if(over).is_some()
    }

    /// Starts it when it is time.
    pub fn pump(&mut self, now: Instant) {
        self.look(now);
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.started = now;
            self.starts = self.starts.saturating_add(1);
            match start() {
                Ok(child) => {
                    log::info(format_args!("supervisor started as process {}", child.pid));
                    RUNNING.store(child.pid, Ordering::Release);
                    self.child = Some(child);
                    self.pulse.start(now);
                }
                Err(error) => self.ended(log::chain(&error), now),
            }
        }
    }

    /// Takes note of the end of a process; true when it was the supervisor.
    pub fn reaped(&mut self, pid: u32, exit: Exit, now: Instant) -> bool {
        if self.child.as_ref().is_none_or(|child| child.pid != pid) {
            return false;
        }
        self.child = None;
        RUNNING.store(0, Ordering::Release);
        let why = match self.hangs.take() {
            Some(why) => {
                self.hung = self.hung.saturating_add(1);
                self.hung_last = Some(now);
                self.news = Some(hung(self.hung, &why));
                why
            }
            None => exit.to_string(),
        };
        self.ended(why, now);
        true
    }

    fn ended(&mut self, why: String, now: Instant) {
        if std::mem::take(&mut self.asked) {
            log::info(format_args!("the supervisor was ended on request"));
            self.last_end = Some(why);
            self.due = Some(now);
            return;
        }
        let wait = self
            .backoff
            .after(now.saturating_duration_since(self.started));
        log::error(format_args!(
            "the supervisor ended: {why}; again in {} ms",
            wait.as_millis()
        ));
        self.last_end = Some(why);
        self.due = Some(now + wait);
    }

    /// When it is to be started.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When [`Self::pump`] looks whether it hangs.
    pub fn look_due(&self) -> Option<Instant> {
        self.child.as_ref().map(|_| self.pulse.due())
    }

    /// Whether it cannot stay up.
    pub fn is_hopeless(&self) -> bool {
        self.backoff.is_hopeless() && !self.is_healthy()
    }

    /// Whether it has been running for a while.
    pub fn is_healthy(&self) -> bool {
        self.child.is_some() && self.started.elapsed() >= HEALTHY
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// How it ended last.
    pub fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    /// Asks it to end, or makes it.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child
            && let Err(error) = child.pidfd.signal(signal)
        {
            log::warn(format_args!("cannot signal the supervisor: {error}"));
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.child
            .as_ref()
            .is_some_and(|child| child.pidfd.is_alive())
    }
}

fn start() -> Result<Child, ChildError> {
    let mut launch = Launch::new(PROGRAM)
        .arg("supervisor")
        .env("GLIBC_TUNABLES", MALLOC)
        .log(LOG)
        .oom_score_adj(OOM_SCORE)
        .limit(Resource::RLIMIT_NOFILE, DESCRIPTORS)
        .limit(Resource::RLIMIT_CORE, 0);
    // A group that could not be made is no reason not to start.
    if let Some(group) = Cgroup::named("supervisor").ok().filter(Cgroup::exists) {
        launch = launch.cgroup(group.path());
    }
    launch.spawn()
}

fn hung(times: u32, why: &str) -> Fault {
    Fault {
        code: "supervisor-hung",
        title: "The program that manages this node hung and was restarted.".to_owned(),
        detail: format!(
            "The last time {why}. That has been {} since the node was switched on. Virtual machines went on.",
            if times == 1 {
                "once".to_owned()
            } else {
                format!("{times} times")
            }
        ),
        remedy: "Nothing, if it was the only time. If it comes back, look at the health of the system drive, and report it \
                 with the node's log."
            .to_owned(),
        severity: Severity::Warning,
    }
}

/// What its threads do, as the kernel tells: `T` is stopped, `D` waits for a device, `S` for anything else.
fn threads(proc: &Path, pid: u32) -> String {
    let tasks = proc.join(pid.to_string()).join("task");
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for thread in sysfs::names(&tasks) {
        let stat = sysfs::text(tasks.join(thread).join("stat")).unwrap_or_default();
        // `7 (a name) S …`, and a name may hold anything.
        let told = stat.split_once('(').and_then(|(_, rest)| {
            let (name, rest) = rest.rsplit_once(") ")?;
            Some(format!("{name} {}", rest.chars().next()?))
        });
        *count.entry(told.unwrap_or_default()).or_default() += 1;
    }
    let told = count.iter().filter(|(thread, _)| !thread.is_empty());
    let told: Vec<String> = told
        .map(|(thread, count)| format!("{count} × {thread}"))
        .collect();
    told.join(", ")
}

/// Keeps its log small.
pub fn trim_log() {
    if let Err(error) = fs::trim_log(Path::new(LOG), MOST_LOG) {
        log::warn(log::chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_after_each_quick_end() {
        let mut backoff = Backoff::default();
        let quick = Duration::from_secs(1);
        let waits: Vec<u128> = (0..10).map(|_| backoff.after(quick).as_millis()).collect();
        assert_eq!(
            waits,
            [
                0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000
            ]
        );
        assert!(backoff.is_hopeless());
        assert_eq!(backoff.after(HEALTHY), Duration::ZERO);
        assert!(!backoff.is_hopeless());
        for _ in 0..100 {
            assert!(backoff.after(quick) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn only_its_own_end_counts() {
        let mut supervised = Supervised::new();
        let now = Instant::now();
        assert!(!supervised.reaped(77, Exit::Code(0), now));
        supervised.due = None;
        supervised.ended("exit code 1".to_owned(), now);
        assert_eq!(supervised.due(), Some(now));
        supervised.ended("exit code 1".to_owned(), now);
        assert_eq!(supervised.due(), Some(now + FIRST_WAIT));
        assert_eq!(supervised.last_end(), Some("exit code 1"));
    }

    #[test]
    fn one_that_hangs_is_killed_and_counts_as_ended() {
        let mut command = std::process::Command::new("sleep");
        let mut process = command.arg("1000").spawn().unwrap();
        let pid = process.id();
        let start = Instant::now();
        let mut supervised = Supervised {
            child: Some(Child {
                pid,
                pidfd: PidFd::open(pid).unwrap(),
            }),
            due: None,
            ..Supervised::new()
        };
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
            Signal::SIGSTOP,
        )
        .unwrap();
        assert!(supervised.look_due().is_some());
        supervised.beat(pid);
        // A sign of another process is none.
        let silence = (1..=7).map(|n| start + Duration::from_secs(31) * n);
        for now in silence {
            assert_eq!(supervised.hangs, None);
            supervised.beat(1);
            supervised.pump(now);
        }
        let why = "it gave no sign for 180 s and was killed";
        assert_eq!(supervised.hangs.as_deref(), Some(why));
        process.wait().unwrap();
        assert!(supervised.reaped(pid, Exit::Signal(9), start));
        assert_eq!((supervised.last_end(), supervised.hung), (Some(why), 1));
        assert!(supervised.due().is_some() && supervised.look_due().is_none());
        let fault = supervised.news().unwrap();
        assert_eq!((fault.code, supervised.news()), (HUNG, None));
        assert!(fault.detail.contains(why) && fault.detail.contains("been once"));
        assert!(!supervised.hang_is_over(start + REMEMBERED / 2));
        assert!(supervised.hang_is_over(start + REMEMBERED));
        assert!(!supervised.hang_is_over(start + REMEMBERED * 2));
    }

    #[test]
    fn tells_what_threads_do() {
        let proc = tempfile::tempdir().unwrap();
        for (thread, stat) in [
            ("7", "7 (ashlar) T 1 7 7 0"),
            ("8", "8 (tokio (rt) worker) D 1 7 7 0"),
            ("9", "9 (tokio (rt) worker) D 1 7 7 0"),
            ("10", ""),
        ] {
            let task = proc.path().join("7/task").join(thread);
            std::fs::create_dir_all(&task).unwrap();
            std::fs::write(task.join("stat"), stat).unwrap();
        }
        assert_eq!(
            threads(proc.path(), 7),
            "1 × ashlar T, 2 × tokio (rt) worker D"
        );
        assert_eq!(threads(proc.path(), 8), "");
        let us = threads(Path::new("/proc"), std::process::id());
        assert!(us.contains(" R") || us.contains(" S"), "{us}");
    }
}
