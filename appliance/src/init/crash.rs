//! Crash records: what the kernel said when it died, kept by the firmware, moved to the state partition; and why
//! process 1 failed, if it did ([`super::failure`]).
//!
//! Invariant: a record is removed from the firmware's small store only when it is safe on the disk. The store holds
//! a few records, and firmware with a full store has refused to start machines.

use std::path::Path;
use std::time::UNIX_EPOCH;

use ashlar_api::event::Severity;

use super::fault::Fault;
use super::log;
use crate::sys::fs::{self, FsError};
use crate::sys::sysfs;

const STORE: &str = "/sys/fs/pstore";
const KEPT: &str = "/var/lib/ashlar/crash";
/// Why process 1 failed, until the next start tells of it.
const NOTE: &str = "/var/lib/ashlar/process-1-failed";
/// A crash makes a handful of records of some kilobytes.
const MOST_KEPT: usize = 64;

/// Notes for the next start why process 1 failed.
pub fn note(what: &str) {
    if let Err(error) = fs::write_atomic(Path::new(NOTE), format!("{what}\n").as_bytes(), 0o600) {
        log::error(log::chain(&error));
    }
}

/// Moves the records and tells of them.
pub fn save() -> Result<Vec<Fault>, FsError> {
    let noted = take_note(Path::new(NOTE), Path::new(KEPT))?;
    let mut faults: Vec<Fault> = noted.as_deref().map(failed).into_iter().collect();
    let moved = move_records(Path::new(STORE), Path::new(KEPT))?;
    forget_oldest(Path::new(KEPT));
    faults.extend((moved > 0).then(|| Fault {
        code: "kernel-crash",
        title: "The machine crashed before this start.".to_owned(),
        detail: format!("The kernel left {moved} records of it; they are kept in {KEPT}."),
        remedy: "If it happens again, check memory and cooling, update the firmware, and report it with the records: \
                 text files in the folder crash of the partition ashlar-state, for a rescue system to read."
            .to_owned(),
        severity: Severity::Warning,
    }));
    Ok(faults)
}

fn failed(what: &str) -> Fault {
    Fault {
        code: "init-failed",
        title: "The machine restarted because its first program failed.".to_owned(),
        detail: format!(
            "Why: {}. The machine was ended in order before this start; the text is kept in {KEPT}.",
            what.trim()
        ),
        remedy: "If it happens again, check memory and cooling, and report it with the text."
            .to_owned(),
        severity: Severity::Warning,
    }
}

/// What was noted, moved to the records.
fn take_note(note: &Path, kept: &Path) -> Result<Option<String>, FsError> {
    let Ok(what) = std::fs::read_to_string(note) else {
        return Ok(None);
    };
    let time = note.metadata().and_then(|note| note.modified()).ok();
    let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let time = time.unwrap_or_default().as_secs();
    fs::create_directory(kept)?;
    fs::write_atomic(
        &kept.join(format!("{time:010}-process-1")),
        what.as_bytes(),
        0o600,
    )?;
    fs::remove_file(note)?;
    Ok(Some(what))
}

fn move_records(store: &Path, kept: &Path) -> Result<usize, FsError> {
    let mut moved = 0;
    for name in sysfs::names(store) {
        let from = store.join(&name);
        let failed = |source| FsError::Read {
            path: from.clone(),
            source,
        };
        let metadata = from.metadata().map_err(failed)?;
        if !metadata.is_file() {
            continue;
        }
        let bytes = std::fs::read(&from).map_err(failed)?;
        // The store gives files the time of the crash.
        let time = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let time = time.unwrap_or_default().as_secs();
        fs::create_directory(kept)?;
        fs::write_atomic(&kept.join(format!("{time:010}-{name}")), &bytes, 0o600)?;
        fs::remove_file(&from)?;
        moved += 1;
    }
    Ok(moved)
}

fn forget_oldest(kept: &Path) {
    // Names begin with the time: the oldest come first.
    let names = sysfs::names(kept);
    for name in names.iter().take(names.len().saturating_sub(MOST_KEPT)) {
        if let Err(error) = fs::remove_file(&kept.join(name)) {
            log::warn(log::chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_told_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (note, kept) = (directory.path().join("note"), directory.path().join("kept"));
        assert_eq!(take_note(&note, &kept).unwrap(), None);
        std::fs::write(&note, "panicked at x\n").unwrap();
        let what = take_note(&note, &kept).unwrap().unwrap();
        assert!(failed(&what).detail.contains("panicked at x. The machine"));
        assert_eq!(take_note(&note, &kept).unwrap(), None);
        let names = sysfs::names(&kept);
        assert!(
            names.len() == 1 && names[0].ends_with("-process-1"),
            "{names:?}"
        );
    }

    #[test]
    fn moves_records_and_bounds_them() {
        let directory = tempfile::tempdir().unwrap();
        let (store, kept) = (
            directory.path().join("pstore"),
            directory.path().join("crash"),
        );
        std::fs::create_dir(&store).unwrap();
        assert_eq!(move_records(&store, &kept).unwrap(), 0);
        assert!(!kept.exists());
        for number in 0..MOST_KEPT + 3 {
            std::fs::write(
                store.join(format!("dmesg-efi-{number:03}")),
                "Kernel panic - not syncing",
            )
            .unwrap();
        }
        assert_eq!(move_records(&store, &kept).unwrap(), MOST_KEPT + 3);
        assert_eq!(sysfs::names(&store), Vec::<String>::new());
        forget_oldest(&kept);
        let names = sysfs::names(&kept);
        assert_eq!(names.len(), MOST_KEPT);
        assert!(names[0].ends_with("-dmesg-efi-003"));
        assert_eq!(
            std::fs::read(kept.join(&names[0])).unwrap(),
            b"Kernel panic - not syncing"
        );
    }
}
