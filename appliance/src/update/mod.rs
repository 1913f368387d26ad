//! Updates of the appliance itself.
//!
//! ```text
//!   bundle ──► verified, admitted ──► draft ──► read back ──► ready       nothing that runs is touched
//!   start it ──► attempt written down, names changed ──► restart
//!      on trial ──► all checks pass ──► good                              the attempt was kept
//!               └─► one fails, a crash, a hang ──► restart ──► the one before   the attempt returned, and why
//! ```
//!
//! Invariant: at every moment the boot loader finds a release that has passed its checks before, or the only one there is.
//! A release comes, goes and changes its name only here, one change at a time.
//!
//! This is no reconciler: to change the release is an act of a person, at a time of their choice, and never made up for by
//! a loop. What holds after it is decided by the names on the system partition ([`slot`]).

pub mod bundle;
mod error;
mod esp;
mod fetch;
mod receive;
mod record;
pub mod slot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ashlar_api::update::{Attempt, Ended, Release, TrialCheck, Update, Version};
use ashlar_api::{BootId, Bytes, Timestamp};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

pub use bundle::BundleError;
pub use error::UpdateError;
use esp::{Esp, EspError};
pub use receive::Wish;
use record::{Notebook, Record};
use slot::Slot;

use crate::reconcile::chain;
use crate::sys::release;

/// Where things are.
#[derive(Clone)]
pub struct Place {
    /// The state partition.
    pub state: PathBuf,
    /// The trusted keys.
    pub keys: PathBuf,
    /// Opens the system partition.
    esp: Arc<dyn Fn() -> Result<Esp, EspError> + Send + Sync>,
}

impl Place {
    /// Of a node whose state is there.
    pub fn of(state: &Path) -> Place {
        Place {
            state: state.to_owned(),
            keys: bundle::KEYS.into(),
            esp: Arc::new(Esp::mount),
        }
    }
}

/// The releases of this node. Cheap to clone.
#[derive(Clone)]
pub struct Updates(Arc<Inner>);

struct Inner {
    place: Place,
    notebook: Notebook,
    boot: BootId,
    running: Version,
    status: watch::Sender<Update>,
    /// There was a first look.
    looked: AtomicBool,
    /// Held while something is received or changed.
    changing: Arc<Mutex<()>>,
}

impl Updates {
    /// Knows nothing yet; see [`Updates::look`].
    pub fn new(place: Place, boot: BootId) -> Updates {
        // The image's own version is one; what could not be read is older than everything.
        let running = release::version().parse();
        Updates::of(place, boot, running.unwrap_or_else(|_| Version::oldest()))
    }

    fn of(place: Place, boot: BootId, running: Version) -> Updates {
        let status = Update {
            version: running.clone(),
            on_trial: false,
            releases: Vec::new(),
            free: Bytes(0),
            receiving: None,
            refused: String::new(),
            attempt: None,
            problem: "the releases were not looked at yet".to_owned(),
        };
        Updates(Arc::new(Inner {
            notebook: Notebook::of(&place.state),
            place,
            boot,
            running,
            status: watch::Sender::new(status),
            looked: AtomicBool::new(false),
            changing: Arc::default(),
        }))
    }

    /// What is known.
    pub fn status(&self) -> Update {
        self.0.status.borrow().clone()
    }

    /// Hears of changes.
    pub fn watch(&self) -> watch::Receiver<Update> {
        self.0.status.subscribe()
    }

