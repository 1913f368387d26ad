//! Block devices as the kernel lists them under `/sys/class/block`.
//!
//! Invariant: the list is made from `/sys` alone and opens no device: an optical drive is not spun up and a dying disk does
//! not hang the list. What is written on a disk is [`super::signature`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::sysfs;

/// The partition that holds the state of an appliance.
pub const STATE_LABEL: &str = "ashlar-state";
/// Partitions of the disk that a node starts from.
const SYSTEM_LABELS: [&str; 3] = ["ashlar-esp", "ashlar-fresh", STATE_LABEL];
/// What the appliance itself does not need of the disk it starts from.
const DATA_LABEL: &str = "ashlar-data";
/// The longest id that a pool can name.
const LONGEST_ID: usize = 128;

/// What a block device is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A disk: SATA, SAS, NVMe, USB, virtio, SD card.
    Disk,
    /// CD, DVD.
    Optical,
    /// A file shown as a disk.
    Loop,
    /// Memory shown as a disk, compressed or not.
    Memory,
    /// Made by device-mapper: LVM, LUKS, multipath.
    Mapped {
        /// Its name in `/dev/mapper`.
        name: String,
        /// `LVM-…`, `CRYPT-LUKS2-…`.
        uuid: Option<String>,
    },
    /// Linux software RAID.
    Raid,
    /// A network block device (nbd, rbd, DRBD).
    Network,
    /// A floppy drive.
    Floppy,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// NVMe.
    Nvme,
    /// SATA or old IDE.
    Ata,
    /// SAS, Fibre Channel, iSCSI, RAID controller: anything else that speaks SCSI.
    Scsi,
    /// USB.
    Usb,
    /// SD card.
    Mmc,
    /// eMMC: flash on the main board.
    Emmc,
    /// Given by a hypervisor.
    Virtio,
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As `sda1`.
    pub name: String,
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes from the beginning of the disk.
    pub start: u64,
    /// The name in the GPT.
    pub label: Option<String>,
    /// Device number.
    pub device: (u32, u32),
    /// What is built on it, as `dm-0`.
    pub holders: Vec<String>,
}

/// A whole block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// As `sda`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it is attached, for disks.
    pub transport: Option<Transport>,
    /// Device number.
    pub device: (u32, u32),
    /// Bytes; 0 for a drive without a medium.
    pub size: u64,
    /// Bytes that are read and written as one.
    pub logical_block: u32,
    /// Bytes below which the drive reads before it writes.
    pub physical_block: u32,
    /// The maker's name for it.
    pub model: Option<String>,
    /// The number of this one.
    pub serial: Option<String>,
    /// World-wide name, unique among all disks.
    pub wwid: Option<String>,
    /// A spinning disk.
    pub rotational: bool,
    /// A drive whose medium can be taken out; USB disks usually do not say so.
    pub removable: bool,
    /// Cannot be written.
    pub read_only: bool,
    /// Counts up with each disk that appears: the same name with another number is another disk.
    pub sequence: Option<u64>,
    /// In order of number.
    pub partitions: Vec<Partition>,
    /// What is built on the whole device.
    pub holders: Vec<String>,
    /// What it is built on.
    pub slaves: Vec<String>,
}

impl Block {
    /// Its device file.
    pub fn path(&self) -> PathBuf {
        device_file(&self.name)
    }

    /// The names of its partitions in the GPT.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.partitions.iter().filter_map(|p| p.label.as_deref())
    }

    /// The WWN, else model and serial number, else the name: stays the same wherever the drive is plugged in.
    pub fn id(&self) -> String {
        let wwid = self.wwid.as_deref().map(graphic).filter(|wwid| {
            // Some bridges have one, and it is zero.
            let digits = wwid.rsplit('.').next().unwrap_or_default();
            digits.chars().any(|digit| digit != '0' && digit != '-')
        });
        let serial = self.serial.as_deref().map(graphic);
        let serial = serial.filter(|serial| serial.chars().any(|letter| letter != '0'));
        let named = || {
            let serial = serial?;
            let model = self.model.as_deref().map(graphic);
            let model = model.filter(|model| !model.is_empty());
            Some(model.map_or_else(|| serial.clone(), |model| format!("{model}_{serial}")))
        };
        let mut id = wwid.or_else(named).unwrap_or_else(|| graphic(&self.name));
        id.truncate(LONGEST_ID);
        id
    }
}

/// Letters that can stand in a URL and on a command line; everything between them becomes one `_`.
fn graphic(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_ascii_alphanumeric() && !".-:+".contains(letter))
        .filter(|word| !word.is_empty())
        .collect();
    words.join("_")
}

