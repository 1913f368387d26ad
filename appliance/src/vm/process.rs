//! The process of a machine: started, found again, ended.
//!
//! Everything that QEMU works with is opened here and handed over (see
//! `arguments`), in a control group of its own that exists exactly as long as
//! the process may. What the process was started with is written beside its
//! sockets before it starts, so that a later supervisor knows it: which wishes
//! are fulfilled, which settings wait for the next start, and whether the guest
//! ever ran. A supervisor that can not read it takes the guest for one that ran:
//! only what was never written never ran.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_api::vm::VmSpec;
use ashlar_api::{Bytes, Timestamp, VmId};
use nix::libc;
use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast;

use super::admission;
use super::arguments::{self, CommandLine, DiskKind, FIRST_FD, Facts, Handle};
use super::link::{self, LinkError};
use super::place::{Firmware, Place};
use super::qmp::{Qmp, QmpError, QmpEvent};
use super::seed::{self, SeedError};
use super::wanted::Assignment;
use crate::state::schema::VmRecord;
use crate::sys::cgroup::{Cgroup, CgroupError, Limits};
use crate::sys::child::{ChildError, Launch};
use crate::sys::fs::{self, FsError};
use crate::sys::pidfd::PidFd;
use crate::sys::tap::{self, Tap, TapError};

/// How long QEMU may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to answer when it is found again.
pub const ADOPT_LIMIT: Duration = Duration::from_secs(10);
/// How long a process may take to be gone after its sockets are.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// How long what was killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(50);
/// QEMU's own messages, of all runs of a machine since the node started.
pub const MOST_LOG: u64 = 128 << 10;
/// How soon the kernel takes a machine when memory is short: before the appliance itself.
const OOM_SCORE: i32 = 300;

/// Why a machine could not be started or found.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A file of the machine can not be used.
    #[error("cannot {step} {}", .path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No firmware is installed.
    #[error("there is no UEFI firmware for machines on this node")]
    Firmware,
    /// A file can not be written.
    #[error(transparent)]
    Write(#[from] FsError),
    /// The cloud-init disk can not be made.
    #[error("cannot make the cloud-init disk")]
    Seed(#[from] SeedError),
    /// An interface can not be made.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// An interface can not be put in its place.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its control group can not be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A process that was killed is not gone.
    #[error("a process of its last run was killed and is not gone: a drive may hang")]
    Remains,
    /// QEMU can not be started.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// QEMU ended right away.
    #[error("QEMU ended right after its start: {said}")]
    Ended {
        /// The last line it wrote.
        said: String,
    },
    /// QEMU does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// What a process was started with; written beside its sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// When.
    pub at: Timestamp,
    /// With which settings.
    pub spec: VmSpec,
    /// Restarts that are fulfilled.
    pub restarts: u64,
    /// Resets that are fulfilled.
    pub resets: u64,
    /// Its guest ran.
    pub ran: bool,
}

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    /// The process.
    pub pidfd: PidFd,
    /// What it was started with.
    pub started: Started,
    /// The connection to it, and what it tells; absent while it does not answer.
    pub monitor: Option<Monitor>,
}

/// A connection to a process.
#[derive(Debug)]
pub struct Monitor {
    /// To tell it.
    pub qmp: Qmp,
    /// What it tells.
    pub events: broadcast::Receiver<QmpEvent>,
    /// Its guest runs under KVM.
    pub kvm: bool,
}

/// What is left of a machine from an earlier supervisor.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or nothing that ever ran.
    Nothing,
    /// It ran and ended while nobody looked.
    Ended(Started),
    /// It runs.
    Running(Process),
}

fn cannot<'a>(step: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ProcessError + 'a {
    move |source| ProcessError::File {
        step,
        path: path.to_owned(),
        source,
    }
}

impl Started {
    fn path(directory: &Path) -> PathBuf {
        directory.join("started.json")
    }

