//! The image library: an ext4 file system on a thin volume, and the files in it.
//!
//! It is as large as its pool, and takes only the room that its files need: it
//! is mounted with `discard`, so that a removed image gives its room back.
//! Nothing in it is ever run (`noexec,nosuid,nodev`).
//!
//! Files belong to the readers' group ([`super::reader`]) and nobody else can
//! read them: a virtual machine gets its CD as an open file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::{Bytes, ImageId};
use nix::mount::MsFlags;

use super::Error;
use super::observe::{ImageFile, Library};
use super::reader::READER;
use crate::state::schema::LIBRARY_PATH;
use crate::sys::command::{CommandError, Tool};
use crate::sys::fs::{self, Unmount};
use crate::sys::pidfd::Exit;

/// The end of the name of a file that is still coming.
const PARTIAL: &str = ".part";
const FILE_MODE: u32 = 0o640;
/// Making a file system writes a little everywhere; checking one reads its tables.
const LIMIT: Duration = Duration::from_secs(600);

/// Makes an empty file system on a device.
pub async fn format(device: &Path) -> Result<(), Error> {
    Tool::new("mkfs.ext4")
        .args(["-q", "-m", "0", "-T", "largefile4"])
        .args(["-L", "ashlar-library", "-E", "lazy_itable_init=1,nodiscard"])
        .arg(device)
        .timeout(LIMIT)
        .run()
        .await
        .map(drop)
        .map_err(|source| Error::Library {
            what: "make the file system of the image library",
            source: Box::new(source),
        })
}

/// Repairs what a power cut left, and mounts.
pub async fn mount(device: &Path) -> Result<(), Error> {
    check(device).await?;
    let target = Path::new(LIBRARY_PATH);
    fs::create_directory(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    let source = device.to_string_lossy();
    fs::mount(&source, target, "ext4", flags, "discard,errors=remount-ro")?;
    grow(device).await
}

async fn check(device: &Path) -> Result<(), Error> {
    let tool = Tool::new("e2fsck").arg("-p").arg(device).timeout(LIMIT);
    match tool.run().await {
        // 1 and 2: errors were found and repaired.
        Err(CommandError::Failed {
            status: Exit::Code(1 | 2),
            ..
        })
        | Ok(_) => Ok(()),
        Err(source) => Err(Error::Library {
            what: "check the file system of the image library",
            source: Box::new(source),
        }),
    }
}

/// Lets the mounted file system fill its device.
pub async fn grow(device: &Path) -> Result<(), Error> {
    let tool = Tool::new("resize2fs").arg(device).timeout(LIMIT);
    tool.run().await.map(drop).map_err(|source| Error::Library {
        what: "let the image library fill its volume",
        source: Box::new(source),
    })
}

/// Takes it out of the tree; at once also when a file in it is open, if `how` says so.
pub fn unmount(how: Unmount) -> Result<(), Error> {
    Ok(fs::unmount(Path::new(LIBRARY_PATH), how)?)
}

/// Looks at the library, if it is mounted. One that can not be read is a finding: the rest of storage does not wait for it.
pub fn look() -> Result<Option<Library>, Error> {
    let mounts = fs::mounts()?;
    let mounted = mounts
        .into_iter()
        .rfind(|mount| mount.target == Path::new(LIBRARY_PATH) && mount.kind == "ext4");
    let Some(mounted) = mounted else {
        return Ok(None);
    };
    let (files, problem) = match files(Path::new(LIBRARY_PATH)) {
        Ok(files) => (files, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    Ok(Some(Library {
        device: PathBuf::from(mounted.source),
        files,
        problem,
    }))
}

fn files(directory: &Path) -> io::Result<BTreeMap<ImageId, ImageFile>> {
    let mut files: BTreeMap<ImageId, ImageFile> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let (id, is_partial) = match name.strip_suffix(PARTIAL) {
            Some(id) => (id, true),
            None => (name, false),
        };
        let Ok(id) = id.parse() else {
            continue;
        };
        // A file that goes while it is looked at is not there.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let size = Some(Bytes(metadata.len()));
        let file = files.entry(id).or_default();
        if is_partial {
            file.partial = size;
        } else {
            file.whole = size;
        }
    }
    Ok(files)
}

/// Where an image is in a library, and where while its bytes come.
pub fn paths(library: &Path, image: ImageId) -> (PathBuf, PathBuf) {
    let whole = library.join(image.to_string());
    let partial = library.join(format!("{image}{PARTIAL}"));
    (whole, partial)
}

/// Opens the file of an image whose bytes come, making it when there is none.
pub fn open_partial(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .read(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)?;
    std::os::unix::fs::fchown(&file, None, Some(READER))?;
    Ok(file)
}

/// Gives an image its final name, for good.
pub fn complete(library: &Path, image: ImageId) -> io::Result<()> {
    let (whole, partial) = paths(library, image);
    std::fs::rename(partial, whole)?;
    File::open(library)?.sync_all()
}

/// Removes the files of an image; their absence is success.
pub fn remove(library: &Path, image: ImageId) -> Result<(), Error> {
    let (whole, partial) = paths(library, image);
    fs::remove_file(&partial)?;
    Ok(fs::remove_file(&whole)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn keeps_files_by_image() {
        let directory = tempfile::tempdir().unwrap();
        let id = |n: u128| ImageId::from(uuid::Uuid::from_u128(n));
        let (_, partial) = paths(directory.path(), id(1));
        let file = open_partial(&partial).unwrap();
        file.set_len(7).unwrap();
        drop(file);
        // Opened again it keeps what it holds.
        let metadata = open_partial(&partial).unwrap().metadata().unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (7, FILE_MODE));
        assert_eq!(metadata.gid(), READER);
        std::fs::create_dir(directory.path().join("lost+found")).unwrap();
        let seen = files(directory.path()).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[&id(1)].partial, Some(Bytes(7)));
        complete(directory.path(), id(1)).unwrap();
        let seen = files(directory.path()).unwrap()[&id(1)];
        assert_eq!((seen.partial, seen.whole), (None, Some(Bytes(7))));
        remove(directory.path(), id(1)).unwrap();
        remove(directory.path(), id(1)).unwrap();
        assert!(files(directory.path()).unwrap().is_empty());
    }
}
