//! What is wrong with storage, as stories with a remedy. Pure.

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::pool::DriveUsage;
use ashlar_api::{NodeId, Timestamp};

use super::lvm::{Group, Thin};
use super::observe::{Content, Drive, Observed};
use super::want::Desired;
use crate::state::schema::{LIBRARY, Phase, PoolRecord};

/// How bad it is that so much of a pool's room for data is used; the first that applies. A pool fills faster than
/// somebody comes, so it is told early.
const DATA: [(f64, Severity); 3] = [
    (0.90, Severity::Critical),
    (0.80, Severity::Warning),
    (0.70, Severity::Info),
];
/// The same of its room for metadata, which grows far more slowly.
const METADATA: [(f64, Severity); 2] = [(0.95, Severity::Critical), (0.80, Severity::Warning)];

fn severity(used: Option<f64>, steps: &[(f64, Severity)]) -> Option<Severity> {
    let used = used?;
    let step = steps.iter().find(|(share, _)| used >= *share);
    step.map(|(_, severity)| *severity)
}

/// What gives a pool room again.
const MAKE_ROOM: &str = "Delete volumes and images that nobody needs. Inside of machines, delete files and give their \
     room back (`fstrim -a` on Linux, \"Optimize drives\" on Windows). Make new volumes in another pool.";

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
        of_pool(pool, desired, observed, failures, &mut faults);
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
    faults.extend(no_drive(desired, observed));
    faults.extend(second_systems(observed));
    faults.extend(failing(failures, node));
    faults
}

/// What could not be done, or seen.
pub fn failing(failures: &[String], node: NodeId) -> Option<Fault> {
    (!failures.is_empty()).then(|| Fault {
        code: "storage-failing".to_owned(),
        severity: Severity::Warning,
        title: "Storage could not be brought to what is wanted".to_owned(),
        detail: failures.join("\n"),
        remedy: "It is tried again by itself. If this stays, look at the health of the drives."
            .to_owned(),
        subject: Some(subject(Kind::Node, &node.to_string(), "this node")),
        since: Timestamp::now(),
    })
}

/// There is neither a pool nor a drive to make one of.
fn no_drive(desired: &Desired, observed: &Observed) -> Option<Fault> {
    // The system drive is always seen: without any, the drives have not been looked at.
    if !desired.pools.is_empty() || observed.drives.is_empty() {
        return None;
    }
    let (mut used, mut told) = (Vec::new(), Vec::new());
    for drive in &observed.drives {
        let (name, size) = (&drive.name, drive.size);
        told.push(match observed.usage(drive, desired) {
            DriveUsage::Free => return None,
            DriveUsage::System => format!("{name} ({size}) holds the system"),
            DriveUsage::Pool { .. } => format!("{name} ({size}) is in a pool"),
            DriveUsage::Unusable { reason } => format!("{name} ({size}) can not be used: {reason}"),
            DriveUsage::ForeignPool { volume_group } => {
                used.push(name.as_str());
                format!("{name} ({size}) holds the pool {volume_group} of another appliance")
            }
            DriveUsage::Foreign => {
                used.push(name.as_str());
                let content = match &drive.content {
                    Content::Data(text) => text.as_str(),
                    Content::Lvm | Content::Blank => "LVM volumes",
                };
                format!("{name} ({size}) holds {content}")
            }
        });
    }
    let remedy = match used.as_slice() {
        [] => "Put in a drive for them. It is seen at once, without a restart.".to_owned(),
        used => format!(
            "Put in an empty drive; it is seen at once. Or, if nobody needs what is on {}, make a pool of it \
             (Storage, Create pool) and confirm that it is erased. Nothing on it is touched before.",
            used.join(" or ")
        ),
    };
    Some(Fault {
        code: "no-data-drive".to_owned(),
        severity: Severity::Warning,
        title: "There is no empty drive for virtual machines and images".to_owned(),
        detail: format!("{}.", told.join("; ")),
        remedy,
        subject: None,
        since: Timestamp::now(),
    })
}

