//! Long work: filling volumes, fetching and checking images. Each runs in a
//! task beside the loop, so the loop never waits for it; its end wakes the
//! domain, which looks at how it ended and tells the state.
//!
//! Invariant: at most one work on an object, and none without an entry here.
//! Nothing of it outlives the process: what was half done is seen by its marks
//! (an LVM tag, a `.part` file) and begun anew.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ashlar_api::JobId;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::observe::{Observed, Work};
use super::plan::Subject;
use crate::reconcile::Waker;
use crate::reconcile::progress::{Board, Progress};
use crate::state::schema::ImageContent;

/// How many works that read and write whole disks are done at once; the others wait.
const AT_ONCE: usize = 2;

/// All long work of this process.
#[derive(Clone)]
pub struct Works {
    entries: Arc<Mutex<HashMap<Subject, Entry>>>,
    places: Arc<Semaphore>,
    board: Board,
    waker: Waker,
}

struct Entry {
    /// Tells this work from an earlier one on the same object.
    number: u64,
    work: Work,
    task: Option<AbortHandle>,
    job: Option<JobId>,
}

/// Where a work says how far it has come.
#[derive(Clone)]
pub struct Teller {
    subject: Subject,
    number: u64,
    job: Option<JobId>,
    works: Works,
}

impl Works {
    /// None yet.
    pub fn new(board: Board, waker: Waker) -> Works {
        Works {
            entries: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            board,
            waker,
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Subject, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a work; nothing when one is at work on the object. The work
    /// returns what it found, or why it can not be done.
    pub fn start<F>(&self, subject: Subject, job: Option<JobId>, work: impl FnOnce(Teller) -> F)
    where
        F: Future<Output = Result<Option<ImageContent>, String>> + Send + 'static,
    {
        let mut entries = self.entries();
        let old = entries.get(&subject);
        if old.is_some_and(|entry| matches!(entry.work, Work::Running { .. })) {
            return;
        }
        let number = old.map_or(0, |entry| entry.number + 1);
        let teller = Teller {
            subject,
            number,
            job,
            works: self.clone(),
        };
        let future = work(teller.clone());
        let task = tokio::spawn(async move {
            let ended = match future.await {
                Ok(content) => Work::Done { content },
                Err(message) => Work::Failed { message },
            };
            teller.end(ended);
        });
        let entry = Entry {
            number,
            work: Work::Running { checking: false },
            task: Some(task.abort_handle()),
            job,
        };
        entries.insert(subject, entry);
    }

    /// Ends a work and forgets it, and how far it had come.
    pub fn stop(&self, subject: Subject) {
        let Some(entry) = self.entries().remove(&subject) else {
            return;
        };
        if let Some(task) = entry.task {
            task.abort();
        }
        if let Some(job) = entry.job {
            self.board.clear(job);
        }
    }

    /// Ends all.
    pub fn stop_all(&self) {
        for (_, entry) in self.entries().drain() {
            if let Some(task) = entry.task {
                task.abort();
            }
        }
    }

    /// Writes down what is being done and how the rest ended.
    pub fn look(&self, observed: &mut Observed) {
        for (subject, entry) in self.entries().iter() {
            match subject {
                Subject::Volume(id) => drop(observed.fills.insert(*id, entry.work.clone())),
                Subject::Image(id) => drop(observed.images.insert(*id, entry.work.clone())),
            }
        }
    }
}

impl Teller {
    /// Waits for a place among the works that read and write whole disks.
    pub async fn place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if self.works.places.available_permits() == 0 {
            self.tell(None, "Waiting for other work to end");
        }
        // The semaphore is never closed; were it, nobody would have to wait.
        self.works.places.clone().acquire_owned().await.ok()
    }

    /// Tells how far it has come.
    pub fn tell(&self, share: Option<f32>, message: &str) {
        if let Some(job) = self.job {
            let message = message.to_owned();
            self.works.board.set(job, Progress { share, message });
        }
    }

    /// Tells a number of bytes of all.
    pub fn tell_bytes(&self, done: u64, all: Option<u64>, message: &str) {
        let share = all
            .filter(|all| *all > 0)
            .map(|all| done as f32 / all as f32);
        self.tell(share, message);
    }

    /// Tells that the bytes of an image are all here.
    pub fn checking(&self) {
        self.set(Work::Running { checking: true });
        self.works.waker.wake();
    }

    fn set(&self, work: Work) {
        if let Some(entry) = self.works.entries().get_mut(&self.subject)
            && entry.number == self.number
        {
            entry.work = work;
        }
    }

    fn end(&self, work: Work) {
        if let Work::Failed { message } = &work {
            tracing::warn!(subject = ?self.subject, "long work failed: {message}");
        }
        self.set(work);
        self.works.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn subject() -> Subject {
        Subject::Volume(uuid::Uuid::from_u128(7).into())
    }

    fn seen(works: &Works) -> Option<Work> {
        let mut observed = Observed::default();
        works.look(&mut observed);
        observed.fills.into_values().next()
    }

    #[tokio::test]
    async fn tells_how_it_ended_and_forgets() {
        let (board, waker) = (Board::default(), Waker::default());
        let works = Works::new(board.clone(), waker.clone());
        let job = JobId::from(uuid::Uuid::from_u128(8));
        works.start(subject(), Some(job), |teller| async move {
            teller.tell_bytes(1, Some(4), "Filling");
            Err("no".to_owned())
        });
        tokio::time::timeout(Duration::from_secs(5), waker.woken())
            .await
            .unwrap();
        let message = "no".to_owned();
        assert_eq!(seen(&works), Some(Work::Failed { message }));
        assert_eq!(board.get(job).unwrap().share, Some(0.25));
        works.stop(subject());
        assert_eq!(seen(&works), None);
        assert!(board.get(job).is_none());
    }

    #[tokio::test]
    async fn stops_and_can_begin_anew() {
        let works = Works::new(Board::default(), Waker::default());
        let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
        works.start(subject(), None, |_| async move {
            let _held = sender;
            std::future::pending().await
        });
        // A second one on the same object does not begin.
        works.start(subject(), None, |_| async { Ok(None) });
        assert_eq!(seen(&works), Some(Work::Running { checking: false }));
        works.stop(subject());
        let ended = tokio::time::timeout(Duration::from_secs(5), dropped).await;
        assert!(ended.unwrap().is_err());
        works.start(subject(), None, |_| async { Ok(None) });
        for _ in 0..100 {
            if seen(&works) == Some(Work::Done { content: None }) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not end");
    }
}
