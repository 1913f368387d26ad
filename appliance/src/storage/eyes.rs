//! Looks at the machine: drives, volume groups, the library. Changes nothing.
//!
//! What is on a drive is read once and remembered until the kernel tells of a
//! change on any: drives that sleep are not woken every few minutes. A drive
//! that does not answer in time can not be used, and holds nothing up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use super::drive::{self, Probed};
use super::events::Events;
use super::lvm::{Group, Lvm};
use super::observe::{Content, Drive, Observed};
use super::work::Works;
use super::{Error, library};
use crate::sys::block::{self, Block};
use crate::sys::fs;

/// How long a drive may take to answer: it may have to spin up.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Looks.
#[derive(Default)]
pub struct Eyes {
    known: HashMap<Key, Probed>,
}

impl Eyes {
    /// Looks at everything.
    pub async fn look(&mut self, events: &Events, works: &Works) -> Result<Observed, Error> {
        if events.take() {
            self.known.clear();
        }
        let drives = self.drives().await?;
        let report = Lvm::on(physical(&drives)).report().await?;
        let mut observed = Observed {
            without_file: without_file(&report.groups, Path::new("/dev")),
            drives,
            groups: report.groups,
            library: library::look()?,
            ..Observed::default()
        };
        // Last: a work that ends while the rest is looked at leaves its traces before it ends.
        works.look(&mut observed);
        Ok(observed)
    }

    async fn drives(&mut self) -> Result<Vec<Drive>, Error> {
        let mut blocks = block::list();
        let mounted: BTreeSet<String> = fs::mounts()?.into_iter().map(|m| m.device).collect();
        let system = drive::system_disks(&blocks, &mounted);
        blocks.retain(drive::is_drive);
        let unknown = blocks
            .iter()
            .filter(|block| !self.known.contains_key(&key(block)))
            .map(|block| async { (key(block), probe(block.clone()).await) });
        let found: Vec<(Key, Probed)> = join_all(unknown).await;
        self.known.extend(found);
        let drives = blocks.iter().filter_map(|block| {
            let probed = self.known.get(&key(block))?;
            Some(drive::drive(block, probed, system.contains(&block.name)))
        });
        Ok(drives.collect())
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

async fn probe(block: Block) -> Probed {
    let probing = tokio::task::spawn_blocking(move || drive::probe(&block));
    match tokio::time::timeout(PATIENCE, probing).await {
        Ok(Ok(probed)) => probed,
        Ok(Err(_)) | Err(_) => Probed {
            content: Content::Data(String::new()),
            problem: Some(format!("it did not answer within {PATIENCE:?}")),
        },
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
