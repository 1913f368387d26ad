//! What kind of disk a file is, told by its content alone.
//!
//! A file comes from anywhere, and a disk format is a small program in itself:
//! it can name other files of this machine, promise sizes that it does not
//! hold, or point its tables outside of itself. So before any tool opens a file
//! it is read here, where nothing is followed and nothing is believed, and
//! refused unless it is one whole disk that stands by itself. What is found is
//! given to the tools by name, so that they never guess.
//!
//! ```text
//!   head ─► known format? ── no ─► a disk as it is (partition table, file system)? ── no ─► refused
//!              │ yes                        │ yes
//!              ▼                            ▼
//!        every table inside the file, no other file needed, size between 1 sector and 64 TiB
//! ```
//!
//! Invariant: total on any bytes. Reads are bounded, nothing is allocated by a
//! size that the file states, and no arithmetic can overflow.
//!
//! The name of the file and what the sender says of it are not looked at: both
//! are often wrong, and neither is proof.

mod iso;
mod qcow2;
mod raw;
mod vhd;
mod vhdx;
mod vmdk;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;
use ashlar_api::volume::LARGEST;

/// A file, or bytes in a test.
pub trait Source {
    /// How many bytes there are.
    fn size(&self) -> u64;
    /// Reads some bytes at a place; 0 at the end.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// An open file with its size.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// Takes a file that is not written any more.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(FileSource { file, size })
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What a file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its format.
    pub format: ImageFormat,
    /// Bytes of a disk made from it.
    pub virtual_size: Bytes,
}

/// Why a file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file itself could not be read.
    #[error("the file can not be read")]
    Read(#[source] io::Error),
    /// It holds nothing.
    #[error("the file is empty")]
    Empty,
    /// It is nothing that we know.
    #[error("this is not an image of a disk or CD that Ashlar knows")]
    Unknown,
    /// It is something else, and it is known how to make an image of it.
    #[error("this is {what}, not an image of a disk or CD")]
    SomethingElse {
        /// What it is.
        what: &'static str,
        /// How to get an image from it.
        remedy: &'static str,
    },
    /// The format is known, this kind of it is not supported.
    #[error("{format}: {what}")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What is not supported.
        what: String,
    },
    /// Its content is in another file, too.
    #[error("{format}: the disk is not complete without another file ({what})")]
    OtherFile {
        /// Name of the format.
        format: &'static str,
        /// How it refers to the other file.
        what: &'static str,
    },
    /// It is encrypted.
    #[error("{format}: the disk is encrypted")]
    Encrypted {
        /// Name of the format.
        format: &'static str,
    },
    /// Something that it says it holds lies behind its end.
    #[error("{format}: {what} would end at byte {end}, the file has {size}")]
    Beyond {
        /// Name of the format.
        format: &'static str,
        /// What lies outside.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// The size of the disk makes no sense.
    #[error(
        "{format}: the disk says it has {size} bytes; between 512 bytes and 64 TiB can be used"
    )]
    DiskSize {
        /// Name of the format.
        format: &'static str,
        /// What it says.
        size: u64,
    },
    /// A part contradicts itself or another.
    #[error("{format}: {what}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl InspectError {
    /// What the sender can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            InspectError::Read(_) => "Look at the health of the pool, then send the file again.",
            InspectError::Empty => "Send the file again.",
            InspectError::Unknown => {
                "Use a qcow2, raw, VMDK, VHDX or VHD disk, or an ISO file. A raw disk must have a partition table or a file system."
            }
            InspectError::SomethingElse { remedy, .. } => remedy,
            InspectError::Unsupported { .. } => {
                "Convert it with `qemu-img convert -O qcow2 <file> <new file>` where it came from, and send the new file."
            }
            InspectError::OtherFile { .. } => {
                "Make one whole file of it with `qemu-img convert -O qcow2 <file> <new file>` where all its parts are, and send the new file."
            }
            InspectError::Encrypted { .. } => {
                "Decrypt it while converting it with `qemu-img convert`, and send the new file."
            }
            InspectError::Beyond { .. } | InspectError::Damaged { .. } => {
                "The file was probably cut off or changed on its way: compare its size and SHA-256 with the original and send it again."
            }
            InspectError::DiskSize { .. } => {
                "Use a disk between 512 bytes and 64 TiB; this file was probably damaged on its way."
            }
        }
    }
}

