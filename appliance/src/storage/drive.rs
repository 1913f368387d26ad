//! Drives: what the kernel tells of a disk and what is written on it, as one
//! record that says whether it can become a part of a pool.
//!
//! Invariant: a drive counts as blank only when nothing at all was found where
//! anything could be ([`signature`]), on itself and on its partitions. A drive
//! that can not be read is never blank.

use std::collections::BTreeSet;

use ashlar_api::Bytes;
use ashlar_api::pool::Media;

use super::observe::{Content, Drive};
use crate::sys::block::{self, Block, STATE_LABEL, Transport};
use crate::sys::fs::{self, FsError};
use crate::sys::signature::{self, ProbeError};

/// More partitions than this are counted, not looked into.
const MOST_PARTITIONS: usize = 16;

/// The drives that there are, and the names of those that the node starts from. The rest of such a one is a drive of its
/// own. Nothing is read from any.
pub fn present() -> Result<(Vec<Block>, BTreeSet<String>), FsError> {
    let mut blocks = block::list();
    let mounted = fs::mounts()?.into_iter().map(|mount| mount.device);
    let system = block::system_disks(&blocks, &mounted.collect());
    let rests = block::data_partitions(&blocks, &system);
    blocks.retain(block::is_drive);
    blocks.extend(rests);
    Ok((blocks, system))
}

/// What was found on a drive, or why nothing could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What is on it.
    pub content: Content,
    /// Why it can not be used.
    pub problem: Option<String>,
    /// It has not answered.
    pub mute: bool,
}

/// Reads what is on a drive. Blocks: a drive may have to spin up.
pub fn probe(block: &Block) -> Probed {
    match contents(block) {
        Ok(content) => Probed {
            content,
            problem: None,
            mute: false,
        },
        Err(error) => Probed {
            content: Content::Data(String::new()),
            problem: Some(format!(
                "it can not be read ({})",
                crate::reconcile::chain(&error)
            )),
            mute: false,
        },
    }
}

fn contents(block: &Block) -> Result<Content, ProbeError> {
    let whole = signature::probe(&block.path(), block.size)?;
    if block.partitions.is_empty() {
        if whole == signature::Content::Blank {
            return Ok(Content::Blank);
        }
        if whole.has(signature::Kind::Lvm) && whole.signatures().len() == 1 {
            return Ok(Content::Lvm);
        }
    }
    let mut inside = Vec::new();
    for partition in block.partitions.iter().take(MOST_PARTITIONS) {
        // What one partition holds only helps a person to recognise the drive.
        if let Ok(found) = signature::probe(&partition.path(), partition.size) {
            inside.push(found);
        }
    }
    Ok(Content::Data(describe(
        &whole,
        &inside,
        block.partitions.len(),
    )))
}

/// What is on a drive, for a person: `NTFS file system, GPT partition table with 3 partitions`.
fn describe(
    whole: &signature::Content,
    inside: &[signature::Content],
    partitions: usize,
) -> String {
    let signs = inside.iter().flat_map(signature::Content::signatures);
    let mut words: Vec<String> = signs.map(|sign| sign.kind.name().to_owned()).collect();
    let mut has_table = false;
    for sign in whole.signatures() {
        let is_table = matches!(sign.kind, signature::Kind::Gpt | signature::Kind::Mbr);
        let name = sign.kind.name();
        if is_table && partitions > 0 {
            has_table = true;
            let plural = if partitions == 1 { "" } else { "s" };
            words.push(format!("{name} with {partitions} partition{plural}"));
        } else {
            words.push(name.to_owned());
        }
    }
    if partitions > 0 && !has_table {
        words.push(format!("{partitions} partitions"));
    }
    if words.is_empty() {
        words.push("data of an unknown kind".to_owned());
    }
    let mut told = BTreeSet::new();
    words.retain(|word| told.insert(word.clone()));
    words.join(", ")
}

