//! What is written on a disk, seen from its first and last bytes.
//!
//! Invariant: this never writes, and it errs towards seeing something. A disk is blank only when all that was read
//! is zero; data without a known signature is still data ([`Content::Unknown`]). A disk with anything on it is
//! taken only when a person names it.
//!
//! Where a disk is a physical volume of LVM, what lies beyond the front belongs to its volumes: a guest that puts a
//! partition table on its disk writes the copy at the end, which can be the end of ours, and must not make the pool
//! look like something else. The superblock of a RAID counts even there, when it says that it is in its place: the
//! members of a RAID that holds a physical volume bear both marks, and are not to be used one by one.
//!
//! Why not blkid: it is a tool per disk and its cache lies after a drive was swapped. The few dozen bytes below
//! are fixed by formats that will not change.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why a disk could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", .path.display())]
pub struct ProbeError {
    /// The device.
    path: PathBuf,
    /// What the kernel said.
    source: io::Error,
}

/// Kinds of data that are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A GUID partition table.
    Gpt,
    /// A DOS partition table.
    Mbr,
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// An LVM physical volume.
    Lvm,
    /// An encrypted volume.
    Luks,
    /// A member of a Linux software RAID.
    Md,
    /// A member of a ZFS pool.
    Zfs,
    /// A bcache device.
    Bcache,
    /// A Ceph object store.
    Ceph,
    /// A VMware datastore.
    Vmfs,
    /// Windows NTFS.
    Ntfs,
    /// Windows ReFS.
    Refs,
    /// exFAT.
    Exfat,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// A CD or DVD image.
    Iso9660,
    /// Swap space.
    Swap,
    /// SquashFS.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl Kind {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gpt => "GPT partition table",
            Kind::Mbr => "DOS partition table",
            Kind::Ext => "ext file system",
            Kind::Xfs => "XFS file system",
            Kind::Btrfs => "Btrfs file system",
            Kind::F2fs => "F2FS file system",
            Kind::Lvm => "LVM physical volume",
            Kind::Luks => "LUKS encrypted volume",
            Kind::Md => "Linux software RAID member",
            Kind::Zfs => "ZFS pool member",
            Kind::Bcache => "bcache device",
            Kind::Ceph => "Ceph object store",
            Kind::Vmfs => "VMware datastore",
            Kind::Ntfs => "NTFS file system",
            Kind::Refs => "ReFS file system",
            Kind::Exfat => "exFAT file system",
            Kind::Fat => "FAT file system",
            Kind::Iso9660 => "ISO 9660 image",
            Kind::Swap => "swap space",
            Kind::Squashfs => "SquashFS image",
            Kind::Erofs => "EROFS image",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it is.
    pub kind: Kind,
    /// The name its owner gave it.
    pub label: Option<String>,
    /// Its identity, as the format writes it.
    pub uuid: Option<String>,
}

/// What a disk or partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Zeros wherever we looked.
    Blank,
    /// Something that is not recognised.
    Unknown,
    /// These, in the order of [`Kind`].
    Known(Vec<Signature>),
}

impl Content {
    /// What was recognised.
    pub fn signatures(&self) -> &[Signature] {
        match self {
            Content::Known(list) => list,
            Content::Blank | Content::Unknown => &[],
        }
    }

    /// Whether this was found.
    pub fn has(&self, kind: Kind) -> bool {
        self.signatures()
            .iter()
            .any(|signature| signature.kind == kind)
    }
}

/// Covers every signature at the front except VMFS; the ZFS uberblocks reach farthest.
const HEAD: usize = 256 << 10;
/// Covers the RAID superblocks at the end, which are aligned to 64 KiB.
const TAIL: usize = 128 << 10;
const VMFS_AT: u64 = 1 << 20;

