//! What is written down about a machine, so that any later command finds it: `target/run/<name>/run.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::RunOptions;
use crate::place::Place;

/// The contents of `run.json`; also what `run --detach` and `list --json` print.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The machine's name.
    pub name: String,
    /// QEMU's process while the machine runs.
    pub pid: Option<i32>,
    /// When that process started, in ticks since the host's boot: tells it from a later process with the same number.
    pub process_start: Option<u64>,
    /// The process in whose lifetime the machine lives, for machines of tests; nobody for detached ones.
    pub owner: Option<i32>,
    /// Where the console answers on this host.
    pub console: String,
    /// The port of `console`.
    pub https_port: u16,
    /// Everything the serial line has said.
    pub serial_log: PathBuf,
    /// The serial line itself.
    pub serial_socket: PathBuf,
    /// QEMU's control socket.
    pub qmp_socket: PathBuf,
    /// The certificate's SHA-256 fingerprint, once the machine has said it.
    pub certificate: Option<String>,
    /// The one-time code that claims the machine, once the machine has said it.
    pub claim_code: Option<String>,
    /// What the machine was asked to be.
    pub options: RunOptions,
}

impl Record {
    /// Reads the record in a machine's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; delete the folder it is in", path.display()))
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join("run.json");
        let draft = folder.join("run.json.new");
        let text = serde_json::to_vec_pretty(self).context("cannot write the machine's record")?;
        fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether its QEMU runs now.
    pub fn running(&self) -> bool {
        self.pid.is_some_and(|pid| {
            process_start(pid).is_some_and(|start| Some(start) == self.process_start)
        })
    }
}

/// All machines there are, by name; folders without a readable record are left out.
pub fn list(place: &Place) -> Result<Vec<Record>> {
    let runs = place.runs()?;
    let entries = fs::read_dir(&runs).with_context(|| format!("cannot list {}", runs.display()))?;
    let mut records: Vec<_> = entries
        .filter_map(|entry| Record::read(&entry.ok()?.path()).ok())
        .collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

/// The machine's folder; refuses names that are not one plain folder name.
pub fn folder(place: &Place, name: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.len() <= 64 && name.chars().all(plain),
        "`{name}` cannot name a machine: use 1 to 64 letters, digits, `-` and `_`"
    );
    Ok(place.runs()?.join(name))
}

/// When a living process started, in clock ticks since boot; nothing for one that is gone or only waits to be reaped.
pub fn process_start(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    start_in_stat(&stat, threads > 1)
}

/// Of a process whose first thread has ended, others may still run: until they are through, its files stay locked.
fn start_in_stat(stat: &str, has_others: bool) -> Option<u64> {
    // The name in parentheses may hold anything; what follows the last one is regular.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") && !has_others {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_start_of_a_process() {
        let stat = "4242 (qemu (x) y) S 1 4242 4242 0 -1 4194624 1 0 0 0 10 5 0 0 20 0 4 0 987654 5000 10 0";
        let ended = stat.replace(") S", ") Z");
        assert_eq!(start_in_stat(stat, false), Some(987_654));
        assert_eq!(start_in_stat(&ended, false), None);
        assert_eq!(start_in_stat(&ended, true), Some(987_654));
        assert!(process_start(i32::try_from(std::process::id()).unwrap()).is_some());
    }
}