/// Drives with the system of an appliance that are not the one this node runs from: a copy of it, or another's.
/// Where none is in use, because two could be meant, init has told so.
fn second_systems(observed: &Observed) -> Vec<Fault> {
    let mut ours = observed.drives.iter().filter(|drive| drive.system);
    let (Some(own), None) = (ours.next(), ours.next()) else {
        return Vec::new();
    };
    let others = observed
        .drives
        .iter()
        .filter(|drive| drive.appliance && !drive.system);
    others
        .map(|drive| Fault {
            code: "second-system".to_owned(),
            severity: Severity::Critical,
            title: format!("The drive {} holds another installation of Ashlar", drive.name),
            detail: format!(
                "This node runs from {} and keeps its settings there; {} is not touched. The next start may take the \
                 other drive, if it is a copy or the firmware prefers it.",
                own.name, drive.name
            ),
            remedy: format!(
                "Switch off and take out the drive that does not belong to this node. To use {} for data instead, \
                 make a pool of it and confirm that it is erased.",
                drive.name
            ),
            subject: Some(subject(Kind::Drive, &drive.id, &drive.name)),
            since: Timestamp::now(),
        })
        .collect()
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

fn of_pool(
    pool: &PoolRecord,
    desired: &Desired,
    observed: &Observed,
    failures: &[String],
    faults: &mut Vec<Fault>,
) {
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
        let damaged = observed.damaged(pool);
        if !damaged.is_empty() {
            return tell(unreadable(pool, &damaged, observed));
        }
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
    if observed.restored.contains(&pool.id) {
        tell(Story {
            code: "pool-restored",
            severity: Severity::Warning,
            title: format!("The metadata of the storage pool {name} was damaged and has been restored"),
            detail: "LVM could not read it, as when the power goes while it is being written. The newest complete copy \
                     that was left on the drives was written back."
                .to_owned(),
            remedy: "Look whether the volumes are as they should be that were made, changed or removed just before. This \
                     is told until the node starts again.",
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
    let broken = observed.library.as_ref().filter(|_| is_library);
    if let Some(problem) = broken.and_then(|library| library.problem.as_ref()) {
        tell(Story {
            code: "library-broken",
            severity: Severity::Warning,
            title: "The image library can not be read".to_owned(),
            detail: format!("It is kept in the storage pool {name}: {problem}."),
            remedy: "Machines go on; images can not be added or used. Look at the health of the drives of the pool. \
                     Restarting the node has the library checked and repaired.",
        });
    // While nothing has failed it is being made or mounted.
    } else if is_library
        && usable
        && !failures.is_empty()
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

/// The drives of a pool are there, and LVM does not see its group on them.
fn unreadable(pool: &PoolRecord, damaged: &[&Drive], observed: &Observed) -> Story<'static> {
    let drives: Vec<&str> = damaged.iter().map(|drive| drive.name.as_str()).collect();
    let mut detail = format!(
        "LVM can not read its own metadata on {}.",
        drives.join(", ")
    );
    let is_used = damaged.iter().any(|drive| !drive.holders.is_empty());
    let remedy = match observed.unrestorable.get(&pool.id) {
        None if !is_used => {
            "Wait a moment: it is restored by itself once all drives had time to appear."
        }
        None => "Restart the node: it is restored when nothing uses the pool.",
        Some(why) => {
            detail.push_str(&format!(" It could not be restored: {why}."));
            "Restart the node, which tries it again. If this stays, what is in the volumes is still on the drives: keep \
             them, and have them looked at by somebody who knows LVM (`pvck --dump metadata_search`). Or remove its \
             volumes and the pool, make it again, and restore from a backup."
        }
    };
    Story {
        code: "pool-damaged",
        severity: Severity::Critical,
        title: format!("The storage pool {} can not be read", pool.spec.name),
        detail,
        remedy,
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
    let percent = |share: Option<f64>| format!("{:.0} %", share.unwrap_or(1.0) * 100.0);
    if thin.health == "out_of_data" {
        tell(Story {
            code: "pool-full",
            severity: Severity::Critical,
            title: format!("The storage pool {name} is full"),
            detail: "Machines that write what needs new room are stopped until there is some."
                .to_owned(),
            remedy: MAKE_ROOM,
        });
    } else if let Some(severity) = severity(thin.data_used, &DATA) {
        tell(Story {
            code: "pool-nearly-full",
            severity,
            title: format!(
                "The storage pool {name} is {} full",
                percent(thin.data_used)
            ),
            detail: "When it is full, machines that write to it are stopped until there is room."
                .to_owned(),
            remedy: MAKE_ROOM,
        });
    }
    if let Some(severity) = severity(thin.metadata_used, &METADATA) {
        tell(Story {
            code: "pool-metadata-nearly-full",
            severity,
            title: format!(
                "The storage pool {name} has used {} of its room for metadata",
                percent(thin.metadata_used)
            ),
            detail: "Without it nothing more can be written, even where there is room for data."
                .to_owned(),
            remedy: "Delete volumes that nobody needs, or make new ones in another pool.",
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

#[cfg(test)]
mod tests {
    use ashlar_api::Bytes;
    use ashlar_api::pool::Media;

    use super::*;

    fn drive(name: &str, content: Content, system: bool) -> Drive {
        Drive {
            id: format!("serial-of-{name}"),
            name: name.to_owned(),
            path: format!("/dev/{name}").into(),
            sequence: None,
            model: String::new(),
            serial: String::new(),
            bus: "SATA".to_owned(),
            size: Bytes::gib(20),
            media: Media::Ssd,
            system,
            appliance: system,
            content,
            holders: Vec::new(),
            problem: None,
            mute: false,
        }
    }

    fn told(drives: Vec<Drive>) -> Vec<Fault> {
        let observed = Observed {
            drives,
            ..Observed::default()
        };
        let node = NodeId(uuid::Uuid::nil());
        faults(&Desired::default(), &observed, &[], node)
    }

    fn of_pool_with(data_used: f64, metadata_used: f64, health: &str) -> Vec<(String, Severity)> {
        let thin = Thin {
            size: Bytes::gib(100),
            active: true,
            data_used: Some(data_used),
            metadata_used: Some(metadata_used),
            health: health.to_owned(),
            needs_check: false,
        };
        let mut told = Vec::new();
        of_thin("data", &thin, &mut |story| {
            assert!(!story.remedy.is_empty());
            told.push((story.code.to_owned(), story.severity));
        });
        told
    }

    #[test]
    fn a_pool_that_fills_is_told_in_three_steps() {
        for (data, metadata, wanted) in [
            (0.699, 0.799, vec![]),
            (0.70, 0.0, vec![("pool-nearly-full", Severity::Info)]),
            (0.80, 0.0, vec![("pool-nearly-full", Severity::Warning)]),
            (0.90, 0.0, vec![("pool-nearly-full", Severity::Critical)]),
            (
                0.0,
                0.80,
                vec![("pool-metadata-nearly-full", Severity::Warning)],
            ),
            (
                1.0,
                0.95,
                vec![
                    ("pool-nearly-full", Severity::Critical),
                    ("pool-metadata-nearly-full", Severity::Critical),
                ],
            ),
        ] {
            let told = of_pool_with(data, metadata, "");
            let told: Vec<_> = told.iter().map(|(c, s)| (c.as_str(), *s)).collect();
            assert_eq!(told, wanted, "{data} {metadata}");
        }
        let full = of_pool_with(1.0, 0.1, "out_of_data");
        assert_eq!(full, [("pool-full".to_owned(), Severity::Critical)]);
    }

    fn data(text: &str) -> Content {
        Content::Data(text.to_owned())
    }

    #[test]
    fn a_node_without_an_empty_drive_says_what_is_on_those_it_has() {
        let system = drive("sda", data("GPT"), true);
        let alone = told(vec![system.clone()]);
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].code, "no-data-drive");
        assert!(alone[0].remedy.starts_with("Put in a drive"));
        let foreign = drive("sdb", data("NTFS file system"), false);
        let foreign = told(vec![system.clone(), foreign]);
        assert!(
            foreign[0]
                .detail
                .contains("sdb (20 GiB) holds NTFS file system")
        );
        assert!(foreign[0].remedy.contains("what is on sdb"));
        assert!(told(vec![system, drive("sdc", Content::Blank, false)]).is_empty());
        assert!(told(Vec::new()).is_empty());
    }

    #[test]
    fn a_second_system_is_told_unless_nobody_knows_which_is_ours() {
        let (one, empty) = (
            drive("sda", data("GPT"), true),
            drive("sdc", Content::Blank, false),
        );
        let mut two = drive("sdb", data("GPT"), false);
        two.appliance = true;
        let faults = told(vec![one.clone(), two.clone(), empty.clone()]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].code, "second-system");
        assert!(faults[0].title.contains("sdb") && faults[0].detail.contains("runs from sda"));
        two.system = true;
        assert!(told(vec![one, two, empty]).is_empty());
    }
}
