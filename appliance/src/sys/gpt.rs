//! GUID partition tables: read, changed in memory, and written so that the power may go at any moment.
//!
//! Invariant: at every moment the disk has one whole table, the old or the new. A header names the place of its entries,
//! so new entries go to the place that the present header does not name, and the one block of the new header decides:
//!
//! ```text
//!   block 0      1        2 ........ a ........ b ......          last-n ........ last
//!   MBR          header   entries A  entries B  first partition   entries         header (the copy)
//!                   └──────────┴─or─────┘
//! ```
//!
//! Linux looks for the copy only when asked (`gpt` on its command line) and firmware repairs a broken table without asking
//! anybody, so there must never be a broken one (UEFI specification 2.10, 5.3).

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use gptman::{GPT, GPTHeader, GPTPartitionEntry};

/// Partitions begin on multiples of this, in bytes.
pub const ALIGNMENT: u64 = 1 << 20;
/// Partition type "Linux LVM".
pub const LVM: [u8; 16] = [
    0x79, 0xd3, 0xd6, 0xe6, 0x07, 0xf5, 0xc2, 0x44, 0xa2, 0x3c, 0x23, 0x8f, 0x2a, 0x3d, 0xf9, 0x28,
];

/// Bytes of the entries of a table: 128 of 128 bytes each.
const ENTRIES: u64 = 128 * 128;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// There is none, or it is damaged.
    #[error("the partition table can not be read")]
    Read(#[source] gptman::Error),
    /// It can not be expressed.
    #[error("the partition table can not be made")]
    Make(#[source] gptman::Error),
    /// It is not of the kind that is changed here.
    #[error("the partition table is not one that the appliance made: {0}")]
    Foreign(&'static str),
    /// The disk is too small for what is on it.
    #[error("the disk has {size} bytes, its partitions need {needed}")]
    TooSmall {
        /// Of the disk.
        size: u64,
        /// What is needed.
        needed: u64,
    },
    /// It could not be written.
    #[error("the partition table can not be written")]
    Write(#[source] io::Error),
}

/// The table of one disk.
#[derive(Clone, Debug)]
pub struct Table {
    gpt: GPT,
}

impl Table {
    /// Reads the table at the beginning of a disk.
    pub fn read(disk: &mut File) -> Result<Self, GptError> {
        let gpt = GPT::find_from(disk).map_err(GptError::Read)?;
        let table = Table { gpt };
        if !table.gpt.is_primary() {
            return Err(GptError::Foreign("its first header is damaged"));
        }
        if u64::from(table.gpt.header.number_of_partition_entries)
            * u64::from(table.gpt.header.size_of_partition_entry)
            != ENTRIES
        {
            return Err(GptError::Foreign("it has another size"));
        }
        Ok(table)
    }

    /// Bytes of a block.
    pub fn block(&self) -> u64 {
        self.gpt.sector_size
    }

    /// The partitions that there are, each with its number.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, &GPTPartitionEntry)> {
        self.gpt.iter().filter(|(_, entry)| entry.is_used())
    }

    /// The number of the partition of this name.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.partitions()
            .find(|(_, entry)| entry.partition_name.as_str() == name)
            .map(|(number, _)| number)
    }

    /// A partition, to be changed.
    pub fn partition_mut(&mut self, number: u32) -> &mut GPTPartitionEntry {
        &mut self.gpt[number]
    }

    /// The first number that no partition has.
    pub fn free_number(&self) -> Option<u32> {
        self.gpt
            .iter()
            .find(|(_, entry)| entry.is_unused())
            .map(|(number, _)| number)
    }

    /// Where the last partition ends: the first byte behind it.
    pub fn end_of_partitions(&self) -> u64 {
        let last = self.partitions().map(|(_, entry)| entry.ending_lba).max();
        last.map_or(0, |block| (block + 1) * self.block())
    }

    /// Gives the disk, and each of its partitions, an identifier of its own.
    pub fn identify(&mut self, mut fresh: impl FnMut() -> [u8; 16]) {
        self.gpt.header.disk_guid = fresh();
        for (_, entry) in self.gpt.iter_mut().filter(|(_, entry)| entry.is_used()) {
            entry.unique_partition_guid = fresh();
        }
    }

    /// Lets the table reach to the end of a disk of `size` bytes. Returns the first byte that no partition may take.
    pub fn reach(&mut self, size: u64) -> Result<u64, GptError> {
        let block = self.block();
        let entries = ENTRIES / block;
        let needed = self.end_of_partitions() + ENTRIES + block;
        if size < needed {
            return Err(GptError::TooSmall { size, needed });
        }
        let last = size / block - 1;
        self.gpt.header.backup_lba = last;
        self.gpt.header.last_usable_lba = last - entries - 1;
        Ok((last - entries) * block)
    }

    /// Writes it in the place of the one that is there.
    pub fn write(&mut self, disk: &File) -> Result<(), GptError> {
        let block = self.block();
        let blocks = ENTRIES / block;
        let first = self.partitions().map(|(_, entry)| entry.starting_lba).min();
        if first.is_some_and(|first| first < 2 + 2 * blocks) {
            return Err(GptError::Foreign("its first partition begins too early"));
        }
        let header = &mut self.gpt.header;
        header.first_usable_lba = header.first_usable_lba.max(2 + 2 * blocks);
        header.partition_entry_lba = if header.partition_entry_lba == 2 {
            2 + blocks
        } else {
            2
        };
        let mut copy = header.clone();
        copy.primary_lba = header.backup_lba;
        copy.backup_lba = header.primary_lba;
        copy.partition_entry_lba = header.last_usable_lba + 1;

        let partitions: Vec<GPTPartitionEntry> =
            self.gpt.iter().map(|(_, entry)| entry.clone()).collect();
        let (copy_header, copy_entries) = writes(&mut copy, &partitions, block)?;
        let (header, entries) = writes(&mut self.gpt.header, &partitions, block)?;
        for write in copy_entries.iter().chain([&copy_header]).chain(&entries) {
            write.put(disk)?;
        }
        disk.sync_all().map_err(GptError::Write)?;
        header.put(disk)?;
        disk.sync_all().map_err(GptError::Write)
    }
}

/// What the library would write: the header, and the entries.
fn writes(
    header: &mut GPTHeader,
    partitions: &[GPTPartitionEntry],
    block: u64,
) -> Result<(Write, Vec<Write>), GptError> {
    let mut recorder = Recorder::default();
    header
        .write_into(&mut recorder, block, partitions)
        .map_err(GptError::Make)?;
    let mut writes = recorder.writes.into_iter();
    let header = writes.next().ok_or(GptError::Foreign("it is empty"))?;
    Ok((header, writes.collect()))
}

/// Some bytes and where they belong.
#[derive(Debug)]
struct Write {
    at: u64,
    bytes: Vec<u8>,
}

impl Write {
    fn put(&self, disk: &File) -> Result<(), GptError> {
        disk.write_all_at(&self.bytes, self.at)
            .map_err(GptError::Write)
    }
}

/// Keeps what is written, to be written in another order.
#[derive(Debug, Default)]
struct Recorder {
    at: u64,
    writes: Vec<Write>,
}

impl io::Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.push(Write {
            at: self.at,
            bytes: bytes.to_owned(),
        });
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Recorder {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.at = at,
            // It has no end of its own.
            SeekFrom::End(_) | SeekFrom::Current(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn guids() -> impl FnMut() -> [u8; 16] {
        let mut number = 0;
        move || {
            number += 1;
            [number; 16]
        }
    }

    /// A disk of 8 MiB with two partitions of 1 MiB, as the library writes it.
    fn disk(block: u64) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8 * MIB).unwrap();
        let mut gpt = GPT::new_from(&mut file, block, [9; 16]).unwrap();
        for number in 1..=2u32 {
            let start = u64::from(number) * MIB / block;
            gpt[number] = GPTPartitionEntry {
                partition_type_guid: LVM,
                unique_partition_guid: [u8::try_from(number).unwrap(); 16],
                starting_lba: start,
                ending_lba: start + MIB / block - 1,
                attribute_bits: 0,
                partition_name: format!("part-{number}").as_str().into(),
            };
        }
        gpt.write_into(&mut file).unwrap();
        file
    }

    #[test]
    fn entries_go_where_the_header_does_not_point() {
        for block in [512, 4096] {
            let mut file = disk(block);
            let mut places = Vec::new();
            for _ in 0..3 {
                let mut table = Table::read(&mut file).unwrap();
                assert_eq!(table.block(), block);
                places.push(table.gpt.header.partition_entry_lba);
                table.identify(guids());
                table.write(&file).unwrap();
            }
            assert_eq!(places, [2, 2 + ENTRIES / block, 2]);
            let table = Table::read(&mut file).unwrap();
            let (_, first) = table.partitions().next().unwrap();
            assert_eq!(table.gpt.header.disk_guid, [1; 16]);
            assert_eq!(first.unique_partition_guid, [2; 16]);
        }
    }

    /// All that is written before the last block changes nothing of what is read.
    #[test]
    fn the_power_may_go_at_any_moment() {
        let mut file = disk(512);
        file.set_len(16 * MIB).unwrap();
        let before = Table::read(&mut file).unwrap();
        let mut table = before.clone();
        table.identify(guids());
        let end = table.reach(16 * MIB).unwrap();
        assert_eq!(end, 16 * MIB - 512 - ENTRIES);
        let mut header = vec![0; 512];
        file.read_exact_at(&mut header, 512).unwrap();
        table.write(&file).unwrap();
        let mut new_header = vec![0; 512];
        file.read_exact_at(&mut new_header, 512).unwrap();
        assert_ne!(header, new_header);
        file.write_all_at(&header, 512).unwrap();
        assert_eq!(Table::read(&mut file).unwrap().gpt, before.gpt);
        file.write_all_at(&new_header, 512).unwrap();
        let after = Table::read(&mut file).unwrap();
        assert_eq!(after.gpt.header.last_usable_lba * 512 + 512, end);
        // The copy is whole as well.
        file.write_all_at(&[0; 512], 512).unwrap();
        let copy = GPT::read_from(&mut file, 512).unwrap();
        assert!(copy.is_backup());
        assert_eq!(copy[1].unique_partition_guid, [2; 16]);
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused() {
        let mut file = disk(512);
        let mut table = Table::read(&mut file).unwrap();
        assert!(matches!(
            table.reach(3 * MIB),
            Err(GptError::TooSmall { needed, .. }) if needed == 3 * MIB + ENTRIES + 512
        ));
        assert_eq!(table.named("part-2"), Some(2));
        assert_eq!(table.free_number(), Some(3));
        assert_eq!(table.end_of_partitions(), 3 * MIB);
    }
}
