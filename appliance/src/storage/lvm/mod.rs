//! LVM2, by its command line: one report of everything, and one function for
//! each change.
//!
//! Invariant: a command sees the drives it is given and no others. Volumes
//! hold the disks of guests, and guests use LVM, too: a scan of all devices
//! would find their volume groups and, with the wrong name, work on them. So
//! each command carries its list of devices as a filter, and its whole
//! configuration with it, whatever is in `/etc/lvm`.
//!
//! Decisions, measured in the image (LVM 2.03.31, Linux 6.12):
//! - `udev_sync` and `udev_rules` are off: device nodes are made by the command
//!   itself and are there when it returns. To wait for udevd took two to three
//!   times as long (activation 8.9 s against 3.3 s under emulation), and would
//!   hang while udevd is being restarted.
//! - A full pool gives errors at once (`error_when_full`) instead of holding
//!   every write for 60 s: QEMU stops a guest at "no space" and lets it go on
//!   when there is room again, and nothing hangs where it can not be killed.
//! - No monitoring by dmeventd, no automatic growth: the thin pool has nearly
//!   all of its group from the start, and the domain looks at how full it is.
//! - Groups are never activated by events; the domain activates what it knows.
//! - No backups in `/etc/lvm`: the root is read-only, and the drives hold two
//!   copies of their metadata themselves, and many older versions ([`restore`]).

mod report;
mod restore;
#[cfg(test)]
mod tests;
mod texts;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::{Bytes, PoolId};

pub use self::report::{Group, Logical, Report, Thin};
pub use self::texts::Unrestorable;
use crate::state::schema::{LVM_TAG, THIN_POOL};
use crate::sys::command::{CommandError, Output, Tool};
use crate::sys::pidfd::Exit;

/// Before the id of a pool in the tags of its group.
pub const POOL_TAG: &str = "ashlar-pool=";
/// The mark of a volume that is not complete.
pub const PREPARING_TAG: &str = "ashlar-preparing";

const EXTENT: u64 = 4 * Bytes::MIB;
/// The kernel knows no larger room for metadata.
const LARGEST_METADATA: u64 = 15 * Bytes::GIB + 3 * (Bytes::GIB / 4);
const SMALLEST_METADATA: u64 = 32 * Bytes::MIB;
const FINEST_CHUNK: u64 = 128 * Bytes::KIB;

/// How long a change may take: checking the metadata of a large pool takes long, and so does discarding on slow drives.
/// One that is killed in the middle may leave half of it behind, so this is for what hangs, not for what is slow.
const CHANGE_LIMIT: Duration = Duration::from_secs(600);
/// How long a drive may take to empty its cache.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// Why LVM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// The volume or group does not exist.
    #[error("{what}: it does not exist ({message})")]
    NotFound {
        /// What was tried.
        what: String,
        /// What LVM said.
        message: String,
    },
    /// It exists already.
    #[error("{what}: it exists already ({message})")]
    Exists {
        /// What was tried.
        what: String,
        /// What LVM said.
        message: String,
    },
    /// Something uses it.
    #[error("{what}: it is in use ({message})")]
    InUse {
        /// What was tried.
        what: String,
        /// What LVM said.
        message: String,
    },
    /// There is not enough room.
    #[error("{what}: there is not enough room ({message})")]
    NoSpace {
        /// What was tried.
        what: String,
        /// What LVM said.
        message: String,
    },
    /// Something else.
    #[error("{what}: {message}")]
    Failed {
        /// What was tried.
        what: String,
        /// What LVM said.
        message: String,
    },
    /// LVM could not be run, or did not come to its end.
    #[error("{what}")]
    Run {
        /// What was tried.
        what: String,
        /// What happened.
        source: Box<CommandError>,
    },
    /// Its report could not be read.
    #[error("read the report of LVM")]
    Report(#[source] serde_json::Error),
    /// A file that it takes or gives could not be used.
    #[error("{what}")]
    File {
        /// What was tried.
        what: String,
        /// What happened.
        source: std::io::Error,
    },
    /// There is nothing that its metadata could be restored from.
    #[error("{what}")]
    Unrestorable {
        /// What was tried.
        what: String,
        /// Why not.
        source: Unrestorable,
    },
}

