//! The name of the machine: the kernel's, and the file that programs read it from.
//!
//! Init gives it at each start, from the file on the state partition; the supervisor when an operator renames the node.

use std::path::Path;

use super::fs::{self, FsError};

/// Where the name that an operator gave is kept, for the next start.
pub const KEPT: &str = "/var/lib/ashlar/hostname";
/// Where `/etc/hostname` of the read-only root leads.
pub const SHOWN: &str = "/run/ashlar/hostname";

/// Gives the machine its name, and writes it to `shown`.
pub fn set(name: &str, shown: &Path) -> Result<(), FsError> {
    nix::unistd::sethostname(name).map_err(|errno| FsError::Write {
        path: "/proc/sys/kernel/hostname".into(),
        source: errno.into(),
    })?;
    fs::write_atomic(shown, format!("{name}\n").as_bytes(), 0o444)
}
