//! Emptying a drive: every mark that says what is on it goes, so that nothing
//! takes it for what it was.
//!
//! Invariant: a drive that anything uses (mounted, part of another pool, open
//! by a machine) is not touched: the kernel is asked for it exclusively.
//!
//! udevd looks at a drive whenever somebody has written to it, and keeps it
//! busy while it does. It stays away from a drive that is locked (systemd,
//! BLOCK_DEVICE_LOCKING), so a drive is [`hold`] while it is changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::Error;
use crate::sys::block;
use crate::sys::command::Tool;

/// How much is overwritten at both ends: all signatures and tables lie there.
const END: usize = 4 << 20;

/// Keeps udevd away from a drive until it is dropped.
#[must_use]
pub struct Hold(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

/// Holds a drive. Busy while udevd looks at it.
pub fn hold(drive: &Path) -> Result<Hold, Error> {
    // To close a drive that was open for writing would have udevd look at it again.
    File::open(drive)
        .and_then(|file| {
            Flock::lock(file, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, errno)| io::Error::from(errno))
        })
        .map(Hold)
        .map_err(|source| Error::Hold {
            drive: drive.to_owned(),
            source,
        })
}

/// Empties a drive.
pub async fn erase(drive: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Erase {
        drive: drive.to_owned(),
        source,
    };
    drop(exclusively(drive).map_err(failed)?);
    Tool::new("wipefs")
        .args(["--all", "--force", "--quiet"])
        .arg(drive)
        .run()
        .await
        .map_err(|source| Error::Wipe {
            drive: drive.to_owned(),
            source: Box::new(source),
        })?;
    let path = drive.to_owned();
    tokio::task::spawn_blocking(move || exclusively(&path).and_then(empty_ends))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(failed)
}

/// Of a device, O_EXCL without O_CREAT asks to be its only user.
fn exclusively(drive: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_EXCL | nix::libc::O_CLOEXEC)
        .open(drive)
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

    #[test]
    fn holds_a_drive_until_it_lets_go() {
        let drive = tempfile::NamedTempFile::new().unwrap();
        let held = hold(drive.path()).unwrap();
        let error = hold(drive.path()).err().unwrap();
        assert!(error.is_busy(), "{error:?}");
        drop(held);
        assert!(hold(drive.path()).is_ok());
        let absent = hold(Path::new("/no/such/drive")).err().unwrap();
        assert!(!absent.is_busy(), "{absent:?}");
    }

    #[tokio::test]
    async fn empties_both_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("drive");
        let size = 3 * END;
        std::fs::write(&path, vec![7; size]).unwrap();
        erase(&path).await.unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), size);
        let zero = |range: &[u8]| range.iter().all(|byte| *byte == 0);
        assert!(zero(&bytes[..END]) && zero(&bytes[2 * END..]));
        assert_eq!(bytes[END], 7);
        // A drive of this machine that is in use is refused.
        let error = erase(Path::new("/no/such/drive")).await.unwrap_err();
        assert!(matches!(error, Error::Erase { .. }));
    }
}
