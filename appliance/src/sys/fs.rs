//! Files that survive a power cut, and mounts.
//!
//! Invariant of [`write_atomic`]: after a crash the path holds the old bytes or the new ones, never a part. That
//! needs all four steps (write aside, fsync, rename, fsync of the directory); one place does them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};
use nix::sys::statvfs::statvfs;

/// Why a file or mount operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// A file could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file system could not be mounted.
    #[error("cannot mount {what} on {}", .target.display())]
    Mount {
        /// Device or kind of file system.
        what: String,
        /// Where.
        target: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file system could not be unmounted.
    #[error("cannot unmount {}", .target.display())]
    Unmount {
        /// Where.
        target: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Replaces the file as a whole, with these permission bits. The directory must exist.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    let failed = |source| FsError::Write {
        path: path.to_owned(),
        source,
    };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?
        .to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let aside = directory.join(name);
    let written = (|| {
        let _ = std::fs::remove_file(&aside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        File::open(directory)?.sync_all()
    })();
    written.map_err(|source| {
        let _ = std::fs::remove_file(&aside);
        failed(source)
    })
}

/// Makes a directory and its parents.
pub fn create_directory(path: &Path) -> Result<(), FsError> {
    std::fs::create_dir_all(path).map_err(|source| FsError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Removes a file; its absence is success.
pub fn remove_file(path: &Path) -> Result<(), FsError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FsError::Write {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The last lines of a log, at most `lines` of them and at most 64 KiB, or half a KiB a line where that is more; empty
/// when there is no file.
pub fn tail(path: &Path, lines: usize) -> Result<Vec<String>, FsError> {
    let most = (lines as u64).saturating_mul(512).max(64 << 10);
    let failed = |source| FsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let size = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut all: Vec<&str> = text.lines().collect();
    if size > most && all.len() > 1 {
        all.remove(0);
    }
    Ok(all
        .iter()
        .skip(all.len().saturating_sub(lines))
        .map(|line| (*line).to_owned())
        .collect())
}

/// The same of a log that [`trim_log`] bounds: where it has begun anew, what was set aside goes before it.
pub fn tail_with_older(path: &Path, lines: usize) -> Result<Vec<String>, FsError> {
    let newest = tail(path, lines)?;
    if newest.len() >= lines {
        return Ok(newest);
    }
    let mut all = tail(&older(path), lines - newest.len())?;
    all.extend(newest);
    Ok(all)
}

/// Where [`trim_log`] puts what it takes out of a log.
fn older(path: &Path) -> PathBuf {
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    older.into()
}

/// Bounds a log that another process appends to: when it is longer than `most`, its last half goes to `<path>.1`
/// and it starts empty again. The writer must have opened it for appending. A line written in the instant between
/// copying and emptying is lost; a log of a child is worth that, a pipe that dies with us is not.
pub fn trim_log(path: &Path, most: u64) -> Result<(), FsError> {
    let failed = |source| FsError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    let size = file.metadata().map_err(failed)?.len();
    if size <= most {
        return Ok(());
    }
    file.seek(SeekFrom::Start(size.saturating_sub(most / 2)))
        .map_err(failed)?;
    let mut copy = File::create(older(path)).map_err(failed)?;
    io::copy(&mut file.take(most), &mut copy).map_err(failed)?;
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(0))
        .map_err(failed)
}

/// Room in a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What unprivileged programs may still use.
    pub available: u64,
}

/// The room in the file system that holds this path.
pub fn space(path: &Path) -> Result<Space, FsError> {
    let stat = statvfs(path).map_err(|errno| FsError::Read {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let unit = stat.fragment_size();
    Ok(Space {
        total: stat.blocks() * unit,
        available: stat.blocks_available() * unit,
    })
}

/// The largest files below a folder with their sizes, by paths below it; those of other file systems that are mounted
/// there are not looked at. What can not be read is left out.
pub fn largest(folder: &Path, most: usize) -> Vec<(String, u64)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let Ok(top) = folder.metadata() else {
        return found;
    };
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.dev() != top.dev() {
                continue;
            }
            let path = entry.path();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path);
                found.push((name.display().to_string(), metadata.blocks() * 512));
            }
        }
    }
    found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found.truncate(most);
    found
}

/// Mounts a file system; `what` is a device or, for kernel file systems, their name.
pub fn mount(
    what: &str,
    target: &Path,
    kind: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), FsError> {
    let options = Some(options).filter(|options| !options.is_empty());
    nix::mount::mount(Some(what), target, Some(kind), flags, options).map_err(|errno| {
        FsError::Mount {
            what: what.to_owned(),
            target: target.to_owned(),
            source: errno.into(),
        }
    })
}

/// How hard to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// Only when nobody uses it.
    Plain,
    /// Away from the tree now, from the disk when the last user is gone.
    Lazy,
}

