//! The trial of a release: the checks that decide whether it stays, from this side.
//!
//! ```text
//!   counted by the boot loader? ── no ──► init is told that all is decided
//!        └─ yes ──► checks, until all hold ──► kept: the counter goes, init is told
//!                        └─ time is over ──► put aside, why is written down, the machine starts again
//! ```
//!
//! Where this process does not come so far, init starts the machine again (`init/trial.rs`), and after three attempts the
//! boot loader takes the release before. A release that is the only one stays, whatever it can do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::BootId;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::update::{Attempt, Ended, Outcome, Standing, TrialCheck, Update};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ask;
use crate::health::seen::Seen;
use crate::health::{Health, NewEvent, trial};
use crate::reconcile::chain;
use crate::state::Store;
use crate::sys::init_socket::{self, Request};
use crate::sys::release;
use crate::update::Updates;

/// How long everything must hold without a break: what comes and goes does not hold.
const STEADY: Duration = Duration::from_secs(10);
/// How often it is looked.
const PACE: Duration = Duration::from_secs(2);
/// How long a try to keep a release rests when the system partition can not be written.
const REST: Duration = Duration::from_secs(10);
/// How often the system partition is tried again when it can not be read.
const UNREADABLE: Duration = Duration::from_secs(30);
/// How long a server of this very process may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What the trial looks at.
pub struct Trial {
    /// The releases.
    pub updates: Updates,
    /// What is wanted.
    pub store: Store,
    /// What the domains see.
    pub seen: Seen,
    /// Where is told what came of it.
    pub health: Health,
    /// This start of the node.
    pub boot: BootId,
    /// This node.
    pub node: Subject,
    /// Whether the machine has all its devices.
    pub settled: watch::Receiver<bool>,
    /// Where the sockets are.
    pub run: PathBuf,
}

