//! What a machine is made of, as it was seen in one look: plain data, so that
//! the checks can be made and tested from a file. [`super::observe`] fills it.
//!
//! What could not be seen is empty or absent; the checks tell the one from a
//! thing that is not there, where that can be told.

use std::collections::BTreeSet;

use ashlar_api::hardware::Module;
use ashlar_api::{Bytes, Timestamp};
use serde::{Deserialize, Serialize};

use crate::sys::block::Transport;

/// What the machine is looked at for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// It is a node, or runs from the drive that it would be one with.
    #[default]
    Node,
    /// The appliance shall be installed on it; what it runs from now is the medium.
    Install,
}

/// Everything that was seen in one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observed {
    /// What for.
    pub purpose: Purpose,
    /// When, by the system's clock.
    pub at: Timestamp,
    /// What the firmware says of the machine and of itself.
    pub dmi: Dmi,
    /// The processors.
    pub processor: Processor,
    /// Memory.
    pub memory: Memory,
    /// How the machine was started.
    pub firmware: Firmware,
    /// How many groups of devices the IOMMU shields from each other.
    pub iommu_groups: u32,
    /// What the first watchdog calls itself, the only one that init feeds; empty when it does not tell, absent when there
    /// is none.
    pub watchdog: Option<String>,
    /// Drives with a medium, and what the system leaves of its own.
    pub drives: Vec<Drive>,
    /// Network cards: interfaces with a device behind them.
    pub links: Vec<Link>,
    /// Controllers of drives and of networks with a cable that have no driver.
    pub driverless: Vec<Device>,
    /// Clocks.
    pub clock: Clock,
}

/// What the firmware says, as it says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dmi {
    /// The machine's maker.
    pub vendor: String,
    /// The machine's model.
    pub product: String,
    /// The machine's serial number.
    pub serial: String,
    /// The main board's maker; what a machine without a maker is known by.
    pub board_vendor: String,
    /// The main board's model.
    pub board: String,
    /// The firmware's maker.
    pub firmware_vendor: String,
    /// The firmware's version.
    pub firmware_version: String,
    /// The firmware's date, as `MM/DD/YYYY`.
    pub firmware_date: String,
}

/// The processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Processor {
    /// The model of the first.
    pub model: String,
    /// Of what it can do, what a check asks for, by the kernel's names.
    pub features: BTreeSet<String>,
    /// Logical processors that are in use.
    pub logical: u32,
    /// How many are plugged in.
    pub sockets: u32,
    /// There is `/dev/kvm`.
    pub kvm: bool,
}

impl Processor {
    /// Whether it can do something.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// How the modules of memory deal with errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Not at all.
    None,
    /// They notice errors and correct none.
    Notice,
    /// They correct errors.
    Correct,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// What the kernel has of it.
    pub total: Bytes,
    /// What the firmware says of errors; absent when it says nothing.
    pub correction: Option<Correction>,
    /// Whether all modules have more bits than those for data; absent when that is not told.
    pub wide: Option<bool>,
    /// Modules in their slots.
    pub modules: Vec<Module>,
    /// Memory controllers that count errors, and so correct them.
    pub controllers: Vec<Controller>,
}

/// A memory controller that counts errors since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controller {
    /// As `mc0`.
    pub name: String,
    /// Errors that it corrected.
    pub corrected: u64,
    /// Errors that it could not correct.
    pub uncorrected: u64,
    /// The modules that had any, by the names of their slots.
    pub modules: Vec<String>,
}

/// How the machine was started, and what guards that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firmware {
    /// By UEFI.
    pub uefi: bool,
    /// Its variables can be read.
    pub variables: bool,
    /// Secure Boot is on; absent when there is no such variable.
    pub secure_boot: Option<bool>,
    /// It takes keys from whoever comes first.
    pub setup_mode: Option<bool>,
    /// The TPMs that have a driver.
    pub tpms: Vec<Tpm>,
    /// The firmware tells of a TPM.
    pub tpm_told: bool,
}

/// A TPM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tpm {
    /// As `tpm0`.
    pub name: String,
    /// Which version of the specification it speaks, before the point.
    pub version: Option<u32>,
}

/// A drive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drive {
    /// As `sda`; it may be another one after the next start.
    pub name: String,
    /// What it is known by, as in the list of drives; empty when that is not told.
    pub id: String,
    /// Model.
    pub model: String,
    /// Its size.
    pub size: Bytes,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// A spinning disk, by its own word.
    pub rotational: bool,
    /// Its medium can be taken out.
    pub removable: bool,
    /// It can not be written.
    pub read_only: bool,
    /// The machine runs from it.
    pub system: bool,
    /// What the system leaves of the drive that it lies on.
    pub rest: bool,
}

impl Drive {
    /// What it is known by, else its name.
    pub fn identity(&self) -> &str {
        match self.id.is_empty() {
            true => &self.name,
            false => &self.id,
        }
    }
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// As `enp1s0`.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// It needs no cable.
    pub wireless: bool,
    /// The other end is alive.
    pub carrier: bool,
    /// Mbit/s; absent when it does not tell, as most virtual ones.
    pub speed: Option<u32>,
}

/// What a controller is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// Drives.
    #[default]
    Drives,
    /// A network.
    Network,
}

/// A controller on the PCI bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// As `0000:02:00.0`.
    pub address: String,
    /// Maker and model by their numbers, as `8086:15f3`.
    pub id: String,
    /// What it is for.
    pub kind: DeviceKind,
}

/// Clocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// The main board's, when there is one.
    pub rtc: Option<Rtc>,
    /// The system's clock follows a time server.
    pub synchronised: bool,
}

/// The clock of the main board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtc {
    /// As `rtc0`.
    pub name: String,
    /// What it shows, taken as UTC; absent when it can not be read.
    pub shows: Option<Timestamp>,
}
