//! VMware's format (Virtual Disk Format 5.0): one sparse file with its
//! descriptor inside, as `monolithicSparse` or `streamOptimized`. The kinds
//! that are spread over several files are refused: their descriptor names
//! files, and would have QEMU open any file of this machine.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "VMDK";
const SECTOR: u64 = 512;
/// The header is at the end, because the file was written in one go.
const AT_END: u64 = u64::MAX;

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let mut header = file.part(FORMAT, "the header", 0, 512)?;
    let version = header.le32(4);
    if !(1..=3).contains(&version) {
        return Err(InspectError::Unsupported {
            format: FORMAT,
            what: format!("version {version} of the format is not supported"),
        });
    }
    // A transfer as text would have changed these.
    if header[73..77] != *b"\n \r\n" {
        return Err(damaged("line ends in it were changed on its way"));
    }
    check_descriptor(file, &header)?;
    if header.le64(56) == AT_END {
        let at = file.size().saturating_sub(2 * SECTOR);
        header = file.part(FORMAT, "the second header", at, 512)?;
        if !header.starts_with(b"KDMV") {
            return Err(damaged("the second header, at its end, is missing"));
        }
    }
    let sectors = header.le64(12);
    let (grain, per_table) = (header.le64(20), u64::from(header.le32(44)));
    if !grain.is_power_of_two() || !(1..=1 << 20).contains(&grain) {
        return Err(damaged("its blocks have an impossible size"));
    }
    if !(1..=512).contains(&per_table) {
        return Err(damaged("its tables have an impossible length"));
    }
    let size = sectors
        .checked_mul(SECTOR)
        .ok_or_else(|| damaged("its size is impossible"))?;
    let tables = sectors.div_ceil(grain * per_table);
    let directory = header.le64(56).saturating_mul(SECTOR);
    file.holds(
        FORMAT,
        "the table of blocks",
        directory,
        tables.saturating_mul(4),
    )?;
    Ok(Found {
        format: ImageFormat::Vmdk,
        virtual_size: Bytes(size),
    })
}

fn check_descriptor<S: Source + ?Sized>(
    file: &Reader<'_, S>,
    header: &[u8],
) -> Result<(), InspectError> {
    let (at, length) = (header.le64(28), header.le64(36));
    if at == 0 || length == 0 {
        return Err(part());
    }
    let length = length
        .checked_mul(SECTOR)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= 64 << 10)
        .ok_or_else(|| damaged("its descriptor has an impossible length"))?;
    let text = file.part(FORMAT, "the descriptor", at.saturating_mul(SECTOR), length)?;
    let end = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    if text[..end].iter().all(u8::is_ascii_whitespace) {
        return Err(part());
    }
    check_text(&String::from_utf8_lossy(&text[..end]))
}

fn part() -> InspectError {
    InspectError::OtherFile {
        format: FORMAT,
        what: "it is one part of a disk of several files",
    }
}

/// `key=value` and, for each file, a line that begins with how it may be used.
fn check_text(text: &str) -> Result<(), InspectError> {
    let mut kind = None;
    let mut extents = 0;
    for line in text.lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        let (key, value) = lower.split_once('=').unwrap_or((&lower, ""));
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "createtype" => kind = Some(value.to_owned()),
            "parentcid" if value != "ffffffff" => return Err(parent()),
            "parentfilenamehint" => return Err(parent()),
            _ => {}
        }
        let access = lower.split_ascii_whitespace().next().unwrap_or_default();
        if matches!(access, "rw" | "rdonly" | "noaccess") {
            extents += 1;
        }
    }
    match kind.as_deref() {
        Some("monolithicsparse" | "streamoptimized") if extents <= 1 => Ok(()),
        Some("monolithicsparse" | "streamoptimized") => Err(InspectError::OtherFile {
            format: FORMAT,
            what: "its descriptor names several files",
        }),
        Some(_) => Err(InspectError::OtherFile {
            format: FORMAT,
            what: "only disks in one file (monolithicSparse, streamOptimized) are whole by themselves",
        }),
        None => Err(damaged(
            "its descriptor does not say what kind of disk it is",
        )),
    }
}

fn parent() -> InspectError {
    InspectError::OtherFile {
        format: FORMAT,
        what: "it is the difference to a parent disk",
    }
}

fn damaged(what: &str) -> InspectError {
    InspectError::Damaged {
        format: FORMAT,
        what: what.to_owned(),
    }
}