    /// Looks at the system partition, and whether an attempt has ended: that one is returned. Waits for a change that goes on.
    pub async fn look(&self) -> Option<Attempt> {
        let held = self.0.changing.clone().lock_owned().await;
        let inner = self.0.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let _held = held;
            inner.forget_draft();
            inner.look();
            inner.looked.store(true, Ordering::Release);
            inner.conclude()
        });
        looking
            .await
            .inspect_err(|error| tracing::error!("look at the releases: {}", chain(error)))
            .ok()
            .flatten()
    }

    /// Whether the boot loader knows another release than the one that runs.
    pub fn has_way_back(&self) -> bool {
        let status = self.0.status.borrow();
        let is_seen = |release: &Release| release.seen && !release.running;
        status.releases.iter().any(is_seen)
    }

    /// What did not hold before the release on trial was started.
    pub fn before(&self) -> Vec<TrialCheck> {
        let record = self.0.notebook.attempt();
        let record = record.filter(|record| record.attempt.to == self.0.running);
        record.map(|record| record.before).unwrap_or_default()
    }

    /// Takes back what [`Updates::apply`] has done, because the machine does not restart.
    pub async fn cancel(&self, version: Version) -> Result<(), UpdateError> {
        self.change(move |inner| inner.cancel(&version)).await
    }

    /// Whether the release that runs is back after another one has failed: it was good, and is not tried again.
    pub fn is_back(&self) -> bool {
        let record = self.0.notebook.attempt();
        record.is_some_and(|record| {
            record.attempt.from == self.0.running && record.attempt.ended.is_some()
        })
    }

    /// Has the boot loader try a release at the next start; `before` is what the checks say now. The caller then restarts
    /// the machine.
    pub async fn apply(
        &self,
        version: Version,
        by: &str,
        before: Vec<TrialCheck>,
    ) -> Result<(), UpdateError> {
        let by = by.to_owned();
        self.change(move |inner| inner.apply(&version, by, before))
            .await
    }

    /// Removes a release that does not run.
    pub async fn remove(&self, version: Version) -> Result<(), UpdateError> {
        self.change(move |inner| inner.remove(&version)).await
    }

    /// Tells how the checks of the release on trial come out.
    pub fn tell_checks(&self, checks: Vec<TrialCheck>) {
        self.0.status.send_if_modified(|status| {
            let Some(attempt) = status
                .attempt
                .as_mut()
                .filter(|attempt| attempt.ended.is_none())
            else {
                return false;
            };
            let changed = attempt.checks != checks;
            attempt.checks = checks;
            changed
        });
    }

    /// The release that runs has passed its checks: it stays.
    pub async fn keep(&self) -> Result<(), UpdateError> {
        self.change(Inner::keep).await
    }

    /// The release that runs has failed: it is put aside, and why is written down. True when another one starts next.
    pub async fn reject(&self, checks: Vec<TrialCheck>) -> Result<bool, UpdateError> {
        self.change(move |inner| inner.reject(checks)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Inner) -> Result<T, UpdateError> + Send + 'static,
    ) -> Result<T, UpdateError> {
        let held = self.hold()?;
        let inner = self.0.clone();
        let changing = tokio::task::spawn_blocking(move || {
            let _held = held;
            let result = what(&inner);
            inner.look();
            result
        });
        changing.await.unwrap_or_else(|_| Err(UpdateError::Broken))
    }

    /// Nothing is changed before it is known what there is.
    fn hold(&self) -> Result<OwnedMutexGuard<()>, UpdateError> {
        if !self.0.looked.load(Ordering::Acquire) {
            return Err(UpdateError::Busy);
        }
        let held = self.0.changing.clone().try_lock_owned();
        held.map_err(|_| UpdateError::Busy)
    }
}

impl Inner {
    fn esp(&self) -> Result<Esp, EspError> {
        (self.place.esp)()
    }

    /// What did not come whole before this process began is of no use.
    fn forget_draft(&self) {
        if let Ok(esp) = self.esp()
            && let Err(error) = esp.forget_draft()
        {
            tracing::warn!("{}", chain(&error));
        }
    }

    /// Reads what is there into the status.
    fn look(&self) {
        let seen = self.esp().and_then(|esp| Ok((esp.slots()?, esp.free()?)));
        self.status.send_modify(|status| match seen {
            Ok((slots, free)) => {
                let next = slot::next(&slots).map(|slot| slot.version.clone());
                status.releases = slots
                    .iter()
                    .map(|slot| self.release(slot, next.as_ref()))
                    .collect();
                status.on_trial = self.own(&slots).is_some_and(Slot::is_tried);
                status.free = free;
                status.problem = String::new();
            }
            Err(error) => {
                let problem = chain(&error);
                if status.problem != problem {
                    tracing::error!("look at the releases: {problem}");
                }
                status.problem = problem;
            }
        });
    }

    fn release(&self, slot: &Slot, next: Option<&Version>) -> Release {
        let manifest = self.notebook.manifest(&slot.version);
        Release {
            standing: slot.standing(),
            tries_left: slot.tries_left(),
            running: slot.version == self.running,
            next: Some(&slot.version) == next,
            seen: slot.is_seen(),
            size: slot.size,
            notes: manifest.map(|manifest| manifest.notes).unwrap_or_default(),
            version: slot.version.clone(),
        }
    }

