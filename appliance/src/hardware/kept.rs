//! What is kept of the hardware between two looks: the newest report, and what
//! was overridden.
//!
//! ```text
//!   hardware-report.json      replaced by each look
//!   hardware-overrides.json   replaced when somebody overrides a warning or takes that back, and when one ends
//! ```
//!
//! Two files, because they are worth unlike things: a report is made again in
//! milliseconds, an override is somebody's decision. So a report that can not be
//! read counts as none, while overrides are read one by one, what a newer version
//! added to them is passed over, and a file that is none is set aside. What could
//! not be read is told once more.
//!
//! An override ends by itself when the check passes, or fails about something
//! else: whoever accepts that the system lies on a stick has said nothing of
//! another one, and what the kernel calls either does not matter. Only a look of
//! this process ends one: a report of before the start may be that of an older
//! version, or of drivers that were not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ashlar_api::event::Severity;
use ashlar_api::hardware::{Check, Outcome, Override, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::checks::rule;
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
        read(&self.report).unwrap_or_default()
    }

    /// What was overridden. A file that holds something else is set aside.
    pub fn overrides(&self) -> Overrides {
        let entries: BTreeMap<String, Value> = match read(&self.overrides) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(Unreadable) => {
                let aside = self.overrides.with_extension("json.unreadable");
                if let Err(error) = std::fs::rename(&self.overrides, &aside) {
                    tracing::warn!("set {} aside: {error}", self.overrides.display());
                }
                BTreeMap::new()
            }
        };
        let read = entries.into_iter().filter_map(|(id, entry)| {
            let said = serde_json::from_value(entry).inspect_err(|error| {
                let path = self.overrides.display();
                tracing::warn!("understand `{id}` in {path}: {}", chain(error));
            });
            Some((id, said.ok()?))
        });
        read.collect()
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

/// A file holds something else than what belongs there; that was told.
struct Unreadable;

/// What a file holds; nothing when there is none, or the drive does not give it.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Unreadable> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            tracing::warn!("read {}: {error}", path.display());
            return Ok(None);
        }
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        tracing::warn!("understand {}: {}", path.display(), chain(&error));
        Unreadable
    })
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
    (before.outcome, before.severity, &before.identity)
        == (now.outcome, now.severity, &now.identity)
}

/// Puts what was overridden into a report, where it holds. Nothing ends by that.
pub fn mark(overrides: &Overrides, report: &mut Report) {
    for check in &mut report.checks {
        let said = overrides.get(&check.id);
        check.overridden = said.filter(|said| said.holds_for(check)).cloned();
    }
    report.conclude();
}

/// Puts what was overridden into a new report, and ends what is over. True when something ended.
pub fn settle(overrides: &mut Overrides, report: &mut Report) -> bool {
    let before = overrides.len();
    overrides.retain(|id, said| match report.check(id) {
        // A check that an older version had, and a newer one may have again.
        None => true,
        Some(check) => check.outcome == Outcome::Unknown || said.holds_for(check),
    });
    mark(overrides, report);
    overrides.len() != before
}

/// What changed from one report to the next, as sentences for the history. What is critical, and what another part of the
/// program tells, is told as a fault.
pub fn news<'a>(before: &Report, now: &'a Report) -> Vec<(Severity, String, &'a Check)> {
    let told = now.checks.iter().filter_map(|check| {
        let (severity, sentence) = change(before.check(&check.id)?, check)?;
        Some((severity, sentence, check))
    });
    told.collect()
}

