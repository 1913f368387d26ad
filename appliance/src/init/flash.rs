//! The first start of a flashed disk: its table grows to the disk it was written on, the disk gets identifiers of its own,
//! and the state partition its file system.
//!
//! All disks flashed from one image are the same bits, whatever their size. What makes one of them the disk of this
//! machine is done here, once. The mark that it is still to be done is the name of the partition, `ashlar-fresh` instead
//! of `ashlar-state`: nobody who looks for state finds it before it is made.
//!
//! ```text
//!   flashed   | esp | fresh |                                    copy of the table where the image ended
//!   grown     | esp | fresh ........ | data ..................|  copy at the end of the disk, new identifiers
//!   ready     | esp | state ........ | data ..................|
//! ```
//!
//! Invariant: the power may go at any moment. Up to the last step all of it is done again; after it, never. No file system
//! is made on a partition of any other name. The data partition is what the state does not need of a disk: a machine with
//! one disk can have a pool as well.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gptman::GPTPartitionEntry;
use uuid::Uuid;

use super::log;
use crate::sys::block::{self, Block};
use crate::sys::command::{CommandError, Tool};
use crate::sys::gpt::{ALIGNMENT, GptError, LVM, Table};

/// The name of a state partition that has no file system yet.
pub const FRESH: &str = "ashlar-fresh";
/// The name of the rest of the disk.
const DATA: &str = "ashlar-data";

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The state takes an eighth of the disk, within these.
const LEAST_STATE: u64 = GIB;
const MOST_STATE: u64 = 8 * GIB;
/// A rest that is smaller is left to the state.
const LEAST_DATA: u64 = 8 * GIB;
/// What is emptied at both ends of the data partition: all that signatures are looked for in.
const EMPTIED: u64 = 2 * MIB;
/// Bytes for each file that the state partition can hold: it holds few, and large ones.
const BYTES_PER_FILE: u64 = 64 << 10;
/// Making a file system of a few gigabytes takes a second; a disk that needs longer is dying.
const LIMIT: Duration = Duration::from_secs(120);
/// Somebody may just look at the disk that changes.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Why a flashed disk could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// Its disk is gone.
    #[error("the disk of {} is not there any more", .0.display())]
    Gone(PathBuf),
    /// The disk could not be opened.
    #[error("cannot open {}", .path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its table could not be changed.
    #[error("cannot grow the partition table of {}", .path.display())]
    Table {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: GptError,
    },
    /// The kernel keeps the old partitions.
    #[error("the kernel does not take over the new partitions of {}", .path.display())]
    Reread {
        /// The disk.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The rest of the disk could not be emptied.
    #[error("cannot empty the data partition of {}", .path.display())]
    Empty {
        /// The disk.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system could not be made.
    #[error("cannot make the file system of the state")]
    Make(#[source] CommandError),
}

/// Makes the disk ready whose fresh partition this is. The partition keeps its place and number.
pub fn make_ready(partition: &Path) -> Result<(), FlashError> {
    let disk = disk_of(partition).ok_or_else(|| FlashError::Gone(partition.to_owned()))?;
    let path = disk.path();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|source| FlashError::Open {
            path: path.clone(),
            source,
        })?;
    let failed = |source| FlashError::Table {
        path: path.clone(),
        source,
    };
    let mut table = Table::read(&mut file).map_err(failed)?;
    let data = grow(&mut table, disk.size, || Uuid::new_v4().to_bytes_le()).map_err(failed)?;
    if let Some(data) = data {
        empty(&file, data).map_err(|source| FlashError::Empty {
            path: path.clone(),
            source,
        })?;
    }
    table.write(&file).map_err(failed)?;
    reread(&file, &path)?;
    make_file_system(partition)?;
    settle(&mut table).map_err(failed)?;
    table.write(&file).map_err(failed)?;
    reread(&file, &path)?;
    log::info(format_args!("{} is ready for this machine", path.display()));
    Ok(())
}

fn disk_of(partition: &Path) -> Option<Block> {
    block::list().into_iter().find(|disk| {
        let mut parts = disk.partitions.iter();
        parts.any(|part| part.path() == partition)
    })
}

/// Where the data partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
}

