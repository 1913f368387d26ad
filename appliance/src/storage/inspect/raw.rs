//! A disk as it is: known by its partition table, or by the file system that
//! fills it. Whatever else has no mark at all, and is refused: a text that was
//! sent by mistake would otherwise become a disk.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "raw disk";
const SECTOR: u64 = 512;

/// File systems that fill a whole disk: where their mark is.
const FILE_SYSTEMS: [(u64, &[u8]); 4] = [
    (1080, &[0x53, 0xef]),
    (0, b"XFSB"),
    (0x10040, b"_BHRfS_M"),
    (0, b"LUKS\xba\xbe"),
];

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let found = Found {
        format: ImageFormat::Raw,
        virtual_size: Bytes(file.size()).round_up(SECTOR),
    };
    for sector in [512, 4096] {
        let header = file.up_to(sector, 92)?;
        if header.starts_with(b"EFI PART") {
            check_gpt(file, sector, &header)?;
            return Ok(found);
        }
    }
    let head = file.up_to(0, 512)?;
    if head.len() == 512 && head[510..] == [0x55, 0xaa] {
        check_mbr(file, &head)?;
        return Ok(found);
    }
    for (at, mark) in FILE_SYSTEMS {
        if file.up_to(at, mark.len())? == mark {
            return Ok(found);
        }
    }
    Err(InspectError::Unknown)
}

/// That the last block that partitions may use lies inside of the file.
fn check_gpt<S: Source + ?Sized>(
    file: &Reader<'_, S>,
    sector: u64,
    header: &[u8],
) -> Result<(), InspectError> {
    let (first, last) = (header.le64(40), header.le64(48));
    if first > last {
        return Err(InspectError::Damaged {
            format: FORMAT,
            what: "its partition table (GPT) contradicts itself".to_owned(),
        });
    }
    let (table, count) = (header.le64(72), u64::from(header.le32(80)));
    let entry = u64::from(header.le32(84));
    file.holds(
        FORMAT,
        "the partition table",
        table.saturating_mul(sector),
        count.saturating_mul(entry),
    )?;
    if !(128..=4096).contains(&entry) || count > 1024 {
        return Err(InspectError::Damaged {
            format: FORMAT,
            what: "its partition table (GPT) has an impossible length".to_owned(),
        });
    }
    let length = usize::try_from(count * entry).unwrap_or(usize::MAX);
    let entries = file.up_to(table.saturating_mul(sector), length)?;
    let step = usize::try_from(entry).unwrap_or(usize::MAX);
    for entry in entries.chunks_exact(step) {
        let used = entry[..16] != [0; 16];
        if used {
            let end = entry.le64(40).saturating_add(1).saturating_mul(sector);
            file.holds(FORMAT, "a partition", 0, end)?;
        }
    }
    Ok(())
}

/// That the partitions, if these are any, lie inside of the file. What looks
/// like entries in the boot sector of a file system is not believed.
fn check_mbr<S: Source + ?Sized>(file: &Reader<'_, S>, head: &[u8]) -> Result<(), InspectError> {
    let entries: Vec<&[u8]> = head[446..510].chunks_exact(16).collect();
    let is_table = entries.iter().all(|entry| matches!(entry[0], 0 | 0x80));
    if !is_table {
        return Ok(());
    }
    for entry in entries {
        let (kind, first, count) = (entry[4], entry.le32(8), entry.le32(12));
        // A protective entry covers the disk it was made for, whatever its size.
        if kind != 0 && kind != 0xee && count != 0 {
            let end = (u64::from(first) + u64::from(count)) * SECTOR;
            file.holds(FORMAT, "a partition", 0, end)?;
        }
    }
    Ok(())
}
