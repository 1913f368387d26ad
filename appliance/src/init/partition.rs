//! The state partition: everything this machine knows about itself.
//!
//! Invariant: the wrong state is worse than none. With two disks that could be meant and no word from the firmware
//! which one we were started from, none is mounted; a person decides. Without state the machine still comes up, on
//! memory, and says so: a machine one can talk to can be repaired.
//!
//! ```text
//!   candidates = partitions named ashlar-state, or ashlar-fresh on a disk that was just flashed (see flash)
//!   boot disk  = the disk that holds the partition in LoaderDevicePartUUID (written by systemd-boot)
//!   one on the boot disk -> that;  one at all -> that, once the drivers are loaded;  more -> none;  none -> wait
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::event::Severity;
use nix::mount::MsFlags;

use super::fault::Fault;
use super::flash::{self, FRESH, FlashError};
use super::log;
use crate::sys::command::{CommandError, Tool};
use crate::sys::fs::{self, FsError};
use crate::sys::pidfd::Exit;
use crate::sys::{block, signature};

/// Where the state is mounted.
pub const STATE: &str = "/var/lib/ashlar";
/// The name of its partition.
pub const LABEL: &str = "ashlar-state";
const LOADER: &str =
    "/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// A check of one gigabyte takes seconds; a disk that needs longer is dying.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// A partition that could hold the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    device: PathBuf,
    /// It waits for its file system.
    fresh: bool,
    /// The disk as a person would tell it from another.
    disk: String,
    on_boot_disk: bool,
}

/// A partition that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    device: PathBuf,
    /// It waits for its file system.
    fresh: bool,
}

/// Which partition to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one; no other could be meant.
    Sure(Place),
    /// This one, unless another appears.
    Likely(Place),
    /// More than one could be meant.
    Ambiguous(Vec<String>),
    /// There is none.
    Missing,
}

impl Candidate {
    fn place(&self) -> Place {
        Place {
            device: self.device.clone(),
            fresh: self.fresh,
        }
    }
}

/// Looks at the disks there are now. A disk that was flashed counts only when the firmware started us from it, or does not
/// say from which.
pub fn look(boot_partition: Option<&str>) -> Choice {
    let mut found = candidates(boot_partition);
    found
        .retain(|candidate| !candidate.fresh || candidate.on_boot_disk || boot_partition.is_none());
    choose(&found)
}

/// The identity of the partition the firmware started us from, when the boot loader says so.
pub fn boot_partition() -> Option<String> {
    parse_loader(&std::fs::read(LOADER).ok()?)
}

/// Four bytes of attributes, then UTF-16 with a zero at the end.
fn parse_loader(variable: &[u8]) -> Option<String> {
    let letters = variable
        .get(4..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let letters: Vec<u16> = letters.take_while(|&letter| letter != 0).collect();
    let text = String::from_utf16(&letters).ok()?.to_ascii_lowercase();
    (text.len() == 36).then_some(text)
}

fn candidates(boot_partition: Option<&str>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for disk in block::list() {
        let of_this = disk
            .partitions
            .iter()
            .filter(|partition| [Some(LABEL), Some(FRESH)].contains(&partition.label.as_deref()));
        for partition in of_this {
            let on_boot_disk = boot_partition.is_some_and(|wanted| {
                let partitions = signature::gpt_partitions(&disk.path()).unwrap_or_default();
                partitions.iter().any(|partition| partition.guid == wanted)
            });
            let words = [disk.model.as_deref(), disk.serial.as_deref()];
            let named: Vec<&str> = words.into_iter().flatten().collect();
            let disk = match named.is_empty() {
                true => disk.path().display().to_string(),
                false => format!("{} ({})", disk.path().display(), named.join(", ")),
            };
            found.push(Candidate {
                device: partition.path(),
                fresh: partition.label.as_deref() == Some(FRESH),
                disk,
                on_boot_disk,
            });
        }
    }
    found
}

fn choose(candidates: &[Candidate]) -> Choice {
    let on_boot_disk: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.on_boot_disk)
        .collect();
    match (on_boot_disk.as_slice(), candidates) {
        ([one], _) => Choice::Sure(one.place()),
        ([], []) => Choice::Missing,
        ([], [one]) => Choice::Likely(one.place()),
        ([], more) => Choice::Ambiguous(
            more.iter()
                .map(|candidate| candidate.disk.clone())
                .collect(),
        ),
        (more, _) => Choice::Ambiguous(
            more.iter()
                .map(|candidate| candidate.disk.clone())
                .collect(),
        ),
    }
}

