//! Opening the state again and again, after it could not be opened for a reason that may pass: its drive came late, was
//! full, gave an error once. What does not pass (another version, damage, another node's) is not tried again: somebody
//! has to decide.

use std::future::{Future, pending};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use ashlar_api::NodeId;

use crate::state::{StateError, Store};

type Opening = Pin<Box<dyn Future<Output = Result<Store, StateError>> + Send>>;

/// The waits between attempts.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The first; each is twice the one before.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(60),
        }
    }
}

/// The attempts at one state.
pub struct Reopening<'a> {
    directory: &'a Path,
    node: NodeId,
    waits: Waits,
    next: Duration,
    attempt: Opening,
}

impl<'a> Reopening<'a> {
    /// After this failure.
    pub fn after(error: &StateError, directory: &'a Path, node: NodeId, waits: Waits) -> Self {
        let mut opening = Reopening {
            directory,
            node,
            waits,
            next: waits.first,
            attempt: Box::pin(pending()),
        };
        opening.failed(error);
        opening
    }

    /// The outcome of the next attempt; none comes while the failure is one that stays. Cancel-safe: an attempt goes on
    /// where it was.
    pub async fn attempt(&mut self) -> Result<Store, StateError> {
        let outcome = self.attempt.as_mut().await;
        if let Err(error) = &outcome {
            self.failed(error);
        }
        outcome
    }

    /// Tries at once: somebody changed something.
    pub fn now(&mut self) {
        self.next = self.waits.first;
        self.begin(Duration::ZERO);
    }

    fn failed(&mut self, error: &StateError) {
        if error.may_pass() {
            self.begin(self.next);
            self.next = (self.next * 2).min(self.waits.longest);
        } else {
            self.attempt = Box::pin(pending());
        }
    }

    fn begin(&mut self, wait: Duration) {
        let (directory, node) = (self.directory.to_owned(), self.node);
        self.attempt = Box::pin(async move {
            tokio::time::sleep(wait).await;
            Store::open(&directory, node).await
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Waits = Waits {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(40),
    };
    const SHORT: Duration = Duration::from_millis(200);

    fn node(number: u128) -> NodeId {
        NodeId::from(uuid::Uuid::from_u128(number))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_passes_is_tried_until_it_has_passed() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        // In the place of the folder there is something else, as where nothing is mounted yet.
        std::fs::write(&directory, "").unwrap();
        let error = Store::open(&directory, node(1)).await.err().unwrap();
        let mut opening = Reopening::after(&error, &directory, node(1), WAITS);
        for _ in 0..4 {
            let error = opening.attempt().await.err().unwrap();
            assert!(matches!(error, StateError::Directory { .. }), "{error}");
        }
        assert_eq!(opening.next, WAITS.longest);
        std::fs::remove_file(&directory).unwrap();
        let opened = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                // Given up half way, as when somebody presses a key meanwhile.
                let cut = tokio::time::timeout(Duration::from_millis(1), opening.attempt()).await;
                if let Ok(Ok(store)) = cut {
                    return store;
                }
            }
        });
        opened.await.unwrap().close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_stays_is_not_tried_until_somebody_decided() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        Store::open(directory, node(1)).await.unwrap().close().await;
        let error = loop {
            // The lock is given back once all who had the state are gone.
            match Store::open(directory, node(2)).await.err().unwrap() {
                StateError::Locked { .. } => {}
                error => break error,
            }
        };
        assert!(matches!(error, StateError::Foreign { .. }), "{error}");
        let mut opening = Reopening::after(&error, directory, node(2), WAITS);
        let tried = tokio::time::timeout(SHORT, opening.attempt()).await;
        assert!(tried.is_err());
        let file = error.aside().unwrap();
        Store::set_aside(directory, node(2), file).await.unwrap();
        opening.now();
        opening.attempt().await.unwrap().close().await;
    }
}
