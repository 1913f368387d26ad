//! The QEMU that runs the image: the base's own, the very one that runs the guests in it.
//!
//! It starts with the libraries, modules and firmware that lie beside it in the base's tree, so the host needs none and
//! every host has the same. It matters for emulated nodes with guests under KVM: with the 7.2 of a Debian 12 host, the
//! kernels of two such nodes ended over an overwritten stack, which was not seen with 10.0 so far. (Those two also had
//! another setting of huge pages, so that the emulator was to blame is likely and not shown.)

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::base::{self, Base};
use crate::place::Place;
use crate::tool::Tool;

/// QEMU and what belongs to it.
#[derive(Clone, Debug)]
pub struct Emulator {
    tree: PathBuf,
}

impl Emulator {
    /// That of the base, which is made where it is missing.
    pub fn find(place: &Place) -> Result<Self> {
        let _lock = place.lock()?;
        Ok(Self::of(&base::make(place)?))
    }

    /// That of this base.
    pub fn of(base: &Base) -> Self {
        Self { tree: base.tree() }
    }

    /// QEMU itself.
    pub fn command(&self) -> Command {
        let mut command = self.program("qemu-system-x86_64");
        for data in ["qemu", "seabios"] {
            command
                .arg("-L")
                .arg(self.tree.join("usr/share").join(data));
        }
        command
    }

    /// Its tool for disk images.
    pub fn image_tool(&self) -> Tool {
        Tool::over("qemu-img", self.program("qemu-img"))
    }

    /// A program of the base; the loader comes first, because its path in the program is the host's.
    fn program(&self, name: &str) -> Command {
        let libraries = self.tree.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(self.tree.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .env("QEMU_MODULE_DIR", libraries.join("qemu"))
            .arg("--library-path")
            .arg(&libraries)
            .arg(self.tree.join("usr/bin").join(name));
        command
    }

    /// The firmware (UEFI).
    pub fn firmware(&self) -> PathBuf {
        self.tree.join("usr/share/OVMF/OVMF_CODE_4M.fd")
    }

    /// The empty variables that belong to it.
    pub fn variables(&self) -> PathBuf {
        self.tree.join("usr/share/OVMF/OVMF_VARS_4M.fd")
    }
}
