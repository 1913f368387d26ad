//! The disk image as a machine in QEMU: for people, for the tests, for the bench.
//!
//! A machine is a folder `target/run/<name>`: what it was asked to be (`run.json`), its disks as overlays, its firmware
//! variables, sockets and logs. QEMU runs on its own (`-daemonize`), so a machine outlives the command that started it
//! and any later command finds it by name. Killing the process is pulling the power: the disks stay, [`Machine::start`]
//! boots them again.

mod accelerator;
mod arguments;
pub mod emulation;
mod emulator;
mod hotplug;
mod machine;
mod qmp;
mod record;
mod shell;
mod snapshot;

pub use accelerator::{Accelerator, accelerator};
pub use arguments::doubled;
pub use emulator::Emulator;
pub use machine::{Machine, free_port, reap};
pub use qmp::Qmp;
pub use record::{Record, list};
pub use shell::Shell;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The smallest disk that has room for what the appliance keeps, and a little more.
pub const SYSTEM: u64 = 2304 << 20;

/// What a machine shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Names the machine and its folder: letters, digits, `-`, `_`.
    pub name: String,
    /// The port on 127.0.0.1 that leads to the machine's port 443; 0 takes a free one.
    pub https_port: u16,
    /// Bytes of the boot disk, at least those of the image.
    pub system: u64,
    /// The disks beside the boot disk, in order; their serial numbers are `data0`, `data1` and so on.
    pub data: Vec<DataDisk>,
    /// The network cards, in order. The first [`Nic::User`] carries the forwarded port.
    pub nics: Vec<Nic>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual processors; see [`emulation`] for how many an emulated machine should have.
    pub cpus: u32,
    /// A file the machine sees as firmware configuration `opt/ashlar/seed`.
    pub seed: Option<PathBuf>,
    /// Words added to the kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// The processor model instead of the one that fits the accelerator.
    pub cpu: Option<String>,
    /// What the machine's clock shows at power-on, as `2001-02-03T04:05:06`; the real time when not given.
    pub clock: Option<String>,
    /// Whether it has the debug shell, see [`Shell`].
    #[serde(default)]
    pub shell: bool,
    /// More arguments for QEMU, as they are.
    pub extra: Vec<String>,
}

/// One disk beside the boot disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DataDisk {
    /// A new empty disk of this many bytes; it takes room only for what is written.
    Empty(u64),
    /// A copy-on-write view of an existing raw image; the image itself is never written.
    Over(PathBuf),
}

/// What a network card is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nic {
    /// A private network with DHCP, DNS and a way to the host.
    User,
    /// A network on which nobody answers: the link is up, there is no DHCP.
    Silent,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            name: "ashlar".to_owned(),
            https_port: 0,
            system: SYSTEM,
            data: Vec::new(),
            nics: vec![Nic::User],
            memory_mib: 4096,
            cpus: 2,
            seed: None,
            kernel_arguments: Vec::new(),
            cpu: None,
            clock: None,
            shell: false,
            extra: Vec::new(),
        }
    }
}
