//! Saved states: of the disks of a machine that is off, or of a running machine with its memory.
//!
//! They lie inside the qcow2 files of the disks. Going on from a saved running state takes seconds where booting and
//! claiming the machine takes a minute: tests of the same start share it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::Machine;

const SAVED: Duration = Duration::from_secs(180);

impl Machine {
    /// Saves the running machine, memory and disks; [`Machine::resume`] goes on from there.
    pub fn save_running(&self, name: &str) -> Result<()> {
        let mut devices = vec!["boot".to_owned(), "variables".to_owned()];
        devices.extend((0..self.record().options.data.len()).map(|number| format!("data{number}")));
        let mut qmp = self.qmp()?;
        qmp.execute("stop", json!({}))?;
        let job = json!({ "job-id": "save", "tag": name, "vmstate": "boot", "devices": devices });
        qmp.execute("snapshot-save", job)?;
        let end = Instant::now() + SAVED;
        loop {
            let jobs = qmp.execute("query-jobs", json!({}))?;
            let job = jobs
                .as_array()
                .and_then(|jobs| jobs.iter().find(|job| job["id"] == "save"));
            let job = job.context("QEMU lost the job that saves the machine")?;
            if job["status"] == "concluded" {
                if let Some(error) = job["error"].as_str() {
                    bail!("QEMU could not save the machine: {error}");
                }
                break;
            }
            ensure!(
                Instant::now() < end,
                "saving the machine took more than {} s",
                SAVED.as_secs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        qmp.execute("job-dismiss", json!({ "id": "save" }))?;
        qmp.execute("cont", json!({})).map(drop)
    }

    /// Saves the disks of a machine that is off.
    pub fn save_disks(&self, name: &str) -> Result<()> {
        self.each_disk("-c", name)
    }

    /// Puts the disks back to a saved state; the machine must be off.
    pub fn restore_disks(&self, name: &str) -> Result<()> {
        self.each_disk("-a", name)
    }

    fn each_disk(&self, action: &str, name: &str) -> Result<()> {
        ensure!(
            !self.running(),
            "the machine {} runs; stop it first",
            self.record().name
        );
        let emulator = self.emulator()?;
        for path in self.disks() {
            emulator
                .image_tool()
                .args(["snapshot", action, name])
                .arg(&path)
                .output()?;
        }
        Ok(())
    }

    fn disks(&self) -> Vec<PathBuf> {
        let mut names = vec!["boot".to_owned(), "variables".to_owned()];
        names.extend((0..self.record().options.data.len()).map(|number| format!("data{number}")));
        names
            .into_iter()
            .map(|name| self.folder().join(format!("{name}.qcow2")))
            .collect()
    }
}
