//! The file systems of the kernel, and the directories everybody relies on.
//!
//! Invariant: what the initramfs mounted already stays as it is, so this can run on any tree, twice. Only `/proc`,
//! `/sys`, `/dev` and `/run` are needed to go on; without one of the others something is missing later, which is
//! better than a machine that does not start.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::log;
use crate::sys::fs::{self, FsError};

struct Wanted {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: &'static str,
}

const STRICT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// In the order of mounting.
const WANTED: [Wanted; 11] = [
    Wanted {
        target: "/proc",
        kind: "proc",
        flags: STRICT,
        options: "",
    },
    Wanted {
        target: "/sys",
        kind: "sysfs",
        flags: STRICT,
        options: "",
    },
    Wanted {
        target: "/dev",
        kind: "devtmpfs",
        flags: MsFlags::MS_NOSUID,
        options: "mode=0755,size=4m",
    },
    Wanted {
        target: "/dev/pts",
        kind: "devpts",
        flags: MsFlags::MS_NOSUID,
        options: "mode=0620,gid=5,ptmxmode=0666",
    },
    Wanted {
        target: "/dev/shm",
        kind: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=1777",
    },
    Wanted {
        target: "/run",
        kind: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=0755,size=25%",
    },
    Wanted {
        target: "/tmp",
        kind: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=1777,size=25%",
    },
    Wanted {
        target: "/var/tmp",
        kind: "tmpfs",
        flags: NO_DEVICES,
        options: "mode=1777,size=25%",
    },
    Wanted {
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: STRICT,
        options: "nsdelegate,memory_recursiveprot",
    },
    Wanted {
        target: "/sys/kernel/security",
        kind: "securityfs",
        flags: STRICT,
        options: "",
    },
    Wanted {
        target: "/sys/fs/pstore",
        kind: "pstore",
        flags: STRICT,
        options: "",
    },
];

/// Apart from the others: to mount it is to ask the firmware for each of its variables.
const FIRMWARE_VARIABLES: Wanted = Wanted {
    target: "/sys/firmware/efi/efivars",
    kind: "efivarfs",
    flags: STRICT,
    options: "",
};

/// Made by init before anybody else runs; unprivileged programs may pass through but not look.
const DIRECTORIES: [(&str, u32); 10] = [
    ("/run/ashlar", 0o711),
    ("/run/ashlar/faults", 0o700),
    ("/run/ashlar/log", 0o700),
    ("/run/ashlar/service", 0o711),
    ("/run/ashlar/vm", 0o711),
    ("/run/lock", 0o755),
    ("/run/lock/lvm", 0o700),
    ("/run/lvm", 0o700),
    ("/run/udev", 0o755),
    ("/run/dnsmasq", 0o755),
];

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts what is missing. The error is of the first that the machine cannot do without.
pub fn kernel_file_systems() -> Result<(), FsError> {
    let mut worst = Ok(());
    for wanted in &WANTED {
        if let Err(error) = ensure(wanted) {
            log::warn(log::chain(&error));
            if worst.is_ok() && ["/proc", "/sys", "/dev", "/run"].contains(&wanted.target) {
                worst = Err(error);
            }
        }
        // The log is there as soon as /dev is.
        if wanted.target == "/dev" {
            log::open();
        }
    }
    worst
}

/// Mounts the variables of the firmware, where there is one that has some.
pub fn firmware_variables() -> Result<(), FsError> {
    if !Path::new("/sys/firmware/efi").exists() {
        return Ok(());
    }
    ensure(&FIRMWARE_VARIABLES)
}

fn ensure(wanted: &Wanted) -> Result<(), FsError> {
    let target = Path::new(wanted.target);
    // Before /proc is mounted nothing can be looked up; mounting twice is refused with EBUSY then.
    if fs::is_mounted(target).unwrap_or(false) {
        return Ok(());
    }
    // Under /sys the kernel makes the place itself, where it has the feature.
    if !target.exists() && !wanted.target.starts_with("/sys/") {
        fs::create_directory(target)?;
    }
    match fs::mount(
        wanted.kind,
        target,
        wanted.kind,
        wanted.flags,
        wanted.options,
    ) {
        Err(FsError::Mount { source, .. }) if source.raw_os_error() == Some(nix::libc::EBUSY) => {
            Ok(())
        }
        other => other,
    }
}

/// Makes the directories and links under `/run` and `/dev`.
pub fn directories() -> Result<(), FsError> {
    for (path, mode) in DIRECTORIES {
        let path = Path::new(path);
        let failed = |source| FsError::Write {
            path: path.to_owned(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    for (link, target) in LINKS {
        // It is there when /dev came from the initramfs.
        let _ = std::os::unix::fs::symlink(target, link);
    }
    Ok(())
}

/// Makes the device files of modules that are loaded when somebody opens them: `tun`, `vhost-net`, `loop-control`,
/// `mapper/control`. So nothing is loaded before it is used, and nobody has to ask for it.
///
/// `kvm` is left out: its file shall exist only when virtualisation works.
pub fn static_devices(release: &str) {
    let path = format!("/lib/modules/{release}/modules.devname");
    for device in parse_devname(&std::fs::read_to_string(path).unwrap_or_default()) {
        let path = Path::new("/dev").join(device.name);
        if device.name == "kvm" || path.exists() {
            continue;
        }
        if let Err(error) = make_device(&path, &device) {
            log::warn(format_args!("cannot make {}: {error}", path.display()));
        }
    }
}

fn make_device(path: &Path, device: &Device<'_>) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let number = makedev(device.major, device.minor);
    Ok(mknod(
        path,
        device.kind,
        Mode::from_bits_truncate(0o600),
        number,
    )?)
}

#[derive(Debug, PartialEq, Eq)]
struct Device<'a> {
    name: &'a str,
    kind: SFlag,
    major: u64,
    minor: u64,
}

/// Lines of `module name c10:200`.
fn parse_devname(text: &str) -> Vec<Device<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse_device)
        .collect()
}

fn parse_device(line: &str) -> Option<Device<'_>> {
    let mut words = line.split_ascii_whitespace();
    let name = words.nth(1).filter(|name| !name.contains(".."))?;
    let number = words.next()?;
    let kind = match number.as_bytes().first()? {
        b'c' => SFlag::S_IFCHR,
        b'b' => SFlag::S_IFBLK,
        _ => return None,
    };
    let (major, minor) = number.get(1..)?.split_once(':')?;
    Some(Device {
        name,
        kind,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_modules_devname() {
        let text = "# Device nodes to trigger on-demand module loading.\ntun net/tun c10:200\n\
                    dm_mod mapper/control c10:236\nbtrfs btrfs-control c10:234\nloop loop-control c10:237\n\
                    bad ../x c1:2\nbad x y\n";
        let devices = parse_devname(text);
        let names: Vec<_> = devices.iter().map(|device| device.name).collect();
        assert_eq!(
            names,
            ["net/tun", "mapper/control", "btrfs-control", "loop-control"]
        );
        assert_eq!(
            (devices[0].major, devices[0].minor, devices[0].kind),
            (10, 200, SFlag::S_IFCHR)
        );
    }

    #[test]
    fn mounts_come_after_their_parents() {
        for (at, wanted) in WANTED.iter().enumerate() {
            for other in &WANTED[at + 1..] {
                assert!(
                    !Path::new(wanted.target).starts_with(other.target),
                    "{}",
                    wanted.target
                );
            }
        }
    }
}
