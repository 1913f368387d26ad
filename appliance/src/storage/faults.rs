//! What is wrong with storage, as stories with a remedy. Pure.

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::pool::DriveUsage;
use ashlar_api::{NodeId, Timestamp};

use super::lvm::{Group, Thin};
use super::observe::Observed;
use super::want::Desired;
use crate::state::schema::{LIBRARY, Phase, PoolRecord};

/// From here on a pool is nearly full.
const NEARLY_FULL: f64 = 0.80;
/// From here on guests may be stopped at any moment.
const FULL: f64 = 0.95;

/// One fault per code and subject.
pub type Key = (String, String);

/// What tells a fault from others.
pub fn key(fault: &Fault) -> Key {
    let subject = fault.subject.as_ref();
    let subject = subject
        .map(|subject| subject.id.clone())
        .unwrap_or_default();
    (fault.code.clone(), subject)
}

/// What is wrong now; the worst of an object first.
pub fn faults(
    desired: &Desired,
    observed: &Observed,
    failures: &[String],
    node: NodeId,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for pool in desired.pools.iter().filter(|p| p.phase == Phase::Ready) {
        of_pool(pool, desired, observed, &mut faults);
    }
    of_volumes(desired, observed, &mut faults);
    of_images(desired, observed, &mut faults);
    for drive in &observed.drives {
        if let DriveUsage::ForeignPool { volume_group } = observed.usage(drive, desired) {
            faults.push(Fault {
                code: "foreign-pool".to_owned(),
                severity: Severity::Info,
                title: format!("The drive {} holds a pool of another appliance", drive.name),
                detail: format!("Its volume group is {volume_group}. Nothing on it is touched."),
                remedy: "To use the drive here, make a pool of it and confirm that it is erased."
                    .to_owned(),
                subject: Some(subject(Kind::Drive, &drive.id, &drive.name)),
                since: Timestamp::now(),
            });
        }
    }
    if !failures.is_empty() {
        faults.push(Fault {
            code: "storage-failing".to_owned(),
            severity: Severity::Warning,
            title: "Storage could not be brought to what is wanted".to_owned(),
            detail: failures.join("\n"),
            remedy: "It is tried again by itself. If this stays, look at the health of the drives."
                .to_owned(),
            subject: Some(subject(Kind::Node, &node.to_string(), "this node")),
            since: Timestamp::now(),
        });
    }
    faults
}

fn subject(kind: Kind, id: &str, name: &str) -> Subject {
    Subject {
        kind,
        id: id.to_owned(),
        name: name.to_owned(),
    }
}

struct Story<'a> {
    code: &'static str,
    severity: Severity,
    title: String,
    detail: String,
    remedy: &'a str,
}

impl Story<'_> {
    fn about(self, subject: Subject) -> Fault {
        Fault {
            code: self.code.to_owned(),
            severity: self.severity,
            title: self.title,
            detail: self.detail,
            remedy: self.remedy.to_owned(),
            subject: Some(subject),
            since: Timestamp::now(),
        }
    }
}

fn of_pool(pool: &PoolRecord, desired: &Desired, observed: &Observed, faults: &mut Vec<Fault>) {
    let name = &pool.spec.name;
    let id = pool.id.to_string();
    let mut tell = |story: Story<'_>| {
        faults.push(story.about(subject(Kind::Pool, &id, name.as_str())));
    };
    let gone: Vec<&str> = pool
        .spec
        .drives
        .iter()
        .filter(|drive| observed.drive(drive).is_none())
        .map(String::as_str)
        .collect();
    let detail = if gone.is_empty() {
        String::new()
    } else {
        format!("These drives are not seen: {}.", gone.join(", "))
    };
    let mut groups = observed.groups_of(pool.id);
    let (group, other) = (groups.next(), groups.next());
    let Some(group) = group else {
        return tell(Story {
            code: "pool-missing",
            severity: Severity::Critical,
            title: format!("The storage pool {name} is not there"),
            detail,
            remedy: "Check the power and cables of its drives and plug them in again. \
                     If they are lost, remove its volumes and the pool, and restore from a backup.",
        });
    };
    if other.is_some() {
        return tell(Story {
            code: "pool-twice",
            severity: Severity::Critical,
            title: format!("Two sets of drives claim to be the storage pool {name}"),
            detail: "None of them is touched.".to_owned(),
            remedy: "One is a copy of the other. Unplug the drives that do not belong to this node.",
        });
    }
    if group.missing > 0 {
        return tell(Story {
            code: "pool-drive-missing",
            severity: Severity::Critical,
            title: format!("The storage pool {name} has lost drives"),
            detail,
            remedy: "Its volumes can not be used until the drives are back: check their power and cables. \
                     If they are lost, remove its volumes and the pool, and restore from a backup.",
        });
    }
    if !group.strangers.is_empty() {
        tell(Story {
            code: "pool-strangers",
            severity: Severity::Warning,
            title: format!("The storage pool {name} holds volumes that Ashlar did not make"),
            detail: format!("They are: {}.", group.strangers.join(", ")),
            remedy: "They take room. Remove them with the tool that made them; the pool can not be removed before.",
        });
    }
    match &group.thin {
        Some(thin) => of_thin(name.as_str(), thin, &mut tell),
        None => tell(Story {
            code: "pool-damaged",
            severity: Severity::Critical,
            title: format!("The storage pool {name} has lost its thin pool"),
            detail: format!("The volume group {} has none.", group.name),
            remedy: "Remove its volumes and the pool, make it again, and restore from a backup.",
        }),
    }
    for volume in unknown_volumes(group, desired) {
        tell(Story {
            code: "unknown-volume",
            severity: Severity::Warning,
            title: format!("The storage pool {name} holds a volume that this site does not know"),
            detail: format!("It is {volume}. It is not touched."),
            remedy: "It was left by an earlier state of the site. It goes when the pool is removed.",
        });
    }
    let is_library = desired
        .library()
        .is_some_and(|library| library.id == pool.id);
    let usable = group.thin.as_ref().is_some_and(|thin| thin.active);
    if is_library
        && usable
        && group.volume(LIBRARY).is_some()
        && observed.usable_library(desired).is_none()
    {
        tell(Story {
            code: "library-missing",
            severity: Severity::Warning,
            title: "The image library can not be used".to_owned(),
            detail: format!("It is kept in the storage pool {name} and is not mounted."),
            remedy: "Machines go on; images can not be added or used. Look at the last failures of storage.",
        });
    }
}

