//! The harness: the real image in QEMU, its API, its serial line, and a real browser.
//!
//! ```text
//!   Node ── boot, pull_power, power_button ──► QEMU          (ashlar-image)
//!     ├──── api()  ──► HTTPS on loopback                     (api)
//!     ├──── screen() ─► what the serial line said            (node)
//!     ├──── State ────► its state partition, while it is off (disk)
//!     └──── Browser ─► the console, as a person sees it      (browser)
//! ```
//!
//! Every node's serial log and every picture stay under `target/tests/<test>/`, also after a failure: they are what one
//! reads first. Tests wait for facts, bounded and generous; no test fails because a machine is slow.

pub mod api;
pub mod browser;
pub mod cd;
pub mod chance;
pub mod console;
pub mod disk;
pub mod guest;
pub mod node;
pub mod picture;
pub mod process;
pub mod release;
pub mod schemathesis;
pub mod screen;
pub mod serial;
pub mod socket;
pub mod vm;
pub mod wait;
pub mod walk;

use std::path::PathBuf;

use anyhow::{Context, Result};
use ashlar_image::place::Place;

pub use node::{Node, calm, for_guests, options};

/// Cargo's target directory.
pub fn target() -> PathBuf {
    Place::find().map_or_else(
        |_| PathBuf::from("target"),
        |place| place.target().to_path_buf(),
    )
}

/// The folder for what a test leaves to be looked at.
pub fn results(test: &str) -> Result<PathBuf> {
    let folder = target().join("tests").join(test);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
