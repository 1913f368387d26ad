//! The unified kernel image: systemd-stub with kernel, initramfs, command line and release as sections.
//!
//! objcopy places the sections one after the other behind the stub's own, each on a page of its own; the kernel comes
//! last but one so that it may be unpacked in place, the initramfs last because it is the largest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::Base;
use crate::build::Release;
use crate::progress::{Step, mebibytes};
use crate::root::os_release;
use crate::tool::Tool;

/// The kernel's command line. The last console is /dev/console: the serial line, where it is seen without a screen.
/// A kernel that panics starts again: with boot counting that is what brings the older slot back.
///
/// What it would try of itself at each start is left out: its ciphers (`cryptomgr.notests`, the default of kernels that are
/// not Debian's), the derivation of keys, and a source of random numbers that only kernels in FIPS mode need
/// (`initcall_blacklist`). Together these take a second of an emulated processor. While it starts, the kernel does not let its
/// own clean-up (RCU) wait for its processors to pass by, but asks them (`rcupdate.rcu_expedited`); init ends that.
pub const COMMAND_LINE: &str = "console=tty0 console=ttyS0,115200 quiet loglevel=4 panic=10 oops=panic \
     cryptomgr.notests initcall_blacklist=crypto_kdf108_init,jent_mod_init rcupdate.rcu_expedited=1 swiotlb=8192";

const PAGE: u64 = 4096;

/// Makes `ashlar.efi` in the folder.
pub fn make(base: &Base, initramfs: &Path, release: &Release, work: &Path) -> Result<PathBuf> {
    let step = Step::start("Unified kernel image");
    let facts = work.join("os-release");
    let command_line = work.join("cmdline");
    fs::write(&facts, os_release(&release.version)).context("cannot write os-release")?;
    let words: Vec<&str> = std::iter::once(COMMAND_LINE)
        .chain(release.words.iter().map(String::as_str))
        .collect();
    fs::write(&command_line, words.join(" ")).context("cannot write the kernel command line")?;

    let kernel = base.kernel();
    let sections: [(&str, &Path); 4] = [
        (".osrel", &facts),
        (".cmdline", &command_line),
        (".linux", &kernel),
        (".initrd", initramfs),
    ];
    let image = work.join("ashlar.efi");
    assemble(&base.stub(), &sections, &image, &step)?;
    let size = fs::metadata(&image).context("objcopy made nothing")?.len();
    step.done(&mebibytes(size));
    Ok(image)
}

/// Adds the sections, each a name and a file, to a stub.
pub fn assemble(stub: &Path, sections: &[(&str, &Path)], image: &Path, step: &Step) -> Result<()> {
    let headers = Tool::new("objdump")
        .args(["--section-headers", "--wide"])
        .arg(stub)
        .output()?;
    let mut address =
        end_of_sections(&headers).context("systemd-stub has no sections that objdump can read")?;
    // The header then tells the time of the stub, not that of now.
    let mut objcopy = Tool::new("objcopy").arg("--preserve-dates");
    for (name, content) in sections {
        address = address.next_multiple_of(PAGE);
        objcopy = objcopy
            .arg("--add-section")
            .arg(format!("{name}={}", content.display()))
            .arg("--change-section-vma")
            .arg(format!("{name}={address:#x}"));
        let data = fs::metadata(content);
        address += data
            .with_context(|| format!("cannot look at {}", content.display()))?
            .len();
    }
    objcopy.arg(stub).arg(image).show(step)
}

/// Where the last section of the program ends in memory, from `objdump --section-headers --wide`.
fn end_of_sections(headers: &str) -> Option<u64> {
    headers
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next()?.parse::<u32>().ok()?;
            words.next()?;
            let size = u64::from_str_radix(words.next()?, 16).ok()?;
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some(address + size)
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_the_stub() {
        let text = "\nlinuxx64.efi.stub:     file format pei-x86-64\n\nSections:\nIdx Name          Size      VMA               LMA               File off  Algn  Flags\n  0 .text         00012470  000000014df71000  000000014df71000  00000400  2**4  CONTENTS, ALLOC, LOAD, READONLY, CODE\n  7 .sdmagic      00000030  000000014df8f000  000000014df8f000  0001dc00  2**2  CONTENTS, ALLOC, LOAD, READONLY, DATA\n";
        assert_eq!(end_of_sections(text), Some(0x1_4df8_f030));
        assert_eq!(end_of_sections("nothing"), None);
    }
}
