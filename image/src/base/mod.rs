//! The quick base: kernel and root tree from Debian packages.
//!
//! Three cached layers, each named by a hash of what it is made from, so that nothing is done twice:
//! `packages-<hash>.tar` (downloaded and extracted packages), `base-<hash>/` (the tree that `keep` leaves of it, the
//! squashfs of that tree, kernel, EFI programs and the modules of stage 0).
//!
//! Packages are only extracted, never configured: no script of theirs runs, so an ordinary user can do it, it takes
//! seconds, and the result holds nothing that was not asked for. What configuring would have made (users, library
//! cache, module index, certificate bundle) is made here. The tree is then built by choosing what to keep rather than by
//! deleting: an appliance has a closed list of programs, and libraries follow from what those link.

mod choose;
mod modules;
mod tree;

pub use tree::walk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use crate::place::Place;
use crate::progress::{Step, mebibytes};
use crate::tool::Tool;

/// The Debian release the packages come from.
pub const SUITE: &str = "trixie";
/// Raise it when the code here makes something else from the same lists.
const RECIPE: &str = "8";

/// Kernel, EFI programs, stage 0's parts and the root squashfs without the program.
#[derive(Clone, Debug)]
pub struct Base {
    directory: PathBuf,
}

impl Base {
    /// The kernel (a bzImage).
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// systemd-stub, the start of every unified kernel image.
    pub fn stub(&self) -> PathBuf {
        self.directory.join("linuxx64.efi.stub")
    }

    /// systemd-boot.
    pub fn boot_loader(&self) -> PathBuf {
        self.directory.join("systemd-bootx64.efi")
    }

    /// Stage 0's share: `modules/<name>.ko` and `modules/order`.
    pub fn stage0(&self) -> PathBuf {
        self.directory.join("stage0")
    }

    /// The squashfs of the tree.
    pub fn squashfs(&self) -> PathBuf {
        self.directory.join("base.squashfs")
    }

    /// The tree itself, for a look at what is inside.
    pub fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// A text that changes when the base does.
    pub fn key(&self) -> String {
        self.directory
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// Makes the base, or finds the one made before from the same lists. The caller holds the lock.
pub fn make(place: &Place) -> Result<Base> {
    let sources = place.sources().join("base");
    let list = read(&sources.join("packages"))?;
    let packages = packages(&list);
    let keep = read(&sources.join("keep"))?;
    let packages_key = short_hash([SUITE.as_bytes(), packages.join(",").as_bytes()]);
    let overlay = overlay_files(&sources.join("overlay"))?;
    let parts = [
        RECIPE.as_bytes(),
        packages_key.as_bytes(),
        keep.as_bytes(),
        &overlay,
    ];
    let base = Base {
        directory: place.output()?.join(format!("base-{}", short_hash(parts))),
    };
    if base.squashfs().exists() {
        return Ok(base);
    }

    let archive = place.output()?.join(format!("packages-{packages_key}.tar"));
    if !archive.exists() {
        download(&packages, &archive)?;
    }
    let work = tempfile::Builder::new()
        .prefix("base-work-")
        .tempdir_in(place.output()?)
        .context("cannot make a work folder")?;
    let made = Base {
        directory: work.path().join("base"),
    };
    tree::build(
        &archive,
        &choose::Rules::parse(&keep)?,
        &sources.join("overlay"),
        work.path(),
        &made,
    )?;
    compress(&made)?;
    fs::rename(&made.directory, &base.directory)
        .with_context(|| format!("cannot put the base at {}", base.directory.display()))?;
    Ok(base)
}

/// The package names of the list: everything but comments.
fn packages(list: &str) -> Vec<&str> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn download(packages: &[&str], archive: &Path) -> Result<()> {
    let step = Step::start("Debian packages");
    let partial = archive.with_extension("partial");
    let mut mmdebstrap = Tool::new("mmdebstrap");
    if !geteuid().is_root() {
        // Nothing is run in the tree, so neither a chroot nor user namespaces are needed.
        mmdebstrap = mmdebstrap.arg("--mode=chrootless");
    }
    mmdebstrap
        .args(["--variant=extract", "--format=tar"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg(format!("--include={}", packages.join(",")))
        .arg(SUITE)
        .arg(&partial)
        .show(&step)
        .context("cannot get the Debian packages of image/base/packages")?;
    fs::rename(&partial, archive).with_context(|| format!("cannot write {}", archive.display()))?;
    step.done(&size_of(archive)?);
    Ok(())
}

/// LZ4, because unpacking is a tenth of the work of a start with zstd: 0.7 s of 5.5 s of an emulated start, for 18 MiB more
/// of memory. Blocks of 128 KiB, and no fragments: a start reads about ninety small files. With blocks of 1 MiB the kernel
/// unpacks up to a whole one for each, and takes 256 pages for its readahead that are mostly thrown away. The kernel of
/// `buildroot/` can unpack nothing else.
fn compress(base: &Base) -> Result<()> {
    let step = Step::start("Root image of the base");
    Tool::new("mksquashfs")
        .arg(base.tree())
        .arg(base.squashfs())
        .args([
            "-noappend",
            "-all-root",
            "-no-xattrs",
            "-comp",
            "lz4",
            "-Xhc",
        ])
        .args(["-b", "128K", "-no-fragments"])
        .args(["-all-time", "0", "-mkfs-time", "0"])
        .show(&step)?;
    step.done(&size_of(&base.squashfs())?);
    Ok(())
}

/// Everything in the overlay as bytes to hash: path, kind, mode and content of each entry, in order.
fn overlay_files(overlay: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in tree::walk(overlay)? {
        let path = overlay.join(&entry);
        let kind = fs::symlink_metadata(&path)
            .with_context(|| format!("cannot look at {}", path.display()))?;
        bytes.extend_from_slice(entry.as_os_str().as_encoded_bytes());
        bytes.push(0);
        if kind.is_symlink() {
            let target =
                fs::read_link(&path).with_context(|| format!("cannot read {}", path.display()))?;
            bytes.extend_from_slice(target.as_os_str().as_encoded_bytes());
        } else if kind.is_file() {
            bytes.extend(
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
            );
        }
        bytes.push(0);
    }
    Ok(bytes)
}

/// A short name for what is made from these.
pub fn short_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn size_of(path: &Path) -> Result<String> {
    let data = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if data.len() == 0 {
        bail!("{} is empty", path.display());
    }
    Ok(mebibytes(data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_packages() {
        assert_eq!(packages("# a\n\nudev\n  kmod \n"), ["udev", "kmod"]);
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(
            short_hash([&b"ab"[..], b"c"]),
            short_hash([&b"a"[..], b"bc"])
        );
    }
}
