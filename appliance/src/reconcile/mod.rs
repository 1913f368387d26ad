//! The one loop that every domain runs.
//!
//! ```text
//!   wake (revision, kernel event, timer) ─► desired ─► observe ─► plan ─► apply each ─► observe ─► status
//!                                            ▲                                            │
//!                                            └────────── retry soon, or wait ◄────────────┘
//! ```
//!
//! A wake-up carries no data: start-up, a missed event and a change are one
//! code path. Planning is pure, so what would happen can be shown, and tested
//! without a machine. A step that fails does not stop those that do not need
//! it; what could not be done is status, and the loop tries again by itself:
//! soon after a failure that may pass, else when something changes.

pub mod children;
pub mod progress;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ashlar_api::Timestamp;
use tokio::sync::{Notify, watch};

/// When it is worth trying again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may pass by itself.
    Soon,
    /// Only when something changes.
    OnChange,
}

/// An error that knows whether trying again makes sense.
pub trait Retryable: Error + Send + Sync + 'static {
    /// When to try again.
    fn retry(&self) -> Retry;
}

/// A part of the machine that is brought to what is wanted of it.
pub trait Domain: Send + 'static {
    /// What is wanted, from the database.
    type Desired: Send + Sync;
    /// What there is, from the machine.
    type Observed: Send + Sync;
    /// One thing to do.
    type Step: fmt::Debug + Send;
    /// What can go wrong.
    type Error: Retryable;

    /// Its name in logs and status.
    const NAME: &'static str;

    /// Reads what is wanted.
    fn desired(&mut self) -> Result<Self::Desired, Self::Error>;
    /// Looks, and changes nothing.
    fn observe(&mut self) -> impl Future<Output = Result<Self::Observed, Self::Error>> + Send;
    /// What is to be done, in order. Pure and total; empty means converged.
    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Vec<Self::Step>;
    /// Does one step. Idempotent: "exists" on create and "absent" on remove are success.
    fn apply(&mut self, step: Self::Step) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Tells what is seen, after every pass.
    fn publish(&mut self, desired: &Self::Desired, observed: &Self::Observed, pass: &Pass);
}

/// How the last pass of a domain went.
#[derive(Clone, Debug)]
pub struct Pass {
    /// When it ended.
    pub at: Timestamp,
    /// How many steps were done.
    pub done: usize,
    /// Steps left after it.
    pub left: Vec<String>,
    /// What went wrong: the step and the whole chain of causes.
    pub failures: Vec<String>,
}

/// Wakes a domain. Cheap to clone; waking twice before the domain looks is waking once.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// Has the domain look again.
    pub fn wake(&self) {
        self.0.notify_one();
    }
    /// Waits for the next wake-up. Cancel-safe: a wake-up that nobody waited for is kept.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// How often a domain looks without being told to, against missed events.
const RESYNC: Duration = Duration::from_secs(300);
/// The first wait after a failure; doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(500);
const SLOWEST: Duration = Duration::from_secs(30);

/// Runs a domain until `stop` turns true.
pub async fn drive<D: Domain>(
    mut domain: D,
    waker: Waker,
    mut revision: watch::Receiver<u64>,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = FIRST;
    while !*stop.borrow_and_update() {
        revision.borrow_and_update();
        let again = match pass(&mut domain).await {
            Some(Retry::Soon) => {
                let again = wait;
                wait = (wait * 2).min(SLOWEST);
                again
            }
            Some(Retry::OnChange) | None => {
                wait = FIRST;
                RESYNC
            }
        };
        // Every arm is cancel-safe: a watch keeps its newest value, a Notify
        // its permit, and a timer that is dropped is set anew.
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return },
            () = waker.woken() => {}
            changed = stop.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(again) => {}
        }
    }
}

/// One pass. `Some` when something is left to do, with when to try again.
async fn pass<D: Domain>(domain: &mut D) -> Option<Retry> {
    let mut failures = Vec::new();
    let mut retry = None;
    let mut note = |what: &str, error: &D::Error, failures: &mut Vec<String>| {
        let text = format!("{what}: {}", chain(error));
        tracing::warn!(domain = D::NAME, "{text}");
        failures.push(text);
        if retry != Some(Retry::Soon) {
            retry = Some(error.retry());
        }
    };
    let desired = match domain.desired() {
        Ok(desired) => desired,
        Err(error) => {
            note("read what is wanted", &error, &mut failures);
            return retry;
        }
    };
    let mut observed = match domain.observe().await {
        Ok(observed) => observed,
        Err(error) => {
            note("look", &error, &mut failures);
            return retry;
        }
    };
    let steps = D::plan(&desired, &observed);
    let mut done = 0;
    if !steps.is_empty() {
        for step in steps {
            let what = format!("{step:?}");
            tracing::info!(domain = D::NAME, step = what, "apply");
            match domain.apply(step).await {
                Ok(()) => done += 1,
                Err(error) => note(&what, &error, &mut failures),
            }
        }
        match domain.observe().await {
            Ok(seen) => observed = seen,
            Err(error) => note("look again", &error, &mut failures),
        }
    }
    let left: Vec<String> = D::plan(&desired, &observed)
        .iter()
        .map(|step| format!("{step:?}"))
        .collect();
    if retry.is_none() && !left.is_empty() {
        retry = Some(Retry::Soon);
    }
    domain.publish(
        &desired,
        &observed,
        &Pass {
            at: Timestamp::now(),
            done,
            left,
            failures,
        },
    );
    retry
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