/// Looks at a block device or image file of this size.
pub fn probe(path: &Path, size: u64) -> Result<Content, ProbeError> {
    let failed = |source| ProbeError {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let head = read_at(&file, 0, HEAD).map_err(failed)?;
    let tail_from = size.saturating_sub(TAIL as u64);
    let tail = read_at(&file, tail_from, TAIL).map_err(failed)?;
    let vmfs = read_at(&file, VMFS_AT, 512).map_err(failed)?;
    Ok(recognise(&head, &tail, tail_from, &vmfs, size))
}

/// Reads as much as there is.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn recognise(head: &[u8], tail: &[u8], tail_from: u64, vmfs: &[u8], size: u64) -> Content {
    let head = Bytes(head);
    let mut found = Vec::new();
    let mut add = |kind: Kind, label: Option<String>, uuid: Option<String>| {
        found.push(Signature { kind, label, uuid });
    };

    let fat = head.is(54, b"FAT1") || head.is(82, b"FAT32   ");
    let lvm = |at: &usize| head.is(*at, b"LABELONE") && head.is(at + 24, b"LVM2 001");
    let lvm = [0, 512, 1024, 1536].into_iter().find(lvm);
    if let Some(at) = [512, 4096].into_iter().find(|&at| head.is(at, b"EFI PART")) {
        add(Kind::Gpt, None, head.guid(at + 56));
    } else if lvm.is_none() && tail.ends_with_gpt() {
        // The first copy was overwritten; the second still says where the partitions are.
        add(Kind::Gpt, None, None);
    } else if head.is(510, &[0x55, 0xaa]) && !fat && head.has_dos_partitions() {
        add(Kind::Mbr, None, None);
    }
    if head.is(1080, &[0x53, 0xef]) {
        add(Kind::Ext, head.text(1144, 16), head.uuid(1128));
    }
    if head.is(0, b"XFSB") {
        add(Kind::Xfs, head.text(108, 12), head.uuid(32));
    }
    if head.is(0x10040, b"_BHRfS_M") {
        add(Kind::Btrfs, head.text(0x1012b, 256), head.uuid(0x10020));
    }
    if head.is(1024, &[0x10, 0x20, 0xf5, 0xf2]) {
        add(Kind::F2fs, None, head.uuid(1024 + 108));
    }
    if let Some(at) = lvm {
        add(Kind::Lvm, None, head.text(at + 32, 32));
    }
    if head.is(0, b"LUKS\xba\xbe") {
        let label = if head.is(6, &[0, 2]) {
            head.text(24, 48)
        } else {
            None
        };
        add(Kind::Luks, label, head.text(168, 40));
    }
    if let Some((label, uuid)) = md(&head, &Bytes(tail), tail_from, size) {
        add(Kind::Md, label, uuid);
    }
    let uberblock = |bytes: &&[u8]| {
        bytes.starts_with(&0x00ba_b10c_u64.to_le_bytes())
            || bytes.starts_with(&0x00ba_b10c_u64.to_be_bytes())
    };
    if head
        .0
        .get(128 << 10..)
        .unwrap_or_default()
        .chunks(1024)
        .any(|block| uberblock(&block))
    {
        add(Kind::Zfs, None, None);
    }
    let bcache = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d,
        0x81,
    ];
    if head.is(4096 + 24, &bcache) {
        add(Kind::Bcache, head.text(4096 + 72, 32), head.uuid(4096 + 40));
    }
    if head.is(0, b"bluestore block device\n") {
        add(Kind::Ceph, None, head.text(23, 36));
    }
    if lvm.is_none() && Bytes(vmfs).is(0, &[0x0d, 0xd0, 0x01, 0xc0]) {
        add(Kind::Vmfs, None, None);
    }
    if head.is(3, b"NTFS    ") {
        add(Kind::Ntfs, None, head.hex(72, 8));
    }
    if head.is(3, b"ReFS\0\0\0\0") {
        add(Kind::Refs, None, None);
    }
    if head.is(3, b"EXFAT   ") {
        add(Kind::Exfat, None, head.hex(100, 4));
    }
    if fat {
        let (label, serial) = if head.is(82, b"FAT32   ") {
            (71, 67)
        } else {
            (43, 39)
        };
        add(
            Kind::Fat,
            head.text(label, 11).filter(|label| label != "NO NAME"),
            head.hex(serial, 4),
        );
    }
    if head.is(32769, b"CD001") {
        add(Kind::Iso9660, head.text(32808, 32), None);
    }
    if head.is(4086, b"SWAPSPACE2") {
        add(Kind::Swap, head.text(1052, 16), head.uuid(1036));
    }
    if head.is(0, b"hsqs") {
        add(Kind::Squashfs, None, None);
    }
    if head.is(1024, &[0xe2, 0xe1, 0xf5, 0xe0]) {
        add(Kind::Erofs, head.text(1024 + 64, 16), head.uuid(1024 + 48));
    }

    found.sort_by_key(|signature| signature.kind);
    let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    if !found.is_empty() {
        Content::Known(found)
    } else if zero(head.0) && zero(tail) && zero(vmfs) {
        Content::Blank
    } else {
        Content::Unknown
    }
}

