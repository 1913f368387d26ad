//! Looks at the machine: drives, volume groups, the library. Changes nothing.
//!
//! What is on a drive is read once and remembered until the kernel tells of a
//! change on any: drives that sleep are not woken every few minutes. A drive
//! that does not answer in time can not be used, and holds nothing up: it is
//! not asked a second time while it owes the first answer, as each question
//! keeps a thread in the kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_api::PoolId;
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::drive::{self, Probed};
use super::events::Events;
use super::lvm::{Group, Lvm};
use super::observe::{Content, Drive, Observed};
use super::work::Works;
use super::{Error, library};
use crate::reconcile::Waker;
use crate::sys::block::Block;
use crate::sys::sysfs;

/// How long a drive may take to answer: it may have to spin up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the pools are noted, by their id, whose metadata was restored since the machine was switched on.
pub const RESTORED: &str = "/run/ashlar/restored";

/// Which drive it is, and what the kernel made of what is on it. The same name with another number is another drive;
/// one that lost its partitions, or that something was built on, holds something else than before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    sequence: Option<u64>,
    size: u64,
    partitions: Vec<String>,
    holders: Vec<String>,
}

/// How long a drive may take that was asked in an earlier look.
const MOMENT: Duration = Duration::from_millis(200);

/// A question that a drive has not answered yet.
struct Asked {
    key: Key,
    /// Something has changed since it was asked.
    stale: bool,
    answer: JoinHandle<Option<Probed>>,
}

/// Looks.
pub struct Eyes {
    waker: Waker,
    known: HashMap<Key, Probed>,
    /// Drives that are being read, by name and number.
    asked: HashMap<(String, Option<u64>), Asked>,
}

impl Eyes {
    /// Nothing is known yet. A late answer wakes the domain.
    pub fn new(waker: Waker) -> Eyes {
        Eyes {
            waker,
            known: HashMap::new(),
            asked: HashMap::new(),
        }
    }

    /// Looks at everything.
    pub async fn look(&mut self, events: &Events, works: &Works) -> Result<Observed, Error> {
        if events.take() {
            self.known.clear();
            self.asked.values_mut().for_each(|asked| asked.stale = true);
        }
        let drives = self.drives().await?;
        let report = Lvm::on(physical(&drives)).report().await?;
        let mut observed = Observed {
            without_file: without_file(&report.groups, Path::new("/dev")),
            drives,
            groups: report.groups,
            orphans: report.unused.into_iter().collect(),
            damaged: report.damaged,
            flawed: report.flawed,
            restored: restored(Path::new(RESTORED)),
            library: library::look()?,
            ..Observed::default()
        };
        // Last: a work that ends while the rest is looked at leaves its traces before it ends.
        works.look(&mut observed);
        Ok(observed)
    }

    async fn drives(&mut self) -> Result<Vec<Drive>, Error> {
        let (blocks, system) = drive::present()?;
        self.ask(&blocks, drive::probe).await;
        let drives = blocks.iter().map(|block| {
            let is_system = system.contains(&block.name);
            match self.known.get(&key(block)) {
                Some(probed) => drive::drive(block, probed, is_system),
                None => drive::drive(block, &silent(), is_system),
            }
        });
        Ok(drives.collect())
    }

    /// Has every drive read of which nothing is known, and waits for the answers: not long for those that were asked before.
    async fn ask(&mut self, blocks: &[Block], read: fn(&Block) -> Probed) {
        let is_there = |name: &str| blocks.iter().any(|block| block.name == name);
        self.asked
            .retain(|(name, _), asked| !asked.answer.is_finished() || is_there(name));
        let mut waiting = Vec::new();
        for block in blocks {
            let key = key(block);
            if self.known.contains_key(&key) {
                continue;
            }
            let drive = (block.name.clone(), block.sequence);
            let earlier = self.asked.remove(&drive);
            let (asked, patience) = match earlier {
                // What it says now may not be so any more.
                Some(asked) if asked.answer.is_finished() && (asked.stale || asked.key != key) => {
                    (self.begin(block, key.clone(), read), PATIENCE)
                }
                Some(asked) => (asked, MOMENT),
                None => (self.begin(block, key.clone(), read), PATIENCE),
            };
            let is_overtaken = asked.stale || asked.key != key;
            waiting.push(async move { (drive, is_overtaken, answer(asked, patience).await) });
        }
        for (drive, is_overtaken, answered) in join_all(waiting).await {
            if is_overtaken && answered.is_ok() {
                self.waker.wake();
            }
            match answered {
                Ok((key, Some(probed))) => drop(self.known.insert(key, probed)),
                Ok((_, None)) => {}
                Err(asked) => drop(self.asked.insert(drive, asked)),
            }
        }
    }