/// Unmounts; a path where nothing is mounted is success.
pub fn unmount(target: &Path, how: Unmount) -> Result<(), FsError> {
    let flags = match how {
        Unmount::Plain => MntFlags::UMOUNT_NOFOLLOW,
        Unmount::Lazy => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
    };
    match nix::mount::umount2(target, flags) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(errno) => Err(FsError::Unmount {
            target: target.to_owned(),
            source: errno.into(),
        }),
    }
}

/// Makes a mounted file system read-only, so that what stays mounted at the end is clean.
pub fn remount_read_only(target: &Path) -> Result<(), FsError> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(|errno| {
        FsError::Mount {
            what: "read-only".to_owned(),
            target: target.to_owned(),
            source: errno.into(),
        }
    })
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub target: PathBuf,
    /// The kind of file system, as `ext4`.
    pub kind: String,
    /// The device or the name given.
    pub source: String,
    /// `major:minor` of its device.
    pub device: String,
}

/// What is mounted, in the order of mounting.
pub fn mounts() -> Result<Vec<Mount>, FsError> {
    mounts_in(Path::new("/proc/self/mountinfo"))
}

/// The same from another file.
pub fn mounts_in(path: &Path) -> Result<Vec<Mount>, FsError> {
    let text = std::fs::read_to_string(path).map_err(|source| FsError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

/// Whether a file system is mounted exactly here.
pub fn is_mounted(target: &Path) -> Result<bool, FsError> {
    Ok(mounts()?.iter().any(|mount| mount.target == target))
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let device = place.nth(2)?.to_owned();
    let target = PathBuf::from(std::ffi::OsString::from_vec(unescape(place.nth(1)?)));
    let mut what = what.split(' ');
    let kind = what.next()?.to_owned();
    let source = String::from_utf8_lossy(&unescape(what.next()?)).into_owned();
    Some(Mount {
        target,
        kind,
        source,
        device,
    })
}

/// The kernel writes blanks, tabs, line feeds and backslashes as three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 4)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                plain.push(byte);
                at += 4;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_the_largest_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("crash")).unwrap();
        for (name, size) in [("a", 8 << 10), ("crash/b", 64 << 10), ("c", 32 << 10)] {
            std::fs::write(directory.path().join(name), vec![1; size]).unwrap();
        }
        let names: Vec<String> = largest(directory.path(), 2)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["crash/b", "c"]);
        assert!(largest(Path::new("/none"), 2).is_empty());
    }

    #[test]
    fn replaces_a_file_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hostname");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o640).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let error = write_atomic(&directory.path().join("missing/file"), b"", 0o600).unwrap_err();
        assert!(matches!(error, FsError::Write { .. }));
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
    }

    #[test]
    fn bounds_a_log_under_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qemu.log");
        trim_log(&path, 100).unwrap();
        let mut writer = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        assert_eq!(tail(&path, 2).unwrap(), ["line 98", "line 99"]);
        trim_log(&path, 200).unwrap();
        writeln!(writer, "after").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        let older = std::fs::read_to_string(directory.path().join("qemu.log.1")).unwrap();
        assert!(older.len() <= 200 && older.ends_with("line 99\n"));
        assert_eq!(
            tail_with_older(&path, 3).unwrap(),
            ["line 98", "line 99", "after"]
        );
        assert_eq!(tail_with_older(&path, 1).unwrap(), ["after"]);
        assert!(tail(&directory.path().join("none"), 3).unwrap().is_empty());
    }

    #[test]
    fn reads_mountinfo() {
        let line = r"36 35 98:0 /mnt1 /var/lib/a\040b rw,noatime master:1 - ext4 /dev/vda2 rw,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.target, Path::new("/var/lib/a b"));
        assert_eq!(
            (
                mount.kind.as_str(),
                mount.source.as_str(),
                mount.device.as_str()
            ),
            ("ext4", "/dev/vda2", "98:0")
        );
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/no/such/place")).unwrap());
        assert!(space(Path::new("/")).unwrap().total > 0);
        assert_eq!(parse_mount("nonsense"), None);
    }

    #[test]
    fn mounts_and_unmounts_for_real() {
        // In a mount namespace of this thread only, so that nothing is left behind whatever happens.
        std::thread::spawn(|| {
            nix::sched::unshare(
                nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS,
            )
            .unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let directory = tempfile::tempdir().unwrap();
            mount(
                "tmpfs",
                directory.path(),
                "tmpfs",
                MsFlags::MS_NOSUID,
                "size=1m",
            )
            .unwrap();
            assert_eq!(space(directory.path()).unwrap().total, 1 << 20);
            remount_read_only(directory.path()).unwrap();
            assert!(std::fs::write(directory.path().join("x"), "x").is_err());
            unmount(directory.path(), Unmount::Plain).unwrap();
            unmount(directory.path(), Unmount::Lazy).unwrap();
            let error =
                mount("/dev/null", directory.path(), "ext4", MsFlags::empty(), "").unwrap_err();
            assert!(matches!(error, FsError::Mount { .. }));
        })
        .join()
        .unwrap();
    }
}