    /// Writes it where the next supervisor finds it.
    pub fn write(&self, directory: &Path) -> Result<(), ProcessError> {
        let text = serde_json::to_vec(self)
            .map_err(io::Error::other)
            .map_err(cannot("write", directory))?;
        Ok(fs::write_atomic(&Started::path(directory), &text, 0o600)?)
    }

    /// Reads it; none when it was never written. What is there and can not be
    /// read may belong to a guest that works: then it ran, and all that is known
    /// of it is its record.
    fn read(directory: &Path, record: &VmRecord) -> Option<Started> {
        let path = Started::path(directory);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            other => other,
        };
        let started = text.and_then(|text| Ok(serde_json::from_slice(&text)?));
        Some(started.unwrap_or_else(|error| {
            tracing::error!(vm = %record.id, "cannot read {}: {error}", path.display());
            Started {
                at: Timestamp::now(),
                spec: record.spec.clone(),
                restarts: record.power.restarts,
                resets: record.power.resets,
                ran: true,
            }
        }))
    }

    /// Forgets it: the machine is not wanted to run any more.
    pub fn remove(directory: &Path) -> Result<(), ProcessError> {
        Ok(fs::remove_file(&Started::path(directory))?)
    }
}

impl Process {
    /// Connects to it.
    pub async fn connect(&mut self, directory: &Path, limit: Duration) -> Result<(), QmpError> {
        self.monitor = None;
        let (qmp, events) = Qmp::connect(&directory.join("qmp.sock"), limit).await?;
        #[derive(Deserialize)]
        struct Kvm {
            enabled: bool,
        }
        let kvm: Kvm = qmp.ask("query-kvm", json!({})).await?;
        self.monitor = Some(Monitor {
            qmp,
            events,
            kvm: kvm.enabled,
        });
        Ok(())
    }
}

/// Starts a machine; its guest waits.
pub async fn start(place: &Place, assignment: &Assignment) -> Result<Process, ProcessError> {
    let record = &assignment.record;
    let directory = place.runtime(record.id);
    let group = place.cgroup(record.id)?;
    // A process that was not found belongs to nobody: its disks must not be written twice.
    group.kill()?;
    if !emptied(&group).await {
        return Err(ProcessError::Remains);
    }
    make_directory(&directory)?;
    let log = directory.join("qemu.log");
    fs::trim_log(&log, MOST_LOG)?;

    let firmware = place.firmware().ok_or(ProcessError::Firmware)?;
    let facts = look(place, assignment)?;
    let line = arguments::command_line(record, &facts);
    write_files(place, assignment, &firmware)?;
    let started = Started {
        at: Timestamp::now(),
        spec: record.spec.clone(),
        restarts: record.power.restarts,
        resets: record.power.resets,
        ran: false,
    };
    started.write(&directory)?;

    let mut launch = Launch::new(&place.program)
        .args(&line.args)
        .directory("/")
        .log(&log)
        .no_new_privs()
        .oom_score_adj(OOM_SCORE)
        .limit(Resource::RLIMIT_CORE, 0);
    if let Some((uid, group)) = place.user(record.uid, facts.kvm) {
        launch = launch.user(uid, uid);
        if let Some(group) = group {
            launch = launch.group(group);
        }
    }
    launch = hand_over(launch, &line, assignment, &directory, place, &firmware).await?;
    group.create()?;
    limit(&group, assignment, &facts);
    let child = launch.cgroup(group.path()).spawn()?;
    let mut process = Process {
        pidfd: child.pidfd,
        started,
        monitor: None,
    };
    let failure = {
        let pidfd = PidFd::open(process.pidfd.pid()).ok();
        let ended = async {
            match &pidfd {
                Some(pidfd) => drop(pidfd.wait().await),
                None => std::future::pending().await,
            }
        };
        // Both arms are cancel-safe: whether a process ended stays visible, and
        // a connection that is given up is made anew or not needed any more.
        tokio::select! {
            connected = process.connect(&directory, START_LIMIT) => connected.err().map(ProcessError::from),
            () = ended => Some(ProcessError::Ended { said: last_words(&directory) }),
        }
    };
    match failure {
        None => Ok(process),
        Some(error) => {
            // It may have ended in the moment in which it was talked to; then what it said matters more.
            let lost = matches!(
                error,
                ProcessError::Qmp(QmpError::Closed { .. } | QmpError::Connect { .. })
            );
            let ended = tokio::time::timeout(LAST_MOMENT, process.pidfd.wait());
            let ended = lost && ended.await.is_ok();
            end(place, record.id, &process).await?;
            match ended {
                true => Err(ProcessError::Ended {
                    said: last_words(&directory),
                }),
                false => Err(error),
            }
        }
    }
}

