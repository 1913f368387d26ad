//! Hyper-V's older format (Virtual Hard Disk Image Format Specification, 2006):
//! a raw disk with a footer, or blocks behind a table.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "VHD";
const FOOTER: u64 = 512;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// Whether the last sector is the footer of a VHD.
pub(super) fn has_footer<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<bool, InspectError> {
    let Some(at) = file.size().checked_sub(FOOTER) else {
        return Ok(false);
    };
    Ok(file.up_to(at, 8)? == b"conectix")
}

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let Some(end) = file.size().checked_sub(FOOTER).filter(|end| *end > 0) else {
        return Err(damaged("it is shorter than its footer"));
    };
    let footer = file.part(FORMAT, "the footer", end, 512)?;
    if !footer.starts_with(b"conectix") {
        return Err(damaged("the footer, at its end, is missing"));
    }
    check_sum(&footer, 64, "footer")?;
    let size = footer.be64(48);
    match footer.be32(60) {
        FIXED if size > end => Err(InspectError::Beyond {
            format: FORMAT,
            what: "the disk",
            end: size.saturating_add(FOOTER),
            size: file.size(),
        }),
        FIXED => Ok(()),
        DYNAMIC => check_table(file, footer.be64(16), size),
        DIFFERENCING => Err(InspectError::OtherFile {
            format: FORMAT,
            what: "it is the difference to a parent disk",
        }),
        kind => Err(InspectError::Unsupported {
            format: FORMAT,
            what: format!("disks of type {kind} are not supported"),
        }),
    }?;
    Ok(Found {
        format: ImageFormat::Vhd,
        virtual_size: Bytes(size),
    })
}

fn check_table<S: Source + ?Sized>(
    file: &Reader<'_, S>,
    at: u64,
    size: u64,
) -> Result<(), InspectError> {
    let header = file.part(FORMAT, "the second header", at, 1024)?;
    if !header.starts_with(b"cxsparse") {
        return Err(damaged("the second header is missing"));
    }
    check_sum(&header, 36, "second header")?;
    let (entries, block) = (u64::from(header.be32(28)), u64::from(header.be32(32)));
    if !block.is_power_of_two() || !(512..=256 << 20).contains(&block) {
        return Err(damaged("its blocks have an impossible size"));
    }
    if entries.saturating_mul(block) < size {
        return Err(damaged("its table of blocks is too small for its size"));
    }
    file.holds(FORMAT, "the table of blocks", header.be64(16), entries * 4)
}

/// The complement of the sum of all bytes but those of the sum itself.
fn check_sum(bytes: &[u8], at: usize, what: &str) -> Result<(), InspectError> {
    let sum = bytes
        .iter()
        .enumerate()
        .filter(|(place, _)| !(at..at + 4).contains(place))
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    if bytes.be32(at) == !sum {
        Ok(())
    } else {
        Err(damaged(&format!("the checksum of its {what} is wrong")))
    }
}

fn damaged(what: &str) -> InspectError {
    InspectError::Damaged {
        format: FORMAT,
        what: what.to_owned(),
    }
}
