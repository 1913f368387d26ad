//! Keeping the supervisor running.
//!
//! Invariant: it is always started again. A fault that passes (memory was short, a file was being replaced) must not
//! need a person; a fault that stays makes the waits longer and, after some tries, the screen say so. Guests do not
//! depend on it and are not touched.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;

use super::log;
use crate::sys::cgroup::Cgroup;
use crate::sys::child::{Child, ChildError, Launch};
use crate::sys::fs;
use crate::sys::pidfd::Exit;

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
        }
    }

    /// Kills it because somebody asked, which is no failure: it starts again at once.
    pub fn replace(&mut self) {
        self.asked = self.is_running();
        self.signal(Signal::SIGKILL);
    }

    /// Starts it when it is time.
    pub fn pump(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.started = now;
            self.starts = self.starts.saturating_add(1);
            match start() {
                Ok(child) => {
                    log::info(format_args!("supervisor started as process {}", child.pid));
                    self.child = Some(child);
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
        self.ended(exit.to_string(), now);
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

    /// When [`Self::pump`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
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
}