fn of_thin(name: &str, thin: &Thin, tell: &mut impl FnMut(Story<'_>)) {
    if thin.needs_check || !["", "out_of_data"].contains(&thin.health.as_str()) {
        let health = if thin.needs_check {
            "its metadata wants to be checked"
        } else {
            thin.health.as_str()
        };
        tell(Story {
            code: "pool-damaged",
            severity: Severity::Critical,
            title: format!("The storage pool {name} is damaged"),
            detail: format!("LVM says: {health}."),
            remedy: "Save what you can from its machines. Restarting the node has the pool checked and repaired.",
        });
    }
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if let Some(used) = thin.data_used.filter(|used| *used >= NEARLY_FULL) {
        let is_full = used >= FULL || thin.health == "out_of_data";
        tell(Story {
            code: if is_full {
                "pool-full"
            } else {
                "pool-nearly-full"
            },
            severity: if is_full {
                Severity::Critical
            } else {
                Severity::Warning
            },
            title: format!("The storage pool {name} is {} full", percent(used)),
            detail: "Machines that write to a full pool are stopped until there is room."
                .to_owned(),
            remedy: "Remove volumes and images that are not needed, or delete files inside of machines that use discard (TRIM).",
        });
    }
    if let Some(used) = thin.metadata_used.filter(|used| *used >= NEARLY_FULL) {
        tell(Story {
            code: "pool-metadata-nearly-full",
            severity: if used >= FULL {
                Severity::Critical
            } else {
                Severity::Warning
            },
            title: format!(
                "The storage pool {name} has used {} of its room for metadata",
                percent(used)
            ),
            detail: "Without it nothing more can be written, even where there is room for data."
                .to_owned(),
            remedy: "Remove volumes that are not needed.",
        });
    }
}

/// Complete volumes with our mark but without a record.
fn unknown_volumes<'a>(group: &'a Group, desired: &'a Desired) -> impl Iterator<Item = &'a str> {
    let complete = group.volumes.iter().filter(|v| v.ours && !v.preparing);
    complete
        .map(|volume| volume.name.as_str())
        .filter(|name| *name != LIBRARY)
        .filter(|name| {
            let mut records = desired.volumes.iter();
            !records.any(|record| record.logical_volume() == *name)
        })
}

fn of_volumes(desired: &Desired, observed: &Observed, faults: &mut Vec<Fault>) {
    for volume in desired.volumes.iter().filter(|v| v.phase == Phase::Ready) {
        let name = &volume.spec.name;
        let id = volume.id.to_string();
        let mut tell = |story: Story<'_>| {
            faults.push(story.about(subject(Kind::Volume, &id, name.as_str())));
        };
        let group = observed.group(volume.spec.pool);
        let Some(group) = group.filter(|group| group.is_whole()) else {
            tell(Story {
                code: "volume-without-pool",
                severity: Severity::Critical,
                title: format!("The volume {name} can not be used without its pool"),
                detail: String::new(),
                remedy: "See what is said of its pool.",
            });
            continue;
        };
        if group.volume(&volume.logical_volume()).is_none() {
            tell(Story {
                code: "volume-missing",
                severity: Severity::Critical,
                title: format!("The volume {name} is not there"),
                detail: format!(
                    "The volume group {} does not hold {}.",
                    group.name,
                    volume.logical_volume()
                ),
                remedy: "Somebody removed it without Ashlar. Remove it here, too, and restore it from a backup.",
            });
        }
    }
}

fn of_images(desired: &Desired, observed: &Observed, faults: &mut Vec<Fault>) {
    if observed.usable_library(desired).is_none() {
        return;
    }
    for image in desired.images.iter().filter(|i| i.phase == Phase::Ready) {
        if observed.file(image.id).whole.is_some() {
            continue;
        }
        let name = &image.spec.name;
        let story = Story {
            code: "image-missing",
            severity: Severity::Warning,
            title: format!("The file of the image {name} is not there"),
            detail: String::new(),
            remedy: "Remove the image and add it again.",
        };
        faults.push(story.about(subject(Kind::Image, &image.id.to_string(), name.as_str())));
    }
}