/// Linux software RAID keeps its superblock in one of four places.
fn md(
    head: &Bytes<'_>,
    tail: &Bytes<'_>,
    tail_from: u64,
    size: u64,
) -> Option<(Option<String>, Option<String>)> {
    let magic = 0xa92b_4efc_u32.to_le_bytes();
    let version_1 = |bytes: &Bytes<'_>, at: usize| {
        let found = bytes.is(at, &magic) && bytes.is(at + 4, &1_u32.to_le_bytes());
        found.then(|| (bytes.text(at + 32, 32), bytes.uuid(at + 16)))
    };
    // 1.0 sits in the last 8 to 12 KiB, aligned to 4 KiB; 0.90 in the last 64 to 128 KiB, aligned to 64 KiB.
    let in_tail = |offset: Option<u64>| usize::try_from(offset?.checked_sub(tail_from)?).ok();
    let end = (size & !511).checked_sub(8192).map(|offset| offset & !4095);
    // It names the sector that it is in; in the disk of a guest that is another one.
    let at_end = in_tail(end).filter(|at| {
        let sector = end.unwrap_or_default() / 512;
        tail.is(at + 144, &sector.to_le_bytes())
    });
    let at_old_end = in_tail((size & !65535).checked_sub(65536));
    version_1(head, 4096)
        .or_else(|| version_1(head, 0))
        .or_else(|| version_1(tail, at_end?))
        .or_else(|| {
            at_old_end
                .filter(|&at| tail.is(at, &magic) && tail.is(at + 4, &[0; 4]))
                .map(|_| (None, None))
        })
}

/// Bytes with fields at fixed places; a place outside is no match.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn slice(&self, at: usize, length: usize) -> Option<&[u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    fn is(&self, at: usize, expected: &[u8]) -> bool {
        self.slice(at, expected.len()) == Some(expected)
    }

    fn text(&self, at: usize, length: usize) -> Option<String> {
        let bytes = self.slice(at, length)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(length);
        let text = String::from_utf8_lossy(&bytes[..end]);
        // Written by strangers, shown to people: nothing that moves a cursor.
        let text: String = text
            .trim()
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        (!text.is_empty()).then_some(text)
    }

    fn hex(&self, at: usize, length: usize) -> Option<String> {
        let bytes = self.slice(at, length)?;
        Some(
            bytes
                .iter()
                .rev()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    fn uuid(&self, at: usize) -> Option<String> {
        let bytes: [u8; 16] = self.slice(at, 16)?.try_into().ok()?;
        Some(uuid::Uuid::from_bytes(bytes).to_string())
    }

    fn guid(&self, at: usize) -> Option<String> {
        let bytes: [u8; 16] = self.slice(at, 16)?.try_into().ok()?;
        Some(uuid::Uuid::from_bytes_le(bytes).to_string())
    }

    /// Four entries of 16 bytes: each free or with a believable flag, type and length; at least one in use.
    fn has_dos_partitions(&self) -> bool {
        let Some(table) = self.slice(446, 64) else {
            return false;
        };
        let used = |entry: &&[u8]| entry[4] != 0;
        let plausible = |entry: &[u8]| {
            entry.iter().all(|&byte| byte == 0)
                || matches!(entry[0], 0 | 0x80) && entry[12..16] != [0; 4]
        };
        table.chunks(16).all(plausible) && table.chunks(16).any(|entry| used(&entry))
    }
}

trait BackupGpt {
    fn ends_with_gpt(&self) -> bool;
}

impl BackupGpt for [u8] {
    /// The second copy of a GPT header is the last block of the disk.
    fn ends_with_gpt(&self) -> bool {
        [512, 4096]
            .into_iter()
            .any(|block| self.len() >= block && self[self.len() - block..].starts_with(b"EFI PART"))
    }
}

/// A partition as the GPT describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptPartition {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for.
    pub type_guid: String,
    /// Its identity, lower case; the kernel calls it PARTUUID.
    pub guid: String,
    /// Its name.
    pub name: String,
}

