//! Emptying a drive: every mark that says what is on it goes, so that nothing
//! takes it for what it was.
//!
//! Invariant: a drive that anything uses (mounted, part of another pool, open
//! by a machine) is not touched: the kernel is asked for it exclusively. Neither
//! is a drive that has come by its name since the plan was made: each file that
//! is opened is asked which disk it leads to.
//!
//! udevd looks at a drive whenever somebody has written to it, and keeps it
//! busy while it does. It stays away from a drive that is locked (systemd,
//! BLOCK_DEVICE_LOCKING), so a drive is [`hold`] while it is changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};

use super::Error;
use super::step::Disk;
use crate::sys::block;
use crate::sys::command::Tool;

/// How much is overwritten at both ends: all signatures and tables lie there.
const END: usize = 4 << 20;

/// Keeps udevd away from a drive until it is dropped.
#[must_use]
pub struct Hold {
    file: Arc<Flock<File>>,
    disk: Disk,
}

/// Holds a drive. Busy while udevd looks at it.
pub fn hold(disk: &Disk) -> Result<Hold, Error> {
    let failed = |source: io::Error| Error::Hold {
        drive: disk.path.clone(),
        source,
    };
    // To close a drive that was open for writing would have udevd look at it again.
    let file = File::open(&disk.path).map_err(failed)?;
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| failed(errno.into()))?;
    if !is_same(disk, &file).map_err(failed)? {
        return Err(Error::Swapped {
            drive: disk.path.clone(),
        });
    }
    Ok(Hold {
        file: Arc::new(file),
        disk: disk.clone(),
    })
}

impl Hold {
    /// The drive.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether a text is anywhere in the first or last part of the drive, where LVM writes down what it made.
    pub async fn bears(&self, text: String) -> Result<bool, Error> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            let ends = ends(&file)?;
            Ok(ends.iter().any(|end| holds(end, text.as_bytes())))
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| Error::Hold {
            drive: self.disk.path.clone(),
            source,
        })
    }
}

/// Whether an open file leads to the disk that is meant.
fn is_same(disk: &Disk, file: &File) -> io::Result<bool> {
    Ok(block::sequence(file)? == disk.sequence)
}

fn ends(mut drive: &File) -> io::Result<[Vec<u8>; 2]> {
    let size = drive.seek(SeekFrom::End(0))?;
    let read = |start: u64| {
        let count = usize::try_from(size - start).unwrap_or(END).min(END);
        let mut bytes = vec![0; count];
        drive.read_exact_at(&mut bytes, start).map(|()| bytes)
    };
    Ok([read(0)?, read(size.saturating_sub(END as u64))?])
}

/// Whether a text is in some bytes.
fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Empties a drive.
pub async fn erase(disk: &Disk) -> Result<(), Error> {
    drop(exclusively(disk)?);
    Tool::new("wipefs")
        .args(["--all", "--force", "--quiet"])
        .arg(&disk.path)
        .run()
        .await
        .map_err(|source| Error::Wipe {
            drive: disk.path.clone(),
            source: Box::new(source),
        })?;
    let drive = exclusively(disk)?;
    tokio::task::spawn_blocking(move || empty_ends(drive))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| Error::Erase {
            drive: disk.path.clone(),
            source,
        })
}

/// Of a device, O_EXCL without O_CREAT asks to be its only user.
fn exclusively(disk: &Disk) -> Result<File, Error> {
    let failed = |source: io::Error| Error::Erase {
        drive: disk.path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_EXCL | nix::libc::O_CLOEXEC)
        .open(&disk.path)
        .map_err(failed)?;
    if is_same(disk, &file).map_err(failed)? {
        Ok(file)
    } else {
        Err(Error::Swapped {
            drive: disk.path.clone(),
        })
    }
}

fn empty_ends(mut drive: File) -> io::Result<()> {
    let size = drive.seek(SeekFrom::End(0))?;
    let zeros = vec![0; END];
    let count = usize::try_from(size).unwrap_or(END).min(END);
    drive.seek(SeekFrom::Start(0))?;
    drive.write_all(&zeros[..count])?;
    drive.seek(SeekFrom::Start(size.saturating_sub(END as u64)))?;
    drive.write_all(&zeros[..count])?;
    drive.sync_all()?;
    // wipefs tries it, too, gives up after a second while somebody has a partition open, and says nothing.
    block::reread_partitions(&drive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn disk(path: &Path) -> Disk {
        Disk {
            path: path.to_owned(),
            sequence: None,
        }
    }

    #[test]
    fn holds_a_drive_until_it_lets_go() {
        let drive = tempfile::NamedTempFile::new().unwrap();
        let held = hold(&disk(drive.path())).unwrap();
        let error = hold(&disk(drive.path())).err().unwrap();
        assert!(error.is_busy(), "{error:?}");
        drop(held);
        assert!(hold(&disk(drive.path())).is_ok());
        let absent = hold(&disk(Path::new("/no/such/drive"))).err().unwrap();
        assert!(!absent.is_busy(), "{absent:?}");
    }

    #[tokio::test]
    async fn touches_no_other_drive_of_that_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; END]).unwrap();
        let other = Disk {
            sequence: Some(4),
            ..disk(file.path())
        };
        let error = hold(&other).err().unwrap();
        assert!(matches!(error, Error::Swapped { .. }), "{error:?}");
        let error = erase(&other).await.unwrap_err();
        assert!(matches!(error, Error::Swapped { .. }), "{error:?}");
        assert_eq!(std::fs::read(file.path()).unwrap(), vec![7; END]);
    }

    #[tokio::test]
    async fn finds_a_text_at_both_ends() {
        for (size, at, is_seen) in [
            (3 * END, 5, true),
            (3 * END, 3 * END - 9, true),
            (3 * END, END + 7, false),
            (40, 31, true),
            (0, 0, false),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut bytes = vec![0; size];
            if size > 0 {
                bytes[at..at + 9].copy_from_slice(b"our mark.");
            }
            std::fs::write(file.path(), bytes).unwrap();
            let held = hold(&disk(file.path())).unwrap();
            let seen = held.bears("our mark.".to_owned()).await.unwrap();
            assert_eq!(seen, is_seen, "{size} {at}");
        }
    }

    #[tokio::test]
    async fn empties_both_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("drive");
        let size = 3 * END;
        std::fs::write(&path, vec![7; size]).unwrap();
        erase(&disk(&path)).await.unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), size);
        let zero = |range: &[u8]| range.iter().all(|byte| *byte == 0);
        assert!(zero(&bytes[..END]) && zero(&bytes[2 * END..]));
        assert_eq!(bytes[END], 7);
        // A drive of this machine that is in use is refused.
        let error = erase(&disk(Path::new("/no/such/drive"))).await.unwrap_err();
        assert!(matches!(error, Error::Erase { .. }));
    }
}
