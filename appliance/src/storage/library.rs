//! The image library: an ext4 file system on a thin volume, and the files in it.
//!
//! It is as large as its pool, and takes only the room that its files need: it
//! is mounted with `discard`, so that a removed image gives its room back.
//! Nothing in it is ever run (`noexec,nosuid,nodev`).
//!
//! What a power cut leaves is repaired before it is mounted. So is what is
//! worse, where others ask a person: nobody can be asked here, whose answer
//! could be anything but yes, and without the library no image can be used or
//! added and no machine with a CD starts. Two things keep that from costing
//! what nobody gave: what the repair overwrites is kept ([`UNDO`]), and nothing
//! is repaired while the drive does not give what it holds, because then it is
//! the drive that is wrong and not what was written to it. Whose image is gone
//! after it is told by its fault, `image-missing`.
//!
//! Files belong to the readers' group ([`super::reader`]) and nobody else can
//! read them: a virtual machine gets its CD as an open file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::{Bytes, ImageId, Timestamp};
use nix::mount::MsFlags;

use super::Error;
use super::observe::{ImageFile, Library};
use super::reader::READER;
use crate::state::schema::LIBRARY_PATH;
use crate::sys::command::{CommandError, Tool};
use crate::sys::fs::{self, Unmount};
use crate::sys::noted;
use crate::sys::pidfd::Exit;

/// The end of the name of a file that is still coming.
const PARTIAL: &str = ".part";
const FILE_MODE: u32 = 0o640;
/// Making a file system writes a little everywhere; checking one reads its tables.
const LIMIT: Duration = Duration::from_secs(600);

/// What the last repair overwrote; `e2undo -f` puts it back, from a rescue system.
const UNDO: &str = "/var/lib/ashlar/library.e2undo";
/// What e2fsck says where a drive does not give what it holds.
const UNREADABLE: [&str; 3] = ["Input/output error", "Error reading block", "short read"];
/// How much of what e2fsck said is told.
const MOST_TOLD: usize = 300;

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
    let Some(found) = repair_with_care(device).await? else {
        return Ok(());
    };
    // The file of the repair before this one.
    fs::remove_file(Path::new(UNDO))?;
    repair(device, Path::new(UNDO)).await?;
    tracing::warn!("the file system of the image library was repaired: {found}");
    if let Err(error) = tell_of_repair(Path::new(noted::FOLDER), &found) {
        tracing::error!("tell of the repair of the image library: {error}");
    }
    Ok(())
}

/// Repairs what loses nothing; gives what else is wrong with it.
async fn repair_with_care(device: &Path) -> Result<Option<String>, Error> {
    let tool = Tool::new("e2fsck").arg("-p").arg(device).timeout(LIMIT);
    match tool.run().await {
        // 1 and 2: errors were found and repaired.
        Err(CommandError::Failed {
            status: Exit::Code(0..=3),
            ..
        })
        | Ok(_) => Ok(None),
        // 4: some were found that are not repaired without being asked; above that, it could not look.
        Err(CommandError::Failed {
            status: Exit::Code(4..=7),
            stdout,
            stderr,
            ..
        }) if !UNREADABLE
            .iter()
            .any(|words| stdout.contains(words) || stderr.contains(words)) =>
        {
            Ok(Some(findings(&stdout)))
        }
        Err(source) => Err(Error::Library {
            what: "check the file system of the image library: look at the health of the drives of its pool",
            source: Box::new(source),
        }),
    }
}

/// Repairs all the rest, keeping what is overwritten.
async fn repair(device: &Path, undo: &Path) -> Result<(), Error> {
    let tool = Tool::new("e2fsck")
        .args(["-f", "-y", "-z"])
        .arg(undo)
        .arg(device)
        .timeout(LIMIT);
    match tool.run().await {
        Err(CommandError::Failed {
            status: Exit::Code(0..=3),
            ..
        })
        | Ok(_) => Ok(()),
        Err(source) => Err(Error::Library {
            what: "repair the file system of the image library: replace the drive that fails, or make its pool again",
            source: Box::new(source),
        }),
    }
}

/// What e2fsck found, without what it tells everybody.
fn findings(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let told = lines.filter(|line| {
        let usual = ["UNEXPECTED INCONSISTENCY", "(i.e., without"];
        !line.is_empty() && !usual.iter().any(|words| line.contains(words))
    });
    let told: Vec<&str> = told.collect();
    let told = told.join("; ");
    told.chars().take(MOST_TOLD).collect()
}

/// Leaves a fault where those of init are.
fn tell_of_repair(folder: &Path, found: &str) -> Result<(), fs::FsError> {
    let fault = Fault {
        code: "library-repaired".to_owned(),
        severity: Severity::Warning,
        title: "The file system of the image library was damaged and has been repaired".to_owned(),
        detail: format!(
            "Found: {found}. Images may be lacking or differ from what they were. What the repair overwrote is kept in \
             {UNDO}."
        ),
        remedy: "Remove images that are lacking, and those that do not work, and add them again. If it happens again, \
                 look at the health of the drives of its pool."
            .to_owned(),
        subject: None,
        since: Timestamp::now(),
    };
    noted::write(folder, &fault.code, &fault)
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

    /// A file system with a file in it.
    fn made(file: &Path) {
        File::create(file).unwrap().set_len(16 << 20).unwrap();
        run(
            "mkfs.ext4",
            &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"],
            file,
        );
        run("debugfs", &["-w", "-R", "write /etc/passwd image"], file);
    }

    fn run(tool: &str, args: &[&str], file: &Path) {
        let output = std::process::Command::new(tool)
            .args(args)
            .arg(file)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{tool} {args:?}: {output:?}");
    }

    #[tokio::test]
    async fn what_is_worse_than_a_power_cut_is_repaired_and_what_it_overwrote_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (file, undo) = (directory.path().join("fs"), directory.path().join("undo"));
        made(&file);
        assert_eq!(repair_with_care(&file).await.unwrap(), None);
        run(
            "debugfs",
            &["-w", "-R", "set_inode_field image block[0] 99999999"],
            &file,
        );
        run("debugfs", &["-w", "-R", "set_super_value state 2"], &file);
        let found = repair_with_care(&file).await.unwrap().unwrap();
        let before = std::fs::read(&file).unwrap();
        assert!(found.contains("corrupt extent header"), "{found}");
        assert!(!found.contains("MANUALLY"), "{found}");
        repair(&file, &undo).await.unwrap();
        run("e2undo", &[undo.to_str().unwrap()], &file);
        assert!(std::fs::read(&file).unwrap() == before);
        std::fs::remove_file(&undo).unwrap();
        repair(&file, &undo).await.unwrap();
        assert_eq!(repair_with_care(&file).await.unwrap(), None);

        let faults = directory.path().join("faults");
        tell_of_repair(&faults, &found).unwrap();
        let text = std::fs::read_to_string(faults.join("library-repaired.json")).unwrap();
        let fault: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(fault["severity"], "warning");
        assert!(fault["detail"].as_str().unwrap().contains(&found));
    }

    #[tokio::test]
    async fn what_can_not_be_looked_at_is_not_repaired() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fs");
        let error = repair_with_care(&file).await.unwrap_err();
        assert!(
            error.to_string().contains("health of the drives"),
            "{error}"
        );
        made(&file);
        let error = repair(&file, Path::new("/no/such/folder/undo")).await;
        assert!(error.is_err());
        assert_eq!(repair_with_care(&file).await.unwrap(), None);
    }
}
