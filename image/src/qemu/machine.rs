//! One machine: made, started, stopped, killed, found again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::arguments::{LOG, arguments};
use super::emulator::Emulator;
use super::qmp::connect_short;
use super::record::{Record, folder, process_start};
use super::shell::SOCKET;
use super::{Accelerator, DataDisk, Qmp, RunOptions, Shell};
use crate::place::Place;
use crate::tool::Tool;

const GONE: Duration = Duration::from_secs(20);

/// A machine that exists; it may run or not.
#[derive(Debug)]
pub struct Machine {
    place: Place,
    folder: PathBuf,
    accelerator: Accelerator,
    record: Record,
}

impl Machine {
    /// Makes a machine with fresh disks from the image. A stopped machine of that name is replaced.
    pub fn create(
        place: &Place,
        image: &Path,
        accelerator: Accelerator,
        options: RunOptions,
    ) -> Result<Self> {
        let folder = folder(place, &options.name)?;
        if let Ok(old) = Record::read(&folder) {
            ensure!(
                !old.running(),
                "the machine {} runs already: stop it with `cargo image stop --name {}`, or choose another name",
                options.name,
                options.name
            );
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let emulator = Emulator::find(place)?;
        make_disks(&emulator, &folder, image, &options)?;
        make_variables(&emulator, &folder)?;
        let https_port = free_port(options.https_port)?;
        let record = Record {
            name: options.name.clone(),
            pid: None,
            process_start: None,
            owner: None,
            console: format!("https://127.0.0.1:{https_port}/"),
            https_port,
            serial_log: folder.join("serial.log"),
            serial_socket: folder.join("serial.sock"),
            qmp_socket: folder.join("qmp.sock"),
            certificate: None,
            claim_code: None,
            options,
        };
        record.write(&folder)?;
        Ok(Self {
            place: place.clone(),
            folder,
            accelerator,
            record,
        })
    }

    /// Finds a machine made before.
    pub fn open(place: &Place, accelerator: Accelerator, name: &str) -> Result<Self> {
        let folder = folder(place, name)?;
        ensure!(
            folder.exists(),
            "there is no machine {name}; `cargo image list` shows those there are"
        );
        let record = Record::read(&folder)?;
        Ok(Self {
            place: place.clone(),
            folder,
            accelerator,
            record,
        })
    }

    /// Powers it on. Returns when QEMU runs, long before the machine has booted.
    pub fn start(&mut self) -> Result<()> {
        self.launch(None)
    }

    /// Powers it on with the processor and memory as they were saved under this name.
    pub fn resume(&mut self, saved: &str) -> Result<()> {
        self.launch(Some(saved))
    }

    fn launch(&mut self, saved: Option<&str>) -> Result<()> {
        ensure!(
            !self.running(),
            "the machine {} runs already",
            self.record.name
        );
        let emulator = self.emulator()?;
        let _ = fs::remove_file(&self.record.serial_log);
        let list = arguments(
            &self.record.options,
            self.accelerator,
            &emulator.firmware(),
            &self.folder,
            self.record.https_port,
            saved,
        )?;
        Tool::over("QEMU", emulator.command())
            .args(list)
            .directory(&self.folder)
            .output()
            .with_context(|| {
                let said = self.emulator_log();
                format!("cannot start the machine {}: {said}", self.record.name)
            })?;
        let pid = fs::read_to_string(self.folder.join("qemu.pid"))
            .context("QEMU wrote no process number")?;
        let pid = pid
            .trim()
            .parse()
            .context("QEMU wrote a process number that is none")?;
        self.record.pid = Some(pid);
        self.record.process_start = process_start(pid);
        self.record.write(&self.folder)
    }

    /// What QEMU itself said, such as why it ended.
    pub fn emulator_log(&self) -> String {
        let text = fs::read(self.folder.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// Whether QEMU runs.
    pub fn running(&self) -> bool {
        self.record.running()
    }

    /// Presses the power button once and waits for the machine to go off; after the time its power is pulled, which is an
    /// error that says so.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        if !self.running() {
            return Ok(());
        }
        self.press_power()?;
        if self.wait_off(limit) {
            return Ok(());
        }
        self.kill()?;
        bail!(
            "the machine {} did not go off within {} s of its power button; it was killed",
            self.record.name,
            limit.as_secs()
        )
    }

    /// Presses the power button and returns at once. One that is off already is no failure.
    pub fn press_power(&self) -> Result<()> {
        let pressed = self
            .qmp()
            .and_then(|mut qmp| qmp.execute("system_powerdown", json!({})));
        match pressed {
            Err(error) if self.running() => Err(error),
            _ => Ok(()),
        }
    }

    /// Pulls the power: QEMU is killed as it stands. The disks stay as they are.
    pub fn kill(&mut self) -> Result<()> {
        if let (true, Some(pid)) = (self.running(), self.record.pid) {
            kill(Pid::from_raw(pid), Signal::SIGKILL)
                .with_context(|| format!("cannot kill QEMU ({pid})"))?;
        }
        ensure!(
            self.wait_off(GONE),
            "QEMU of the machine {} does not end",
            self.record.name
        );
        Ok(())
    }

    /// Pushes the reset button.
    pub fn reset(&self) -> Result<()> {
        self.qmp()?.execute("system_reset", json!({})).map(drop)
    }

    /// Waits for QEMU to end; says whether it did.
    pub fn wait_off(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.running() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Ends it when it runs, and deletes everything of it.
    pub fn remove(mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// A connection to QEMU's control socket; only one at a time is served.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.record.qmp_socket)
    }

    /// A connection to the serial line; only one at a time is served.
    pub fn serial(&self) -> Result<UnixStream> {
        connect_short(&self.record.serial_socket)
            .with_context(|| format!("cannot connect to {}", self.record.serial_socket.display()))
    }

    /// A connection to the debug shell, where it was made with one; only one at a time is served.
    pub fn shell(&self) -> Result<Shell> {
        Shell::over(self.shell_line()?)
    }

    /// The line of the debug shell, for a terminal.
    pub fn shell_line(&self) -> Result<UnixStream> {
        connect_short(&self.folder.join(SOCKET))
            .context("the machine has no debug shell; start it with one (`--shell`)")
    }

    /// What is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Notes what the machine said about itself.
    pub fn note(&mut self, certificate: Option<String>, claim_code: Option<String>) -> Result<()> {
        self.record.certificate = certificate;
        self.record.claim_code = claim_code;
        self.record.write(&self.folder)
    }

    /// Gives it another number of processors, from its next start on.
    pub fn set_cpus(&mut self, cpus: u32) -> Result<()> {
        self.record.options.cpus = cpus;
        self.record.write(&self.folder)
    }

    /// Binds it to the life of a process: when that is gone, [`reap`] ends the machine.
    pub fn own(&mut self, owner: Option<u32>) -> Result<()> {
        self.record.owner = owner.and_then(|pid| i32::try_from(pid).ok());
        self.record.write(&self.folder)
    }

    /// The QEMU that runs it.
    pub(super) fn emulator(&self) -> Result<Emulator> {
        Emulator::find(&self.place)
    }

    /// The folder with everything of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The boot disk as an overlay of the image, which is linked beside it: a new build replaces the image's name only.
fn make_disks(
    emulator: &Emulator,
    folder: &Path,
    image: &Path,
    options: &RunOptions,
) -> Result<()> {
    let base = folder.join("image.img");
    fs::hard_link(image, &base)
        .or_else(|_| fs::copy(image, &base).map(drop))
        .with_context(|| {
            format!(
                "cannot use the image {}; make it with `cargo image build`",
                image.display()
            )
        })?;
    let boot = folder.join("boot.qcow2");
    overlay(emulator, &base, &boot)?;
    emulator
        .image_tool()
        .args(["resize", "-q"])
        .arg(&boot)
        .arg(options.system.to_string())
        .output()?;
    for (number, disk) in options.data.iter().enumerate() {
        let path = folder.join(format!("data{number}.qcow2"));
        match disk {
            DataDisk::Empty(size) => {
                let size = size.to_string();
                emulator
                    .image_tool()
                    .args(["create", "-q", "-f", "qcow2"])
                    .arg(&path)
                    .arg(size)
                    .output()?;
            }
            DataDisk::Over(image) => overlay(emulator, image, &path)?,
        }
    }
    Ok(())
}

/// The firmware's variables as qcow2, because only then can the state of the whole machine be saved.
fn make_variables(emulator: &Emulator, folder: &Path) -> Result<()> {
    emulator
        .image_tool()
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(emulator.variables())
        .arg(folder.join("variables.qcow2"))
        .output()
        .map(drop)
}

fn overlay(emulator: &Emulator, image: &Path, path: &Path) -> Result<()> {
    let image = fs::canonicalize(image)
        .with_context(|| format!("there is no image {}", image.display()))?;
    emulator
        .image_tool()
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(image)
        .arg(path)
        .output()
        .map(drop)
}

/// The asked port when it is free, any free one for 0.
pub fn free_port(asked: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", asked)).with_context(|| {
        format!("port {asked} on this host is taken; choose another with --https-port")
    })?;
    Ok(listener
        .local_addr()
        .context("cannot learn the free port")?
        .port())
}

/// Ends machines whose owner is gone: a test that was killed leaves them behind.
pub fn reap(place: &Place) -> Result<()> {
    for record in super::list(place)? {
        if let Some(owner) = record.owner
            && record.running()
            && process_start(owner).is_none()
        {
            Machine {
                place: place.clone(),
                folder: folder(place, &record.name)?,
                accelerator: Accelerator::Tcg,
                record,
            }
            .kill()?;
        }
    }
    Ok(())
}