impl Trial {
    /// Decides about the release that runs, then tells what is wrong with releases as long as this process lives.
    pub async fn run(self) {
        // While it is not known which release this is, init is not told that all is decided.
        let ended = loop {
            let ended = self.updates.look().await;
            if self.updates.status().problem.is_empty() {
                break ended;
            }
            tokio::time::sleep(UNREADABLE).await;
        };
        if let Some(attempt) = ended {
            self.tell(&attempt);
        }
        let mut status = self.updates.watch();
        let on_trial = status.borrow_and_update().on_trial;
        match on_trial {
            // It was good before another one was tried, and it is no attempt of it that is counted.
            true if self.updates.is_back() => self.keep().await,
            true => self.decide().await,
            false => kept().await,
        }
        loop {
            let now = status.borrow_and_update().clone();
            self.health
                .report("update-returned", returned(&now, &self.node));
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    async fn decide(&self) {
        let until = Instant::now() + release::trial_limit();
        let before = self.updates.before();
        let mut probe: Option<TrialCheck> = None;
        let mut holds_since: Option<Instant> = None;
        loop {
            let last = Instant::now() >= until;
            let settled = *self.settled.borrow();
            let api = trial::check("api", "The API answers.", answers(&self.run).await.err());
            // Without another release nothing is decided by what does not hold.
            if !self.updates.has_way_back() && api.outcome == Outcome::Passed {
                return self.keep().await;
            }
            let mut checks = vec![api];
            match trial::checks(&self.seen, &self.store, self.boot, settled) {
                Ok(more) => checks.extend(more),
                Err(error) => checks.push(trial::check(
                    "state",
                    "The state can be read.",
                    Some(chain(&error)),
                )),
            }
            let rest_holds = trial::is_passed(&trial::judge(checks.clone(), &before, false));
            if probe.is_none() && (last || rest_holds) {
                probe = Some(trial::probe().await);
            }
            checks.push(probe.clone().unwrap_or_else(trial::no_probe));
            let judged = trial::judge(checks, &before, last);
            self.updates.tell_checks(judged.clone());
            if trial::is_passed(&judged) {
                if holds_since.get_or_insert_with(Instant::now).elapsed() >= STEADY {
                    return self.keep().await;
                }
                tokio::time::sleep(PACE).await;
                continue;
            }
            holds_since = None;
            // A probe that failed is made once more at the next look.
            probe = probe.filter(|probe| probe.outcome == Outcome::Passed);
            if last {
                return self.reject(judged).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Again and again: what can not be kept is started no fourth time, and init's patience ends.
    async fn keep(&self) {
        loop {
            match self.updates.keep().await {
                Ok(()) => break,
                Err(error) => tracing::error!("keep the release that runs: {}", chain(&error)),
            }
            tokio::time::sleep(REST).await;
        }
        kept().await;
        let status = self.updates.status();
        tracing::info!("version {} stays", status.version);
        if let Some(attempt) = status
            .attempt
            .filter(|attempt| attempt.to == status.version)
        {
            self.tell(&attempt);
        }
    }

    async fn reject(&self, checks: Vec<TrialCheck>) {
        let failed: Vec<&str> = checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .map(|check| check.name.as_str())
            .collect();
        tracing::error!(
            "the release that runs has failed its checks: {}",
            failed.join(", ")
        );
        match self.updates.reject(checks.clone()).await {
            Ok(true) => ask(Request::Reboot).await,
            Ok(false) => self.keep().await,
            Err(error) => {
                // The counter brings the other one back, later.
                tracing::error!("put the release that runs aside: {}", chain(&error));
                ask(Request::Reboot).await;
            }
        }
    }

    /// What came of an attempt, for the history.
    fn tell(&self, attempt: &Attempt) {
        let (severity, message) = match &attempt.ended {
            Some(Ended::Kept { .. }) => (
                Severity::Info,
                format!("Version {} has passed its checks and stays", attempt.to),
            ),
            Some(Ended::Returned { reason, .. }) => (
                Severity::Warning,
                format!(
                    "Version {} did not pass, version {} is back: {reason}",
                    attempt.to, attempt.from
                ),
            ),
            None => return,
        };
        self.health.history.tell(NewEvent {
            severity,
            subject: Some(self.node.clone()),
            message,
            by: Some(attempt.by.clone()),
        });
    }
}

/// As long as the release that failed is on the disk.
fn returned(update: &Update, node: &Subject) -> Option<Fault> {
    let attempt = update.attempt.as_ref()?;
    let Some(Ended::Returned { at, reason, .. }) = &attempt.ended else {
        return None;
    };
    let is_there = update
        .releases
        .iter()
        .any(|release| release.version == attempt.to && release.standing == Standing::Aside);
    is_there.then(|| Fault {
        code: "update-returned".to_owned(),
        severity: Severity::Warning,
        title: format!("The update to version {} did not work", attempt.to),
        detail: format!(
            "{reason} Version {} is back, with its machines and volumes.",
            attempt.from
        ),
        remedy: format!(
            "Look at what did not hold, then try it once more, or remove version {} from the disk.",
            attempt.to
        ),
        subject: Some(Subject {
            kind: Kind::Update,
            ..node.clone()
        }),
        since: *at,
    })
}

/// Asks the servers of this process as anybody would.
async fn answers(run: &Path) -> Result<(), String> {
    let asking = async {
        TcpStream::connect(("127.0.0.1", 443)).await?;
        let mut stream = UnixStream::connect(run.join("api.sock")).await?;
        let request = "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(Ok(answer)) => Err(format!(
            "it says: {}",
            answer.lines().next().unwrap_or_default()
        )),
        Ok(Err(error)) => Err(format!("it can not be reached: {error}")),
        Err(_) => Err(format!("it did not answer within {} s", ANSWER.as_secs())),
    }
}

/// Tells init, until it knows: else it would start the machine again.
async fn kept() {
    let socket = Path::new(init_socket::SOCKET);
    while let Err(error) = init_socket::ask(socket, Request::Kept).await {
        tracing::error!("tell init that the release stays: {}", chain(&error));
        tokio::time::sleep(REST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::update::Release;
    use ashlar_api::{Bytes, Timestamp};

    #[test]
    fn an_update_that_came_back_is_told_until_it_is_removed() {
        let version = |text: &str| text.parse().unwrap();
        let failed = Release {
            version: version("0.2.0"),
            standing: Standing::Aside,
            tries_left: None,
            running: false,
            next: false,
            seen: true,
            size: Bytes(1),
            notes: String::new(),
        };
        let mut update = Update {
            version: version("0.1.0"),
            on_trial: false,
            releases: vec![failed],
            free: Bytes(0),
            receiving: None,
            refused: String::new(),
            attempt: Some(Attempt {
                from: version("0.1.0"),
                to: version("0.2.0"),
                at: Timestamp::UNIX_EPOCH,
                by: "admin".to_owned(),
                checks: Vec::new(),
                ended: Some(Ended::Returned {
                    at: Timestamp::UNIX_EPOCH,
                    reason: "The kernel crashed.".to_owned(),
                    kernel: Vec::new(),
                }),
            }),
            problem: String::new(),
        };
        let node = Subject {
            kind: Kind::Node,
            id: "x".to_owned(),
            name: "node-1".to_owned(),
        };
        let fault = returned(&update, &node).unwrap();
        assert!(
            fault
                .detail
                .starts_with("The kernel crashed. Version 0.1.0 is back")
        );
        update.releases.clear();
        assert_eq!(returned(&update, &node), None);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_does_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        assert!(answers(directory.path()).await.is_err());
    }
}