/// The partitions of a disk with a GPT; none when it has no GPT.
pub fn gpt_partitions(disk: &Path) -> Result<Vec<GptPartition>, ProbeError> {
    let failed = |source| ProbeError {
        path: disk.to_owned(),
        source,
    };
    let file = File::open(disk).map_err(failed)?;
    for block in [512_u64, 4096] {
        let header = read_at(&file, block, 92).map_err(failed)?;
        if let Some((from, count, length)) = gpt_table(&header) {
            let from = from.saturating_mul(block);
            let bytes = read_at(&file, from, count * length).map_err(failed)?;
            return Ok(bytes
                .chunks_exact(length)
                .zip(1..)
                .filter_map(|(entry, n)| gpt_entry(n, entry))
                .collect());
        }
    }
    Ok(Vec::new())
}

/// First block, count and length of the entries, when they are believable.
fn gpt_table(header: &[u8]) -> Option<(u64, usize, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let from = u64::from_le_bytes(header.get(72..80)?.try_into().ok()?);
    let (count, length) = (word(80)?, word(84)?);
    let fine = header.starts_with(b"EFI PART") && count <= 1024 && (128..=4096).contains(&length);
    fine.then_some((
        from,
        usize::try_from(count).ok()?,
        usize::try_from(length).ok()?,
    ))
}

