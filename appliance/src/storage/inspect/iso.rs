//! CDs and DVDs: ISO 9660 (ECMA-119), or UDF (ECMA-167) alone. Both begin
//! their descriptors at byte 32768. An ISO that also bears a partition table,
//! to be written to a USB stick, is still a CD.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "ISO";
const FIRST: u64 = 32768;
const BLOCK: u64 = 2048;
/// Burning programs count a lead-out of 150 blocks that is not in every file.
const SLACK: u64 = 300 * BLOCK;

pub(super) fn is_iso<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<bool, InspectError> {
    let mark = file.up_to(FIRST + 1, 5)?;
    Ok(mark == b"CD001" || (mark == b"BEA01" && is_udf(file)?))
}

/// One of the blocks after the first names the UDF structure.
fn is_udf<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<bool, InspectError> {
    for block in 1..16 {
        let mark = file.up_to(FIRST + block * BLOCK + 1, 5)?;
        if mark == b"NSR02" || mark == b"NSR03" {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let descriptor = file.up_to(FIRST, 2048)?;
    let is_primary = descriptor.first() == Some(&1) && descriptor.get(1..6) == Some(b"CD001");
    if is_primary {
        let end = u64::from(descriptor.le32(80)).saturating_mul(u64::from(descriptor.le16(128)));
        if end > file.size().saturating_add(SLACK) {
            return Err(InspectError::Beyond {
                format: FORMAT,
                what: "the CD",
                end,
                size: file.size(),
            });
        }
        if descriptor.le32(80) != descriptor.be32(84) {
            return Err(InspectError::Damaged {
                format: FORMAT,
                what: "the two copies of its size differ".to_owned(),
            });
        }
    }
    Ok(Found {
        format: ImageFormat::Iso,
        virtual_size: Bytes(file.size()).round_up(512),
    })
}
