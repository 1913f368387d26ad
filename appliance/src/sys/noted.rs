//! Faults that are noted as files, one each, until the machine is switched off: by init, which has no health domain, and
//! by parts that saw something once which no look would find again.

use std::path::Path;

use serde::Serialize;

use super::fs::{self, FsError};

/// Where they are; the health domain reads them.
pub const FOLDER: &str = "/run/ashlar/faults";

/// Notes a fault under its code, in place of one noted before.
pub fn write(folder: &Path, code: &str, fault: &impl Serialize) -> Result<(), FsError> {
    fs::create_directory(folder)?;
    // A struct of texts can always be written as JSON.
    let text = serde_json::to_string(fault).unwrap_or_default();
    fs::write_atomic(&folder.join(format!("{code}.json")), text.as_bytes(), 0o644)
}
