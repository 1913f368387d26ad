//! The disk: a GUID partition table with the EFI system partition and the partition that is to hold the state.
//!
//! Built in one sparse file by tools that write into files at an offset, so neither root nor loop devices are needed.
//! Partition names are the contract with the appliance: it finds `ashlar-esp` by name, and `ashlar-fresh` tells it that the
//! disk is still the image, as it was flashed: at its first start it grows the table to the disk, gives it identifiers of its
//! own and makes the state partition (`appliance/src/init/flash.rs`).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use gptman::{GPT, GPTPartitionEntry};

use crate::base::Base;
use crate::progress::{Step, mebibytes};
use crate::stamp::{Identity, Moment};
use crate::tool::Tool;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Room for the running release, the one before and one being written, each with all firmware that drivers want.
const ESP_SIZE: u64 = 1024 * MIB;
/// It grows with the disk; a small image is flashed sooner.
const FRESH_SIZE: u64 = 16 * MIB;
const DISK_SIZE: u64 = ESP_SIZE + FRESH_SIZE + 2 * MIB;

/// Partition type "EFI system", in the mixed byte order of the table.
const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// Partition type "Linux filesystem data".
const DATA_TYPE: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Where the size of the one partition of the protective MBR is written.
const PROTECTED_SIZE: u64 = 446 + 12;

const LOADER: &str = "timeout 0\nconsole-mode keep\neditor no\n";

/// Where a partition lies, in bytes.
struct Extent {
    start: u64,
    size: u64,
}

/// Makes the disk at `path` with a release, the unified kernel image `uki` of this version; `work` is a folder for what lies
/// between.
pub fn make(
    base: &Base,
    (uki, version): (&Path, &str),
    moment: Moment,
    work: &Path,
    path: &Path,
) -> Result<()> {
    let step = Step::start("Disk image");
    let identity = Identity::of(uki)?;
    let draft = work.join("disk.img");
    let mut file =
        File::create_new(&draft).with_context(|| format!("cannot create {}", draft.display()))?;
    file.set_len(DISK_SIZE)
        .with_context(|| format!("cannot size {}", draft.display()))?;
    let [esp, _] = partition(&mut file, identity).context("cannot write the partition table")?;
    file.sync_all().context("cannot write the disk image")?;
    drop(file);
    let esp = Esp {
        disk: &draft,
        extent: &esp,
        moment,
        serial: identity.serial("esp file system"),
    };
    esp.fill(base, (uki, version), work, &step)?;
    // A new file under the old name: machines that run from the old one keep it.
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))?;
    step.done(&mebibytes(DISK_SIZE));
    Ok(())
}

/// The compressed disk image, for download and flashing. A low level: what takes room in it is compressed already.
pub fn compress(disk: &Path) -> Result<std::path::PathBuf> {
    let step = Step::start("Compressed disk image");
    let path = disk.with_extension("img.zst");
    let mut input = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    let output =
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut encoder = zstd::Encoder::new(BufWriter::new(output), 3).context("cannot start zstd")?;
    let threads =
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    encoder
        .multithread(threads)
        .context("cannot start zstd's threads")?;
    std::io::copy(&mut input, &mut encoder)
        .with_context(|| format!("cannot compress {}", disk.display()))?;
    let write = || -> std::io::Result<()> { encoder.finish()?.flush() };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    step.done(&mebibytes(
        fs::metadata(&path)
            .context("the compressed image is gone")?
            .len(),
    ));
    Ok(path)
}

fn partition(file: &mut File, identity: Identity) -> Result<[Extent; 2]> {
    let unique = |purpose| *identity.uuid(purpose).as_bytes();
    let mut table = GPT::new_from(file, SECTOR, unique("disk"))?;
    let mut next = MIB / SECTOR;
    let mut extents = [ESP_SIZE, FRESH_SIZE].map(|size| Extent { start: 0, size });
    let kinds = [(ESP_TYPE, "ashlar-esp"), (DATA_TYPE, "ashlar-fresh")];
    for (number, (extent, (kind, name))) in (1..).zip(extents.iter_mut().zip(kinds)) {
        extent.start = next * SECTOR;
        table[number] = GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: unique(name),
            starting_lba: next,
            ending_lba: next + extent.size / SECTOR - 1,
            attribute_bits: 0,
            partition_name: name.into(),
        };
        next += extent.size / SECTOR;
    }
    table.write_into(file)?;
    GPT::write_protective_mbr_into(file, SECTOR)?;
    // The disk it is flashed on is larger, and it is not known by how much (UEFI specification 2.10, 5.2.3).
    file.write_all_at(&[0xff; 4], PROTECTED_SIZE)
        .context("cannot write the protective MBR")?;
    Ok(extents)
}

/// The EFI system partition to be.
struct Esp<'a> {
    disk: &'a Path,
    extent: &'a Extent,
    moment: Moment,
    serial: String,
}

impl Esp<'_> {
    /// systemd-boot in both its places, its settings, and the image under a name that counts three attempts to boot.
    fn fill(
        &self,
        base: &Base,
        (uki, version): (&Path, &str),
        work: &Path,
        step: &Step,
    ) -> Result<()> {
        let loader = work.join("loader.conf");
        fs::write(&loader, LOADER).context("cannot write loader.conf")?;
        self.moment
            .tell(Tool::new("mkfs.vfat"))
            .args(["-F", "32", "-n", "ASHLAR-ESP", "--invariant", "-i"])
            .arg(&self.serial)
            .arg("--offset")
            .arg((self.extent.start / SECTOR).to_string())
            .arg(self.disk)
            .arg((self.extent.size / 1024).to_string())
            .show(step)?;
        let folders = [
            "::/EFI",
            "::/EFI/BOOT",
            "::/EFI/systemd",
            "::/EFI/Linux",
            "::/loader",
        ];
        self.mtools("mmd").args(folders).show(step)?;
        let boot_loader = base.boot_loader();
        let image = format!("::/EFI/Linux/ashlar-{version}+3.efi");
        let copies: [(&Path, &str); 4] = [
            (&boot_loader, "::/EFI/BOOT/BOOTX64.EFI"),
            (&boot_loader, "::/EFI/systemd/systemd-bootx64.efi"),
            (&loader, "::/loader/loader.conf"),
            (uki, &image),
        ];
        for (from, to) in copies {
            self.mtools("mcopy").arg(from).arg(to).show(step)?;
        }
        Ok(())
    }

    fn mtools(&self, name: &str) -> Tool {
        let drive = format!("{}@@{}", self.disk.display(), self.extent.start);
        self.moment
            .tell(Tool::new(name))
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(drive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_one_after_the_other() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(DISK_SIZE).unwrap();
        let identity = Identity::of(Path::new("/dev/null")).unwrap();
        let [esp, state] = partition(&mut file, identity).unwrap();
        assert_eq!(esp.start, MIB);
        assert_eq!(state.start, MIB + ESP_SIZE);
        let table = GPT::find_from(&mut file).unwrap();
        assert_eq!(table[2].partition_name.as_str(), "ashlar-fresh");
        assert_eq!(table[2].starting_lba * SECTOR, state.start);
        assert!(state.start + state.size <= (table.header.last_usable_lba + 1) * SECTOR);
    }
}
