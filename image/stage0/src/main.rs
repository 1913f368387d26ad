//! Stage 0: from the initramfs to the root image. It mounts the squashfs beside it, which stays in memory, and hands PID 1
//! to ashlar. It leaves nothing mounted: mounting is the work of ashlar's init. Each failure says what it tried.
//!
//! One static program and no script: a script ran a program for each step, and ten of them took 0.3 s of an emulated
//! processor while the others had nothing to do.
//!
//! What it finds in the initramfs (made by `image/src/root.rs`): the kernel modules in `/modules`, `/modules/order` with
//! their names in the order of loading, one a line, `/root.squashfs`, the empty folder `/root`, and in `/dev` the console
//! and null, which Rust's runtime opens where there is no console.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::time::{ClockId, clock_gettime};

const IMAGE: &str = "/root.squashfs";
const ROOT: &str = "/root";
const PROGRAM: &str = "/usr/bin/ashlar";
const NONE: Option<&str> = None;

nix::ioctl_write_int_bad!(
    /// `LOOP_SET_FD` of loop(4): the device shows the file.
    loop_set_fd,
    0x4C00
);
nix::ioctl_none_bad!(
    /// `LOOP_CTL_GET_FREE` of loop(4): the number of a device that shows none.
    loop_ctl_get_free,
    0x4C82
);

fn main() -> ExitCode {
    // The kernel starts it as PID 1; it starts itself once more, to read ahead.
    if std::process::id() != 1 {
        let read = io::copy(&mut io::stdin().lock(), &mut io::sink());
        return read.map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS);
    }
    let Err(error) = start();
    say(&format!(
        "{error:#}. The image is damaged or this machine is not supported; starting again in 30 s."
    ));
    std::thread::sleep(Duration::from_secs(30));
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    say(&format!("cannot start again: {error}"));
    ExitCode::FAILURE
}

/// On the kernel's console. A machine may have none: that is no reason to end, which `eprintln` would.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "stage 0: {text}");
}

/// Returns only when something failed.
fn start() -> Result<Infallible> {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).context("cannot read the clock")?;
    let hundredths = since.tv_nsec() / 10_000_000;
    say(&format!(
        "started {}.{hundredths:02} s after the kernel",
        since.tv_sec()
    ));
    mount(NONE, "/dev", Some("devtmpfs"), MsFlags::empty(), NONE).context("cannot mount /dev")?;

    let order = fs::read_to_string("/modules/order").context("cannot read /modules/order")?;
    for module in order.lines() {
        load(module).with_context(|| format!("cannot load {module}"))?;
    }
    let device = attach().with_context(|| format!("cannot attach {IMAGE}"))?;
    mount_root(&device).context("cannot mount the root image")?;
    read_ahead();
    umount2("/dev", MntFlags::MNT_DETACH).context("cannot unmount /dev")?;
    switch_root()
}

fn load(module: &str) -> Result<()> {
    let file = File::open(format!("/modules/{module}")).context("cannot open it")?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A loop device over the image; read-only, as the image was opened.
fn attach() -> Result<String> {
    let image = File::open(IMAGE).context("cannot open it")?;
    let control = File::open("/dev/loop-control").context("cannot open /dev/loop-control")?;
    // SAFETY: takes no argument.
    let number =
        unsafe { loop_ctl_get_free(control.as_raw_fd()) }.context("no loop device is free")?;
    let path = format!("/dev/loop{number}");
    let device = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    // SAFETY: the argument is an open file's number; the kernel keeps a reference of its own.
    unsafe { loop_set_fd(device.as_raw_fd(), image.as_raw_fd()) }
        .with_context(|| format!("{path} did not take it"))?;
    Ok(path)
}

/// By default one processor unpacks at a time (fs/squashfs/Kconfig); kernels before 6.2 know nothing else.
fn mount_root(device: &str) -> nix::Result<()> {
    let mount = |options| {
        mount(
            Some(device),
            ROOT,
            Some("squashfs"),
            MsFlags::MS_RDONLY,
            options,
        )
    };
    mount(Some("threads=4")).or_else(|error| match error {
        Errno::EINVAL => mount(NONE),
        error => Err(error),
    })
}

/// Most of the program is needed at once; another processor unpacks it while this one goes on. The start does not depend
/// on it.
fn read_ahead() {
    let program = File::open(format!("{ROOT}{PROGRAM}"));
    let child = program.and_then(|program| {
        Command::new("/init")
            .stdin(program)
            .stdout(Stdio::null())
            .spawn()
    });
    if let Err(error) = child {
        say(&format!("cannot read {PROGRAM} ahead: {error}"));
    }
}

/// Empties the initramfs, makes the root image the root and becomes the program (switch_root(8)).
fn switch_root() -> Result<Infallible> {
    for file in [IMAGE, "/init"] {
        fs::remove_file(file).with_context(|| format!("cannot remove {file}"))?;
    }
    fs::remove_dir_all("/modules").context("cannot remove /modules")?;
    std::env::set_current_dir(ROOT).context("cannot enter the root image")?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)
        .context("cannot move the root image to /")?;
    chroot(".").context("cannot make the root image the root")?;
    std::env::set_current_dir("/").context("cannot enter the new root")?;
    Err(Command::new(PROGRAM).exec()).with_context(|| format!("cannot run {PROGRAM}"))
}
