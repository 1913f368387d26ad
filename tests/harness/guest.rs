//! A real guest: Debian 13 with cloud-init and the guest agent, made from packages, as a qcow2 image.
//!
//! It is what administrators upload: a disk with an EFI system partition and a root file system that cloud-init makes
//! its own at the first start. Made once and kept in `target/tests/`, under a name that changes with this recipe.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ashlar_image::base;
use ashlar_image::place::Place;
use ashlar_image::progress::Step;
use ashlar_image::tool::Tool;
use ashlar_image::uki;
use gptman::{GPT, GPTPartitionEntry};

use crate::api::sha256;

const PACKAGES: &str = "linux-image-cloud-amd64,systemd-sysv,udev,dbus,cloud-init,iproute2,curl,sudo,qemu-guest-agent,netbase,zstd";
const COMMAND_LINE: &str = "root=LABEL=root ro console=tty0 console=ttyS0,115200 quiet";
const SUITE: &str = "trixie";

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
const ESP: (u64, u64) = (MIB, 64 * MIB);
const ROOT: (u64, u64) = (ESP.0 + ESP.1, 1100 * MIB);
const DISK: u64 = ROOT.0 + ROOT.1 + MIB;

const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const LINUX_TYPE: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// The guest's image; made if it is not there yet (two to four minutes).
pub fn debian() -> Result<PathBuf> {
    let recipe = sha256(format!("{PACKAGES} {COMMAND_LINE} {SUITE} {DISK} 1").as_bytes());
    let folder = crate::target().join("tests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let image = folder.join(format!("debian-{}.qcow2", &recipe[..12]));
    // Tests run side by side: one makes the image, the others wait for it.
    let lock = File::create(folder.join("debian.lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot lock")?;
    if !image.exists() {
        let work = tempfile::tempdir_in(&folder).context("cannot make a folder")?;
        build(work.path(), &image)?;
    }
    Ok(image)
}

fn build(work: &Path, image: &Path) -> Result<()> {
    let step = Step::start("Debian guest");
    let root = work.join("root");
    Tool::new("mmdebstrap")
        .args([
            "--variant=minbase",
            "--mode=root",
            "--aptopt=Apt::Install-Recommends \"false\"",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .arg("--customize-hook=echo 'LABEL=root / ext4 rw,relatime 0 1' > \"$1/etc/fstab\"")
        .arg("--customize-hook=chroot \"$1\" systemctl enable systemd-networkd")
        .arg("--customize-hook=chroot \"$1\" passwd -l root")
        .arg("--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*")
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&root)
        .show(&step)?;
    let kernel = boot_file(&root, "vmlinuz-")?;
    let initrd = boot_file(&root, "initrd.img-")?;
    let (release, command_line) = (work.join("os-release"), work.join("cmdline"));
    fs::copy(root.join("usr/lib/os-release"), &release).context("the guest has no os-release")?;
    fs::write(&command_line, COMMAND_LINE).context("cannot write the command line")?;
    let efi = work.join("guest.efi");
    // That of the image: the host need not have one.
    let place = Place::find()?;
    let stub = {
        let _lock = place.lock()?;
        base::make(&place)?.stub()
    };
    uki::assemble(
        &stub,
        &[
            (".osrel", &release),
            (".cmdline", &command_line),
            (".linux", &kernel),
            (".initrd", &initrd),
        ],
        &efi,
        &step,
    )?;
    let disk = work.join("disk.raw");
    partition(&disk)?;
    Tool::new("mkfs.vfat")
        .args(["-F", "16", "-n", "ESP", "--offset"])
        .arg((ESP.0 / SECTOR).to_string())
        .arg(&disk)
        .arg((ESP.1 / 1024).to_string())
        .show(&step)?;
    let drive = format!("{}@@{}", disk.display(), ESP.0);
    Tool::new("mmd")
        .args(["-i", &drive, "::/EFI", "::/EFI/BOOT"])
        .show(&step)?;
    Tool::new("mcopy")
        .args(["-i", &drive])
        .arg(&efi)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .show(&step)?;
    Tool::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", "root", "-d"])
        .arg(&root)
        .args(["-E", &format!("offset={}", ROOT.0)])
        .arg(&disk)
        .arg(format!("{}k", ROOT.1 / 1024))
        .show(&step)?;
    let draft = work.join("guest.qcow2");
    Tool::new("qemu-img")
        .args(["convert", "-c", "-O", "qcow2"])
        .arg(&disk)
        .arg(&draft)
        .show(&step)?;
    fs::rename(&draft, image).context("cannot keep the guest's image")?;
    step.done("ready");
    Ok(())
}

fn boot_file(root: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(root.join("boot"))
        .context("the guest has no /boot")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .with_context(|| format!("the guest has no {prefix}*"))
}

fn partition(disk: &Path) -> Result<()> {
    let mut file = File::create_new(disk).context("cannot make the guest's disk")?;
    file.set_len(DISK).context("cannot size the guest's disk")?;
    let mut table =
        GPT::new_from(&mut file, SECTOR, [0x42; 16]).context("cannot make a partition table")?;
    for (number, (kind, name, (start, size))) in
        (1..).zip([(ESP_TYPE, "esp", ESP), (LINUX_TYPE, "root", ROOT)])
    {
        table[number] = GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: [u8::try_from(number).unwrap_or(9); 16],
            starting_lba: start / SECTOR,
            ending_lba: (start + size) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: name.into(),
        };
    }
    table
        .write_into(&mut file)
        .context("cannot write the partition table")?;
    GPT::write_protective_mbr_into(&mut file, SECTOR)
        .context("cannot write the protective record")?;
    Ok(())
}
