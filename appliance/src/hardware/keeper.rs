//! The hardware of this node as the rest of the program asks for it: the newest
//! report, a new look, what was overridden.
//!
//! It looks when the machine has settled, each day after that, and when somebody
//! asks. Before it has settled nobody looks: what has no driver yet would be told
//! as missing, and end what was overridden. One look at a time: whoever comes
//! meanwhile waits for it, which takes milliseconds. The report of before the start
//! is there until the first look, so that nobody finds nothing. A look that fails
//! is made again soon: until one has ended, the node does not know itself.
//!
//! A report that can not be written is shown all the same (a full drive must not
//! hide a broken one); an override that can not be written is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ashlar_api::Timestamp;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::hardware::{Check, Outcome, Override, Report};
use tokio::sync::{Mutex, watch};

use super::kept::{Files, Overrides, carry, mark, settle};
use super::observe::observe;
use super::observed::{Observed, Purpose};
use super::{checks, conclude, faults};
use crate::reconcile::chain;
use crate::sys::fs::FsError;

/// How often it is looked at without being asked.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// When it is looked again after a look that failed.
const SOON: Duration = Duration::from_secs(60);

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such check.
    #[error("there is no hardware check `{0}`")]
    NoSuchCheck(String),
    /// Nobody has looked yet.
    #[error("the hardware has not been checked yet")]
    NotChecked,
    /// Nobody looks before all drivers are there.
    #[error("the hardware can not be checked yet: the machine still loads its drivers")]
    NotSettled,
    /// There is nothing to override.
    #[error("the hardware check `{id}` can not be overridden: {why}")]
    NotOverridable {
        /// The check.
        id: String,
        /// Why not.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It could not be written down.
    #[error("what was overridden can not be kept")]
    Keep(#[from] FsError),
    /// The look itself failed.
    #[error("the look at the hardware ended without an answer")]
    Look(#[from] tokio::task::JoinError),
}

/// What is known of the hardware.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The newest report; that of before the start until the first look.
    pub report: Option<Report>,
    /// That of before the start.
    pub before: Option<Report>,
    /// Somebody has looked since this process started.
    pub looked: bool,
    /// What is so wrong that it is a fault, by a look of this process.
    pub faults: Vec<Fault>,
}

type Eyes = Arc<dyn Fn() -> Observed + Send + Sync>;

struct Inner {
    files: Files,
    eyes: Eyes,
    /// Whether all that was in the machine has its driver.
    settled: watch::Receiver<bool>,
    /// Held while somebody looks or decides.
    overrides: Mutex<Overrides>,
    status: watch::Sender<Status>,
}

/// The hardware of this node. Cheap to clone.
#[derive(Clone)]
pub struct Hardware(Arc<Inner>);

impl Hardware {
    /// With what was kept in a folder on the state partition. Blocks for two small files.
    pub fn open(folder: &Path, settled: watch::Receiver<bool>) -> Self {
        Hardware::seeing(folder, settled, Arc::new(|| observe(Purpose::Node)))
    }

    /// The same, with other eyes.
    pub fn seeing(folder: &Path, settled: watch::Receiver<bool>, eyes: Eyes) -> Self {
        let files = Files::in_folder(folder);
        let overrides = files.overrides();
        let mut report = files.report();
        if let Some(report) = &mut report {
            mark(&overrides, report);
        }
        let status = Status {
            before: report.clone(),
            report,
            ..Status::default()
        };
        Hardware(Arc::new(Inner {
            files,
            eyes,
            settled,
            overrides: Mutex::new(overrides),
            status: watch::Sender::new(status),
        }))
    }

    /// Hears of new reports.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// The newest report.
    pub fn report(&self) -> Result<Report, Error> {
        let report = self.0.status.borrow().report.clone();
        report.ok_or(Error::NotChecked)
    }

    /// Looks now, when the machine has settled.
    pub async fn check(&self) -> Result<Report, Error> {
        if !*self.0.settled.borrow() {
            return Err(Error::NotSettled);
        }
        let mut overrides = self.0.overrides.lock().await;
        let inner = Arc::clone(&self.0);
        let before = self.0.status.borrow().report.clone();
        let mut said = overrides.clone();
        let (report, said) = tokio::task::spawn_blocking(move || {
            let mut report = conclude(&(inner.eyes)());
            carry(before.as_ref(), &mut report);
            if settle(&mut said, &mut report)
                && let Err(error) = inner.files.keep_overrides(&said)
            {
                // It ends in memory, and again at the next start.
                tracing::warn!("keep what was overridden: {}", chain(&error));
            }
            if let Err(error) = inner.files.keep_report(&report) {
                tracing::warn!("keep the report on the hardware: {}", chain(&error));
            }
            (report, said)
        })
        .await?;
        *overrides = said;
        self.show(report.clone(), true);
        Ok(report)
    }

    /// Notes that somebody knows of a warning, who saw that it is about something of this identity.
    pub async fn override_check(
        &self,
        id: &str,
        identity: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Report, Error> {
        let decided = self.decide(id, |check| {
            let why = |why, remedy| Error::NotOverridable {
                id: id.to_owned(),
                why,
                remedy,
            };
            match (check.outcome, check.severity) {
                (Outcome::Failed, Severity::Warning) if check.identity != identity => Err(why(
                    "it is about something else by now",
                    "Read what it says now, and decide again.",
                )),
                (Outcome::Failed, Severity::Warning) => Ok(Some(Override {
                    by: by.to_owned(),
                    at,
                    target: check.target.clone(),
                    identity: check.identity.clone(),
                })),
                (Outcome::Failed, Severity::Critical) => Err(why(
                    "it is critical",
                    "Do what the check says; a node can not do without it.",
                )),
                (Outcome::Failed, Severity::Info) => Err(why(
                    "it is only good to know",
                    "Nothing has to be done about it.",
                )),
                (Outcome::Passed | Outcome::Unknown, _) => Err(why(
                    "it has not failed",
                    "Check the hardware again, to see how it is now.",
                )),
            }
        });
        Ok(decided.await?.0)
    }

    /// Takes back that somebody knows of a warning, and gives what was said of it. What was not overridden stays as it is.
    pub async fn withdraw(&self, id: &str) -> Result<(Report, Option<Override>), Error> {
        self.decide(id, |_| Ok(None)).await
    }

    async fn decide(
        &self,
        id: &str,
        say: impl FnOnce(&Check) -> Result<Option<Override>, Error>,
    ) -> Result<(Report, Option<Override>), Error> {
        if checks::rule(id).is_none() {
            return Err(Error::NoSuchCheck(id.to_owned()));
        }
        let mut overrides = self.0.overrides.lock().await;
        let mut report = self.report()?;
        // Of a report that an older version made, a check may be missing.
        let check = report.check(id).ok_or(Error::NotChecked)?;
        let mut said = overrides.clone();
        let before = match say(check)? {
            Some(now) => said.insert(id.to_owned(), now),
            None => said.remove(id),
        };
        mark(&said, &mut report);
        if said != *overrides {
            let inner = Arc::clone(&self.0);
            let kept = said.clone();
            tokio::task::spawn_blocking(move || inner.files.keep_overrides(&kept)).await??;
            *overrides = said;
        }
        let looked = self.0.status.borrow().looked;
        self.show(report.clone(), looked);
        Ok((report, before))
    }

    fn show(&self, report: Report, looked: bool) {
        self.0.status.send_modify(|status| {
            status.faults = match looked {
                true => faults::of(&report),
                false => Vec::new(),
            };
            status.report = Some(report);
            status.looked = looked;
        });
    }

    /// Looks once the machine has settled, and each day after that, until `stopped` turns true.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut settled = self.0.settled.clone();
        // Both arms are cancel-safe: a watch keeps its newest value.
        tokio::select! {
            _ = settled.wait_for(|settled| *settled) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        loop {
            let looked = self.check().await;
            match &looked {
                Ok(report) => tracing::info!("{}", report.summary),
                Err(error) => tracing::warn!("check the hardware: {}", chain(error)),
            }
            // Both arms are cancel-safe: as above, and a sleep that is dropped is of no use any more.
            tokio::select! {
                () = tokio::time::sleep(pause(&looked)) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }
}

/// How long nobody looks after a look.
fn pause(looked: &Result<Report, Error>) -> Duration {
    match looked {
        Ok(_) => DAY,
        Err(_) => SOON,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Plain;

    use super::*;
    use crate::hardware::observed::{Controller, Drive, Tpm};
    use ashlar_api::Bytes;

    /// A machine that can be changed between looks.
    fn machine() -> (Arc<Plain<Observed>>, Eyes) {
        let seen = Observed {
            at: "2026-11-22T08:00:00Z".parse().unwrap(),
            drives: vec![Drive {
                name: "sda".to_owned(),
                size: Bytes::gib(64),
                system: true,
                ..Drive::default()
            }],
            ..Observed::default()
        };
        let machine = Arc::new(Plain::new(seen));
        let eyes = Arc::clone(&machine);
        (machine, Arc::new(move || eyes.lock().unwrap().clone()))
    }

    fn settled() -> watch::Receiver<bool> {
        watch::channel(true).1
    }

    #[tokio::test]
    async fn a_warning_is_overridden_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, eyes) = machine();
        let hardware = Hardware::seeing(folder.path(), settled(), Arc::clone(&eyes));
        let now = Timestamp::UNIX_EPOCH;
        assert!(matches!(hardware.report(), Err(Error::NotChecked)));
        let firmware = "firmware";
        assert!(matches!(
            hardware.override_check("tpm", firmware, "ann", now).await,
            Err(Error::NotChecked)
        ));
        let report = hardware.check().await.unwrap();
        assert!(report.check("tpm").unwrap().is_open());
        // Of something else than what is there now, nothing is said.
        let other = hardware.override_check("tpm", "tpm0", "ann", now).await;
        assert!(matches!(other, Err(Error::NotOverridable { .. })));
        assert!(hardware.report().unwrap().check("tpm").unwrap().is_open());
        let report = hardware
            .override_check("tpm", firmware, "ann", now)
            .await
            .unwrap();
        assert!(!report.check("tpm").unwrap().is_open());
        for (id, why) in [
            ("firmware-uefi", "critical"),
            ("iommu", "good to know"),
            ("cpu-count", "not failed"),
        ] {
            let error = hardware
                .override_check(id, firmware, "ann", now)
                .await
                .unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(matches!(
            hardware
                .override_check("nonsense", firmware, "ann", now)
                .await,
            Err(Error::NoSuchCheck(_))
        ));

        // The next process finds both, and a look changes nothing.
        let hardware = Hardware::seeing(folder.path(), settled(), eyes);
        assert!(!hardware.watch().borrow().looked);
        for report in [hardware.report().unwrap(), hardware.check().await.unwrap()] {
            let said = report.check("tpm").unwrap().overridden.clone().unwrap();
            assert_eq!(said.by, "ann");
        }
        let (report, said) = hardware.withdraw("tpm").await.unwrap();
        assert!(report.check("tpm").unwrap().is_open());
        assert_eq!(said.unwrap().by, "ann");
        assert_eq!(hardware.withdraw("tpm").await.unwrap(), (report, None));

        // It ends by itself with what it was about.
        hardware
            .override_check("tpm", firmware, "ann", now)
            .await
            .unwrap();
        machine.lock().unwrap().firmware.tpms.push(Tpm {
            name: "tpm0".to_owned(),
            version: Some(2),
        });
        let report = hardware.check().await.unwrap();
        assert_eq!(report.check("tpm").unwrap().overridden, None);
        machine.lock().unwrap().firmware.tpms.clear();
        let report = hardware.check().await.unwrap();
        assert!(report.check("tpm").unwrap().is_open());
    }

    #[tokio::test]
    async fn what_is_critical_is_a_fault_unless_another_part_tells() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, eyes) = machine();
        machine.lock().unwrap().firmware.uefi = true;
        let hardware = Hardware::seeing(folder.path(), settled(), eyes);
        // It has no card and no virtualisation; others tell of that.
        let report = hardware.check().await.unwrap();
        assert!(report.blocks());
        assert_eq!(hardware.watch().borrow().faults, []);
        machine.lock().unwrap().memory.controllers.push(Controller {
            name: "mc0".to_owned(),
            uncorrected: 3,
            modules: vec!["DIMM_A1".to_owned()],
            ..Controller::default()
        });
        hardware.check().await.unwrap();
        let status = hardware.watch().borrow().clone();
        let [fault] = status.faults.as_slice() else {
            panic!("{:?}", status.faults);
        };
        assert_eq!(
            fault.title,
            "The hardware is not fit for a node: errors in memory"
        );
        assert!(fault.detail.contains("DIMM_A1"), "{}", fault.detail);
    }

    #[tokio::test]
    async fn a_full_drive_hides_no_report_and_keeps_no_override() {
        let folder = tempfile::tempdir().unwrap();
        let (_, eyes) = machine();
        let missing = folder.path().join("missing");
        let hardware = Hardware::seeing(&missing, settled(), eyes);
        hardware.check().await.unwrap();
        let refused = hardware
            .override_check("tpm", "firmware", "ann", Timestamp::UNIX_EPOCH)
            .await;
        assert!(matches!(refused, Err(Error::Keep(_))));
        assert!(hardware.report().unwrap().check("tpm").unwrap().is_open());
    }

    #[tokio::test]
    async fn it_looks_when_the_machine_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let (settle, settled) = watch::channel(false);
        let hardware = Hardware::seeing(folder.path(), settled, machine().1);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(hardware.clone().run(stopped));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!hardware.watch().borrow().looked);
        // Nobody else may look either.
        assert!(matches!(hardware.check().await, Err(Error::NotSettled)));
        settle.send_replace(true);
        let mut status = hardware.watch();
        status.wait_for(|status| status.looked).await.unwrap();
        stop.send_replace(true);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_look_that_fails_is_made_again_soon() {
        let folder = tempfile::tempdir().unwrap();
        let (_, eyes) = machine();
        let looks = Plain::new(0);
        let blinks: Eyes = Arc::new(move || {
            let mut looks = looks
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            *looks += 1;
            assert!(*looks > 1, "blind at first");
            eyes()
        });
        let hardware = Hardware::seeing(folder.path(), settled(), blinks);
        let failed = hardware.check().await;
        assert!(matches!(failed, Err(Error::Look(_))));
        assert_eq!(pause(&failed), SOON);
        assert!(!hardware.watch().borrow().looked);
        let looked = hardware.check().await;
        assert!(looked.is_ok() && hardware.watch().borrow().looked);
        assert_eq!(pause(&looked), DAY);
    }

    #[tokio::test]
    async fn a_report_of_before_the_start_ends_no_override() {
        let folder = tempfile::tempdir().unwrap();
        let (_, eyes) = machine();
        let hardware = Hardware::seeing(folder.path(), settled(), Arc::clone(&eyes));
        hardware.check().await.unwrap();
        hardware
            .override_check("tpm", "firmware", "ann", Timestamp::UNIX_EPOCH)
            .await
            .unwrap();
        // One that knew the check otherwise.
        let files = Files::in_folder(folder.path());
        let mut old = files.report().unwrap();
        for check in old.checks.iter_mut().filter(|check| check.id == "tpm") {
            check.identity = "tpm0".to_owned();
        }
        files.keep_report(&old).unwrap();
        let hardware = Hardware::seeing(folder.path(), settled(), eyes);
        assert!(hardware.report().unwrap().check("tpm").unwrap().is_open());
        hardware.withdraw("secure-boot").await.unwrap();
        let report = hardware.check().await.unwrap();
        assert!(!report.check("tpm").unwrap().is_open());
    }
}
