//! Settings that follow a change while a machine runs, and those that wait.
//!
//! At once: the medium in the CD drive, the network an interface is on, the size
//! of a disk, and less memory (the guest is asked to give it back). All others
//! wait for the next start and are named in the status until then.
//!
//! Nothing tells of a device that has grown, QEMU least of all: its size is
//! looked at with every sample, and QEMU is told. It is asked what it has only
//! when that may be less, so a disk that keeps its size costs nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use ashlar_api::vm::{VmDisk, VmNic, VmSpec};
use serde::Deserialize;
use serde_json::json;

use super::arguments;
use super::link::{self, LinkError};
use super::qmp::{Qmp, QmpError};
use super::wanted::{Assignment, Plug};
use crate::sys::sysfs;

/// Why a running machine does not follow a change.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The medium can not be opened.
    #[error("cannot open the image {}", .path.display())]
    Medium {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// QEMU did not do it.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// An interface can not be put in its place.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Settings that wait for the next start.
pub fn pending(started: &VmSpec, wanted: &VmSpec) -> Vec<String> {
    let macs = |spec: &VmSpec| -> Vec<_> { spec.nics.iter().map(|nic: &VmNic| nic.mac).collect() };
    let waits = [
        ("cpus", started.cpus != wanted.cpus),
        ("memory", started.memory != wanted.memory),
        ("disks", started.disks != wanted.disks),
        ("cdrom", started.cdrom != wanted.cdrom),
        ("nics", macs(started) != macs(wanted)),
        ("cloud_init", started.cloud_init != wanted.cloud_init),
    ];
    let names = waits.into_iter().filter(|(_, waits)| *waits);
    names.map(|(name, _)| name.to_owned()).collect()
}

/// How much memory a guest is to be left with: what is wanted, as far as it has it.
pub fn balloon(started: &VmSpec, wanted: &VmSpec) -> Bytes {
    wanted.memory.min(started.memory)
}

/// Puts interfaces where they belong, also when their bridge was made anew.
pub async fn plug(started: &VmSpec, plugs: &[Plug]) -> Result<(), SettingError> {
    for plug in plugs {
        let has = started.nics.iter().any(|nic| nic.mac == Some(plug.mac));
        let there = link::exists(&plug.tap) && link::exists(&plug.bridge);
        if has && there && link::bridge_of(&plug.tap).as_ref() != Some(&plug.bridge) {
            link::plug(&plug.tap, &plug.bridge).await?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Drive {
    #[serde(default)]
    qdev: String,
    #[serde(default)]
    inserted: Option<Inserted>,
}

#[derive(Deserialize)]
struct Inserted {
    #[serde(rename = "node-name")]
    node: String,
}

/// Takes the medium out of the CD drive and puts another one in. Whatever was
/// done of it before does no harm when it is done again.
pub async fn change_medium(qmp: &Qmp, medium: Option<&Path>) -> Result<(), SettingError> {
    // Opened first: a drive is not emptied for a medium that is not there.
    let file = match medium {
        Some(path) => Some(File::open(path).map_err(|source| SettingError::Medium {
            path: path.to_owned(),
            source,
        })?),
        None => None,
    };
    let drives: Vec<Drive> = qmp.ask("query-block", json!({})).await?;
    let old = drives
        .into_iter()
        .find(|drive| drive.qdev == "cdrom")
        .and_then(|drive| drive.inserted);
    let id = json!({ "id": "cdrom" });
    let open = json!({ "id": "cdrom", "force": true });
    qmp.run("blockdev-open-tray", open).await?;
    if let Some(old) = old {
        qmp.run("blockdev-remove-medium", id.clone()).await?;
        let node = json!({ "node-name": old.node });
        qmp.run("blockdev-del", node).await?;
    }
    if let Some(file) = file {
        let set = qmp.add_file(file.into()).await?;
        // A number that was never used while QEMU runs names the medium.
        let node = format!("medium{set}");
        let blockdev = json!({
            "driver": "file", "node-name": node,
            "filename": format!("/dev/fdset/{set}"), "read-only": true,
        });
        qmp.run("blockdev-add", blockdev).await?;
        let insert = json!({ "id": "cdrom", "node-name": node });
        qmp.run("blockdev-insert-medium", insert).await?;
    }
    qmp.run("blockdev-close-tray", id).await?;
    Ok(())
}

/// A node of `query-named-block-nodes`.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "node-name")]
    name: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "virtual-size")]
    size: u64,
}

/// Tells QEMU of disks that have grown, so that the guest sees it. `known` holds
/// what QEMU has, by the name of its node; it is empty for a new process.
pub async fn grow(
    qmp: &Qmp,
    started: &VmSpec,
    assignment: &Assignment,
    known: &mut BTreeMap<String, u64>,
) -> Result<(), SettingError> {
    let mut sizes = sizes(started, assignment);
    sizes.retain(|node, size| known.get(node).is_none_or(|known| *size > *known));
    if sizes.is_empty() {
        return Ok(());
    }
    let flat = json!({ "flat": true });
    let nodes: Vec<Node> = qmp.ask("query-named-block-nodes", flat).await?;
    known.extend(nodes.into_iter().map(|node| (node.name, node.image.size)));
    let mut done = Ok(());
    for (node, size) in sizes {
        if known.get(&node).is_none_or(|has| size <= *has) {
            continue;
        }
        let resize = json!({ "node-name": node, "size": size });
        match qmp.run("block_resize", resize).await {
            Ok(_) => {
                tracing::info!(node, size, "a disk has grown");
                known.insert(node, size);
            }
            // One that can not grow does not keep the others from it.
            Err(error) => done = Err(error.into()),
        }
    }
    done
}

/// The bytes that the disks of a running machine have now, by the name of their
/// node. Disks that wait for the next start, or are not there, are left out.
fn sizes(started: &VmSpec, assignment: &Assignment) -> BTreeMap<String, u64> {
    let volumes = arguments::volumes(&assignment.record);
    // A volume that is no more has no path: which path is whose is not known then.
    if volumes.len() != assignment.disks.len() {
        return BTreeMap::new();
    }
    let paths: Vec<_> = volumes.into_iter().zip(&assignment.disks).collect();
    let size = |(index, disk): (usize, &VmDisk)| {
        let VmDisk::Volume { volume } = disk else {
            return None;
        };
        let (_, path) = paths.iter().find(|(id, _)| id == volume)?;
        Some((arguments::disk_node(index), size(path)?))
    };
    let disks = started.disks.iter().enumerate();
    disks.filter_map(size).collect()
}

/// The bytes of a device or file. The kernel knows them without asking the device.
fn size(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.file_type().is_block_device() {
        return Some(metadata.len());
    }
    let device = metadata.rdev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let sectors: u64 = sysfs::parse(format!("/sys/dev/block/{major}:{minor}/size"))?;
    // Whatever the device's own sectors are, these have 512 bytes.
    sectors.checked_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::arguments::tests::machine;

    #[test]
    fn names_what_waits() {
        let started = machine(1, 2, false).spec;
        let mut wanted = started.clone();
        wanted.description = "new".to_owned();
        wanted.protected = true;
        wanted.nics[0].network = ashlar_api::NetworkId(uuid::Uuid::nil());
        assert!(pending(&started, &wanted).is_empty());
        wanted.cpus += 1;
        wanted.memory = Bytes::gib(8);
        wanted.nics.pop();
        assert_eq!(pending(&started, &wanted), ["cpus", "memory", "nics"]);
        assert_eq!(balloon(&started, &wanted), started.memory);
        wanted.memory = Bytes::mib(128);
        assert_eq!(balloon(&started, &wanted), Bytes::mib(128));
    }
}