/// Puts together what is known of a drive.
pub fn drive(block: &Block, probed: &Probed, system: bool) -> Drive {
    let model = block.model.clone().unwrap_or_default();
    let is_virtual = block.transport == Some(Transport::Virtio) || model.starts_with("QEMU");
    let media = match block.transport {
        _ if is_virtual => Media::Virtual,
        Some(Transport::Nvme) => Media::Nvme,
        _ if block.rotational => Media::Hdd,
        _ => Media::Ssd,
    };
    let bus = match block.transport {
        Some(Transport::Nvme) => "NVMe",
        Some(Transport::Ata) => "SATA",
        Some(Transport::Scsi) => "SCSI",
        Some(Transport::Usb) => "USB",
        Some(Transport::Mmc) => "MMC",
        Some(Transport::Emmc) => "eMMC",
        Some(Transport::Virtio) => "virtio",
        None => "unknown",
    };
    let holders = block
        .partitions
        .iter()
        .flat_map(|partition| &partition.holders)
        .chain(&block.holders);
    let read_only = block.read_only.then(|| "it is read-only".to_owned());
    Drive {
        id: block.id(),
        name: block.name.clone(),
        path: block.path(),
        sequence: block.sequence,
        model,
        serial: block.serial.clone().unwrap_or_default(),
        bus: bus.to_owned(),
        size: Bytes(block.size),
        media,
        system,
        appliance: block.labels().any(|label| label == STATE_LABEL),
        content: probed.content.clone(),
        holders: holders.cloned().collect(),
        problem: read_only.or_else(|| probed.problem.clone()),
        mute: probed.mute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::block::{Kind, Partition, data_partitions, is_drive, system_disks};
    use crate::sys::signature::{Kind as Sign, Signature};

    fn block(name: &str) -> Block {
        Block {
            name: name.to_owned(),
            kind: Kind::Disk,
            transport: Some(Transport::Ata),
            device: (8, 0),
            size: 1 << 40,
            logical_block: 512,
            physical_block: 4096,
            model: Some("ST1000DM010-2EP1".to_owned()),
            serial: Some("ZN1 ABCDE".to_owned()),
            wwid: None,
            rotational: true,
            removable: false,
            read_only: false,
            sequence: Some(4),
            partitions: Vec::new(),
            holders: Vec::new(),
            slaves: Vec::new(),
        }
    }

    fn partition(name: &str, minor: u32, label: Option<&str>) -> Partition {
        Partition {
            name: name.to_owned(),
            number: minor,
            size: 1 << 30,
            start: 1 << 20,
            label: label.map(str::to_owned),
            device: (8, minor),
            holders: Vec::new(),
        }
    }

    #[test]
    fn the_rest_of_the_system_disk_is_a_drive() {
        let mut rest = partition("sda3", 3, Some("ashlar-data"));
        rest.holders = vec!["dm-0".to_owned()];
        let mut disk = block("sda");
        disk.partitions = vec![partition("sda2", 2, Some("ashlar-state")), rest];
        let blocks = [
            disk.clone(),
            Block {
                name: "sdb".to_owned(),
                ..disk
            },
        ];
        let system = BTreeSet::from(["sda".to_owned()]);
        let found = data_partitions(&blocks, &system);
        assert_eq!(found.len(), 1, "not that of another appliance");
        let found = drive(&found[0], &silent_probe(), false);
        assert_eq!(found.id, "ST1000DM010-2EP1_ZN1_ABCDE:data");
        assert_eq!(found.name, "sda3");
        assert_eq!(found.model, "ST1000DM010-2EP1 (rest of the system drive)");
        assert_eq!((found.size, found.sequence), (Bytes(1 << 30), Some(4)));
        assert_eq!(found.holders, ["dm-0"]);
        assert!(is_drive(&blocks[0]));
    }

    fn silent_probe() -> Probed {
        Probed {
            content: Content::Blank,
            problem: None,
            mute: false,
        }
    }

    #[test]
    fn knows_the_disk_it_starts_from() {
        let with = |name: &str, partitions: Vec<Partition>| Block {
            partitions,
            device: (8, 100),
            ..block(name)
        };
        let ours = with("sda", vec![partition("sda2", 2, Some("ashlar-state"))]);
        let older = with("sdb", vec![partition("sdb2", 18, Some("ashlar-state"))]);
        let data = with("sdc", vec![partition("sdc1", 33, None)]);
        let all = [ours, older, data];
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(system_disks(&all, &set(&["8:2", "0:30"])), set(&["sda"]));
        assert_eq!(system_disks(&all, &set(&["0:30"])), set(&["sda", "sdb"]));
    }

    #[test]
    fn describes_what_is_on_a_drive() {
        let known = |kinds: &[Sign]| {
            signature::Content::Known(
                kinds
                    .iter()
                    .map(|&kind| Signature {
                        kind,
                        label: None,
                        uuid: None,
                    })
                    .collect(),
            )
        };
        let inside = [known(&[Sign::Ntfs]), known(&[Sign::Ntfs]), known(&[])];
        assert_eq!(
            describe(&known(&[Sign::Gpt]), &inside, 3),
            "NTFS file system, GPT partition table with 3 partitions"
        );
        assert_eq!(describe(&known(&[Sign::Ext]), &[], 0), "ext file system");
        assert_eq!(
            describe(&signature::Content::Unknown, &[], 0),
            "data of an unknown kind"
        );
    }

    #[test]
    fn reads_a_file_like_a_drive() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Block {
            name: directory.path().join("none").display().to_string(),
            ..block("x")
        };
        let probed = probe(&missing);
        assert!(probed.problem.unwrap().contains("can not be read"));
        assert!(matches!(probed.content, Content::Data(_)));
        let drive = drive(
            &Block {
                read_only: true,
                ..block("sda")
            },
            &Probed {
                content: Content::Blank,
                problem: None,
                mute: false,
            },
            false,
        );
        assert_eq!(drive.problem.as_deref(), Some("it is read-only"));
        assert_eq!((drive.media, drive.bus.as_str()), (Media::Hdd, "SATA"));
    }
}
