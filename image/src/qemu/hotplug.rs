//! Cards, cables and disks that come and go while the machine runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::arguments::{FREE_PORTS, disk, mac};
use super::{Machine, Nic};

/// The guest must let go of a device before it leaves; under emulation that takes seconds.
const LEAVES: Duration = Duration::from_secs(60);

impl Machine {
    /// Puts a network card into one of the free slots (0 to 3); its name is `nic-hot<slot>`.
    pub fn plug_nic(&self, slot: usize, nic: Nic) -> Result<String> {
        let id = format!("nic-hot{slot}");
        let netdev = match nic {
            Nic::User => {
                json!({ "type": "user", "id": id, "net": format!("10.0.{}.0/24", 100 + slot) })
            }
            Nic::Silent => json!({ "type": "hubport", "id": id, "hubid": 100 + slot }),
        };
        let mut qmp = self.qmp()?;
        qmp.execute("netdev_add", netdev)?;
        let card = json!({ "driver": "virtio-net-pci", "netdev": id, "id": format!("{id}-card"),
            "mac": mac(100 + slot), "bus": port(slot)? });
        qmp.execute("device_add", card)
            .with_context(|| format!("cannot plug {id}"))?;
        Ok(id)
    }

    /// Takes out a card that was plugged.
    pub fn unplug_nic(&self, id: &str) -> Result<()> {
        self.unplug(&format!("{id}-card"))?;
        self.qmp()?
            .execute("netdev_del", json!({ "id": id }))
            .map(drop)
    }

    /// Pulls the cable of a card (`nic0`, `nic1`, ... in order) or puts it back.
    pub fn set_link(&self, id: &str, up: bool) -> Result<()> {
        self.qmp()?
            .execute(
                "set_link",
                json!({ "name": format!("{id}-card"), "up": up }),
            )
            .map(drop)
    }

    /// Puts a new empty disk into one of the free slots; its serial number is `hot<slot>`.
    pub fn plug_disk(&self, slot: usize, size: u64) -> Result<String> {
        let id = format!("hot{slot}");
        let path = self.folder().join(format!("{id}.qcow2"));
        let size = size.to_string();
        self.emulator()?
            .image_tool()
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&path)
            .arg(size)
            .output()?;
        self.plug_disk_file(slot, &id, &path)?;
        Ok(id)
    }

    fn plug_disk_file(&self, slot: usize, id: &str, path: &Path) -> Result<()> {
        let mut qmp = self.qmp()?;
        qmp.execute("blockdev-add", disk(id, path)?)?;
        let device = json!({ "driver": "virtio-blk-pci", "drive": id, "serial": id, "id": format!("{id}-disk"),
            "bus": port(slot)? });
        qmp.execute("device_add", device)
            .with_context(|| format!("cannot plug {id}"))
            .map(drop)
    }

    /// Takes out a disk that was plugged.
    pub fn unplug_disk(&self, id: &str) -> Result<()> {
        self.unplug(&format!("{id}-disk"))?;
        self.qmp()?
            .execute("blockdev-del", json!({ "node-name": id }))
            .map(drop)
    }

    fn unplug(&self, device: &str) -> Result<()> {
        let mut qmp = self.qmp()?;
        qmp.execute("device_del", json!({ "id": device }))?;
        qmp.wait_event("DEVICE_DELETED", LEAVES, |data| data["device"] == device)
            .with_context(|| format!("the machine did not let go of {device}"))
            .map(drop)
    }
}

fn port(slot: usize) -> Result<String> {
    anyhow::ensure!(
        slot < FREE_PORTS,
        "slot {slot} does not exist: there are {FREE_PORTS}, counted from 0"
    );
    Ok(format!("port{slot}"))
}
