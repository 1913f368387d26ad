//! Faults found by init, most of them while booting, left for the supervisor to show: one small file each under
//! `/run/ashlar/faults`.
//!
//! Invariant: a fault names what is wrong and what to do about it, for a person who does not know how this works.
//! A boot never stops at a fault; it goes on with what there is.

use std::path::Path;

use ashlar_api::event::Severity;
use serde::Serialize;

use super::log;
use crate::sys::{fs, noted};

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
    if let Err(error) = noted::write(Path::new(noted::FOLDER), fault.code, fault) {
        log::error(log::chain(&error));
    }
}

/// Takes a fault back: its cause is gone.
pub fn withdraw(code: &str) {
    if let Err(error) = fs::remove_file(&Path::new(noted::FOLDER).join(format!("{code}.json"))) {
        log::error(log::chain(&error));
    }
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
        noted::write(&faults, fault.code, &fault).unwrap();
        let text = std::fs::read_to_string(faults.join("low-memory.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["severity"], "warning");
        assert_eq!(value["remedy"], "Add memory.");
    }
}
