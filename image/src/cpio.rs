//! cpio archives in the "newc" form, the one the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format).
//!
//! Written here and not by the cpio program: that needs the files laid out on disk, and root for device nodes.

use std::io::{self, Write};

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written. Every entry belongs to root and has no time.
pub struct Archive<W> {
    output: W,
    entries: u32,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(output: W) -> Self {
        Self { output, entries: 0 }
    }

    /// Adds a folder; the ones above it must be there already.
    pub fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: FOLDER | 0o755,
            size: 0,
            device: (0, 0),
        })
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: CHARACTER_DEVICE | 0o600,
            size: 0,
            device: (major, minor),
        })
    }

    /// Adds a file held in memory.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let size = u64::try_from(content.len()).context("a file larger than the address space")?;
        self.stream(name, mode, size, |output| {
            output.write_all(content)?;
            Ok(size)
        })
    }

    /// Adds a file of a known size, written by the closure, which returns how much it wrote.
    pub fn stream(
        &mut self,
        name: &str,
        mode: u32,
        size: u64,
        write: impl FnOnce(&mut W) -> io::Result<u64>,
    ) -> Result<()> {
        let short = u32::try_from(size)
            .with_context(|| format!("{name} is too large for an initramfs: 4 GiB at most"))?;
        self.entry(&Entry {
            name,
            mode: FILE | mode,
            size: short,
            device: (0, 0),
        })?;
        let written = write(&mut self.output)
            .with_context(|| format!("cannot write {name} into the initramfs"))?;
        anyhow::ensure!(
            written == size,
            "{name} changed its size while it was read: {size} became {written} bytes"
        );
        self.pad(size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W> {
        self.entry(&Entry {
            name: "TRAILER!!!",
            mode: 0,
            size: 0,
            device: (0, 0),
        })?;
        Ok(self.output)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        let name_size = entry.name.len() + 1;
        let header = format!(
            "070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{}\0",
            self.entries,
            entry.mode,
            0,
            0,
            1,
            0,
            entry.size,
            0,
            0,
            entry.device.0,
            entry.device.1,
            name_size,
            0,
            entry.name
        );
        self.output
            .write_all(header.as_bytes())
            .with_context(|| format!("cannot write {}", entry.name))?;
        self.pad(u64::try_from(header.len()).context("a header larger than the address space")?)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let gap = usize::try_from(size.next_multiple_of(4) - size)
            .context("padding of more than three bytes")?;
        self.output
            .write_all(&[0; 3][..gap])
            .context("cannot write the initramfs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_it_back() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("bin/a", 0o755, b"hello").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let Ok(mut child) = Command::new("cpio")
            .args(["-i", "--to-stdout", "--quiet", "bin/a"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("no cpio program here; only the size was looked at");
            return;
        };
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"hello");
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.stream("x", 0o644, 5, |_| Ok(4)).is_err());
    }
}
