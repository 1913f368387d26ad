//! Disks as a test wants them, made and changed while no machine uses them: by tools that work on files, without root.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ashlar_image::qemu::Machine;
use ashlar_image::tool::Tool;
use gptman::{GPT, GPTPartitionEntry};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Partition type "Linux filesystem data", in the mixed byte order of the table.
const DATA: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Makes a disk of `size` bytes with an ext4 partition of 64 MiB for each name.
pub fn partitioned(path: &Path, size: u64, names: &[&str]) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.set_len(size)?;
    let guid = |number: usize| {
        let mut guid = [0x5a; 16];
        guid[0] = u8::try_from(number).unwrap_or(0xff);
        // Another size is another disk.
        guid[8..].copy_from_slice(&size.to_be_bytes());
        guid
    };
    let mut table = GPT::new_from(&mut file, SECTOR, guid(0))?;
    let mut start = MIB;
    let mut starts = Vec::new();
    for (number, name) in (1..).zip(names) {
        table[number] = GPTPartitionEntry {
            partition_type_guid: DATA,
            unique_partition_guid: guid(number as usize),
            starting_lba: start / SECTOR,
            ending_lba: (start + 64 * MIB) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: (*name).into(),
        };
        starts.push(start);
        start += 64 * MIB;
    }
    GPT::write_protective_mbr_into(&mut file, SECTOR)?;
    table.write_into(&mut file)?;
    for start in starts {
        Tool::new("mke2fs")
            .args(["-q", "-t", "ext4", "-F", "-E"])
            .arg(format!("offset={start},nodiscard"))
            .arg(path)
            .arg("64m")
            .output()?;
    }
    Ok(())
}

/// The state partition of a machine that is off, as a file system to look into and to change.
pub struct State {
    raw: PathBuf,
    boot: PathBuf,
    offset: u64,
}

impl State {
    /// Takes the boot disk of a machine that is off.
    pub fn open(machine: &Machine) -> Result<Self> {
        ensure!(!machine.running(), "the machine still runs");
        let boot = machine.folder().join("boot.qcow2");
        let raw = raw_copy(&boot)?;
        let mut file = OpenOptions::new().read(true).open(&raw)?;
        let table = GPT::read_from(&mut file, SECTOR)?;
        let (_, partition) = table
            .iter()
            .find(|(_, partition)| partition.partition_name.as_str() == "ashlar-state")
            .context("there is no state partition")?;
        let state = State {
            raw,
            boot,
            offset: partition.starting_lba * SECTOR,
        };
        // What the journal holds comes first, as it would at the next start.
        state.check()?;
        Ok(state)
    }

    fn place(&self) -> String {
        format!("{}?offset={}", self.raw.display(), self.offset)
    }

    /// Replays the journal; fails when the file system is not sound.
    fn check(&self) -> Result<()> {
        let once = || {
            Tool::new("e2fsck")
                .args(["-f", "-p", &self.place()])
                .output()
        };
        // The first may have had something to put in order, which it calls a failure.
        let _ = once();
        once().map(drop)
    }

    /// Runs commands of debugfs; those that change something say nothing when all is well.
    fn debugfs(&self, commands: &[String]) -> Result<String> {
        let script = self.raw.with_extension("commands");
        std::fs::write(&script, commands.join("\n"))?;
        Tool::new("debugfs")
            .args(["-w", "-f"])
            .arg(&script)
            .arg(self.place())
            .output()
    }