fn gpt_entry(number: u32, entry: &[u8]) -> Option<GptPartition> {
    let bytes = Bytes(entry);
    let type_guid = bytes.guid(0).filter(|_| entry[..16] != [0; 16])?;
    let letters = entry
        .get(56..128)?
        .chunks(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name: Vec<u16> = letters.take_while(|&letter| letter != 0).collect();
    Some(GptPartition {
        number,
        type_guid,
        guid: bytes.guid(16)?,
        name: String::from_utf16_lossy(&name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn image(size: u64, parts: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        for (at, bytes) in parts {
            file.as_file().write_all_at(bytes, *at).unwrap();
        }
        file
    }

    fn kinds(content: &Content) -> Vec<Kind> {
        content
            .signatures()
            .iter()
            .map(|signature| signature.kind)
            .collect()
    }

    #[test]
    fn tells_blank_from_unknown() {
        let size = 64 << 20;
        assert_eq!(
            probe(image(size, &[]).path(), size).unwrap(),
            Content::Blank
        );
        assert_eq!(
            probe(image(size, &[(5000, b"x")]).path(), size).unwrap(),
            Content::Unknown
        );
        assert_eq!(
            probe(image(size, &[(size - 1, b"x")]).path(), size).unwrap(),
            Content::Unknown
        );
        // Smaller than anything we look for.
        assert_eq!(
            probe(image(100, &[(1, b"abc")]).path(), 100).unwrap(),
            Content::Unknown
        );
        assert_eq!(probe(image(0, &[]).path(), 0).unwrap(), Content::Blank);
        assert!(probe(Path::new("/no/such/disk"), size).is_err());
    }

    #[test]
    fn recognises_what_real_tools_write() {
        let size = 64 << 20;
        let file = image(size, &[]);
        let tool = |program: &str, args: &[&str]| {
            let output = Command::new(program)
                .args(args)
                .arg(file.path())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let uuid = "0f0e0d0c-0b0a-4908-8706-050403020100";
        tool("mkfs.ext4", &["-q", "-F", "-L", "vm store", "-U", uuid]);
        let content = probe(file.path(), size).unwrap();
        let expected = Signature {
            kind: Kind::Ext,
            label: Some("vm store".to_owned()),
            uuid: Some(uuid.to_owned()),
        };
        assert_eq!(content, Content::Known(vec![expected]));
        file.as_file().set_len(0).unwrap();
        file.as_file().set_len(size).unwrap();
        tool("mkswap", &["-L", "pages", "-U", uuid]);
        let content = probe(file.path(), size).unwrap();
        assert_eq!(kinds(&content), [Kind::Swap]);
        assert_eq!(content.signatures()[0].label.as_deref(), Some("pages"));
        assert_eq!(content.signatures()[0].uuid.as_deref(), Some(uuid));
    }

    #[test]
    fn recognises_fields_at_their_places() {
        let size = 200 << 20;
        let seen = |parts: &[(u64, &[u8])]| kinds(&probe(image(size, parts).path(), size).unwrap());
        assert_eq!(seen(&[(0, b"XFSB")]), [Kind::Xfs]);
        assert_eq!(seen(&[(0x10040, b"_BHRfS_M")]), [Kind::Btrfs]);
        assert_eq!(seen(&[(512, b"LABELONE"), (536, b"LVM2 001")]), [Kind::Lvm]);
        assert_eq!(seen(&[(0, b"LUKS\xba\xbe\0\x02")]), [Kind::Luks]);
        assert_eq!(seen(&[(3, b"NTFS    "), (510, b"\x55\xaa")]), [Kind::Ntfs]);
        assert_eq!(seen(&[(32769, b"CD001")]), [Kind::Iso9660]);
        assert_eq!(
            seen(&[(131_072 + 4096, &0x00ba_b10c_u64.to_le_bytes())]),
            [Kind::Zfs]
        );
        let raid: &[u8] = b"\xfc\x4e\x2b\xa9\x01\0\0\0";
        assert_eq!(seen(&[(4096, raid)]), [Kind::Md]);
        let sector = ((size - 8192) / 512).to_le_bytes();
        assert_eq!(
            seen(&[(size - 8192, raid), (size - 8192 + 144, &sector)]),
            [Kind::Md]
        );
        assert_eq!(
            seen(&[(size - 65536, b"\xfc\x4e\x2b\xa9\0\0\0\0")]),
            [Kind::Md]
        );
        assert_eq!(seen(&[(size - 512, b"EFI PART")]), [Kind::Gpt]);
        // The disk of a guest at the end of a physical volume; and a physical volume in a RAID, seen on its member.
        let label: [(u64, &[u8]); 2] = [(512, b"LABELONE"), (536, b"LVM2 001")];
        let with = |parts: &[(u64, &[u8])]| seen(&[&label[..], parts].concat());
        assert_eq!(with(&[(size - 512, b"EFI PART")]), [Kind::Lvm]);
        assert_eq!(with(&[(1 << 20, b"\x0d\xd0\x01\xc0")]), [Kind::Lvm]);
        assert_eq!(with(&[(size - 8192, raid)]), [Kind::Lvm]);
        assert_eq!(
            with(&[(size - 8192, raid), (size - 8192 + 144, &sector)]),
            [Kind::Lvm, Kind::Md]
        );
        // A CD image that also boots as a disk shows both.
        let entry: &[u8] = b"\x80\0\x01\0\x17\0\0\0\0\0\0\0\0\x10\0\0";
        assert_eq!(
            seen(&[(446, entry), (510, b"\x55\xaa"), (32769, b"CD001")]),
            [Kind::Mbr, Kind::Iso9660]
        );
        // A boot sector without partitions is not a partition table, and not blank either.
        assert_eq!(seen(&[(510, b"\x55\xaa")]), []);
    }

    #[test]
    fn reads_a_gpt() {
        let mut entry = [0; 128];
        entry[..16]
            .copy_from_slice(b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
        entry[16..32]
            .copy_from_slice(b"\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
        for (at, letter) in "ashlar-state".encode_utf16().enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&letter.to_le_bytes());
        }
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[72] = 2;
        header[80] = 128;
        header[84] = 128;
        let file = image(1 << 20, &[(512, &header), (1024 + 128, &entry)]);
        let list = gpt_partitions(file.path()).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].number, list[0].name.as_str()), (2, "ashlar-state"));
        assert_eq!(list[0].guid, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(list[0].type_guid, "0fc63daf-8483-4772-8e79-3d69d8477de4");
        header[80..84].copy_from_slice(&[0xff; 4]);
        let file = image(1 << 20, &[(512, &header)]);
        assert_eq!(gpt_partitions(file.path()).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn never_panics_on_rubbish(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40_000), size: u64) {
            let _ = recognise(&bytes, &bytes, size.saturating_sub(TAIL as u64), &bytes, size);
            let _ = gpt_table(&bytes);
            let _ = gpt_entry(1, &bytes);
        }
    }
}
