//! From the first instruction to a machine in which the supervisor can start: a list of phases, in order.
//!
//! Drivers load in the background while the phases that need none of them run; the state partition is mounted as
//! soon as its disk is there.

use std::path::Path;
use std::time::{Duration, Instant};

use super::hardware::Hardware;
use super::partition::{self, Choice};
use super::{clock, crash, fault, identity, kernel, log, mounts, shell};
use crate::sys::cgroup::{Cgroup, CgroupError, Limits};
use crate::sys::fs::FsError;

/// How long the disk with the state may take to appear.
const DISK_LIMIT: Duration = Duration::from_secs(5);
/// Slow controllers and USB disks get more, as long as drivers are still being loaded.
const SLOW_DISK_LIMIT: Duration = Duration::from_secs(20);

/// What a phase failed at.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("cannot raise the loopback link")]
    Loopback(#[from] std::io::Error),
}

/// What the phases hand on.
#[derive(Debug, Default)]
struct Boot {
    hardware: Option<Hardware>,
}

type Phase = fn(&mut Boot) -> Result<(), BootError>;

const PHASES: [(&str, Phase); 10] = [
    ("file systems", file_systems),
    ("control groups", control_groups),
    ("drivers", drivers),
    // The firmware is slow to tell, and the state waits for both.
    ("firmware variables", |_| Ok(mounts::firmware_variables()?)),
    ("kernel settings", settings),
    ("loopback", |_| Ok(kernel::raise_loopback()?)),
    ("state", state),
    ("identity", |_| Ok(identity::establish()?)),
    ("clock", |_| {
        clock::correct().iter().for_each(fault::report);
        Ok(())
    }),
    ("crash records", |_| {
        crash::save()?.iter().for_each(fault::report);
        Ok(())
    }),
];

/// Goes through all phases; what fails is said and left behind.
pub fn boot() -> Option<Hardware> {
    let began = Instant::now();
    let mut boot = Boot::default();
    for (name, phase) in PHASES {
        let started = Instant::now();
        match phase(&mut boot) {
            Ok(()) => log::info(format_args!("{name}: {} ms", started.elapsed().as_millis())),
            Err(error) => log::error(format_args!("{name}: {}", log::chain(&error))),
        }
    }
    log::info(format_args!(
        "ready for the supervisor after {} ms",
        began.elapsed().as_millis()
    ));
    shell::start();
    boot.hardware
}

fn file_systems(_: &mut Boot) -> Result<(), BootError> {
    mounts::kernel_file_systems()?;
    Ok(mounts::directories()?)
}

fn drivers(boot: &mut Boot) -> Result<(), BootError> {
    boot.hardware = Some(Hardware::discover());
    Ok(())
}

fn settings(_: &mut Boot) -> Result<(), BootError> {
    kernel::apply_settings();
    let uname = nix::sys::utsname::uname().map_err(std::io::Error::from)?;
    mounts::static_devices(&uname.release().to_string_lossy());
    Ok(())
}

/// Memory that is not taken from init and supervisor for the sake of guests' page cache.
const SUPERVISOR_MEMORY: u64 = 64 << 20;
const INIT_MEMORY: u64 = 8 << 20;

fn control_groups(_: &mut Boot) -> Result<(), BootError> {
    let protected = |bytes| Limits {
        memory_min: Some(bytes),
        ..Limits::default()
    };
    let init = Cgroup::named("init")?;
    init.create()?;
    init.add(std::process::id())?;
    for name in ["supervisor", "service", "vm"] {
        Cgroup::named(name)?.create()?;
    }
    init.limit(&protected(INIT_MEMORY))?;
    Cgroup::named("supervisor")?.limit(&protected(SUPERVISOR_MEMORY))?;
    Ok(())
}

fn state(boot: &mut Boot) -> Result<(), BootError> {
    let Some(hardware) = &mut boot.hardware else {
        return Ok(());
    };
    let boot_partition = partition::boot_partition();
    let began = Instant::now();
    let choice = hardware.wait(SLOW_DISK_LIMIT, |hardware| {
        let choice = partition::look(boot_partition.as_deref());
        // Only the disk we were started from is certain at once. Else the drivers decide when all disks are there,
        // and the limit decides when a driver hangs.
        let settled = !hardware.is_loading() && began.elapsed() > Duration::from_secs(1);
        let decided = match choice {
            Choice::Sure(_) => true,
            Choice::Likely(_) | Choice::Ambiguous(_) => settled || began.elapsed() > DISK_LIMIT,
            Choice::Missing => !hardware.is_loading() && began.elapsed() > DISK_LIMIT,
        };
        decided.then_some(choice)
    });
    if matches!(choice, Some(Choice::Sure(_))) {
        hardware.hold();
    }
    partition::mount(&choice.unwrap_or(Choice::Missing))
        .iter()
        .for_each(fault::report);
    if let Err(error) = crate::sys::fs::create_directory(Path::new("/var/lib/ashlar/vars")) {
        log::warn(log::chain(&error));
    }
    Ok(())
}
