//! What is kept of the hardware between two looks: the newest report, and what
//! was overridden.
//!
//! ```text
//!   hardware-report.json      replaced by each look
//!   hardware-overrides.json   replaced when somebody overrides a warning or takes that back, and when one ends
//! ```
//!
//! Two files, because they are worth unlike things: a report is made again in
//! milliseconds, an override is somebody's decision. One that can not be read
//! counts as none: a report is made anew, and a warning is told once more.
//!
//! An override ends by itself when the check passes, or fails about something
//! else: whoever accepts that the system lies on `sda`, a stick, has said nothing
//! of `sdb`. So a file never hides what nobody has seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ashlar_api::event::Severity;
use ashlar_api::hardware::{Check, Outcome, Override, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::faults::lower;
use crate::reconcile::chain;
use crate::sys::fs::{self, FsError};

/// What was overridden, by the id of the check.
pub type Overrides = BTreeMap<String, Override>;

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Files {
    report: PathBuf,
    overrides: PathBuf,
}

impl Files {
    /// In a folder on the state partition.
    pub fn in_folder(folder: &Path) -> Self {
        Files {
            report: folder.join("hardware-report.json"),
            overrides: folder.join("hardware-overrides.json"),
        }
    }

    /// The newest report, when there is one that can be read.
    pub fn report(&self) -> Option<Report> {
        read(&self.report)
    }

    /// What was overridden.
    pub fn overrides(&self) -> Overrides {
        read(&self.overrides).unwrap_or_default()
    }

    /// Keeps a report.
    pub fn keep_report(&self, report: &Report) -> Result<(), FsError> {
        write(&self.report, report)
    }

    /// Keeps what was overridden.
    pub fn keep_overrides(&self, overrides: &Overrides) -> Result<(), FsError> {
        write(&self.overrides, overrides)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("read {}: {error}", path.display());
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!("understand {}: {}", path.display(), chain(error)))
        .ok()
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), FsError> {
    let bytes = serde_json::to_vec(value).map_err(|source| FsError::Write {
        path: path.to_owned(),
        source: source.into(),
    })?;
    fs::write_atomic(path, &bytes, 0o600)
}

/// Carries over from the report before since when each check ends as it does.
pub fn carry(before: Option<&Report>, now: &mut Report) {
    for check in &mut now.checks {
        let was = before.and_then(|before| before.check(&check.id));
        if let Some(was) = was.filter(|was| same(was, check)) {
            check.since = was.since.min(check.since);
        }
    }
}

/// It ends as it did, about the same thing, and matters as much.
fn same(before: &Check, now: &Check) -> bool {
    (before.outcome, before.severity, &before.target) == (now.outcome, now.severity, &now.target)
}

/// Puts what was overridden into a report, and ends what is over. True when something ended.
pub fn settle(overrides: &mut Overrides, report: &mut Report) -> bool {
    let before = overrides.len();
    overrides.retain(|id, said| match report.check(id) {
        // A check that an older version had, and a newer one may have again.
        None => true,
        Some(check) => match check.outcome {
            Outcome::Unknown => true,
            Outcome::Passed => false,
            Outcome::Failed => check.severity == Severity::Warning && check.target == said.target,
        },
    });
    for check in &mut report.checks {
        let failed = check.outcome == Outcome::Failed;
        check.overridden = overrides.get(&check.id).filter(|_| failed).cloned();
    }
    report.conclude();
    overrides.len() != before
}

/// What changed from one report to the next, as sentences for the history. What is critical is told as a fault.
pub fn news<'a>(before: &Report, now: &'a Report) -> Vec<(Severity, String, &'a Check)> {
    let mut told = Vec::new();
    for check in &now.checks {
        let Some(was) = before.check(&check.id) else {
            continue;
        };
        let title = lower(&check.title);
        match (was.outcome, check.outcome) {
            (Outcome::Failed, Outcome::Passed) if was.severity != Severity::Critical => {
                told.push((
                    Severity::Info,
                    format!("The hardware check of {title} passes again"),
                    check,
                ));
            }
            (Outcome::Passed | Outcome::Unknown, Outcome::Failed)
                if check.severity != Severity::Critical =>
            {
                let why = check.finding.trim_end_matches('.');
                told.push((
                    check.severity,
                    format!("The hardware check of {title} failed: {why}"),
                    check,
                ));
            }
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::conclude;
    use crate::hardware::observed::{Drive, Observed};
    use crate::sys::block::Transport;
    use ashlar_api::Bytes;

    fn on(drive: &str, transport: Transport, second: i64) -> Report {
        conclude(&Observed {
            at: ashlar_api::Timestamp::from_second(second).unwrap(),
            drives: vec![Drive {
                name: drive.to_owned(),
                size: Bytes::gib(32),
                transport: Some(transport),
                system: true,
                ..Drive::default()
            }],
            ..Observed::default()
        })
    }

    fn said(target: &str) -> Overrides {
        let by = Override {
            by: "ann".to_owned(),
            at: ashlar_api::Timestamp::UNIX_EPOCH,
            target: target.to_owned(),
        };
        BTreeMap::from([("boot-drive-fixed".to_owned(), by)])
    }

    #[test]
    fn an_override_holds_for_what_it_was_said_of() {
        let fixed = "boot-drive-fixed";
        let mut overrides = said("sda");
        let mut stick = on("sda", Transport::Usb, 1);
        assert!(!settle(&mut overrides, &mut stick));
        assert!(stick.check(fixed).unwrap().overridden.is_some());
        assert!(!stick.open().any(|check| check.id == fixed));

        let mut other = on("sdb", Transport::Usb, 2);
        assert!(settle(&mut overrides, &mut other));
        assert!(other.check(fixed).unwrap().is_open());

        let mut overrides = said("sda");
        assert!(settle(&mut overrides, &mut on("sda", Transport::Nvme, 3)));
        assert!(overrides.is_empty());
        // What can not be told ends nothing, and hides nothing.
        let mut overrides = said("sda");
        let mut nothing = conclude(&Observed::default());
        assert!(!settle(&mut overrides, &mut nothing));
        assert!(nothing.check(fixed).unwrap().overridden.is_none());
    }

    #[test]
    fn since_when_is_carried_over() {
        let first = on("sda", Transport::Usb, 10);
        let mut second = on("sda", Transport::Usb, 20);
        carry(Some(&first), &mut second);
        let since = |report: &Report| report.check("boot-drive-fixed").unwrap().since.as_second();
        assert_eq!(since(&second), 10);
        let mut third = on("sdb", Transport::Usb, 30);
        carry(Some(&second), &mut third);
        assert_eq!(since(&third), 30);
        // A clock that was put back makes nothing begin later than it is.
        let mut earlier = on("sdb", Transport::Usb, 5);
        carry(Some(&third), &mut earlier);
        assert_eq!(since(&earlier), 5);
    }

    #[test]
    fn what_changed_is_told_once() {
        let (good, bad) = (on("sda", Transport::Nvme, 1), on("sda", Transport::Usb, 2));
        let told = news(&good, &bad);
        let [(Severity::Warning, sentence, check)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(check.id, "boot-drive-fixed");
        assert_eq!(
            sentence,
            "The hardware check of system drive that stays in failed: The system runs from sda, a USB drive or a card"
        );
        assert!(news(&bad, &bad).is_empty());
        let told = news(&bad, &good);
        assert!(
            matches!(told.as_slice(), [(Severity::Info, sentence, _)] if sentence.ends_with("passes again"))
        );
    }

    #[test]
    fn what_is_kept_comes_back_and_damage_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_folder(folder.path());
        assert_eq!(
            (files.report(), files.overrides()),
            (None, Overrides::new())
        );
        let report = on("sda", Transport::Usb, 1);
        files.keep_report(&report).unwrap();
        files.keep_overrides(&said("sda")).unwrap();
        assert_eq!(files.report(), Some(report));
        assert_eq!(files.overrides(), said("sda"));
        for name in ["hardware-report.json", "hardware-overrides.json"] {
            std::fs::write(folder.path().join(name), "{\"at\":").unwrap();
        }
        assert_eq!(
            (files.report(), files.overrides()),
            (None, Overrides::new())
        );
    }
}