/// Looks at a file.
pub fn inspect<S: Source + ?Sized>(source: &S) -> Result<Found, InspectError> {
    let file = Reader { source };
    if file.size() == 0 {
        return Err(InspectError::Empty);
    }
    let head = file.up_to(0, 4096)?;
    let found = if head.starts_with(b"QFI\xfb") {
        qcow2::inspect(&file)?
    } else if head.starts_with(b"KDMV") {
        vmdk::inspect(&file)?
    } else if head.starts_with(b"vhdxfile") {
        vhdx::inspect(&file)?
    } else if head.starts_with(b"conectix") || vhd::has_footer(&file)? {
        vhd::inspect(&file)?
    } else if let Some(other) = something_else(&head) {
        return Err(other);
    } else if iso::is_iso(&file)? {
        iso::inspect(&file)?
    } else {
        raw::inspect(&file)?
    };
    let format = name(found.format);
    let size = found.virtual_size;
    if size.0 < 512 || size > LARGEST {
        return Err(InspectError::DiskSize {
            format,
            size: size.0,
        });
    }
    Ok(found)
}

/// What people call a format.
pub fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Raw => "raw disk",
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Vmdk => "VMDK",
        ImageFormat::Vhdx => "VHDX",
        ImageFormat::Vhd => "VHD",
        ImageFormat::Iso => "ISO",
    }
}

const UNPACK: &str = "Unpack it, then send the file that was in it.";
const CONVERT: &str =
    "Convert it with `qemu-img convert -O qcow2 <file> <new file>` and send the new file.";

/// Files that people send for an image: what they are, by what they begin with.
const OTHERS: [(usize, &[u8], &str, &str); 16] = [
    (0, &[0x1f, 0x8b], "a gzip archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, &[0x04, 0x22, 0x4d, 0x18], "an lz4 archive", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (
        257,
        b"ustar",
        "a tar archive (perhaps an OVA)",
        "Unpack it, then send the disk (VMDK) that was in it.",
    ),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VirtualBox disk", CONVERT),
    (0, b"QED\0", "a QED disk", CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels disk", CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels disk", CONVERT),
    (0, b"COWD", "a VMware ESX snapshot or old disk", CONVERT),
    (
        0,
        b"\x7fELF",
        "a program",
        "Send the disk or CD image instead.",
    ),
    (
        0,
        b"%PDF-",
        "a PDF document",
        "Send the disk or CD image instead.",
    ),
];

fn something_else(head: &[u8]) -> Option<InspectError> {
    let known = OTHERS.iter().find(|(at, magic, ..)| {
        head.get(*at..at + magic.len())
            .is_some_and(|bytes| bytes == *magic)
    });
    if let Some((_, _, what, remedy)) = known {
        return Some(InspectError::SomethingElse { what, remedy });
    }
    let start: Vec<u8> = head
        .iter()
        .copied()
        .skip_while(u8::is_ascii_whitespace)
        .take(32)
        .collect();
    let start = String::from_utf8_lossy(&start).to_ascii_lowercase();
    if start.starts_with("# disk descriptorfile") {
        return Some(InspectError::OtherFile {
            format: "VMDK",
            what: "it is the descriptor of a disk, without the data",
        });
    }
    (start.starts_with("<!doctype html") || start.starts_with("<html")).then_some(
        InspectError::SomethingElse {
            what: "a web page",
            remedy: "Use the address of the file itself, not of the page that offers it.",
        },
    )
}

/// Bounded reads of a source.
struct Reader<'a, S: Source + ?Sized> {
    source: &'a S,
}

/// No table that is read here is larger.
const MOST: usize = 1 << 20;

impl<S: Source + ?Sized> Reader<'_, S> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    /// As many bytes as there are, at most `length`.
    fn up_to(&self, offset: u64, length: usize) -> Result<Vec<u8>, InspectError> {
        let mut bytes = vec![0; length.min(MOST)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self
                .source
                .read_some(offset.saturating_add(filled as u64), &mut bytes[filled..])
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InspectError::Read(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Exactly `length` bytes, or the error that names what is cut off.
    fn part(
        &self,
        format: &'static str,
        what: &'static str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, InspectError> {
        self.holds(format, what, offset, length as u64)?;
        let bytes = self.up_to(offset, length)?;
        if bytes.len() < length {
            return Err(InspectError::Beyond {
                format,
                what,
                end: offset.saturating_add(length as u64),
                size: self.size(),
            });
        }
        Ok(bytes)
    }

    /// That a part lies inside of the file.
    fn holds(
        &self,
        format: &'static str,
        what: &'static str,
        offset: u64,
        length: u64,
    ) -> Result<(), InspectError> {
        let end = offset.saturating_add(length);
        let size = self.size();
        if end > size {
            return Err(InspectError::Beyond {
                format,
                what,
                end,
                size,
            });
        }
        Ok(())
    }
}

/// Numbers at fixed places; a place outside reads as zero, which every check refuses.
trait Fields {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N];
    fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }
    fn be64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes(at))
    }
    fn le16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }
    fn le32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }
    fn le64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
}

impl Fields for [u8] {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        at.checked_add(N)
            .and_then(|end| self.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; N])
    }
}

#[cfg(test)]
mod tests;