impl LvmError {
    fn new(what: String, error: CommandError) -> LvmError {
        // What was killed by a signal, as when memory is short, gave no verdict.
        let CommandError::Failed {
            stderr,
            status: Exit::Code(_),
            ..
        } = &error
        else {
            return LvmError::Run {
                what,
                source: Box::new(error),
            };
        };
        let message = told(stderr);
        let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        if has(&[" in use", "exclusively", "open logical volume"]) {
            LvmError::InUse { what, message }
        } else if has(&["Failed to find", "not found"]) {
            LvmError::NotFound { what, message }
        } else if has(&["already exists", "is already in volume group"]) {
            LvmError::Exists { what, message }
        } else if has(&["nsufficient free space", "nsufficient suitable"]) {
            LvmError::NoSpace { what, message }
        } else {
            LvmError::Failed { what, message }
        }
    }
}

/// What LVM said of its failure: it warns on the same channel, and warnings are not why.
fn told(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("WARNING") && !line.starts_with("Run `")
        })
        .collect();
    match lines.as_slice() {
        [] => "it said nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{first}; {last}"),
    }
}

/// How a pool is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Room for data, in extents.
    pub data_extents: u64,
    /// Room for metadata.
    pub metadata: Bytes,
    /// How much is given to a volume at once.
    pub chunk: Bytes,
}

/// Cuts a thin pool from a group that has this much room.
///
/// A chunk costs 64 bytes of metadata (LVM's own rule, which leaves room for
/// snapshots). Three times that is set aside: the metadata, the spare that LVM
/// keeps for a repair, and as much again to grow by. Chunks of 128 KiB keep
/// the copying of a first write small and metadata at 0.05 % of the data; they
/// are larger only where the kernel's limit for metadata asks for it.
pub fn layout(room: Bytes) -> Option<Layout> {
    let mut chunk = FINEST_CHUNK;
    let metadata = loop {
        let bytes = (room.0 / chunk).saturating_mul(64);
        let bytes = Bytes(bytes.max(SMALLEST_METADATA)).round_up(EXTENT);
        if bytes.0 <= LARGEST_METADATA {
            break bytes;
        }
        chunk *= 2;
    };
    let data_extents = (room.0 / EXTENT).checked_sub(3 * (metadata.0 / EXTENT))?;
    (data_extents > 0).then_some(Layout {
        data_extents,
        metadata,
        chunk: Bytes(chunk),
    })
}

/// LVM, for some drives.
#[derive(Clone, Debug)]
pub struct Lvm {
    config: String,
    devices: Vec<PathBuf>,
}

impl Lvm {
    /// LVM that sees these devices only.
    pub fn on<P: AsRef<Path>>(devices: impl IntoIterator<Item = P>) -> Lvm {
        let devices: Vec<PathBuf> = devices
            .into_iter()
            .map(|device| device.as_ref().to_owned())
            .collect();
        let accepted: Vec<String> = devices
            .iter()
            .map(|device| format!("\"a|^{}$|\",", escape(device)))
            .collect();
        Lvm {
            devices,
            config: format!(
                "devices{{use_devicesfile=0 dir=\"/dev\" scan=[\"/dev\"] obtain_device_list_from_udev=0 hints=\"none\" \
                 external_device_info_source=\"none\" scan_lvs=0 issue_discards=1 global_filter=[{}\"r|.*|\"]}} \
                 allocation{{thin_pool_zero=1}} backup{{backup=0 archive=0}} \
                 global{{event_activation=0 locking_dir=\"/run/lock/lvm\" use_lvmpolld=0 use_lvmlockd=0 \
                 system_id_source=\"none\" notify_dbus=0}} \
                 activation{{udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 \
                 error_when_full=1 thin_pool_autoextend_threshold=100}}",
                accepted.concat()
            ),
        }
    }

