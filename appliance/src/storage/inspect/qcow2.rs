//! QEMU's format (docs/interop/qcow2 of QEMU), versions 2 and 3.

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;

use super::{Fields, Found, InspectError, Reader, Source};

const FORMAT: &str = "qcow2";

/// Features without which the disk can not be read, and which QEMU knows: not
/// closed cleanly, kind of compression, finer allocation.
const KNOWN_FEATURES: u64 = 1 | 1 << 3 | 1 << 4;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const FINE_ALLOCATION: u64 = 1 << 4;

const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

pub(super) fn inspect<S: Source + ?Sized>(file: &Reader<'_, S>) -> Result<Found, InspectError> {
    let header = file.part(FORMAT, "the header", 0, 72)?;
    let version = header.be32(4);
    if !(2..=3).contains(&version) {
        return Err(InspectError::Unsupported {
            format: FORMAT,
            what: format!("version {version} of the format is not supported"),
        });
    }
    let header = match version {
        2 => header,
        _ => file.part(FORMAT, "the header", 0, 104)?,
    };
    if header.be64(8) != 0 {
        return Err(InspectError::OtherFile {
            format: FORMAT,
            what: "it has a backing file",
        });
    }
    if header.be32(32) != 0 {
        return Err(InspectError::Encrypted { format: FORMAT });
    }
    let features = if version == 3 { header.be64(72) } else { 0 };
    if features & EXTERNAL_DATA != 0 {
        return Err(InspectError::OtherFile {
            format: FORMAT,
            what: "it has an external data file",
        });
    }
    if features & CORRUPT != 0 {
        return Err(damaged("QEMU has marked it as corrupt"));
    }
    if features & !KNOWN_FEATURES != 0 {
        return Err(InspectError::Unsupported {
            format: FORMAT,
            what: format!("it uses features that are not known ({features:#x})"),
        });
    }
    let cluster_bits = header.be32(20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(damaged(
            "its clusters have a size outside of 512 bytes to 2 MiB",
        ));
    }
    let cluster = 1u64 << cluster_bits;
    check_extensions(file, version, &header, cluster)?;

    let size = header.be64(24);
    let entry = if features & FINE_ALLOCATION != 0 {
        16
    } else {
        8
    };
    let per_table = cluster.saturating_mul(cluster / entry);
    let tables = u64::from(header.be32(36));
    if tables < size.div_ceil(per_table) {
        return Err(damaged("its first table is too small for its size"));
    }
    file.holds(FORMAT, "the first table", header.be64(40), tables * 8)?;
    let counts = u64::from(header.be32(56)).saturating_mul(cluster);
    if counts == 0 {
        return Err(damaged("it has no table of use counts"));
    }
    file.holds(FORMAT, "the table of use counts", header.be64(48), counts)?;
    let snapshots = u64::from(header.be32(60));
    if snapshots > 65536 {
        return Err(damaged("it says it has more than 65536 snapshots"));
    }
    // Each entry of that table has 40 bytes at least.
    file.holds(
        FORMAT,
        "the table of snapshots",
        if snapshots == 0 { 0 } else { header.be64(64) },
        snapshots * 40,
    )?;
    Ok(Found {
        format: ImageFormat::Qcow2,
        virtual_size: Bytes(size),
    })
}

/// Between the header and the end of the first cluster stand named extensions.
fn check_extensions<S: Source + ?Sized>(
    file: &Reader<'_, S>,
    version: u32,
    header: &[u8],
    cluster: u64,
) -> Result<(), InspectError> {
    let mut at = match version {
        2 => 72,
        _ => u64::from(header.be32(100)),
    };
    if version == 3 && !(104..=cluster).contains(&at) {
        return Err(damaged("its header has an impossible length"));
    }
    let end = cluster.min(file.size());
    // 8 bytes at least for each extension.
    while at.saturating_add(8) <= end {
        let head = file.part(FORMAT, "an extension of the header", at, 8)?;
        let length = u64::from(head.be32(4));
        match head.be32(0) {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => {
                return Err(InspectError::OtherFile {
                    format: FORMAT,
                    what: "it has an external data file",
                });
            }
            EXTENSION_ENCRYPTION => return Err(InspectError::Encrypted { format: FORMAT }),
            _ => {}
        }
        at = at.saturating_add(8 + length.next_multiple_of(8));
        if at > end {
            return Err(damaged(
                "an extension of its header is longer than the header",
            ));
        }
    }
    Ok(())
}

fn damaged(what: &str) -> InspectError {
    InspectError::Damaged {
        format: FORMAT,
        what: what.to_owned(),
    }
}
