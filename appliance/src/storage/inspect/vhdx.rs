//! Hyper-V's format (MS-VHDX): two headers, two region tables, and a region of
//! metadata that holds the size of the disk. Whether its log must be replayed
//! is left to QEMU, which refuses to read such a disk.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;
use uuid::{Uuid, uuid};

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "VHDX";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const REGION_BLOCKS: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const REGION_METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const ITEM_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const ITEM_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const ITEM_PARENT: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

const HAS_PARENT: u32 = 1 << 1;

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let header = newest_header(file)?;
    if header.le16(66) != 1 {
        return Err(InspectError::Unsupported {
            format: FORMAT,
            what: format!("version {} of the format is not supported", header.le16(66)),
        });
    }
    let regions = regions(file)?;
    let (at, length) = regions.metadata;
    let table = file.part(FORMAT, "the metadata", at, 64 << 10)?;
    if !table.starts_with(b"metadata") {
        return Err(damaged("its metadata are missing"));
    }
    let count = usize::from(table.le16(10));
    if count > 2047 {
        return Err(damaged("its metadata have more than 2047 items"));
    }
    let (mut size, mut block) = (None, None);
    for entry in table[32..].chunks_exact(32).take(count) {
        let id = Uuid::from_bytes_le(entry.bytes(0));
        let (offset, bytes) = (u64::from(entry.le32(16)), u64::from(entry.le32(20)));
        if offset.saturating_add(bytes) > length {
            return Err(damaged("an item of its metadata lies outside of them"));
        }
        let place = at.saturating_add(offset);
        match id {
            ITEM_PARENT => return Err(parent()),
            ITEM_SIZE => size = Some(file.part(FORMAT, "the size of the disk", place, 8)?.le64(0)),
            ITEM_PARAMETERS => {
                let parameters = file.part(FORMAT, "the parameters of the disk", place, 8)?;
                if parameters.le32(4) & HAS_PARENT != 0 {
                    return Err(parent());
                }
                block = Some(u64::from(parameters.le32(0)));
            }
            _ => {}
        }
    }
    let (Some(size), Some(block)) = (size, block) else {
        return Err(damaged("its metadata do not say how large the disk is"));
    };
    if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) {
        return Err(damaged("its blocks have an impossible size"));
    }
    if size.div_ceil(block).saturating_mul(8) > regions.blocks.1 {
        return Err(damaged("its table of blocks is too small for its size"));
    }
    Ok(Found {
        format: ImageFormat::Vhdx,
        virtual_size: Bytes(size),
    })
}

/// Of the two headers the valid one that was written last.
fn newest_header<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Vec<u8>, InspectError> {
    let mut newest: Option<Vec<u8>> = None;
    for at in [64 * KIB, 128 * KIB] {
        let header = file.part(FORMAT, "the headers", at, 4096)?;
        let valid = header.starts_with(b"head") && has_sum(&header);
        if valid
            && newest
                .as_ref()
                .is_none_or(|old| header.le64(8) > old.le64(8))
        {
            newest = Some(header);
        }
    }
    newest.ok_or_else(|| damaged("neither of its headers is valid"))
}

/// Place and length of the two regions that every disk has.
struct Regions {
    metadata: (u64, u64),
    blocks: (u64, u64),
}

fn regions<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Regions, InspectError> {
    let mut valid = None;
    for at in [192 * KIB, 256 * KIB] {
        let table = file.part(FORMAT, "the table of regions", at, 64 << 10)?;
        if valid.is_none() && table.starts_with(b"regi") && has_sum(&table) {
            valid = Some(table);
        }
    }
    let table = valid.ok_or_else(|| damaged("neither of its tables of regions is valid"))?;
    let count = usize::try_from(table.le32(8)).unwrap_or(usize::MAX);
    if count > 2047 {
        return Err(damaged("its table of regions has more than 2047 entries"));
    }
    let (mut metadata, mut blocks) = (None, None);
    for entry in table[16..].chunks_exact(32).take(count) {
        let place = (entry.le64(16), u64::from(entry.le32(24)));
        match Uuid::from_bytes_le(entry.bytes(0)) {
            REGION_METADATA => metadata = Some(place),
            REGION_BLOCKS => blocks = Some(place),
            // Bit 0: the disk can not be read without understanding this.
            _ if entry.le32(28) & 1 != 0 => {
                return Err(InspectError::Unsupported {
                    format: FORMAT,
                    what: "it needs a region that is not known".to_owned(),
                });
            }
            _ => continue,
        }
        if place.0 < MIB {
            return Err(damaged("a region lies inside of its headers"));
        }
        file.holds(FORMAT, "a region", place.0, place.1)?;
    }
    match (metadata, blocks) {
        (Some(metadata), Some(blocks)) => Ok(Regions { metadata, blocks }),
        _ => Err(damaged("its table of regions is not complete")),
    }
}

/// The CRC-32C at byte 4, of all bytes with zeros in its own place.
fn has_sum(bytes: &[u8]) -> bool {
    let own = 4..8;
    let sum = bytes.iter().enumerate().fold(!0u32, |sum, (place, byte)| {
        let byte = if own.contains(&place) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            (sum >> 1) ^ carry
        })
    });
    bytes.le32(4) == !sum
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