/// Waits until nothing lives in a group that was killed; false when that takes too long.
async fn emptied(group: &Cgroup) -> bool {
    let since = Instant::now();
    while group.is_populated() {
        if since.elapsed() >= KILL_LIMIT {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Kills a process and takes away its control group.
async fn end(place: &Place, id: VmId, process: &Process) -> Result<(), ProcessError> {
    let group = place.cgroup(id)?;
    group.kill()?;
    // A killed process is gone in a moment, but for one that the kernel holds on to.
    let _ = tokio::time::timeout(ADOPT_LIMIT, process.pidfd.wait()).await;
    Ok(group.remove()?)
}

/// Looks for what an earlier supervisor left.
pub async fn find(place: &Place, record: &VmRecord) -> Result<Found, ProcessError> {
    let id = record.id;
    let directory = place.runtime(id);
    let started = Started::read(&directory, record);
    let running = place.cgroup(id)?.processes()?.into_iter().next();
    let Some(pidfd) = running else {
        return Ok(match started {
            Some(started) if started.ran => Found::Ended(started),
            _ => Found::Nothing,
        });
    };
    let Some(started) = started else {
        // Nobody knows what it was started with; its guest never ran, because that is written down first.
        place.cgroup(id)?.kill()?;
        return Ok(Found::Nothing);
    };
    let mut process = Process {
        pidfd,
        started,
        monitor: None,
    };
    if let Err(error) = process.connect(&directory, ADOPT_LIMIT).await {
        tracing::warn!(vm = %id, "{error}");
    }
    Ok(Found::Running(process))
}

/// What QEMU said last, without its time stamp and name.
pub fn last_words(directory: &Path) -> String {
    let lines = fs::tail(&directory.join("qemu.log"), 5).unwrap_or_default();
    let words = lines
        .iter()
        .rev()
        .find(|line| !line.contains("terminating on signal") && !line.trim().is_empty());
    match words {
        Some(line) => match line.split_once(": ") {
            Some((program, rest)) if program.contains("qemu") => rest.to_owned(),
            _ => line.clone(),
        },
        None => "it said nothing".to_owned(),
    }
}

fn make_directory(directory: &Path) -> Result<(), ProcessError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(cannot("make the directory", directory))
}

fn look(place: &Place, assignment: &Assignment) -> Result<Facts, ProcessError> {
    let mut disks = Vec::new();
    for path in &assignment.disks {
        let metadata = std::fs::metadata(path).map_err(cannot("use the disk", path))?;
        disks.push(match metadata.file_type().is_block_device() {
            true => DiskKind::Block,
            false => DiskKind::File,
        });
    }
    Ok(Facts {
        kvm: place.kvm(),
        emulated_cpu: super::place::emulated_cpu(),
        io_uring: crate::sys::io_uring::usable(),
        vhost_net: tap::open_vhost_net().is_ok(),
        disks,
        seed: assignment.record.spec.cloud_init.is_some(),
    })
}

/// Writes what is made anew for each start, and the firmware's variables at the first.
fn write_files(
    place: &Place,
    assignment: &Assignment,
    firmware: &Firmware,
) -> Result<(), ProcessError> {
    let record = &assignment.record;
    let variables = place.variables(record.id);
    if !variables.exists() {
        if let Some(parent) = variables.parent() {
            make_directory(parent)?;
        }
        let template = &firmware.variables;
        let content = std::fs::read(template).map_err(cannot("read", template))?;
        fs::write_atomic(&variables, &content, 0o600)?;
    }
    if let Some(cloud_init) = &record.spec.cloud_init {
        let macs = arguments::macs(record);
        let image = seed::image(record.id, record.spec.name.as_str(), &macs, cloud_init)?;
        let path = place.runtime(record.id).join("seed.iso");
        fs::write_atomic(&path, &image, 0o600)?;
    }
    Ok(())
}

/// Opens everything on the list and hands it over.
async fn hand_over(
    mut launch: Launch,
    line: &CommandLine,
    assignment: &Assignment,
    directory: &Path,
    place: &Place,
    firmware: &Firmware,
) -> Result<Launch, ProcessError> {
    let read = |path: &Path| {
        File::open(path)
            .map(OwnedFd::from)
            .map_err(cannot("open", path))
    };
    for (handle, number) in line.handles.iter().zip(FIRST_FD..) {
        let fd: OwnedFd = match *handle {
            Handle::Monitor => listen(&directory.join("qmp.sock"))?,
            Handle::Debug => listen(&directory.join("debug.sock"))?,
            Handle::Serial => listen(&directory.join("serial.sock"))?,
            Handle::Agent => listen(&directory.join("agent.sock"))?,
            Handle::SerialLog => {
                let path = directory.join("serial.log");
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(&path);
                file.map_err(cannot("open", &path))?.into()
            }
            Handle::Firmware => read(&firmware.code)?,
            Handle::Variables => {
                let path = place.variables(assignment.record.id);
                let file = OpenOptions::new().read(true).write(true).open(&path);
                file.map_err(cannot("open", &path))?.into()
            }
            Handle::Disk(index) => open_disk(assignment.disks.get(index))?,
            Handle::Cdrom => read(assignment.cdrom.as_deref().unwrap_or(Path::new("")))?,
            Handle::Seed => read(&directory.join("seed.iso"))?,
            Handle::Tap(index) => {
                let Some(nic) = assignment.nics.get(index) else {
                    continue;
                };
                let tap = Tap::create(&nic.tap, 1)?;
                link::plug(&nic.tap, &nic.bridge).await?;
                match tap.queues.into_iter().next() {
                    Some(queue) => queue,
                    None => continue,
                }
            }
            Handle::Vhost(_) => tap::open_vhost_net()?,
        };
        launch = launch.fd(fd, number);
    }
    Ok(launch)
}

fn listen(path: &Path) -> Result<OwnedFd, ProcessError> {
    fs::remove_file(path)?;
    let socket = UnixListener::bind(path).map_err(cannot("listen at", path))?;
    Ok(socket.into())
}

/// Opens a disk for one process alone: the kernel refuses a block device that is mounted or has a second user.
fn open_disk(path: Option<&PathBuf>) -> Result<OwnedFd, ProcessError> {
    let path = path.map_or(Path::new(""), PathBuf::as_path);
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    let alone = match std::fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_block_device() => libc::O_EXCL,
        _ => 0,
    };
    let file = open(libc::O_DIRECT | alone).map_err(cannot("open the disk", path))?;
    Ok(file.into())
}

/// What the process may take. A kernel without a controller is told about and no reason not to run.
fn limit(group: &Cgroup, assignment: &Assignment, facts: &Facts) {
    let spec = &assignment.record.spec;
    let own = admission::overhead(spec.memory, spec.cpus);
    // QEMU's own need is an estimate; translated code of an emulated processor is on top.
    let spare = Bytes::mib(if facts.kvm { 256 } else { 512 });
    let most = spec.memory.0.saturating_add(own.0).saturating_add(spare.0);
    let limits = Limits {
        cpu_weight: Some(u32::from(spec.cpus).saturating_mul(50).clamp(1, 10_000)),
        memory_max: Some(Some(most)),
        ..Limits::default()
    };
    if let Err(error) = group.limit(&limits) {
        tracing::warn!(vm = %assignment.record.id, "runs without limits: {error}");
    }
}