impl Partition {
    /// Its device file.
    pub fn path(&self) -> PathBuf {
        device_file(&self.name)
    }
}

/// Whether it is a drive at all: a disk with a medium, not one of its hidden parts.
pub fn is_drive(block: &Block) -> bool {
    let is_part = block.name.starts_with("mmcblk")
        && (block.name.contains("boot") || block.name.contains("rpmb"));
    block.kind == Kind::Disk && block.size > 0 && !is_part
}

/// The disks the node starts from: those with a mounted partition; when none
/// is mounted (the state is in memory), those with our partitions.
pub fn system_disks(blocks: &[Block], mounted: &BTreeSet<String>) -> BTreeSet<String> {
    let number = |(major, minor): (u32, u32)| format!("{major}:{minor}");
    let names = |is: &dyn Fn(&Block) -> bool| -> BTreeSet<String> {
        let found = blocks.iter().filter(|block| is_drive(block) && is(block));
        found.map(|block| block.name.clone()).collect()
    };
    let in_use = names(&|block| {
        mounted.contains(&number(block.device))
            || block
                .partitions
                .iter()
                .any(|partition| mounted.contains(&number(partition.device)))
    });
    if !in_use.is_empty() {
        return in_use;
    }
    names(&|block| block.labels().any(|label| SYSTEM_LABELS.contains(&label)))
}

/// The data partitions of the disks the node starts from, each as a drive of its own: a machine with one disk can have a
/// pool as well.
pub fn data_partitions(blocks: &[Block], system: &BTreeSet<String>) -> Vec<Block> {
    let disks = blocks.iter().filter(|block| system.contains(&block.name));
    let parts = disks.flat_map(|disk| disk.partitions.iter().map(move |part| (disk, part)));
    parts
        .filter(|(_, part)| part.label.as_deref() == Some(DATA_LABEL))
        .map(|(disk, part)| {
            let model = disk.model.as_deref().unwrap_or_default();
            Block {
                name: part.name.clone(),
                device: part.device,
                size: part.size,
                model: Some(
                    format!("{model} (rest of the system drive)")
                        .trim()
                        .to_owned(),
                ),
                wwid: Some(format!("{}:data", disk.id())),
                partitions: Vec::new(),
                holders: part.holders.clone(),
                ..disk.clone()
            }
        })
        .collect()
}