    fn begin(&self, block: &Block, key: Key, read: fn(&Block) -> Probed) -> Asked {
        let (block, waker) = (block.clone(), self.waker.clone());
        let reading = tokio::task::spawn_blocking(move || read(&block));
        let answer = tokio::spawn(async move {
            let began = Instant::now();
            let probed = reading.await.ok();
            if began.elapsed() >= PATIENCE {
                waker.wake();
            }
            probed
        });
        Asked {
            key,
            stale: false,
            answer,
        }
    }
}

/// The answer to a question, or the question again when there is none yet.
async fn answer(mut asked: Asked, patience: Duration) -> Result<(Key, Option<Probed>), Asked> {
    match tokio::time::timeout(patience, &mut asked.answer).await {
        // One that was overtaken by a change is asked again in the next look.
        Ok(_) if asked.stale => Ok((asked.key, None)),
        Ok(probed) => Ok((asked.key, probed.ok().flatten())),
        Err(_) => Err(asked),
    }
}

/// What is known of a drive that has not answered.
fn silent() -> Probed {
    Probed {
        content: Content::Data(String::new()),
        problem: Some(format!("it did not answer within {PATIENCE:?}")),
        mute: true,
    }
}

fn key(block: &Block) -> Key {
    let partitions = block.partitions.iter();
    Key {
        name: block.name.clone(),
        sequence: block.sequence,
        size: block.size,
        partitions: partitions.map(|partition| partition.name.clone()).collect(),
        holders: block.holders.clone(),
    }
}

/// The drives that LVM is to see.
pub fn physical(drives: &[Drive]) -> Vec<PathBuf> {
    drives
        .iter()
        .filter(|drive| drive.content == Content::Lvm && !drive.system)
        .map(|drive| drive.path.clone())
        .collect()
}

/// The devices of our groups, by group: LVM sees those only when it works on one.
pub fn devices(groups: &[Group]) -> BTreeMap<String, Vec<PathBuf>> {
    groups
        .iter()
        .filter(|group| group.ours)
        .map(|group| (group.name.clone(), group.devices.clone()))
        .collect()
}

fn restored(folder: &Path) -> BTreeSet<PoolId> {
    let names = sysfs::names(folder).into_iter();
    names.filter_map(|name| name.parse().ok()).collect()
}

fn without_file(groups: &[Group], dev: &Path) -> BTreeSet<String> {
    groups
        .iter()
        .filter(|group| group.ours)
        .flat_map(|group| {
            let active = group.volumes.iter().filter(|volume| volume.active);
            active.map(move |volume| format!("{}/{}", group.name, volume.name))
        })
        .filter(|path| !dev.join(path).exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::sys::block::Kind;

    static READS: AtomicUsize = AtomicUsize::new(0);
    static HANGS: AtomicBool = AtomicBool::new(true);

    fn read(_: &Block) -> Probed {
        READS.fetch_add(1, Ordering::SeqCst);
        while HANGS.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Probed {
            content: Content::Blank,
            problem: None,
            mute: false,
        }
    }

    fn block(holders: &[&str]) -> Block {
        Block {
            name: "sda".to_owned(),
            kind: Kind::Disk,
            transport: None,
            device: (8, 0),
            size: 1 << 40,
            logical_block: 512,
            physical_block: 512,
            model: None,
            serial: None,
            wwid: None,
            rotational: false,
            removable: false,
            read_only: false,
            sequence: Some(4),
            partitions: Vec::new(),
            holders: holders.iter().map(|name| (*name).to_owned()).collect(),
            slaves: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_drive_is_not_asked_again_before_it_has_answered() {
        let mut eyes = Eyes::new(Waker::default());
        let (before, now) = (block(&[]), block(&["dm-0"]));
        let asked = eyes.begin(&before, key(&before), read);
        eyes.asked.insert(("sda".to_owned(), Some(4)), asked);
        // Neither the same drive, nor one that something was built on since, is asked by another thread.
        eyes.ask(&[before], read).await;
        eyes.ask(std::slice::from_ref(&now), read).await;
        assert!(eyes.known.is_empty());
        assert_eq!(READS.load(Ordering::SeqCst), 1);
        HANGS.store(false, Ordering::SeqCst);
        // The first answer is of what it was before, so it is asked once more.
        for _ in 0..100 {
            eyes.ask(std::slice::from_ref(&now), read).await;
            if eyes.known.contains_key(&key(&now)) {
                break;
            }
        }
        assert!(eyes.known.contains_key(&key(&now)) && eyes.asked.is_empty());
        assert_eq!(READS.load(Ordering::SeqCst), 2);
    }
}
