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
//! soon after a failure that may pass, else when something changes. A look that
//! fails is told, too: what was seen last stands, and a fault says that nothing
//! newer is known.

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
    /// Tells what is seen, after every pass. What it is given was seen earlier when the pass could not look.
    fn publish(&mut self, desired: &Self::Desired, observed: &Self::Observed, pass: &Pass);
    /// Tells that nothing could be seen yet, and why.
    fn publish_blind(&mut self, _pass: &Pass) {}
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
    /// Has the domain look again once this turns true. Needs a runtime.
    pub fn wake_when(&self, mut flag: watch::Receiver<bool>) {
        let waker = self.clone();
        tokio::spawn(async move {
            if flag.wait_for(|is| *is).await.is_ok() {
                waker.wake();
            }
        });
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
    let mut last = None;
    while !*stop.borrow_and_update() {
        revision.borrow_and_update();
        let again = match pass(&mut domain, &mut last).await {
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

/// What was wanted and seen in the last pass that could look.
type Last<D> = Option<(<D as Domain>::Desired, <D as Domain>::Observed)>;

/// One pass. `Some` when something is left to do, with when to try again.
async fn pass<D: Domain>(domain: &mut D, last: &mut Last<D>) -> Option<Retry> {
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
            publish_failed(domain, last, failures);
            return retry;
        }
    };
    let mut observed = match domain.observe().await {
        Ok(observed) => observed,
        Err(error) => {
            note("look", &error, &mut failures);
            if let Some((wanted, _)) = last {
                *wanted = desired;
            }
            publish_failed(domain, last, failures);
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
    *last = Some((desired, observed));
    retry
}

/// Tells of a pass that could not look.
fn publish_failed<D: Domain>(domain: &mut D, last: &Last<D>, failures: Vec<String>) {
    let pass = Pass {
        at: Timestamp::now(),
        done: 0,
        left: Vec::new(),
        failures,
    };
    match last {
        Some((desired, observed)) => domain.publish(desired, observed, &pass),
        None => domain.publish_blind(&pass),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it can not be seen")]
    struct Unseen;

    impl Retryable for Unseen {
        fn retry(&self) -> Retry {
            Retry::Soon
        }
    }

    /// What was wanted and seen, and the failures.
    type Told = (Option<(u8, u8)>, Vec<String>);

    #[derive(Default)]
    struct Lamp {
        wanted: Option<u8>,
        seen: Option<u8>,
        told: Vec<Told>,
    }

    impl Domain for Lamp {
        type Desired = u8;
        type Observed = u8;
        type Step = ();
        type Error = Unseen;
        const NAME: &'static str = "lamp";

        fn desired(&mut self) -> Result<u8, Unseen> {
            self.wanted.ok_or(Unseen)
        }
        async fn observe(&mut self) -> Result<u8, Unseen> {
            self.seen.ok_or(Unseen)
        }
        fn plan(_: &u8, _: &u8) -> Vec<()> {
            Vec::new()
        }
        async fn apply(&mut self, (): ()) -> Result<(), Unseen> {
            Ok(())
        }
        fn publish(&mut self, desired: &u8, observed: &u8, pass: &Pass) {
            let seen = Some((*desired, *observed));
            self.told.push((seen, pass.failures.clone()));
        }
        fn publish_blind(&mut self, pass: &Pass) {
            self.told.push((None, pass.failures.clone()));
        }
    }

    #[tokio::test]
    async fn a_pass_that_can_not_look_is_told_with_what_was_seen_last() {
        let (mut lamp, mut last) = (Lamp::default(), None);
        for (wanted, seen) in [
            (None, None),
            (Some(1), None),
            (Some(1), Some(5)),
            (Some(2), None),
            (None, Some(6)),
        ] {
            (lamp.wanted, lamp.seen) = (wanted, seen);
            let is_whole = wanted.is_some() && seen.is_some();
            let retry = pass(&mut lamp, &mut last).await;
            assert_eq!(retry, (!is_whole).then_some(Retry::Soon));
        }
        let unread = vec!["read what is wanted: it can not be seen".to_owned()];
        let unseen = vec!["look: it can not be seen".to_owned()];
        let expected = [
            (None, unread.clone()),
            (None, unseen.clone()),
            (Some((1, 5)), Vec::new()),
            (Some((2, 5)), unseen),
            (Some((2, 5)), unread),
        ];
        assert_eq!(lamp.told, expected);
    }
}