/// Mounts the state, or memory in its place. Returns what is wrong.
pub fn mount(choice: &Choice) -> Option<Fault> {
    let target = Path::new(STATE);
    let fault = match choice {
        Choice::Sure(Place { device, fresh }) | Choice::Likely(Place { device, fresh }) => {
            let ready = match fresh {
                true => flash::make_ready(device).map_err(PartitionError::Flash),
                false => Ok(()),
            };
            match ready.and_then(|()| check_and_mount(device, target)) {
                Ok(()) => {
                    log::info(format_args!("state is on {}", device.display()));
                    return None;
                }
                Err(PartitionError::Flash(error)) => unready(device, &error),
                Err(error) => damaged(device, &error),
            }
        }
        Choice::Ambiguous(disks) => ambiguous(disks),
        Choice::Missing => missing(),
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let on_memory = fs::create_directory(target)
        .and_then(|()| fs::mount("tmpfs", target, "tmpfs", flags, "mode=0700"));
    if let Err(error) = on_memory {
        log::error(log::chain(&error));
    }
    Some(fault)
}

/// Why the state partition could not be used.
#[derive(Debug, thiserror::Error)]
enum PartitionError {
    #[error("its file system has errors that are not repaired without being asked: {0}")]
    Damaged(String),
    #[error(transparent)]
    Flash(FlashError),
    #[error("its file system could not be checked")]
    Check(#[source] CommandError),
    #[error(transparent)]
    Mount(#[from] FsError),
}

fn check_and_mount(device: &Path, target: &Path) -> Result<(), PartitionError> {
    if fs::is_mounted(target)? {
        return Ok(());
    }
    fs::create_directory(target)?;
    let flags = MsFlags::MS_NOATIME | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let name = device.to_string_lossy();
    let mount = || fs::mount(&name, target, "ext4", flags, "errors=remount-ro");
    // The check of one that was left clean would look at no more than the mount does, and be a process to wait for.
    if was_left_clean(device) && mount().is_ok() {
        return Ok(());
    }
    check(device)?;
    Ok(mount()?)
}

/// Whether a file system was unmounted in order, and never found damaged.
fn was_left_clean(device: &Path) -> bool {
    let mut superblock = [0; 1024];
    let read = File::open(device).and_then(|file| file.read_exact_at(&mut superblock, 1024));
    read.is_ok() && is_clean(&superblock)
}

/// Reads a superblock (Documentation/filesystems/ext4/super.rst): magic number, state `cleanly unmounted` and no other,
/// no journal to replay.
fn is_clean(superblock: &[u8; 1024]) -> bool {
    const CLEAN: [u8; 2] = 1_u16.to_le_bytes();
    const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
    const RECOVER: u8 = 4;
    superblock[0x38..0x3a] == MAGIC
        && superblock[0x3a..0x3c] == CLEAN
        && superblock[0x60] & RECOVER == 0
}

/// Replays the journal and repairs what can be repaired without loss.
fn check(device: &Path) -> Result<(), PartitionError> {
    match Tool::new("e2fsck")
        .arg("-p")
        .arg(device)
        .timeout(CHECK_LIMIT)
        .run_blocking()
    {
        Ok(_) => Ok(()),
        // 1: repaired; 2: repaired, and a mounted file system would need a restart.
        Err(CommandError::Failed {
            status: Exit::Code(1..=3),
            stdout,
            ..
        }) => {
            log::warn(format_args!(
                "{} was repaired: {}",
                device.display(),
                stdout.trim()
            ));
            Ok(())
        }
        Err(CommandError::Failed {
            status: Exit::Code(code),
            stdout,
            stderr,
            ..
        }) if code & 4 != 0 => Err(PartitionError::Damaged(
            format!("{} {}", stdout.trim(), stderr.trim())
                .trim()
                .to_owned(),
        )),
        Err(error) => Err(PartitionError::Check(error)),
    }
}

fn ambiguous(disks: &[String]) -> Fault {
    Fault {
        code: "state-ambiguous",
        title: "More than one disk holds the state of an appliance.".to_owned(),
        detail: format!(
            "It is on {}. None is used, nothing that is set now will be kept.",
            disks.join(" and on ")
        ),
        remedy:
            "Switch off, take out the disk that does not belong to this machine, and start again."
                .to_owned(),
        severity: Severity::Critical,
    }
}

fn missing() -> Fault {
    Fault {
        code: "state-missing",
        title: "The state partition was not found.".to_owned(),
        detail: "No disk has a partition named ashlar-state. The machine runs from memory, \
                 nothing that is set now will be kept."
            .to_owned(),
        remedy: "Check that the disk the appliance was installed on is connected and shown by the firmware, \
                 then start again. If the disk is lost, install anew."
            .to_owned(),
        severity: Severity::Critical,
    }
}

fn unready(device: &Path, error: &FlashError) -> Fault {
    Fault {
        code: "disk-unready",
        title: "The disk that was flashed cannot be made ready.".to_owned(),
        detail: format!(
            "{}: {}. The machine runs from memory, nothing that is set now will be kept.",
            device.display(),
            log::chain(error)
        ),
        remedy: "Start again: it is tried anew. If that does not help, flash the disk again, or take another."
            .to_owned(),
        severity: Severity::Critical,
    }
}

fn damaged(device: &Path, error: &PartitionError) -> Fault {
    Fault {
        code: "state-damaged",
        title: "The state partition cannot be used.".to_owned(),
        detail: format!(
            "{}: {}. The machine runs from memory, nothing that is set now will be kept.",
            device.display(),
            log::chain(error)
        ),
        remedy: format!(
            "Start again. If that does not help, repair it with `e2fsck -f {}` from a rescue system, \
             or replace the disk and restore a backup.",
            device.display()
        ),
        severity: Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(device: &str, on_boot_disk: bool) -> Candidate {
        Candidate {
            device: device.into(),
            fresh: false,
            disk: format!("disk of {device}"),
            on_boot_disk,
        }
    }

    #[test]
    fn knows_a_file_system_that_was_left_clean() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disk");
        File::create(&file).unwrap().set_len(8 << 20).unwrap();
        assert!(!was_left_clean(&file));
        let made = Tool::new("mkfs.ext4").arg("-q").arg(&file).run_blocking();
        made.unwrap();
        assert!(was_left_clean(&file));
        let disk = File::options().read(true).write(true).open(&file).unwrap();
        let mut superblock = [0; 1024];
        disk.read_exact_at(&mut superblock, 1024).unwrap();
        // The journal is to be replayed; errors were found; orphans were left.
        for (at, bit) in [(0x60, 4), (0x3a, 2), (0x3a, 4)] {
            let mut other = superblock;
            other[at] |= bit;
            assert!(!is_clean(&other));
        }
        assert!(is_clean(&superblock));
        assert!(!was_left_clean(&directory.path().join("none")));
    }

    #[test]
    fn takes_the_disk_the_firmware_started_from() {
        let (a, b) = (candidate("/dev/sda2", false), candidate("/dev/sdb2", true));
        assert_eq!(choose(&[]), Choice::Missing);
        assert_eq!(choose(std::slice::from_ref(&a)), Choice::Likely(a.place()));
        assert_eq!(choose(&[a.clone(), b.clone()]), Choice::Sure(b.place()));
        let two = Choice::Ambiguous(vec![
            "disk of /dev/sda2".to_owned(),
            "disk of /dev/sdc2".to_owned(),
        ]);
        assert_eq!(choose(&[a, candidate("/dev/sdc2", false)]), two);
        let two = Choice::Ambiguous(vec![
            "disk of /dev/sdb2".to_owned(),
            "disk of /dev/sdb3".to_owned(),
        ]);
        assert_eq!(choose(&[b, candidate("/dev/sdb3", true)]), two);
    }

    #[test]
    fn reads_the_loader_variable() {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(
            "0F0E0D0C-0B0A-4908-8706-050403020100\0"
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        );
        assert_eq!(
            parse_loader(&bytes).as_deref(),
            Some("0f0e0d0c-0b0a-4908-8706-050403020100")
        );
        assert_eq!(parse_loader(&bytes[..20]), None);
        assert_eq!(parse_loader(&[7, 0]), None);
    }

    #[test]
    fn tells_a_healthy_file_system_from_a_broken_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        let made = std::process::Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(file.path())
            .status()
            .unwrap();
        assert!(made.success());
        check(file.path()).unwrap();
        // The first block group's descriptors: beyond what may be repaired without asking.
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[0xff; 64 << 10], 2048).unwrap();
        assert!(matches!(
            check(file.path()),
            Err(PartitionError::Damaged(_))
        ));
        assert!(matches!(
            check(Path::new("/no/such/disk")),
            Err(PartitionError::Check(_))
        ));
        let fault = damaged(
            Path::new("/dev/sda2"),
            &PartitionError::Damaged("bad".to_owned()),
        );
        assert!(
            fault
                .detail
                .starts_with("/dev/sda2: its file system has errors")
        );
    }
}
