//! How the node is: its load over time, what is wrong now, what happened.
//!
//! ```text
//!   /proc, /sys ──5 s──► metrics ─────────────────────────┐
//!   domains' faults + init's + our own ──► faults ──┐     ├──► http, screen
//!   jobs, machines, checks, faults that come and go ┴──► history
//! ```
//!
//! Domains tell what is wrong with what is theirs; here it becomes one list,
//! and what came or went since the last look becomes an event. Nothing is asked
//! of the domains: whoever is slow or stuck is still shown as it was seen last.

pub mod faults;
pub mod history;
pub mod metrics;
pub mod seen;
pub mod trial;
mod watcher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use tokio::sync::watch;

pub use history::{History, NewEvent};
pub use metrics::Metrics;
pub use watcher::{Sources, noun, run};

/// What is known of the node's health. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    /// Load over time.
    pub metrics: Metrics,
    /// What happened.
    pub history: History,
    /// None before the first look.
    faults: Arc<watch::Sender<Option<Vec<Fault>>>>,
    reported: Arc<Mutex<BTreeMap<&'static str, Fault>>>,
}

impl Health {
    /// Opens the history in `directory` (the state partition).
    pub fn open(directory: &std::path::Path) -> Result<Self, history::Error> {
        let path: PathBuf = directory.join("local.db");
        Ok(Health {
            metrics: Metrics::default(),
            history: History::open(&path)?,
            faults: Arc::new(watch::Sender::default()),
            reported: Arc::default(),
        })
    }

    /// Tells what is wrong with a part that has no domain, or that nothing is any
    /// more. `code` is that of the fault.
    pub fn report(&self, code: &'static str, fault: Option<Fault>) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => reported.insert(code, fault),
            None => reported.remove(code),
        };
    }

    /// What was told with [`Health::report`].
    pub fn reported(&self) -> Vec<Fault> {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.values().cloned().collect()
    }

    /// What is wrong now, the worst first.
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.borrow().clone().unwrap_or_default()
    }

    /// Whether somebody has looked what is wrong since this process started.
    pub fn has_looked(&self) -> bool {
        self.faults.borrow().is_some()
    }

    /// The worst of what is wrong.
    pub fn worst(&self) -> Option<Fault> {
        self.faults.borrow().as_ref()?.first().cloned()
    }

    /// How bad the worst is.
    pub fn severity(&self) -> Option<Severity> {
        self.worst().map(|fault| fault.severity)
    }

    /// Hears of faults that come and go.
    pub fn watch_faults(&self) -> watch::Receiver<Option<Vec<Fault>>> {
        self.faults.subscribe()
    }
}
