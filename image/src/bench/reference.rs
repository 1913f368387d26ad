//! What the start and the memory are held against: Debian with systemd, libvirt and Cockpit, as somebody would set it up by
//! hand, on the same processors in the same hour.
//!
//! A shared host is three times slower in one hour than in another, and a time in seconds then says more about the hour
//! than about the image. The target of 6 s comes from an hour in which this system answered 23 s after its kernel; the
//! share is what is left of the target in any other hour. Its memory is what it writes on its serial line once it has been
//! left alone for as long as the image is.
//!
//! Its packages are configured by their own scripts, in a root of their own, which only root can make.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use reqwest::blocking::Client;

use super::rest::{Memory, memory};
use super::{Figure, REST, SETTLE, Subject, figure};
use crate::base::{SUITE, short_hash, walk};
use crate::place::Place;
use crate::progress::Step;
use crate::qemu::{Accelerator, Emulator, RunOptions, accelerator, doubled, free_port};
use crate::tool::Tool;

const PACKAGES: [&str; 9] = [
    "cockpit",
    "cockpit-machines",
    "dbus",
    "libvirt-daemon-system",
    "linux-image-cloud-amd64",
    "qemu-system-x86",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
];
/// Its first card by DHCP.
const NETWORK: &str = "[Match]\nType=ether\n[Network]\nDHCP=yes\n";
/// Writes what it uses of its memory on the serial line, again and again. Opened each time: getty hangs it up (agetty(8)).
const TELLER: &str = "[Service]\n\
    ExecStart=/bin/sh -c 'while sleep 20; do { echo BEGIN; cat /proc/meminfo; echo END; } >/dev/ttyS0; done'\n\
    [Install]\nWantedBy=multi-user.target\n";
const DISK_MIB: u64 = 2048;
const COCKPIT: u16 = 9090;
const PATIENCE: Duration = Duration::from_secs(400);
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(10);
/// 6 s of ours, 23 s of its.
const SHARE: f64 = 0.26;

/// Starts it once, and compares the first start of the image with it.
pub fn reference(subject: &mut Subject) -> Result<Vec<Figure>> {
    let system = System::make(&subject.place)?;
    let (took, used) = system.start(&subject.place, accelerator(&subject.place)?)?;
    let took = took.as_secs_f64();
    let mut figures = vec![
        figure("kernel to Cockpit, Debian", took, "s", None),
        memory("memory in use at rest, Debian", used.used, None),
        memory("memory that machines can not have, Debian", used.held, None),
    ];
    if let Some(ours) = subject.first_start {
        let share = ours.as_secs_f64() / took;
        figures.push(figure(
            "kernel to API against Debian",
            share,
            "×",
            Some(SHARE),
        ));
    }
    Ok(figures)
}

/// Its disk, its kernel and its initramfs, made once.
struct System {
    folder: PathBuf,
}