/// The device file of a kernel name; the kernel writes `!` where the file has a `/`.
pub fn device_file(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

/// All whole block devices with their partitions, by name.
pub fn list() -> Vec<Block> {
    list_in(Path::new("/sys/class/block"))
}

/// The same from another folder.
pub fn list_in(class: &Path) -> Vec<Block> {
    sysfs::names(class)
        .iter()
        .filter_map(|name| read(class, name))
        .collect()
}

fn read(class: &Path, name: &str) -> Option<Block> {
    let at = class.join(name);
    if at.join("partition").exists() {
        return None;
    }
    let kind = kind(&at, name);
    let in_device = |attribute: &str| sysfs::text(at.join("device").join(attribute));
    let model = match (in_device("vendor"), in_device("model")) {
        // Behind SATA every vendor is "ATA", behind virtio it is a PCI number.
        (Some(vendor), Some(model)) if vendor != "ATA" && !vendor.starts_with("0x") => {
            Some(format!("{vendor} {model}"))
        }
        (_, model) => model.or_else(|| in_device("name")),
    };
    let link = std::fs::canonicalize(&at).unwrap_or_default();
    let transport = matches!(kind, Kind::Disk | Kind::Optical)
        .then(|| transport(&link.to_string_lossy(), name, in_device("type").as_deref()));
    Some(Block {
        name: name.to_owned(),
        kind,
        transport: transport.flatten(),
        device: sysfs::device_number(at.join("dev"))?,
        size: sectors(&at.join("size")),
        logical_block: sysfs::parse(at.join("queue/logical_block_size")).unwrap_or(512),
        physical_block: sysfs::parse(at.join("queue/physical_block_size")).unwrap_or(512),
        model,
        serial: sysfs::text(at.join("serial"))
            .or_else(|| in_device("serial"))
            .or_else(|| scsi_serial(&at)),
        wwid: sysfs::text(at.join("wwid")).or_else(|| in_device("wwid")),
        rotational: sysfs::flag(at.join("queue/rotational")).unwrap_or(false),
        removable: sysfs::flag(at.join("removable")).unwrap_or(false),
        read_only: sysfs::flag(at.join("ro")).unwrap_or(false),
        sequence: sysfs::parse(at.join("diskseq")),
        partitions: partitions(&at),
        holders: sysfs::names(at.join("holders")),
        slaves: sysfs::names(at.join("slaves")),
    })
}

/// The kernel counts in 512 bytes here, whatever the device's blocks are.
fn sectors(path: &Path) -> u64 {
    sysfs::parse::<u64>(path).unwrap_or(0).saturating_mul(512)
}

fn kind(at: &Path, name: &str) -> Kind {
    if let Some(mapped) = sysfs::text(at.join("dm/name")) {
        return Kind::Mapped {
            name: mapped,
            uuid: sysfs::text(at.join("dm/uuid")),
        };
    }
    if at.join("md").exists() {
        return Kind::Raid;
    }
    let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    match letters {
        "loop" => Kind::Loop,
        "ram" | "zram" | "pmem" => Kind::Memory,
        "sr" => Kind::Optical,
        "fd" => Kind::Floppy,
        "nbd" | "rbd" | "drbd" => Kind::Network,
        _ => Kind::Disk,
    }
}

fn transport(link: &str, name: &str, card: Option<&str>) -> Option<Transport> {
    let through = |part: &str| {
        link.split('/')
            .any(|step| step.starts_with(part) && step != name)
    };
    Some(match () {
        () if name.starts_with("nvme") => Transport::Nvme,
        () if name.starts_with("mmcblk") && card == Some("MMC") => Transport::Emmc,
        () if name.starts_with("mmcblk") => Transport::Mmc,
        () if through("usb") => Transport::Usb,
        () if through("ata") => Transport::Ata,
        () if name.starts_with("vd") || through("virtio") => Transport::Virtio,
        () if name.starts_with("sd") || name.starts_with("sr") => Transport::Scsi,
        () => return None,
    })
}

/// SCSI page 0x80: four bytes of header, then the number.
fn scsi_serial(at: &Path) -> Option<String> {
    let page = std::fs::read(at.join("device/vpd_pg80")).ok()?;
    let text = String::from_utf8_lossy(page.get(4..)?)
        .trim_matches(['\0', ' '])
        .to_owned();
    (!text.is_empty()).then_some(text)
}

fn partitions(disk: &Path) -> Vec<Partition> {
    let mut list: Vec<Partition> = sysfs::names(disk)
        .into_iter()
        .filter_map(|name| {
            let at = disk.join(&name);
            Some(Partition {
                number: sysfs::parse(at.join("partition"))?,
                size: sectors(&at.join("size")),
                start: sectors(&at.join("start")),
                label: sysfs::uevent(at.join("uevent")).remove("PARTNAME"),
                device: sysfs::device_number(at.join("dev"))?,
                holders: sysfs::names(at.join("holders")),
                name,
            })
        })
        .collect();
    list.sort_by_key(|partition| partition.number);
    list
}

nix::ioctl_none!(blkrrpart, 0x12, 95);
nix::ioctl_read!(blkgetdiskseq, 0x12, 128, u64);

/// Which disk an open device file leads to, as [`Block::sequence`] (BLKGETDISKSEQ of linux/fs.h): a name may come to mean
/// another disk, an open file does not. `None` for what is no disk.
pub fn sequence(disk: &File) -> io::Result<Option<u64>> {
    let mut sequence = 0;
    // SAFETY: the call writes one u64 to where the pointer leads, which outlives it, and the descriptor is open.
    match unsafe { blkgetdiskseq(disk.as_raw_fd(), &raw mut sequence) } {
        Ok(_) => Ok(Some(sequence)),
        Err(Errno::ENOTTY | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Has the kernel read the partition table of a disk again (BLKRRPART of linux/fs.h). Busy while anybody has a partition
/// open; what is no disk, or can not have partitions, has none to read.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: the call takes no argument, and the descriptor is open.
    match unsafe { blkrrpart(disk.as_raw_fd()) } {
        Ok(_) | Err(Errno::ENOTTY | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn lists_recorded_devices() {
        let directory = tempfile::tempdir().unwrap();
        let class = directory.path().join("class");
        std::fs::create_dir(&class).unwrap();
        let link = |place: &str, name: &str| {
            std::os::unix::fs::symlink(directory.path().join(place).join(name), class.join(name))
                .unwrap();
        };
        put(
            directory.path(),
            &[
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/dev",
                    "8:0\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/size",
                    "1953525168\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/queue/rotational",
                    "1\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/device/vendor",
                    "ATA     \n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/device/model",
                    "ST1000DM010-2EP1\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/device/vpd_pg80",
                    "\0\u{1}\0\u{14}            ZN1ABCDE",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/partition",
                    "2\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/dev",
                    "8:2\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/size",
                    "2097152\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/start",
                    "1050624\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/uevent",
                    "DEVNAME=sda2\nPARTNAME=ashlar-state\n",
                ),
                (
                    "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/holders/dm-0",
                    "",
                ),
                ("devices/virtual/block/dm-0/dev", "253:0\n"),
                (
                    "devices/virtual/block/dm-0/dm/name",
                    "ashlar--0123abcd-pool\n",
                ),
                ("devices/virtual/block/dm-0/slaves/sda2", ""),
                ("devices/virtual/block/loop7/dev", "7:7\n"),
                (
                    "devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/dev",
                    "259:0\n",
                ),
                (
                    "devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/wwid",
                    "eui.0025385b11b0f0aa\n",
                ),
                (
                    "devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/device/model",
                    "Samsung SSD 990 PRO 2TB                 \n",
                ),
                (
                    "devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/device/serial",
                    "S6Z2NJ0T       \n",
                ),
            ],
        );
        link(
            "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block",
            "sda",
        );
        link("devices/virtual/block", "dm-0");
        link("devices/virtual/block", "loop7");
        link("devices/pci0000:00/0000:01:00.0/nvme/nvme0", "nvme0n1");
        let list = list_in(&class);
        let names: Vec<_> = list.iter().map(|block| block.name.as_str()).collect();
        assert_eq!(names, ["dm-0", "loop7", "nvme0n1", "sda"]);

        let (dm, nvme, sda) = (&list[0], &list[2], &list[3]);
        assert_eq!(
            dm.kind,
            Kind::Mapped {
                name: "ashlar--0123abcd-pool".to_owned(),
                uuid: None
            }
        );
        assert_eq!(
            (dm.slaves.as_slice(), dm.transport),
            (["sda2".to_owned()].as_slice(), None)
        );
        assert_eq!(list[1].kind, Kind::Loop);
        assert_eq!(nvme.model.as_deref(), Some("Samsung SSD 990 PRO 2TB"));
        assert_eq!(nvme.serial.as_deref(), Some("S6Z2NJ0T"));
        assert_eq!(
            (nvme.transport, nvme.rotational),
            (Some(Transport::Nvme), false)
        );
        assert_eq!(sda.model.as_deref(), Some("ST1000DM010-2EP1"));
        assert_eq!(sda.serial.as_deref(), Some("ZN1ABCDE"));
        assert_eq!(
            (sda.transport, sda.rotational, sda.device),
            (Some(Transport::Ata), true, (8, 0))
        );
        assert_eq!(sda.size, 1_000_204_886_016);
        let state = &sda.partitions[0];
        assert_eq!(
            (state.label.as_deref(), state.size),
            (Some("ashlar-state"), 1 << 30)
        );
        assert_eq!(
            (state.holders.as_slice(), state.path()),
            (["dm-0".to_owned()].as_slice(), "/dev/sda2".into())
        );
        assert_eq!(device_file("cciss!c0d0"), Path::new("/dev/cciss/c0d0"));
    }

    #[test]
    fn gives_ids_that_stay() {
        let plain = Block {
            name: "sda".to_owned(),
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
        };
        assert_eq!(plain.id(), "ST1000DM010-2EP1_ZN1_ABCDE");
        let named = |wwid: &str| {
            Block {
                wwid: Some(wwid.to_owned()),
                ..plain.clone()
            }
            .id()
        };
        assert_eq!(named("naa.5000c500a1b2c3d4"), "naa.5000c500a1b2c3d4");
        assert_eq!(named("t10.ATA     QEMU  DISK  7"), "t10.ATA_QEMU_DISK_7");
        assert_eq!(named("naa.0000000000000000"), "ST1000DM010-2EP1_ZN1_ABCDE");
        let virtio = Block {
            model: None,
            serial: Some("data1".to_owned()),
            ..plain.clone()
        };
        assert_eq!(virtio.id(), "data1");
        let nameless = Block {
            serial: Some("00000000".to_owned()),
            ..plain.clone()
        };
        assert_eq!(nameless.id(), "sda");
        assert_eq!(named(&"x".repeat(300)).len(), 128);
    }

    #[test]
    fn what_is_soldered_in_is_no_card() {
        let of = |name, card| transport("/sys/devices/platform/mmc0/mmc0:0001/block", name, card);
        assert_eq!(of("mmcblk0", Some("MMC")), Some(Transport::Emmc));
        assert_eq!(of("mmcblk1", Some("SD")), Some(Transport::Mmc));
        assert_eq!(of("mmcblk1", None), Some(Transport::Mmc));
    }

    #[test]
    fn a_file_is_no_disk() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(sequence(&file).unwrap(), None);
    }

    #[test]
    fn lists_this_machine() {
        let list = list();
        let disk = list
            .iter()
            .find(|block| block.kind == Kind::Disk && block.size > 0)
            .unwrap();
        assert!(disk.path().exists());
    }
}