fn change(was: &Check, check: &Check) -> Option<(Severity, String)> {
    let name = format!("Hardware check \"{}\"", check.title);
    let why = check.finding.trim_end_matches('.');
    let ended = was.overridden.as_ref().is_some_and(|said| {
        // Taken back, it would still hold.
        check.outcome != Outcome::Unknown && !said.holds_for(check)
    });
    let elsewhere = rule(&check.id).is_some_and(|rule| rule.told_by.is_some());
    let as_fault = check.severity == Severity::Critical;
    match (was.outcome, check.outcome) {
        (_, Outcome::Passed) if ended => Some((
            Severity::Info,
            format!("{name} passes again; it is no longer overridden"),
        )),
        (_, Outcome::Failed) if ended => Some((
            check.severity,
            format!("{name} failed anew, and is no longer overridden: {why}"),
        )),
        _ if elsewhere => None,
        (Outcome::Failed, Outcome::Passed) if was.severity != Severity::Critical => {
            Some((Severity::Info, format!("{name} passes again")))
        }
        (Outcome::Passed | Outcome::Unknown, Outcome::Failed) if !as_fault => {
            Some((check.severity, format!("{name} failed: {why}")))
        }
        (Outcome::Failed, Outcome::Failed) if !as_fault && !same(was, check) => {
            Some((check.severity, format!("{name} failed anew: {why}")))
        }
        _ => None,
    }
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
                id: format!("stick_{drive}"),
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
            identity: format!("stick_{target}"),
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
        // Called otherwise by the kernel, it is the same.
        let mut overrides = said("sda");
        let mut renamed = on("sda", Transport::Usb, 4);
        for check in &mut renamed.checks {
            check.target = check.target.replace("sda", "sdc");
        }
        assert!(!settle(&mut overrides, &mut renamed));
        assert!(renamed.check(fixed).unwrap().overridden.is_some());
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
            "Hardware check \"System drive that stays in\" failed: The system runs from sda, a USB drive or a card"
        );
        assert!(news(&bad, &bad).is_empty());
        let told = news(&bad, &good);
        assert!(
            matches!(told.as_slice(), [(Severity::Info, sentence, _)] if sentence.ends_with("passes again"))
        );
        // About something else, or mattering otherwise, it is told anew.
        let other = on("sdb", Transport::Usb, 3);
        let told = news(&bad, &other);
        let [(Severity::Warning, sentence, _)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(
            sentence.contains("failed anew: The system runs from sdb"),
            "{sentence}"
        );
        let mut graver = bad.clone();
        for check in graver
            .checks
            .iter_mut()
            .filter(|check| check.id == "boot-drive-fixed")
        {
            check.severity = Severity::Info;
        }
        assert_eq!(news(&graver, &bad).len(), 1);
    }

    #[test]
    fn an_override_that_ends_by_itself_is_told() {
        let overridden = |transport| {
            let mut report = on("sda", transport, 1);
            settle(&mut said("sda"), &mut report);
            report
        };
        let before = overridden(Transport::Usb);
        let words = |now: &Report| -> Vec<String> {
            let told = news(&before, now).into_iter();
            told.map(|(_, sentence, _)| sentence).collect()
        };
        let passes = words(&on("sda", Transport::Nvme, 2));
        assert_eq!(
            passes,
            [
                "Hardware check \"System drive that stays in\" passes again; it is no longer overridden"
            ]
        );
        let other = words(&on("sdb", Transport::Usb, 2));
        assert!(
            other[0].contains("failed anew, and is no longer overridden"),
            "{other:?}"
        );
        // Whoever takes it back is told of by name.
        assert!(words(&on("sda", Transport::Usb, 1)).is_empty());
    }

    #[test]
    fn what_another_part_tells_is_not_told_here() {
        let with = |data: bool| {
            let seen = Observed {
                drives: data
                    .then(|| Drive {
                        name: "sdb".to_owned(),
                        size: Bytes::gib(64),
                        ..Drive::default()
                    })
                    .into_iter()
                    .collect(),
                ..Observed::default()
            };
            conclude(&seen)
        };
        let (there, gone) = (with(true), with(false));
        let failed = gone.check("data-drive").unwrap();
        assert_eq!(failed.outcome, Outcome::Failed);
        let told = news(&there, &gone);
        assert!(
            told.iter().all(|(_, _, check)| check.id != "data-drive"),
            "{told:?}"
        );
    }

    #[test]
    fn what_a_newer_version_wrote_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::in_folder(folder.path());
        let newer = serde_json::json!({
            "boot-drive-fixed": {
                "by": "ann", "at": "1970-01-01T00:00:00Z", "target": "sda", "identity": "stick_sda", "until": "2030-01-01"
            },
            "tpm": { "by": { "name": "ann" } },
        });
        std::fs::write(&files.overrides, newer.to_string()).unwrap();
        assert_eq!(files.overrides(), said("sda"));
        // A file that holds something else stays to be looked at.
        std::fs::write(&files.overrides, "{\"tpm\":").unwrap();
        assert_eq!(files.overrides(), Overrides::new());
        let aside = folder.path().join("hardware-overrides.json.unreadable");
        assert_eq!(std::fs::read_to_string(aside).unwrap(), "{\"tpm\":");
        assert!(!files.overrides.exists());
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
