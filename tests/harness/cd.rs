//! A CD that a machine starts from, as installers are: an ISO with an EFI program behind an El Torito entry.
//!
//! ```text
//!   guest.iso ── El Torito, UEFI ──► efi.img ── EFI/BOOT/BOOTX64.EFI ──► kernel of the image, and a script as process 1
//! ```
//!
//! The guest has no disk and is up within seconds. It writes a numbered line twice a second and repeats what it is told,
//! so that whatever is missing, doubled or out of order on its serial line is seen.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ashlar_image::base::{self, Base};
use ashlar_image::cpio::Archive;
use ashlar_image::place::Place;
use ashlar_image::progress::Step;
use ashlar_image::tool::Tool;
use ashlar_image::uki;

use crate::api::sha256;

const COMMAND_LINE: &str = "console=ttyS0";
/// The kernel's first words, and with them those of the guest.
pub const FIRST_WORDS: &str = "Linux version";
/// Says nothing but its lines: a word of the kernel could fall into the middle of one. Two loops, because a `read` with a
/// time limit loses what it has read when the time is over in the middle of a line.
const PROGRAM: &str = r#"#!/bin/busybox sh
busybox mount -t devtmpfs devices /dev
busybox dmesg -n 1
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
busybox stty -echo
while read -r words; do echo "heard $words"; done < /dev/ttyS0 &
n=0
while :; do
	echo "line $n"
	n=$((n + 1))
	busybox sleep 0.5
done
"#;
const KIB: u64 = 1 << 10;

/// The ISO; made if it is not there yet (a second).
pub fn talker() -> Result<PathBuf> {
    let folder = crate::target().join("tests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let place = Place::find()?;
    let base = {
        let _lock = place.lock()?;
        base::make(&place)?
    };
    let recipe = sha256(format!("{COMMAND_LINE} {PROGRAM} {} 1", base.key()).as_bytes());
    let iso = folder.join(format!("talker-{}.iso", &recipe[..12]));
    // Tests run side by side: one makes it, the others wait for it.
    let lock = File::create(folder.join("talker.lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot lock")?;
    if !iso.exists() {
        let work = tempfile::tempdir_in(&folder).context("cannot make a folder")?;
        build(&base, work.path(), &iso)?;
    }
    Ok(iso)
}

fn build(base: &Base, work: &Path, iso: &Path) -> Result<()> {
    let step = Step::start("CD of a guest");
    let (words, initramfs) = (work.join("cmdline"), work.join("initramfs"));
    fs::write(&words, COMMAND_LINE).context("cannot write the command line")?;
    fs::write(&initramfs, program(base)?).context("cannot write the initramfs")?;
    let efi = work.join("guest.efi");
    let kernel = base.kernel();
    let sections: [(&str, &Path); 3] = [
        (".cmdline", &words),
        (".linux", &kernel),
        (".initrd", &initramfs),
    ];
    uki::assemble(&base.stub(), &sections, &efi, &step)?;

    let content = work.join("content");
    fs::create_dir(&content).context("cannot make a folder")?;
    let boot = content.join("efi.img");
    let size = fs::metadata(&efi).context("objcopy made nothing")?.len() / KIB + 1024;
    // The catalog counts blocks of 512 bytes with 16 bits.
    ensure!(size < 32 * KIB, "too large for El Torito: {size} KiB");
    Tool::new("mkfs.vfat")
        .arg("-C")
        .arg(&boot)
        .arg(size.to_string())
        .show(&step)?;
    Tool::new("mmd")
        .arg("-i")
        .arg(&boot)
        .args(["::/EFI", "::/EFI/BOOT"])
        .show(&step)?;
    Tool::new("mcopy")
        .arg("-i")
        .arg(&boot)
        .arg(&efi)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .show(&step)?;
    let draft = work.join("guest.iso");
    Tool::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", "TALKER", "-o"])
        .arg(&draft)
        .args(["-e", "efi.img", "-no-emul-boot"])
        .arg(&content)
        .show(&step)?;
    fs::rename(&draft, iso).context("cannot keep the ISO")?;
    step.done("ready");
    Ok(())
}

/// The root of the guest: a shell and what it runs.
fn program(base: &Base) -> Result<Vec<u8>> {
    let busybox = base.tree().join("usr/bin/busybox");
    let busybox =
        fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut root = Archive::new(Vec::new());
    for folder in ["bin", "dev"] {
        root.folder(folder)?;
    }
    root.device("dev/console", 5, 1)?;
    root.file("bin/busybox", 0o755, &busybox)?;
    root.file("init", 0o755, PROGRAM.as_bytes())?;
    root.finish()
}

/// How many lines the guest wrote; an error when what was read does not have each of them once, in order.
pub fn lines(text: &str) -> Result<usize> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut count = 0;
    for line in whole.lines() {
        let Some(number) = line.trim_end().strip_prefix("line ") else {
            continue;
        };
        ensure!(
            number.parse() == Ok(count),
            "after {count} lines comes `{line}`"
        );
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_seen() {
        assert_eq!(lines("").unwrap(), 0);
        let text = "Linux version\r\nline 0\r\nheard x\r\nline 1\r\nline 2";
        assert_eq!(lines(text).unwrap(), 2);
        assert!(lines("line 0\nline 2\n").is_err());
        assert!(lines("line 0\nline 0\n").is_err());
    }
}
