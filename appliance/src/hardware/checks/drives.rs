//! The drive that the system lies on, and those for everything else.
//!
//! On a node these are the drives beside the system's, and what the system leaves of its own. Before an installation any
//! drive can become either, but for the medium: a drive that the running system uses and that can be pulled out. A stick
//! that somebody forgot, and the virtual medium of a management controller, are no room for machines.

use ashlar_api::Bytes;
use ashlar_api::event::Severity;

use super::{Finding, listed};
use crate::hardware::observed::{DeviceKind, Drive, Observed, Purpose};
use crate::sys::block::Transport;

const DRIVES: &str = "drives";
/// Room for three releases, the state and what is kept of crashes. Drives that are sold as ones of 4 GB have a little less.
const SYSTEM: Bytes = Bytes(3_600_000_000);
/// A pool on less would hold next to nothing.
const DATA: Bytes = Bytes::gib(1);
/// Of a drive that is sold as one of 16 GB, the system leaves a part for data.
const BOTH: Bytes = Bytes(14_400_000_000);

/// A drive that can be pulled out, or wears out soon.
fn is_loose(drive: &Drive) -> bool {
    drive.removable || matches!(drive.transport, Some(Transport::Usb | Transport::Mmc))
}

fn can_hold(drive: &Drive) -> bool {
    !drive.read_only && drive.size >= DATA
}

/// Drives that the system can be installed on, whatever lies on them now.
fn targets(seen: &Observed) -> impl Iterator<Item = &Drive> {
    let drives = seen.drives.iter().filter(|drive| can_hold(drive));
    let is_medium = |drive: &Drive| drive.system && is_loose(drive);
    drives.filter(move |drive| !(drive.rest || is_medium(drive)))
}

/// Drives that machines can lie on.
fn for_data(seen: &Observed) -> Vec<&Drive> {
    match seen.purpose {
        Purpose::Node => {
            let drives = seen.drives.iter().filter(|drive| can_hold(drive));
            drives
                .filter(|drive| !drive.system && (drive.rest || !is_loose(drive)))
                .collect()
        }
        Purpose::Install => targets(seen)
            .filter(|drive| !is_loose(drive) || drive.size >= BOTH)
            .collect(),
    }
}

fn systems(seen: &Observed) -> Vec<&Drive> {
    seen.drives.iter().filter(|drive| drive.system).collect()
}

fn names<'a>(drives: impl IntoIterator<Item = &'a Drive>) -> Vec<String> {
    drives.into_iter().map(|drive| drive.name.clone()).collect()
}

/// What the drives are known by, whatever they are called after the next start.
fn identity<'a>(drives: impl IntoIterator<Item = &'a Drive>) -> String {
    let mut ids: Vec<&str> = drives.into_iter().map(Drive::identity).collect();
    ids.sort_unstable();
    ids.join(", ")
}

/// A small drive blocks an installation; a node that runs from one is only told so.
pub fn boot_size(seen: &Observed) -> Finding {
    if seen.purpose == Purpose::Install {
        let largest = targets(seen).max_by_key(|drive| drive.size);
        return match largest {
            Some(drive) if drive.size >= SYSTEM => Finding::passed(
                &drive.name,
                format!("{} has {}, enough for the system.", drive.name, drive.size),
            ),
            Some(drive) => Finding::failed(
                &drive.name,
                format!(
                    "The largest drive to install on, {}, has {}; {SYSTEM} are needed.",
                    drive.name, drive.size
                ),
                "Put in a drive of 4 GB or more.",
            )
            .known_by(drive.identity()),
            None => Finding::failed(
                DRIVES,
                "There is no drive to install on.",
                "Put a drive of 4 GB or more in. If there is one, look whether its controller has a driver.",
            ),
        };
    }
    let Some(drive) = systems(seen).into_iter().min_by_key(|drive| drive.size) else {
        return Finding::unknown(DRIVES, "The drive that the system runs from is not seen.");
    };
    let (name, size) = (&drive.name, drive.size);
    if size >= SYSTEM {
        return Finding::passed(name, format!("The system drive {name} has {size}."));
    }
    Finding::failed(
        name,
        format!("The system drive {name} has {size}; {SYSTEM} or more are wanted."),
        "The node works, with little room for what it keeps. Install it on a drive of 4 GB or more when there is an \
         occasion.",
    )
    .only(Severity::Warning)
    .known_by(drive.identity())
}

/// The system lies, or can lie, on a drive that stays where it is.
pub fn boot_fixed(seen: &Observed) -> Finding {
    let remedy = "It wears out soon and is pulled out easily. Install the system on a drive inside the machine.";
    if seen.purpose == Purpose::Install {
        let fit: Vec<&Drive> = targets(seen).filter(|drive| drive.size >= SYSTEM).collect();
        let fixed = fit.iter().filter(|drive| !is_loose(drive));
        // eMMC only where there is nothing better.
        let fixed = fixed.min_by_key(|drive| is_soldered(drive));
        return match (fixed, fit.is_empty()) {
            (Some(drive), _) => Finding::passed(
                &drive.name,
                format!(
                    "{} is a drive inside the machine.{}",
                    drive.name,
                    wear(&[drive])
                ),
            ),
            (None, true) => Finding::unknown(DRIVES, "There is no drive to install on."),
            (None, false) => {
                let identity = identity(fit.iter().copied());
                let names = names(fit);
                Finding::failed(
                    names.join(", "),
                    format!(
                        "The only drives to install on are USB drives or cards: {}.",
                        listed(&names)
                    ),
                    remedy,
                )
                .known_by(identity)
            }
        };
    }
    let systems = systems(seen);
    let loose: Vec<&Drive> = systems
        .iter()
        .copied()
        .filter(|drive| is_loose(drive))
        .collect();
    if systems.is_empty() {
        return Finding::unknown(DRIVES, "The drive that the system runs from is not seen.");
    }
    if loose.is_empty() {
        let wear = wear(&systems);
        let names = names(systems);
        return Finding::passed(
            names.join(", "),
            format!(
                "The system runs from {}, inside the machine.{wear}",
                listed(&names)
            ),
        );
    }
    let identity = identity(loose.iter().copied());
    let names = names(loose);
    Finding::failed(
        names.join(", "),
        format!(
            "The system runs from {}, a USB drive or a card.",
            listed(&names)
        ),
        remedy,
    )
    .known_by(identity)
}