/// Lets the table of a flashed disk take all of a disk of `size` bytes. Returns where a data partition was added.
fn grow(
    table: &mut Table,
    size: u64,
    fresh_id: impl FnMut() -> [u8; 16],
) -> Result<Option<Extent>, GptError> {
    let end = table.reach(size)? / ALIGNMENT * ALIGNMENT;
    let number = table.named(FRESH).ok_or(GptError::Foreign(
        "it has no partition that waits for its file system",
    ))?;
    let block = table.block();
    let free = table.free_number();
    // Of an attempt that the power ended.
    let has_data = table.named(DATA).is_some();
    let behind = table.end_of_partitions();
    let state = table.partition_mut(number);
    let start = state.starting_lba * block;
    let is_last = (state.ending_lba + 1) * block == behind;
    let mut data = None;
    if !has_data && is_last && end > behind {
        let wanted = (size / 8 / ALIGNMENT * ALIGNMENT).clamp(LEAST_STATE, MOST_STATE);
        let state_end = start + wanted;
        if state_end > end {
            let needed = state_end + 2 * ALIGNMENT;
            return Err(GptError::TooSmall { size, needed });
        }
        let rest = end - state_end;
        let state_end = if rest < LEAST_DATA { end } else { state_end };
        state.ending_lba = state_end / block - 1;
        if let (Some(number), true) = (free, state_end < end) {
            *table.partition_mut(number) = GPTPartitionEntry {
                partition_type_guid: LVM,
                unique_partition_guid: [0; 16],
                starting_lba: state_end / block,
                ending_lba: end / block - 1,
                attribute_bits: 0,
                partition_name: DATA.into(),
            };
            data = Some(Extent {
                start: state_end,
                end,
            });
        }
    }
    let state = table.partition_mut(number);
    let state_end = (state.ending_lba + 1) * block;
    if state_end - start < LEAST_STATE {
        let needed = start + LEAST_STATE + 2 * ALIGNMENT;
        return Err(GptError::TooSmall { size, needed });
    }
    table.identify(fresh_id);
    Ok(data)
}

/// The last step: from now on it is the state of this machine.
fn settle(table: &mut Table) -> Result<(), GptError> {
    let number = table
        .named(FRESH)
        .ok_or(GptError::Foreign("it has no fresh partition any more"))?;
    table.partition_mut(number).partition_name = super::partition::LABEL.into();
    Ok(())
}

/// What was on the disk before it was flashed is not taken for what is on it now.
fn empty(disk: &File, data: Extent) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(EMPTIED).unwrap_or(0)];
    disk.write_all_at(&zeros, data.start)?;
    disk.write_all_at(&zeros, data.end.saturating_sub(EMPTIED))
}

