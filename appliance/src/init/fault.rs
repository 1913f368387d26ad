//! Faults found by init, most of them while booting, left for the supervisor to show: one small file each under
//! `/run/ashlar/faults`.
//!
//! Invariant: a fault names what is wrong and what to do about it, for a person who does not know how this works.
//! A boot never stops at a fault; it goes on with what there is.

use std::path::Path;

use ashlar_api::event::Severity;
use serde::Serialize;

use super::log;
use crate::sys::fs;

const DIRECTORY: &str = "/run/ashlar/faults";

/// One thing that is wrong with the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Stable, for programs; also the name of the file.
    pub code: &'static str,
    /// One short sentence.
    pub title: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub remedy: String,
    /// How bad it is.
    pub severity: Severity,
}

/// Leaves a fault for the supervisor and says it in the kernel log.
pub fn report(fault: &Fault) {
    log::warn(format_args!("{} {}", fault.title, fault.detail));
    if let Err(error) = write(Path::new(DIRECTORY), fault) {
        log::error(log::chain(&error));
    }
}

/// Takes a fault back: its cause is gone.
pub fn withdraw(code: &str) {
    if let Err(error) = fs::remove_file(&Path::new(DIRECTORY).join(format!("{code}.json"))) {
        log::error(log::chain(&error));
    }
}

fn write(directory: &Path, fault: &Fault) -> Result<(), fs::FsError> {
    fs::create_directory(directory)?;
    // A struct of strings can always be written as JSON.
    let text = serde_json::to_string(fault).unwrap_or_default();
    fs::write_atomic(
        &directory.join(format!("{}.json", fault.code)),
        text.as_bytes(),
        0o644,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_file_the_supervisor_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let fault = Fault {
            code: "low-memory",
            title: "The machine has little memory.".to_owned(),
            detail: "Only 1.0 GiB.".to_owned(),
            remedy: "Add memory.".to_owned(),
            severity: Severity::Warning,
        };
        let faults = directory.path().join("faults");
        write(&faults, &fault).unwrap();
        let text = std::fs::read_to_string(faults.join("low-memory.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["severity"], "warning");
        assert_eq!(value["remedy"], "Add memory.");
    }
}