fn is_soldered(drive: &Drive) -> bool {
    drive.transport == Some(Transport::Emmc)
}

fn wear(drives: &[&Drive]) -> &'static str {
    match drives.iter().any(|drive| is_soldered(drive)) {
        true => " It is eMMC, which wears out sooner than an SSD.",
        false => "",
    }
}

/// There is a drive for machines and images.
pub fn data(seen: &Observed) -> Finding {
    let drives = for_data(seen);
    let enough = match seen.purpose {
        Purpose::Node => !drives.is_empty(),
        // One of them will hold the system, unless it is large enough for both.
        Purpose::Install => {
            let both = drives.iter().any(|drive| drive.size >= BOTH);
            both || (!drives.is_empty() && targets(seen).count() > 1)
        }
    };
    if !enough {
        return Finding::failed(
            DRIVES,
            "There is no drive for virtual machines and images beside that of the system.",
            "Put in a drive, or more than one: it is seen at once. Until then there is no room for virtual machines.",
        );
    }
    let names = names(drives.iter().copied());
    let room = drives
        .iter()
        .fold(0u64, |sum, drive| sum.saturating_add(drive.size.0));
    let text = match (seen.purpose, drives.as_slice()) {
        (Purpose::Node, [one]) if one.rest => format!(
            "{}, of {}, is what the system leaves of its own drive; it is there for data.",
            one.name, one.size
        ),
        (Purpose::Node, [one]) => format!("{}, of {}, is there for data.", one.name, one.size),
        (Purpose::Node, _) => format!(
            "{} are there for data, {} together.",
            listed(&names),
            Bytes(room)
        ),
        (Purpose::Install, [one]) if one.size >= BOTH => format!(
            "{} has {}: what the system leaves of it is for data.",
            one.name, one.size
        ),
        (Purpose::Install, [one]) => {
            format!(
                "{} is for data, when the system is installed on another.",
                one.name
            )
        }
        (Purpose::Install, _) => format!(
            "{} are there; those that the system is not installed on are for data.",
            listed(&names)
        ),
    };
    Finding::passed(names.join(", "), text)
}

/// What machines lie on has no moving parts.
pub fn flash(seen: &Observed) -> Finding {
    let drives = for_data(seen);
    // A virtual drive says that it spins, whatever lies below it.
    let spins = |drive: &&Drive| drive.rotational && drive.transport != Some(Transport::Virtio);
    let spinning: Vec<&Drive> = drives.iter().copied().filter(spins).collect();
    if drives.is_empty() {
        return Finding::unknown(DRIVES, "There is no drive for data.");
    }
    if spinning.is_empty() {
        return Finding::passed(
            names(drives).join(", "),
            "No drive for data has moving parts.",
        );
    }
    let identity = identity(spinning.iter().copied());
    let some = names(spinning);
    Finding::failed(
        some.join(", "),
        format!(
            "Spinning disks: {}. What is read here and there comes a hundred times slower from them than from flash.",
            listed(&some)
        ),
        "Use them for what is large and read in one go, and flash for the disks of virtual machines.",
    )
    .known_by(identity)
}

/// Every controller of drives has a driver.
pub fn controllers(seen: &Observed) -> Finding {
    without_driver(
        seen,
        DeviceKind::Drives,
        DRIVES,
        "drive controller",
        "A controller that the firmware hides behind its own RAID can often be switched to AHCI or NVMe there. Else a \
         newer version may have the driver: report it with these numbers.",
    )
}

/// Controllers of a kind that have no driver: what is behind them is not there for the system. Before an installation
/// that is another system, with other drivers.
pub fn without_driver(
    seen: &Observed,
    kind: DeviceKind,
    target: &str,
    noun: &str,
    remedy: &str,
) -> Finding {
    let of_kind = || seen.driverless.iter().filter(|device| device.kind == kind);
    let found: Vec<String> = of_kind()
        .map(|device| format!("{} ({})", device.address, device.id))
        .collect();
    let by = match seen.purpose {
        Purpose::Node => "",
        Purpose::Install => " in the system that runs now",
    };
    match found.as_slice() {
        [] => Finding::passed(target, format!("Every {noun} has a driver{by}.")),
        some => {
            // Where it is plugged in says nothing of what it is.
            let mut ids: Vec<&str> = of_kind().map(|device| device.id.as_str()).collect();
            ids.sort_unstable();
            Finding::failed(
                some.join(", "),
                format!("Without a driver{by}, and so of no use: {}.", listed(some)),
                remedy,
            )
            .known_by(ids.join(", "))
        }
    }
}