impl System {
    fn make(place: &Place) -> Result<Self> {
        let key = short_hash([SUITE, &PACKAGES.join(","), NETWORK, TELLER].map(str::as_bytes));
        let folder = place.output()?.join(format!("reference-{key}"));
        if folder.exists() {
            return Ok(Self { folder });
        }
        ensure!(
            geteuid().is_root(),
            "its packages can only be set up by root"
        );
        let step = Step::start("Debian with Cockpit");
        let work = tempfile::Builder::new()
            .prefix("reference-work-")
            .tempdir_in(place.output()?)
            .context("cannot make a work folder")?;
        let (root, made) = (work.path().join("root"), work.path().join("made"));
        Tool::new("mmdebstrap")
            .args(["--variant=important", "--format=directory"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(SUITE)
            .arg(&root)
            .show(&step)?;
        let units = root.join("etc/systemd");
        fs::write(units.join("network/80-dhcp.network"), NETWORK)
            .context("cannot set up its network")?;
        fs::write(units.join("system/teller.service"), TELLER)
            .context("cannot have it tell what it uses")?;
        Tool::new("systemctl")
            .arg("--root")
            .arg(&root)
            .args(["enable", "systemd-networkd.service", "teller.service"])
            .show(&step)?;
        fs::create_dir(&made).context("cannot make its folder")?;
        for (kind, name) in [("vmlinuz-", KERNEL), ("initrd.img-", INITRAMFS)] {
            fs::copy(boot_file(&root, kind)?, made.join(name))
                .with_context(|| format!("cannot copy its {name}"))?;
        }
        Tool::new("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&root)
            .arg(made.join(DISK))
            .arg(format!("{DISK_MIB}M"))
            .show(&step)?;
        fs::rename(&made, &folder)
            .with_context(|| format!("cannot put it at {}", folder.display()))?;
        step.done("");
        Ok(Self { folder })
    }

    /// How long it takes from its kernel's first word to the first answer of Cockpit, and what it uses at rest. What it
    /// writes is forgotten.
    fn start(&self, place: &Place, accelerator: Accelerator) -> Result<(Duration, Memory)> {
        let work = tempfile::tempdir().context("cannot make a work folder")?;
        let log = work.path().join("serial.log");
        let port = free_port(0)?;
        let mut command = Emulator::find(place)?.command();
        self.arguments(&mut command, accelerator, &log, port);
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start QEMU")?;
        let mut machine = Running(child);
        let client = Client::builder()
            .danger_accept_invalid_certs(true)
            .timeout(ANSWER)
            .no_proxy()
            .build()
            .context("cannot set up the HTTP client")?;
        let began = Instant::now();
        machine.wait(began, "its kernel says nothing", || {
            Ok(says_something(&log))
        })?;
        let kernel = Instant::now();
        let page = format!("https://127.0.0.1:{port}/");
        machine.wait(began, "Cockpit does not answer", || {
            Ok(client.get(&page).send().is_ok())
        })?;
        let took = kernel.elapsed();
        std::thread::sleep(SETTLE + REST);
        let mut used = None;
        // Of the last that is whole.
        machine.wait(Instant::now(), "it does not tell what it uses", || {
            let text = fs::read(&log).context("cannot read its serial line")?;
            used = last_told(&String::from_utf8_lossy(&text));
            Ok(used.is_some())
        })?;
        let used = used.context("it does not tell what it uses")?;
        Ok((took, Memory::read(&used)?))
    }

    fn arguments(&self, command: &mut Command, accelerator: Accelerator, log: &Path, port: u16) {
        let options = RunOptions::default();
        let file = |name: &str| self.folder.join(name);
        command
            .args(["-machine", "q35", "-nodefaults", "-display", "none"])
            .args(["-accel", accelerator.argument(), "-cpu", accelerator.cpu()])
            .args(["-smp", &options.cpus.to_string()])
            .args(["-m", &options.memory_mib.to_string()])
            .arg("-snapshot")
            .arg("-kernel")
            .arg(file(KERNEL))
            .arg("-initrd")
            .arg(file(INITRAMFS))
            .args(["-append", "root=/dev/vda rw console=ttyS0"])
            .arg("-drive")
            .arg(format!(
                "file={},format=raw,if=virtio",
                doubled(&file(DISK).to_string_lossy())
            ))
            .arg("-netdev")
            .arg(format!(
                "user,id=nic,hostfwd=tcp:127.0.0.1:{port}-:{COCKPIT}"
            ))
            .args(["-device", "virtio-net-pci,netdev=nic,romfile="])
            .args(["-device", "virtio-rng-pci", "-serial"])
            .arg(format!("file:{}", doubled(&log.to_string_lossy())));
    }
}

const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initrd.img";
const DISK: &str = "disk.ext4";

/// The one file in `/boot` of this kind.
fn boot_file(root: &Path, kind: &str) -> Result<PathBuf> {
    let boot = root.join("boot");
    let files = walk(&boot)?.into_iter();
    let files: Vec<_> = files
        .filter(|path| path.to_string_lossy().starts_with(kind))
        .collect();
    let [file] = files.as_slice() else {
        bail!("it has {} files {kind}*", files.len())
    };
    Ok(boot.join(file))
}

/// Firmware says nothing there; the first line is the kernel's.
fn says_something(log: &Path) -> bool {
    let mut byte = [0];
    File::open(log).is_ok_and(|mut log| log.read(&mut byte).is_ok_and(|count| count > 0))
}

/// What [`TELLER`] wrote last.
fn last_told(text: &str) -> Option<String> {
    let end = text.rfind("END")?;
    let begin = text[..end].rfind("BEGIN")?;
    Some(text[begin..end].to_owned())
}

/// A QEMU that ends with us.
struct Running(Child);

impl Running {
    fn wait(
        &mut self,
        began: Instant,
        otherwise: &str,
        mut is: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        while !is()? {
            if let Some(status) = self.0.try_wait().context("cannot look after QEMU")? {
                bail!("QEMU ended with {status}");
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "{otherwise} {} s after its start",
                PATIENCE.as_secs()
            );
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_whole_counts() {
        let text = "login: BEGIN\r\nMemTotal: 1 kB\r\nEND\r\nBEGIN\r\nMemTotal: 2 kB\r\nEND\r\nBEGIN\r\nMem";
        let told = last_told(text).unwrap();
        assert!(told.contains("MemTotal: 2 kB") && !told.contains("MemTotal: 1 kB"));
        assert_eq!(last_told("login: BEGIN\r\nMemTotal: 1 kB"), None);
    }
}