fn reread(disk: &File, path: &Path) -> Result<(), FlashError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match block::reread_partitions(disk) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < ATTEMPTS => {
                std::thread::sleep(PAUSE);
            }
            Err(source) => {
                return Err(FlashError::Reread {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

fn make_file_system(partition: &Path) -> Result<(), FlashError> {
    Tool::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-L", super::partition::LABEL])
        .args(["-m", "1", "-O", "metadata_csum,64bit", "-i"])
        .arg(BYTES_PER_FILE.to_string())
        .arg(partition)
        .timeout(LIMIT)
        .run_blocking()
        .map(drop)
        .map_err(FlashError::Make)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLASHED: u64 = 1042 * MIB;

    /// A disk of `size` bytes on which the image was written.
    fn flashed(size: u64) -> (File, Table) {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(FLASHED).unwrap();
        let mut gpt = gptman::GPT::new_from(&mut file, 512, [1; 16]).unwrap();
        let mut start = MIB;
        for (number, length, name) in [(1u8, 1024 * MIB, "ashlar-esp"), (2, 16 * MIB, FRESH)] {
            gpt[u32::from(number)] = GPTPartitionEntry {
                partition_type_guid: [number; 16],
                unique_partition_guid: [number; 16],
                starting_lba: start / 512,
                ending_lba: (start + length) / 512 - 1,
                attribute_bits: 0,
                partition_name: name.into(),
            };
            start += length;
        }
        gpt.write_into(&mut file).unwrap();
        file.set_len(size).unwrap();
        let table = Table::read(&mut file).unwrap();
        (file, table)
    }

    fn ids() -> impl FnMut() -> [u8; 16] {
        let mut number = 100;
        move || {
            number += 1;
            [number; 16]
        }
    }

    fn sizes(table: &Table) -> Vec<(String, u64)> {
        let parts = table.partitions().map(|(_, entry)| {
            let blocks = entry.ending_lba + 1 - entry.starting_lba;
            (entry.partition_name.as_str().to_owned(), blocks * 512 / MIB)
        });
        parts.collect()
    }

    fn named(sizes: &[(&str, u64)]) -> Vec<(String, u64)> {
        sizes
            .iter()
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect()
    }

    #[test]
    fn takes_all_of_its_disk() {
        let cases: [(u64, &[(&str, u64)]); 4] = [
            (2304 * MIB, &[("ashlar-esp", 1024), (FRESH, 1278)]),
            (8 * GIB, &[("ashlar-esp", 1024), (FRESH, 7166)]),
            (
                32 * GIB,
                &[("ashlar-esp", 1024), (FRESH, 4096), (DATA, 27646)],
            ),
            (
                1024 * GIB,
                &[("ashlar-esp", 1024), (FRESH, 8192), (DATA, 1_039_358)],
            ),
        ];
        for (size, expected) in cases {
            let (_, mut table) = flashed(size);
            grow(&mut table, size, ids()).unwrap();
            assert_eq!(sizes(&table), named(expected), "{size}");
        }
        for size in [1042, 1043, 2048] {
            let (_, mut table) = flashed(size * MIB);
            let error = grow(&mut table, size * MIB, ids()).unwrap_err();
            assert!(
                matches!(error, GptError::TooSmall { needed, .. } if needed == 2051 * MIB),
                "{error:?}"
            );
        }
    }

    #[test]
    fn goes_on_where_the_power_ended_it() {
        let size = 32 * GIB;
        let (mut file, mut table) = flashed(size);
        let data = grow(&mut table, size, ids()).unwrap();
        assert!(data.is_some());
        table.write(&file).unwrap();
        let mut again = Table::read(&mut file).unwrap();
        assert_eq!(grow(&mut again, size, ids()).unwrap(), None);
        assert_eq!(sizes(&again), sizes(&table));
        settle(&mut again).unwrap();
        again.write(&file).unwrap();
        let mut ready = Table::read(&mut file).unwrap();
        assert_eq!(ready.named(super::super::partition::LABEL), Some(2));
        // Once it is ready nothing of it is done again.
        assert!(grow(&mut ready, size, ids()).is_err());
    }

    proptest! {
        #[test]
        fn partitions_never_move_shrink_or_overlap(extra in 0u64..(64 << 30)) {
            let size = (2051 * MIB + extra) / 512 * 512;
            let (file, mut table) = flashed(size);
            let data = grow(&mut table, size, ids()).unwrap();
            let parts: Vec<_> = table.partitions().map(|(_, entry)| entry.clone()).collect();
            prop_assert_eq!(parts[0].starting_lba * 512, MIB);
            prop_assert_eq!(parts[1].starting_lba * 512, 1025 * MIB);
            prop_assert!(parts[1].ending_lba + 1 >= 2049 * MIB / 512);
            for pair in parts.windows(2) {
                prop_assert!(pair[0].ending_lba < pair[1].starting_lba);
            }
            if let Some(data) = data {
                prop_assert!(data.end - data.start >= LEAST_DATA);
            }
            table.write(&file).unwrap();
            prop_assert!(table.end_of_partitions() <= size);
        }
    }
}