    /// Names in the root of the partition.
    pub fn names(&self) -> Result<Vec<String>> {
        let said = self.debugfs(&["ls -p /".to_owned()])?;
        // As `/12/100644/0/0/lock/0/`, after an echo of the command.
        let names = said.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names.map(str::to_owned).collect())
    }

    /// Takes all room but a few blocks with a file of this name.
    pub fn fill(&self, name: &str) -> Result<()> {
        let said = self.debugfs(&["show_super_stats -h".to_owned()])?;
        let figure = |what: &str| -> Result<u64> {
            let line = said.lines().find_map(|line| line.strip_prefix(what));
            let text = line.with_context(|| format!("no \"{what}\" in {said}"))?;
            Ok(text.trim().parse()?)
        };
        let (free, size) = (figure("Free blocks:")?, figure("Block size:")?);
        let blocks = free.saturating_sub(16);
        let empty = self.raw.with_extension("empty");
        File::create(&empty)?;
        self.debugfs(&[
            format!("write {} {name}", empty.display()),
            format!("fallocate {name} 0 {}", blocks - 1),
            format!("set_inode_field {name} size {}", blocks * size),
        ])?;
        self.check()
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.debugfs(&[format!("rm {name}")])?;
        self.check()
    }

    /// Replaces a database by something that is none. What waited in its write-ahead log goes too: a small database can
    /// be in there as a whole.
    pub fn spoil(&self, name: &str) -> Result<()> {
        let there = self.names()?;
        for part in ["-wal", "-shm"].map(|part| format!("{name}{part}")) {
            if there.contains(&part) {
                self.remove(&part)?;
            }
        }
        self.replace(name, "this is no database ".repeat(4000).as_bytes())
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        let source = self.raw.with_extension("content");
        std::fs::write(&source, content)?;
        self.debugfs(&[
            format!("rm {name}"),
            format!("write {} {name}", source.display()),
        ])?;
        self.check()
    }

    /// Gives the disk back to the machine.
    pub fn put_back(self) -> Result<()> {
        Tool::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args([&self.raw, &self.boot])
            .output()?;
        std::fs::remove_file(&self.raw)
            .with_context(|| format!("cannot remove {}", self.raw.display()))
    }
}

/// Copies a disk into a file that can be looked into, beside it.
fn raw_copy(disk: &Path) -> Result<PathBuf> {
    let raw = disk.with_extension("raw");
    Tool::new("qemu-img")
        .args(["convert", "-f", "qcow2", "-O", "raw"])
        .args([disk, &raw])
        .output()?;
    Ok(raw)
}

/// What is lost of the metadata that LVM keeps on a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The newest text, in all copies, as when the power goes while it is in the cache of the drive.
    Newest,
    /// All texts.
    All,
}

/// Takes LVM's metadata, or the newest of it, from the first data disk of a machine that is off. What leads to it stays.
pub fn lose_metadata(machine: &Machine, loss: Loss) -> Result<()> {
    ensure!(!machine.running(), "the machine still runs");
    let disk = machine.folder().join("data0.qcow2");
    let raw = raw_copy(&disk)?;
    let file = OpenOptions::new().read(true).write(true).open(&raw)?;
    let heads = heads(&file)?;
    ensure!(heads.len() == 2, "there are {} metadata areas", heads.len());
    for (start, size) in heads {
        let (offset, length) = match loss {
            // The text that the head leads to.
            Loss::Newest => (number(&file, start + 40)?, number(&file, start + 48)?),
            Loss::All => (SECTOR, size - SECTOR),
        };
        ensure!(length > 0 && offset + length <= size, "{offset} {length}");
        let nothing = vec![0; usize::try_from(length)?];
        file.write_all_at(&nothing, start + offset)?;
    }
    Tool::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &disk])
        .output()?;
    std::fs::remove_file(&raw).with_context(|| format!("cannot remove {}", raw.display()))
}

/// Where the metadata areas of a physical volume begin, and how large they are: the second list in its label.
fn heads(file: &File) -> Result<Vec<(u64, u64)>> {
    let mut mark = [0; 8];
    file.read_exact_at(&mut mark, SECTOR)?;
    ensure!(&mark == b"LABELONE", "it bears no label of LVM");
    // Behind the label: 32 bytes of identity, 8 of size, then pairs of offset and size, two lists ended by zeros.
    let mut at = SECTOR + 32 + 40;
    while number(file, at)? != 0 {
        at += 16;
    }
    let mut heads = Vec::new();
    loop {
        at += 16;
        match number(file, at)? {
            0 => return Ok(heads),
            start => heads.push((start, number(file, at + 8)?)),
        }
    }
}

fn number(file: &File, at: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}
