//! What is written down of updates: the newest attempt, and what the releases on the disk say of themselves.
//!
//! Files of the node in its state partition, not of the replicated state: which release a node runs is a fact about the node, and
//! the one who reads it first after an update that failed is another version of this program. So the files are small,
//! tolerant, and never needed to start.

use std::path::{Path, PathBuf};

use ashlar_api::update::{Attempt, Ended, Manifest, Outcome, TrialCheck, Version};
use ashlar_api::{BootId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::sys::fs::{self, FsError};

/// The newest attempt, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The start of the node in which it was asked for.
    pub boot: BootId,
    /// What did not hold before it.
    #[serde(default)]
    pub before: Vec<TrialCheck>,
    /// The attempt.
    pub attempt: Attempt,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Notebook {
    folder: PathBuf,
    crashes: PathBuf,
}

/// How many of the kernel's last lines are kept of a crash.
const LINES: usize = 20;

impl Notebook {
    /// The one in the state partition.
    pub fn of(state: &Path) -> Notebook {
        Notebook {
            folder: state.join("update"),
            crashes: state.join("crash"),
        }
    }

    /// The newest attempt. One that can not be read is none.
    pub fn attempt(&self) -> Option<Record> {
        let text = std::fs::read(self.folder.join("attempt.json")).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| {
                tracing::warn!("the newest attempt to update can not be read: {error}")
            })
            .ok()
    }

    /// Writes the newest attempt down.
    pub fn note(&self, record: &Record) -> Result<(), FsError> {
        self.write("attempt.json", record)
    }

    /// Forgets the newest attempt.
    pub fn forget(&self) -> Result<(), FsError> {
        fs::remove_file(&self.folder.join("attempt.json"))
    }

    /// What a release says of itself.
    pub fn manifest(&self, version: &Version) -> Option<Manifest> {
        let text = std::fs::read(self.folder.join(format!("{version}.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes down what a release says of itself.
    pub fn describe(&self, manifest: &Manifest) -> Result<(), FsError> {
        self.write(&format!("{}.json", manifest.version), manifest)
    }

    /// Forgets what a release said of itself.
    pub fn forget_release(&self, version: &Version) -> Result<(), FsError> {
        fs::remove_file(&self.folder.join(format!("{version}.json")))
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), FsError> {
        fs::create_directory(&self.folder)?;
        // Serialising cannot fail: there are texts and numbers only.
        let text = serde_json::to_vec_pretty(value).unwrap_or_default();
        fs::write_atomic(&self.folder.join(name), &text, 0o600)
    }

    /// The last lines of the kernel, where it crashed since then.
    pub fn crash_since(&self, then: Timestamp) -> Vec<String> {
        let newest = std::fs::read_dir(&self.crashes)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let time: i64 = name.split('-').next()?.parse().ok()?;
                let is_of_kernel = name.contains("dmesg");
                (is_of_kernel && time >= then.as_second()).then_some((name, entry.path()))
            })
            // The records of one crash are numbered from its end: the first holds the last lines.
            .min();
        let text = newest.and_then(|(_, path)| std::fs::read(path).ok());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| (*line).to_owned()).collect()
    }
}

/// How an attempt ended, seen from the start of the node after it; none while it goes on.
pub fn ended(
    record: &Record,
    boot: BootId,
    running: &Version,
    on_trial: bool,
    kernel: impl FnOnce() -> Vec<String>,
    now: Timestamp,
) -> Option<Ended> {
    let attempt = &record.attempt;
    if attempt.ended.is_some() || record.boot == boot {
        return None;
    }
    if *running == attempt.to {
        return (!on_trial).then_some(Ended::Kept { at: now });
    }
    let failed = attempt
        .checks
        .iter()
        .find(|check| check.outcome == Outcome::Failed);
    let kernel = kernel();
    let reason = match failed {
        Some(check) => format!("{} This did not hold: {}", check.title, check.finding),
        None if !kernel.is_empty() => "The kernel crashed before the checks had passed.".to_owned(),
        None => "It did not come so far that it could be checked.".to_owned(),
    };
    Some(Ended::Returned {
        at: now,
        reason,
        kernel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn record(outcome: Option<Outcome>) -> Record {
        let checks = outcome.map(|outcome| TrialCheck {
            name: "storage".to_owned(),
            title: "Every pool is there.".to_owned(),
            outcome,
            finding: "the pool main is missing a drive".to_owned(),
        });
        Record {
            boot: BootId::from(Uuid::from_u128(1)),
            before: Vec::new(),
            attempt: Attempt {
                from: "0.1.0".parse().unwrap(),
                to: "0.2.0".parse().unwrap(),
                at: Timestamp::UNIX_EPOCH,
                by: "admin".to_owned(),
                checks: checks.into_iter().collect(),
                ended: None,
            },
        }
    }

    fn seen(
        record: &Record,
        boot: u128,
        running: &str,
        on_trial: bool,
        kernel: &[&str],
    ) -> Option<Ended> {
        let kernel: Vec<String> = kernel.iter().map(|line| (*line).to_owned()).collect();
        let boot = BootId::from(Uuid::from_u128(boot));
        let running = running.parse().unwrap();
        ended(
            record,
            boot,
            &running,
            on_trial,
            || kernel,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn an_attempt_ends_with_the_start_that_shows_how() {
        let at = Timestamp::UNIX_EPOCH;
        // Asked for, and not restarted yet.
        assert_eq!(seen(&record(None), 1, "0.1.0", false, &[]), None);
        assert_eq!(seen(&record(None), 2, "0.2.0", true, &[]), None);
        assert_eq!(
            seen(&record(None), 2, "0.2.0", false, &[]),
            Some(Ended::Kept { at })
        );
        let reason =
            |record: &Record, kernel: &[&str]| match seen(record, 2, "0.1.0", false, kernel) {
                Some(Ended::Returned { reason, .. }) => reason,
                other => panic!("{other:?}"),
            };
        let failed = record(Some(Outcome::Failed));
        assert_eq!(
            reason(&failed, &["panic"]),
            "Every pool is there. This did not hold: the pool main is missing a drive"
        );
        let waiting = record(Some(Outcome::Waiting));
        assert!(reason(&waiting, &["panic"]).starts_with("The kernel crashed"));
        assert!(reason(&waiting, &[]).starts_with("It did not come so far"));
    }

    #[test]
    fn what_is_noted_is_read_again_and_nonsense_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let notebook = Notebook::of(directory.path());
        assert_eq!(notebook.attempt(), None);
        notebook.note(&record(None)).unwrap();
        assert_eq!(notebook.attempt(), Some(record(None)));
        std::fs::write(directory.path().join("update/attempt.json"), "{").unwrap();
        assert_eq!(notebook.attempt(), None);
        notebook.forget().unwrap();
        notebook.forget().unwrap();
    }

    #[test]
    fn the_last_lines_of_the_newest_crash() {
        let directory = tempfile::tempdir().unwrap();
        let notebook = Notebook::of(directory.path());
        let crashes = directory.path().join("crash");
        std::fs::create_dir_all(&crashes).unwrap();
        let long: String = (0..50).map(|n| format!("line {n}\n")).collect();
        for (name, text) in [
            ("0000000050-dmesg-efi-1", "old"),
            ("0000000100-dmesg-efi-1", long.as_str()),
            ("0000000100-dmesg-efi-2", "before"),
            ("0000000100-process-1", "no kernel"),
        ] {
            std::fs::write(crashes.join(name), text).unwrap();
        }
        let then = Timestamp::from_second(60).unwrap();
        let lines = notebook.crash_since(then);
        assert_eq!((lines.len(), lines[19].as_str()), (LINES, "line 49"));
        assert!(
            notebook
                .crash_since(Timestamp::from_second(101).unwrap())
                .is_empty()
        );
    }
}
