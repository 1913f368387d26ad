//! Settings that follow a change while a machine runs, and those that wait.
//!
//! At once: the medium in the CD drive, the network an interface is on, and
//! less memory (the guest is asked to give it back). All others wait for the
//! next start and are named in the status until then.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use ashlar_api::vm::{VmNic, VmSpec};
use serde::Deserialize;
use serde_json::json;

use super::link::{self, LinkError};
use super::qmp::{Qmp, QmpError};
use super::wanted::Plug;

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
