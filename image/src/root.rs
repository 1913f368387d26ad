//! The root image and the initramfs that carries it.
//!
//! The root is one squashfs: the cached squashfs of the base with the folder `program` appended. Appending compresses
//! only what is new, so a changed program costs seconds; a second squashfs under an overlay would cost the same to build
//! but a mount, a module and memory on every machine.
//!
//! The initramfs is two cpio archives one after the other, as the kernel allows: stage 0 compressed, then the squashfs as
//! it is, because it is compressed already and copying is the quickest way to unpack.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::{Base, walk};
use crate::build::Parts;
use crate::cpio::Archive;
use crate::progress::{Step, mebibytes};
use crate::tool::Tool;

/// Makes `root.squashfs` in the folder from the base and the program, with the facts about the release.
pub fn squashfs(parts: &Parts, work: &Path) -> Result<PathBuf> {
    let (base, program, moment) = (parts.base(), parts.program(), parts.moment());
    let step = Step::start("Root image");
    let content = work.join("program");
    fs::create_dir_all(&content).with_context(|| format!("cannot create {}", content.display()))?;
    fs::copy(program, content.join("ashlar"))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    fs::write(content.join("os-release"), os_release(parts.version()))
        .context("cannot write os-release")?;
    let keys = content.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("cannot create {}", keys.display()))?;
    for key in parts.keys().public() {
        let name = key.file_name().context("a key has no name")?;
        fs::copy(&key, keys.join(name))
            .with_context(|| format!("cannot copy {}", key.display()))?;
    }
    let root = work.join("root.squashfs");
    fs::copy(base.squashfs(), &root).context("cannot copy the squashfs of the base")?;
    Tool::new("mksquashfs")
        .arg(&content)
        .arg(&root)
        .args([
            "-keep-as-directory",
            "-comp",
            "lz4",
            "-Xhc",
            "-all-root",
            "-no-xattrs",
            "-no-recovery",
            "-no-fragments",
        ])
        // A machine whose clock is absurd takes the age of the program as the least that it can be.
        .args([
            "-all-time",
            &moment.seconds(),
            "-mkfs-time",
            &moment.seconds(),
        ])
        .show(&step)?;
    step.done(&mebibytes(size(&root)?));
    Ok(root)
}

/// The text that says which release this is; also in the unified kernel image, where systemd-boot reads it.
pub fn os_release(version: &str) -> String {
    format!(
        "NAME=\"Ashlar\"\nID=ashlar\nVERSION=\"{version}\"\nVERSION_ID=\"{version}\"\nPRETTY_NAME=\"Ashlar {version}\"\n"
    )
}

/// Makes the initramfs: stage 0's program, its modules and the root image.
pub fn initramfs(base: &Base, program: &Path, root: &Path, work: &Path) -> Result<PathBuf> {
    let path = work.join("initramfs");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut output = BufWriter::new(file);

    let mut stage0 = Archive::new(Vec::new());
    for folder in ["dev", "modules", "root"] {
        stage0.folder(folder)?;
    }
    stage0.device("dev/console", 5, 1)?;
    stage0.device("dev/null", 1, 3)?;
    stage0.file("init", 0o755, &read(program)?)?;
    let modules = base.stage0().join("modules");
    for entry in walk(&modules)? {
        let name = format!("modules/{}", entry.display());
        stage0.file(&name, 0o644, &read(&modules.join(&entry))?)?;
    }
    let packed =
        zstd::encode_all(stage0.finish()?.as_slice(), 19).context("cannot compress stage 0")?;
    output
        .write_all(&packed)
        .context("cannot write the initramfs")?;
    // The kernel looks for the next archive at a multiple of four.
    output
        .write_all(&vec![0; packed.len().next_multiple_of(4) - packed.len()])
        .context("cannot write the initramfs")?;

    let mut image = Archive::new(output);
    let mut content =
        File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    image.stream("root.squashfs", 0o444, size(root)?, |output| {
        io::copy(&mut content, output)
    })?;
    image
        .finish()?
        .flush()
        .context("cannot write the initramfs")?;
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)
        .with_context(|| format!("cannot look at {}", path.display()))?
        .len())
}
