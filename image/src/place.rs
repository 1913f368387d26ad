//! Where things lie: the source tree, and what the builder makes under the target directory.
//!
//! One type gives every path, so that a look at this file tells what may be deleted. The source tree is known from where
//! this crate was compiled: it always runs from the checkout that built it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout and its target directory.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    target: PathBuf,
}

impl Place {
    /// Finds the checkout; the target directory is `CARGO_TARGET_DIR` or `target` in the checkout.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the builder's crate has no folder above it")?
            .to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(PathBuf::from(dir))
                .context("CARGO_TARGET_DIR is not a usable path")?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The top of the checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The sources of this crate: lists of packages, overlay.
    pub fn sources(&self) -> PathBuf {
        self.root.join("image")
    }

    /// The console's sources.
    pub fn web(&self) -> PathBuf {
        self.root.join("web")
    }

    /// Everything the builder makes, created when missing.
    pub fn output(&self) -> Result<PathBuf> {
        created(self.target.join("image"))
    }

    /// The folders of the machines under QEMU, one a name, created when missing.
    pub fn runs(&self) -> Result<PathBuf> {
        created(self.target.join("run"))
    }

    /// The bootable disk.
    pub fn disk(&self) -> Result<PathBuf> {
        Ok(self.output()?.join(format!("ashlar-{}.img", version())))
    }

    /// Waits for the one lock under which artefacts are made; it is held as long as the file lives.
    pub fn lock(&self) -> Result<File> {
        let path = self.output()?.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("Another build is running; waiting for it.");
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }
}

/// The version of the appliance: that of the workspace.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn created(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