    fn tool(&self, command: &str) -> Tool {
        Tool::new("lvm")
            .arg(command)
            .args(["-qq", "-y", "--config"])
            .arg(&self.config)
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
    }

    /// A command that changes something.
    fn change(&self, command: &str) -> Tool {
        self.tool(command).timeout(CHANGE_LIMIT)
    }

    /// Runs a command that changes something, and has the drives keep what it wrote. LVM writes past the page cache and
    /// never has a drive flush its own cache: when the power goes, the head of its metadata may be new and the text that
    /// it leads to lost, in all copies at once, and with it the whole group.
    async fn alter(&self, what: String, tool: Tool) -> Result<Output, LvmError> {
        let changed = self.run(what, tool).await;
        for device in &self.devices {
            let path = device.clone();
            let flush = move || File::open(&path).and_then(|drive| drive.sync_all());
            let flushed = tokio::time::timeout(FLUSH_LIMIT, tokio::task::spawn_blocking(flush));
            match flushed.await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!("flush {}: {error}", device.display()),
                Ok(Err(error)) => tracing::warn!("flush {}: {error}", device.display()),
                Err(_) => tracing::warn!("{} does not flush its cache in time", device.display()),
            }
        }
        changed
    }

    async fn run(&self, what: String, tool: Tool) -> Result<Output, LvmError> {
        tool.run().await.map_err(|error| LvmError::new(what, error))
    }

    /// Looks at everything.
    pub async fn report(&self) -> Result<Report, LvmError> {
        if self.devices.is_empty() {
            return Ok(Report::default());
        }
        let tool = self
            .tool("fullreport")
            .args(["-a", "--reportformat", "json", "--units", "b", "--nosuffix"])
            .args(["--configreport", "vg", "-o"])
            .arg("vg_name,vg_uuid,vg_tags,vg_size,vg_free,vg_missing_pv_count")
            .args(["--configreport", "pv", "-o", "pv_name,pv_missing"])
            .args(["--configreport", "lv", "-o"])
            .arg("lv_name,lv_size,lv_tags,lv_active,lv_layout,lv_role,data_percent,metadata_percent,lv_health_status,lv_check_needed")
            .args(["--configreport", "pvseg", "-o", "pvseg_start"])
            .args(["--configreport", "seg", "-o", "seg_start"]);
        let output = self
            .run("look at the volume groups".to_owned(), tool)
            .await?;
        report::parse(&output.stdout)
    }

    /// Makes the group of a pool from empty drives.
    pub async fn create_group(
        &self,
        group: &str,
        pool: PoolId,
        devices: &[PathBuf],
    ) -> Result<(), LvmError> {
        let tool = self
            .change("vgcreate")
            .args(["--setautoactivation", "n", "--physicalextentsize", "4m"])
            .args(["--pvmetadatacopies", "2"])
            .args(["--addtag", LVM_TAG])
            .arg("--addtag")
            .arg(format!("{POOL_TAG}{pool}"))
            .arg(group)
            .args(devices);
        let what = format!("make the volume group {group}");
        self.alter(what, tool).await.map(drop)
    }

    /// Makes the thin pool in a group.
    pub async fn create_thin(&self, group: &str, layout: Layout) -> Result<(), LvmError> {
        let tool = self
            .change("lvcreate")
            .args(["--type", "thin-pool", "--name", THIN_POOL, "--zero", "y"])
            .args(["--discards", "passdown", "--addtag", LVM_TAG])
            .args(["--extents", &layout.data_extents.to_string()])
            .args(["--poolmetadatasize", &format!("{}b", layout.metadata.0)])
            .args(["--chunksize", &format!("{}b", layout.chunk.0)])
            .arg(group);
        let what = format!("make the thin pool of {group}");
        self.alter(what, tool).await.map(drop)
    }

    /// Makes a volume, marked as not complete when it has yet to be filled.
    pub async fn create_volume(
        &self,
        group: &str,
        name: &str,
        size: Bytes,
        complete: Complete,
    ) -> Result<(), LvmError> {
        let mut tool = self
            .change("lvcreate")
            .args(["--type", "thin", "--thinpool", THIN_POOL, "--name", name])
            .args(["--virtualsize", &format!("{}b", size.0)])
            .args(["--addtag", LVM_TAG]);
        if complete == Complete::NotYet {
            tool = tool.args(["--addtag", PREPARING_TAG]);
        }
        let what = format!("make the volume {name}");
        self.alter(what, tool.arg(group)).await.map(drop)
    }

    /// Takes the mark of an incomplete volume away.
    pub async fn complete_volume(&self, group: &str, name: &str) -> Result<(), LvmError> {
        let tool = self
            .change("lvchange")
            .args(["--deltag", PREPARING_TAG])
            .arg(format!("{group}/{name}"));
        let what = format!("mark the volume {name} as complete");
        self.alter(what, tool).await.map(drop)
    }

    /// Makes a volume larger; one that is large enough stays as it is.
    pub async fn grow_volume(&self, group: &str, name: &str, size: Bytes) -> Result<(), LvmError> {
        let tool = self
            .change("lvextend")
            .args(["--size", &format!("{}b", size.0)])
            .arg(format!("{group}/{name}"));
        match self
            .alter(format!("let the volume {name} grow"), tool)
            .await
        {
            Err(LvmError::Failed { message, .. })
                if message.contains("No size change") || message.contains("not larger") =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Removes a volume; its absence is success.
    pub async fn remove_volume(&self, group: &str, name: &str) -> Result<(), LvmError> {
        let tool = self
            .change("lvremove")
            .arg("-f")
            .arg(format!("{group}/{name}"));
        absent_is_fine(self.alter(format!("remove the volume {name}"), tool).await)
    }

    /// Makes all volumes of a group usable.
    pub async fn activate(&self, group: &str) -> Result<(), LvmError> {
        let tool = self.change("vgchange").args(["-a", "y", group]);
        let what = format!("activate the volume group {group}");
        self.alter(what, tool).await.map(drop)
    }

    /// Makes the device files of a group's active volumes that are not there.
    pub async fn make_nodes(&self, group: &str) -> Result<(), LvmError> {
        let tool = self.change("vgmknodes").arg(group);
        let what = format!("make the device files of {group}");
        self.alter(what, tool).await.map(drop)
    }

    /// Lets a group forget drives that are gone, with the volumes that were on them.
    pub async fn drop_missing(&self, group: &str) -> Result<(), LvmError> {
        let tool = self
            .change("vgreduce")
            .args(["--removemissing", "--force", group]);
        let what = format!("take the missing drives out of {group}");
        absent_is_fine(self.alter(what, tool).await)
    }

    /// Lets all volumes of a group go; its absence is success. In the time of a look: the machine is ending, and the rest
    /// has to end, too.
    pub async fn deactivate(&self, group: &str) -> Result<(), LvmError> {
        let tool = self.tool("vgchange").args(["-a", "n", group]);
        let what = format!("deactivate the volume group {group}");
        absent_is_fine(self.run(what, tool).await)
    }

    /// Removes a group with all that is in it; its absence is success. Its
    /// drives have yet to be erased: LVM leaves most of its marks on them.
    pub async fn remove_group(&self, group: &str) -> Result<(), LvmError> {
        let tool = self.change("vgremove").args(["-f", group]);
        let what = format!("remove the volume group {group}");
        absent_is_fine(self.alter(what, tool).await)
    }
}

/// Whether a new volume can be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// It can.
    Yes,
    /// It has yet to be filled.
    NotYet,
}

fn absent_is_fine(result: Result<Output, LvmError>) -> Result<(), LvmError> {
    match result {
        Err(LvmError::NotFound { .. }) => Ok(()),
        other => other.map(drop),
    }
}

/// A path as a regular expression of LVM: what could have a meaning in it becomes "any letter".
fn escape(path: &Path) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_!:".contains(letter);
    path.to_string_lossy()
        .chars()
        .map(|letter| if plain(letter) { letter } else { '.' })
        .collect()
}
