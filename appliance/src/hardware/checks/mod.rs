//! The checks: one table, and a pure function for each line of it.
//!
//! ```text
//!   Observed ──► check ──► finding: passed, failed or unknown; about what; why; what to do
//!   catalogue ──┘
//! ```
//!
//! How much a failure matters is decided soberly: **critical** is what a node can
//! not do without, or what loses data, and nothing overrides it; a **warning** is
//! what an administrator should know and may live with, and can override; **info**
//! is what nobody has to act on. What could not be seen is `unknown` and never
//! held against the machine: an installation on a board whose firmware tells
//! little must not end there.
//!
//! A new check is a line here, a function beside its like, and a row in
//! `docs/hardware.md` (a test compares the two).

mod clock;
mod drives;
mod firmware;
mod memory;
mod network;
mod processor;

use ashlar_api::event::Severity;
use ashlar_api::hardware::{Area, Check, Outcome};

use super::catalogue::{Catalogue, Model};
use super::observed::Observed;

/// What one check found.
#[derive(Debug)]
struct Finding {
    outcome: Outcome,
    /// Less than the most that the check can matter.
    severity: Option<Severity>,
    target: String,
    /// What that is known by, where the target is only what the kernel calls it now.
    identity: Option<String>,
    text: String,
    remedy: String,
}

impl Finding {
    fn new(outcome: Outcome, target: impl Into<String>, text: impl Into<String>) -> Self {
        Finding {
            outcome,
            severity: None,
            target: target.into(),
            identity: None,
            text: text.into(),
            remedy: String::new(),
        }
    }

    /// As it should be.
    fn passed(target: impl Into<String>, text: impl Into<String>) -> Self {
        Finding::new(Outcome::Passed, target, text)
    }

    /// It could not be told.
    fn unknown(target: impl Into<String>, text: impl Into<String>) -> Self {
        Finding::new(Outcome::Unknown, target, text)
    }

    /// Not as it should be.
    fn failed(
        target: impl Into<String>,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            remedy: remedy.into(),
            ..Finding::new(Outcome::Failed, target, text)
        }
    }

    /// It matters less than it could.
    fn only(self, severity: Severity) -> Self {
        Finding {
            severity: Some(severity),
            ..self
        }
    }

    /// What it is about stays the same when the kernel calls it otherwise.
    fn known_by(self, identity: impl Into<String>) -> Self {
        Finding {
            identity: Some(identity.into()),
            ..self
        }
    }
}

/// What a check is made of.
pub struct Rule {
    /// Stable, for programs.
    pub id: &'static str,
    /// What part of the machine it is about.
    pub area: Area,
    /// What is checked, in a few words.
    pub title: &'static str,
    /// The most that it can matter.
    pub severity: Severity,
    /// The fault by which another part of the program tells of the same thing.
    pub told_by: Option<&'static str>,
    look: fn(&Observed, Option<&Model>) -> Finding,
}