    fn own<'a>(&self, slots: &'a [Slot]) -> Option<&'a Slot> {
        slots.iter().find(|slot| slot.version == self.running)
    }

    /// Whether the newest attempt has ended with this start, and how.
    fn conclude(&self) -> Option<Attempt> {
        let mut record = self.notebook.attempt()?;
        if !self.status.borrow().problem.is_empty() {
            return None;
        }
        let on_trial = self.status.borrow().on_trial;
        let then = record.attempt.at;
        let ended = record::ended(
            &record,
            self.boot,
            &self.running,
            on_trial,
            || self.notebook.crash_since(then),
            Timestamp::now(),
        );
        let has_ended = ended.is_some();
        if has_ended {
            record.attempt.ended = ended;
            self.note(&record);
        }
        self.show(record.attempt.clone());
        has_ended.then_some(record.attempt)
    }

    fn note(&self, record: &Record) {
        if let Err(error) = self.notebook.note(record) {
            // It is only told; what happens is decided by the names on the system partition.
            tracing::warn!("write the attempt down: {}", chain(&error));
        }
    }

    /// Changes what is known of the attempt that goes on with the release that runs, if there is one.
    fn go_on_with_attempt(&self, change: impl FnOnce(&mut Attempt)) {
        if let Some(mut record) = self.notebook.attempt()
            && record.attempt.ended.is_none()
            && record.attempt.to == self.running
        {
            change(&mut record.attempt);
            self.note(&record);
            self.show(record.attempt);
        }
    }

    fn show(&self, attempt: Attempt) {
        self.status
            .send_modify(|status| status.attempt = Some(attempt));
    }

    fn apply(
        &self,
        version: &Version,
        by: String,
        before: Vec<TrialCheck>,
    ) -> Result<(), UpdateError> {
        let esp = self.esp()?;
        let slots = esp.slots()?;
        if *version == self.running {
            return Err(UpdateError::Running(version.clone()));
        }
        if self.status.borrow().on_trial {
            return Err(UpdateError::OnTrial);
        }
        if self.own(&slots).is_none() {
            return Err(UpdateError::Elsewhere(self.running.clone()));
        }
        let chosen = slots.iter().find(|slot| slot.version == *version);
        let chosen = chosen.ok_or_else(|| UpdateError::NoSuchRelease(version.clone()))?;
        // The drive had time to forget. Of a release that was flashed no sum is known; the firmware looks at its own.
        if let Some(manifest) = self.notebook.manifest(version)
            && !esp.is_sound(&chosen.name(), &manifest.sha256)?
        {
            return Err(UpdateError::Unsound(version.clone()));
        }
        let record = Record {
            boot: self.boot,
            before,
            attempt: Attempt {
                from: self.running.clone(),
                to: version.clone(),
                at: Timestamp::now(),
                by,
                checks: Vec::new(),
                ended: None,
            },
        };
        self.notebook.note(&record).map_err(UpdateError::Note)?;
        if let Err(error) = esp.rename(&slot::choose(&slots, &self.running, version)) {
            // What was renamed starts one of the two, and no attempt was begun.
            let _ = self.notebook.forget();
            return Err(error.into());
        }
        self.show(record.attempt);
        Ok(())
    }

    fn cancel(&self, version: &Version) -> Result<(), UpdateError> {
        let esp = self.esp()?;
        esp.rename(&slot::unchoose(&esp.slots()?, &self.running, version))?;
        self.notebook.forget().map_err(UpdateError::Note)?;
        self.status.send_modify(|status| status.attempt = None);
        Ok(())
    }

    fn remove(&self, version: &Version) -> Result<(), UpdateError> {
        let esp = self.esp()?;
        let slots = esp.slots()?;
        if *version == self.running {
            return Err(UpdateError::Running(version.clone()));
        }
        let mut found = slots
            .iter()
            .filter(|slot| slot.version == *version)
            .peekable();
        if found.peek().is_none() {
            return Err(UpdateError::NoSuchRelease(version.clone()));
        }
        if self.status.borrow().on_trial {
            return Err(UpdateError::OnTrial);
        }
        for slot in found {
            esp.remove(&slot.name())?;
        }
        if let Err(error) = self.notebook.forget_release(version) {
            tracing::warn!("{}", chain(&error));
        }
        Ok(())
    }

    fn keep(&self) -> Result<(), UpdateError> {
        let esp = self.esp()?;
        esp.rename(&slot::keep(&esp.slots()?, &self.running))?;
        let (checks, at) = (self.told_checks(), Timestamp::now());
        self.go_on_with_attempt(|attempt| {
            attempt.checks = checks;
            attempt.ended = Some(Ended::Kept { at });
        });
        Ok(())
    }

    fn reject(&self, checks: Vec<TrialCheck>) -> Result<bool, UpdateError> {
        self.go_on_with_attempt(|attempt| attempt.checks = checks);
        let esp = self.esp()?;
        let slots = esp.slots()?;
        let mut after = slots.clone();
        after.retain(|slot| slot.version != self.running);
        if slot::next(&after).is_none() {
            // Bad is better than none.
            return Ok(false);
        }
        esp.rename(&slot::reject(&slots, &self.running))?;
        let now = esp.slots()?;
        Ok(slot::next(&now).is_some_and(|slot| slot.version != self.running))
    }

    fn told_checks(&self) -> Vec<TrialCheck> {
        let status = self.status.borrow();
        let attempt = status.attempt.as_ref();
        attempt
            .map(|attempt| attempt.checks.clone())
            .unwrap_or_default()
    }
}
