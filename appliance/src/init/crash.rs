//! Crash records: what the kernel said when it died, kept by the firmware, moved to the state partition.
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
/// A crash makes a handful of records of some kilobytes.
const MOST_KEPT: usize = 64;

/// Moves the records and tells of them.
pub fn save() -> Result<Option<Fault>, FsError> {
    let moved = move_records(Path::new(STORE), Path::new(KEPT))?;
    forget_oldest(Path::new(KEPT));
    Ok((moved > 0).then(|| Fault {
        code: "kernel-crash",
        title: "The machine crashed before this start.".to_owned(),
        detail: format!("The kernel left {moved} records of it; they are kept in {KEPT}."),
        remedy: "If it happens again, check memory and cooling, update the firmware, and report it with the records: \
                 text files in the folder crash of the partition ashlar-state, for a rescue system to read."
            .to_owned(),
        severity: Severity::Warning,
    }))
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