/// The table, in the order of a report.
pub const RULES: &[Rule] = &[
    Rule {
        id: "cpu-virtualisation",
        area: Area::Processor,
        title: "Hardware virtualisation",
        severity: Severity::Critical,
        told_by: Some("no-kvm"),
        look: |seen, _| processor::virtualisation(seen),
    },
    Rule {
        id: "cpu-nested-paging",
        area: Area::Processor,
        title: "Nested paging",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| processor::nested_paging(seen),
    },
    Rule {
        id: "cpu-level",
        area: Area::Processor,
        title: "Instructions of x86-64-v2",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| processor::level(seen),
    },
    Rule {
        id: "cpu-count",
        area: Area::Processor,
        title: "Number of processors",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| processor::count(seen),
    },
    Rule {
        id: "iommu",
        area: Area::Processor,
        title: "IOMMU",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| processor::iommu(seen),
    },
    Rule {
        id: "memory-size",
        area: Area::Memory,
        title: "Amount of memory",
        severity: Severity::Critical,
        told_by: Some("low-memory"),
        look: |seen, _| memory::size(seen),
    },
    Rule {
        id: "memory-ecc",
        area: Area::Memory,
        title: "Memory that corrects errors",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| memory::correction(seen),
    },
    Rule {
        id: "memory-errors",
        area: Area::Memory,
        title: "Errors in memory",
        severity: Severity::Critical,
        told_by: None,
        look: |seen, _| memory::errors(seen),
    },
    Rule {
        id: "firmware-uefi",
        area: Area::Firmware,
        title: "Start by UEFI",
        severity: Severity::Critical,
        told_by: None,
        look: |seen, _| firmware::uefi(seen),
    },
    Rule {
        id: "secure-boot",
        area: Area::Firmware,
        title: "Secure Boot",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| firmware::secure_boot(seen),
    },
    Rule {
        id: "tpm",
        area: Area::Firmware,
        title: "TPM 2.0",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| firmware::tpm(seen),
    },
    Rule {
        id: "firmware-age",
        area: Area::Firmware,
        title: "Age of the firmware",
        severity: Severity::Info,
        told_by: None,
        look: firmware::age,
    },
    Rule {
        id: "watchdog",
        area: Area::Firmware,
        title: "Watchdog",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| firmware::watchdog(seen),
    },
    Rule {
        id: "boot-drive-size",
        area: Area::Drives,
        title: "Size of the system drive",
        severity: Severity::Critical,
        told_by: None,
        look: |seen, _| drives::boot_size(seen),
    },
    Rule {
        id: "boot-drive-fixed",
        area: Area::Drives,
        title: "System drive that stays in",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| drives::boot_fixed(seen),
    },
    Rule {
        id: "data-drive",
        area: Area::Drives,
        title: "Drive for data",
        severity: Severity::Warning,
        told_by: Some("no-data-drive"),
        look: |seen, _| drives::data(seen),
    },
    Rule {
        id: "drive-flash",
        area: Area::Drives,
        title: "Drives without moving parts",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| drives::flash(seen),
    },
    Rule {
        id: "drive-controller",
        area: Area::Drives,
        title: "Drivers for drive controllers",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| drives::controllers(seen),
    },
    Rule {
        id: "network-card",
        area: Area::Network,
        title: "Network card",
        severity: Severity::Critical,
        told_by: Some("no-interface"),
        look: |seen, _| network::card(seen),
    },
    Rule {
        id: "network-driver",
        area: Area::Network,
        title: "Drivers for network cards",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| network::drivers(seen),
    },
    Rule {
        id: "network-speed",
        area: Area::Network,
        title: "Speed of the network",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| network::speed(seen),
    },
    Rule {
        id: "network-spare",
        area: Area::Network,
        title: "Second network card",
        severity: Severity::Info,
        told_by: None,
        look: |seen, _| network::spare(seen),
    },
    Rule {
        id: "clock",
        area: Area::Clock,
        title: "Clock of the main board",
        severity: Severity::Warning,
        told_by: None,
        look: |seen, _| clock::right(seen),
    },
];

/// The line of a check.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Makes all checks, in the order of the table.
pub fn check(seen: &Observed, catalogue: &Catalogue) -> Vec<Check> {
    let model = catalogue.of(seen);
    RULES
        .iter()
        .map(|rule| {
            let finding = (rule.look)(seen, model);
            Check {
                id: rule.id.to_owned(),
                area: rule.area,
                title: rule.title.to_owned(),
                severity: finding.severity.unwrap_or(rule.severity),
                outcome: finding.outcome,
                identity: finding.identity.unwrap_or_else(|| finding.target.clone()),
                target: finding.target,
                finding: finding.text,
                remedy: finding.remedy,
                since: seen.at,
                overridden: None,
            }
        })
        .collect()
}

/// Names in a sentence: `sda, sdb and sdc`.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A number and its noun: `1 core`, `2 cores`.
fn counted(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}
