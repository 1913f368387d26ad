//! Programs that a domain keeps running: starts, finds and ends them.
//!
//! A child lives in its own control group and outlives the supervisor. The group says whether it runs; a file beside it
//! says what it was started with, so that a supervisor that finds it can tell whether it is the one it would start.
//! Nothing about a child is remembered in memory that could be looked up, but for how often it ended too soon: one that
//! can not stay up is started at growing intervals.
//!
//! Where all this lies says `sys/home.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Waker;
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::child::Launch;
use crate::sys::fs::{self, FsError};
use crate::sys::home::HomeError;

pub use crate::sys::home::Home;

/// Why a child is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It, its group or its files failed.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It ended too soon too often to be started now.
    #[error("{name} ended by itself; it is started again in {} s. Its last words: {words}", .rest.as_secs() + 1)]
    Resting {
        /// Its name.
        name: String,
        /// How long yet.
        rest: Duration,
        /// The last line of its log.
        words: String,
    },
}

/// A child that runs longer than this is well.
const WELL: Duration = Duration::from_secs(30);
/// The rest after the first early end; doubles up to [`LONGEST`].
const REST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How long a child has to end by itself.
const GRACE: Duration = Duration::from_secs(3);
/// Where its log is cut.
const LOG: u64 = 256 << 10;

#[derive(Debug)]
struct Start {
    at: Instant,
    early: u32,
}

/// The children of one domain.
#[derive(Debug)]
pub struct Children {
    home: Home,
    mine: fn(&str) -> bool,
    waker: Waker,
    starts: HashMap<String, Start>,
    watched: HashMap<String, tokio::task::JoinHandle<()>>,
}

impl Children {
    /// Knows of none yet. `mine` tells by its name whether a child is this domain's.
    pub fn new(home: Home, mine: fn(&str) -> bool, waker: Waker) -> Children {
        Children {
            home,
            mine,
            waker,
            starts: HashMap::new(),
            watched: HashMap::new(),
        }
    }

    fn group(&self, name: &str) -> Result<Cgroup, ServiceError> {
        Ok(self.home.group(name)?)
    }

    /// Those that run: name and fingerprint. From now on the domain is woken when one ends.
    pub fn running(&mut self) -> Result<BTreeMap<String, String>, ServiceError> {
        let groups = Cgroup::named(&self.home.groups).map_err(failed("the services"))?;
        let mut running = BTreeMap::new();
        for name in groups.children() {
            if !(self.mine)(&name) {
                continue;
            }
            let processes = groups.child(&name).processes().map_err(failed(&name))?;
            if processes.is_empty() {
                continue;
            }
            running.insert(name.clone(), self.home.started_with(&name));
            let watched = self.watched.get(&name);
            if watched.is_none_or(tokio::task::JoinHandle::is_finished) {
                let waker = self.waker.clone();
                let task = tokio::spawn(async move {
                    for process in processes {
                        // An error means that it can not be watched; then it counts as ended and is looked at.
                        let _ = process.wait().await;
                    }
                    waker.wake();
                });
                self.watched.insert(name, task);
            }
        }
        Ok(running)
    }

    /// Starts a child, unless it has to rest. `prepare` is given its folder, and writes what it needs there.
    pub fn start(
        &mut self,
        name: &str,
        fingerprint: &str,
        prepare: impl FnOnce(&Path) -> Result<Launch, FsError>,
    ) -> Result<(), ServiceError> {
        let log = self.home.log(name);
        self.may_start(name, &log)?;
        fs::trim_log(&log, LOG).map_err(|source| HomeError::Files {
            name: name.to_owned(),
            source,
        })?;
        Ok(self.home.start(name, fingerprint, prepare)?)
    }

    /// Notes a start, or says how long the child has to rest yet.
    fn may_start(&mut self, name: &str, log: &Path) -> Result<(), ServiceError> {
        let now = Instant::now();
        let Some(start) = self.starts.get_mut(name) else {
            let start = Start { at: now, early: 0 };
            self.starts.insert(name.to_owned(), start);
            return Ok(());
        };
        let ran = now.duration_since(start.at);
        if ran > WELL.max(rest(start.early)) {
            *start = Start { at: now, early: 0 };
            return Ok(());
        }
        let rest = rest(start.early);
        if ran < rest {
            let words = fs::tail(log, 1).unwrap_or_default().pop();
            return Err(ServiceError::Resting {
                name: name.to_owned(),
                rest: rest - ran,
                words: words.unwrap_or_else(|| "none".to_owned()),
            });
        }
        start.at = now;
        start.early += 1;
        Ok(())
    }

    /// How often in a row it ended too soon.
    pub fn restarts(&self, name: &str) -> u32 {
        self.starts.get(name).map_or(0, |start| start.early)
    }

    /// The last line it said.
    pub fn last_words(&self, name: &str) -> Option<String> {
        fs::tail(&self.home.log(name), 1).ok()?.pop()
    }

    /// Ends a child: asked first, killed after a grace. It may be started again at once.
    pub async fn stop(&mut self, name: &str) -> Result<(), ServiceError> {
        self.starts.remove(name);
        if let Some(watcher) = self.watched.remove(name) {
            watcher.abort();
        }
        let group = self.group(name)?;
        let processes = group.processes().map_err(failed(name))?;
        for process in &processes {
            // One that can not be asked is killed below.
            let _ = process.signal(Signal::SIGTERM);
        }
        let ended = async {
            for process in &processes {
                let _ = process.wait().await;
            }
        };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            group.kill().map_err(failed(name))?;
            let killed = async {
                for process in &processes {
                    let _ = process.wait().await;
                }
            };
            // What can not even be killed makes the removal below fail, and that says so.
            let _ = tokio::time::timeout(GRACE, killed).await;
        }
        group.remove().map_err(failed(name))?;
        Ok(self.home.forget(name)?)
    }
}

fn rest(early: u32) -> Duration {
    REST.saturating_mul(2u32.saturating_pow(early.min(10)))
        .min(LONGEST)
}

fn failed(name: &str) -> impl Fn(CgroupError) -> ServiceError {
    move |source| {
        let name = name.to_owned();
        HomeError::Group { name, source }.into()
    }
}
