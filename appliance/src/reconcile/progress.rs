//! How far long work has come. Progress is only seen: it lives in memory, is
//! told to whoever listens, and starts again with the work after a crash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::JobId;
use tokio::sync::broadcast;

/// How far a job has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Share that is done, 0 to 1; `None` when it can not be told.
    pub share: Option<f32>,
    /// What it is doing, for a person.
    pub message: String,
}

/// The board on which domains write progress and the API reads it.
#[derive(Clone, Debug)]
pub struct Board {
    entries: Arc<Mutex<HashMap<JobId, Progress>>>,
    told: broadcast::Sender<JobId>,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            entries: Arc::default(),
            told: broadcast::channel(256).0,
        }
    }
}

impl Board {
    /// Writes how far a job has come. Listeners hear of steps of a percent, not of every byte.
    pub fn set(&self, job: JobId, progress: Progress) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let coarse = |p: &Progress| p.share.map(|share| (share * 100.0).floor());
        let heard = entries
            .get(&job)
            .is_some_and(|old| coarse(old) == coarse(&progress) && old.message == progress.message);
        entries.insert(job, progress);
        drop(entries);
        if !heard {
            // Nobody listening is no failure.
            let _ = self.told.send(job);
        }
    }

    /// How far a job has come, if anything was said about it.
    pub fn get(&self, job: JobId) -> Option<Progress> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&job)
            .cloned()
    }

    /// Forgets a job that is over.
    pub fn clear(&self, job: JobId) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job);
    }

    /// Hears of jobs that moved on.
    pub fn listen(&self) -> broadcast::Receiver<JobId> {
        self.told.subscribe()
    }
}
