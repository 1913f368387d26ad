//! The EFI system partition, where releases are files: mounted only while one is looked at or changed.
//!
//! Invariant: a release gets a name that the boot loader could start only when it was written whole, brought to the drive,
//! and read back from it, and it is read once more before it is started. FAT has no journal: what is changed at a time is
//! one name in one folder, and it is brought to the drive before the next is. What stays mounted could be damaged by a
//! crash, so nothing stays mounted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::MsFlags;

use super::bundle;
use super::slot::{Rename, Slot};
use crate::sys::block;
use crate::sys::fs::{self, FsError, Unmount};

/// Where it is mounted.
const TARGET: &str = "/run/ashlar/esp";
/// Its name.
const LABEL: &str = "ashlar-esp";
/// Where the state is mounted, which is on the same disk.
const STATE: &str = "/var/lib/ashlar";
/// Where the boot loader looks for releases.
const RELEASES: &str = "EFI/Linux";
/// What is being received; the boot loader does not know this ending. In the same folder, so that it gets its name by a
/// change of that folder alone.
const DRAFT: &str = "EFI/Linux/ashlar.part";

/// Why the system partition can not be used.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// It was not found.
    #[error("the system partition was not found beside that of the state")]
    Missing,
    /// Mounting and the like.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file on it.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What was read back is not what was written.
    #[error("what was written to the system partition can not be read back: the drive fails")]
    NotKept,
}

/// The partition, mounted for as long as this lives.
#[derive(Debug)]
pub struct Esp {
    folder: PathBuf,
    mounted: bool,
}

impl Esp {
    /// Mounts the one on the disk of the state.
    pub fn mount() -> Result<Esp, EspError> {
        let device = device()?.ok_or(EspError::Missing)?;
        let target = Path::new(TARGET);
        fs::create_directory(target)?;
        let flags =
            MsFlags::MS_NOATIME | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if !fs::is_mounted(target)? {
            let options = "umask=0077,errors=remount-ro";
            fs::mount(&device.to_string_lossy(), target, "vfat", flags, options)?;
        }
        Ok(Esp {
            folder: target.to_owned(),
            mounted: true,
        })
    }

    /// A folder in its place.
    #[cfg(test)]
    pub fn at(folder: &Path) -> Esp {
        std::fs::create_dir_all(folder.join(RELEASES)).expect("a folder of a test");
        Esp {
            folder: folder.to_owned(),
            mounted: false,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(RELEASES).join(name)
    }

    /// The releases on it, the newest first.
    pub fn slots(&self) -> Result<Vec<Slot>, EspError> {
        let folder = self.folder.join(RELEASES);
        let failed = |source| EspError::File {
            what: "list",
            path: folder.clone(),
            source,
        };
        let mut slots = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let size = entry.metadata().map_err(failed)?.len();
            slots.extend(Slot::parse(
                &entry.file_name().to_string_lossy(),
                Bytes(size),
            ));
        }
        slots.sort_by(|a, b| {
            b.version
                .cmp(&a.version)
                .then_with(|| a.name().cmp(&b.name()))
        });
        Ok(slots)
    }

    /// Room on it.
    pub fn free(&self) -> Result<Bytes, EspError> {
        Ok(Bytes(fs::space(&self.folder)?.available))
    }

    /// Renames in order; each is on the drive before the next.
    pub fn rename(&self, renames: &[Rename]) -> Result<(), EspError> {
        for Rename { from, to } in renames {
            let path = self.path(from);
            std::fs::rename(&path, self.path(to)).map_err(|source| EspError::File {
                what: "rename",
                path,
                source,
            })?;
            self.sync()?;
        }
        Ok(())
    }

    /// Whether a release is on the drive as it was signed.
    pub fn is_sound(&self, name: &str, sha256: &str) -> Result<bool, EspError> {
        let path = self.path(name);
        let failed = |what| {
            let path = path.clone();
            move |source| EspError::File { what, path, source }
        };
        let file = File::open(&path).map_err(failed("open"))?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| failed("forget")(errno.into()))?;
        let sum = bundle::sum(file).map_err(failed("read"))?;
        Ok(sum.eq_ignore_ascii_case(sha256))
    }

    /// Removes a release.
    pub fn remove(&self, name: &str) -> Result<(), EspError> {
        fs::remove_file(&self.path(name))?;
        self.sync()
    }

    /// A new file for a release that comes, in the place of one that did not come whole.
    pub fn draft(&self) -> Result<File, EspError> {
        self.forget_draft()?;
        let path = self.folder.join(DRAFT);
        OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| EspError::File {
                what: "create",
                path,
                source,
            })
    }

    /// Removes what did not come whole.
    pub fn forget_draft(&self) -> Result<(), EspError> {
        Ok(fs::remove_file(&self.folder.join(DRAFT))?)
    }

    /// Gives the draft the name of a release, once it was read back from the drive with the right sum.
    pub fn settle(&self, draft: File, sha256: &str, slot: &Slot) -> Result<(), EspError> {
        let path = self.folder.join(DRAFT);
        let failed = |what| {
            let path = path.clone();
            move |source| EspError::File { what, path, source }
        };
        draft.sync_all().map_err(failed("write"))?;
        // What the kernel remembers of it says nothing of the drive.
        posix_fadvise(&draft, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| failed("forget")(errno.into()))?;
        drop(draft);
        let written = File::open(&path).map_err(failed("open"))?;
        let sum = bundle::sum(written).map_err(failed("read back"))?;
        if !sum.eq_ignore_ascii_case(sha256) {
            self.forget_draft()?;
            return Err(EspError::NotKept);
        }
        std::fs::rename(&path, self.path(&slot.name())).map_err(failed("rename"))?;
        self.sync()
    }

    /// Brings everything to the drive.
    fn sync(&self) -> Result<(), EspError> {
        let path = &self.folder;
        let folder = File::open(path).and_then(|folder| {
            nix::unistd::syncfs(&folder)?;
            Ok(())
        });
        folder.map_err(|source| EspError::File {
            what: "bring to the drive what changed in",
            path: path.clone(),
            source,
        })
    }
}

impl Drop for Esp {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = fs::unmount(&self.folder, Unmount::Plain)
        {
            tracing::warn!("{}", crate::reconcile::chain(&error));
        }
    }
}

/// The system partition on the disk that holds the state.
fn device() -> Result<Option<PathBuf>, EspError> {
    let mounts = fs::mounts()?;
    let state = mounts
        .iter()
        .rev()
        .find(|mount| mount.target == Path::new(STATE));
    let Some(state) = state else {
        return Ok(None);
    };
    let disks = block::list();
    let disk = disks.iter().find(|disk| {
        let mut numbers = disk.partitions.iter().map(|partition| partition.device);
        numbers.any(|(major, minor)| format!("{major}:{minor}") == state.device)
    });
    let partition = disk.and_then(|disk| {
        let mut partitions = disk.partitions.iter();
        partitions.find(|partition| partition.label.as_deref() == Some(LABEL))
    });
    Ok(partition.map(block::Partition::path))
}
