//! Whether KVM works here, found by running something in it.
//!
//! That `/dev/kvm` exists says little: on some hosts it runs only kernels built for them, and an ordinary one hangs. So
//! the appliance's own kernel is started in it without an initramfs. Where KVM works it gets as far as looking for one
//! within a second or two, panics, and (`panic=-1`) ends QEMU. The answer is kept for this boot of the host.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use super::emulator::Emulator;
use crate::base::{self, Base};
use crate::place::Place;
use crate::progress::Step;

const LIMIT: Duration = Duration::from_secs(15);

/// How QEMU runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    /// On the host's processor.
    Kvm,
    /// By translation.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's `-accel`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The processor model that fits. Emulation gets a plain one with AMD's virtualisation: inside it KVM works, while
    /// with AVX among its features the guests of the guest crash.
    pub fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "qemu64,+svm,+npt",
        }
    }
}

/// The accelerator for machines on this host.
pub fn accelerator(place: &Place) -> Result<Accelerator> {
    if access("/dev/kvm", AccessFlags::R_OK | AccessFlags::W_OK).is_err() {
        return Ok(Accelerator::Tcg);
    }
    // Tests ask at the same time; the lock makes one of them try.
    let _lock = place.lock()?;
    let base = base::make(place)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("cannot read the host's boot id")?;
    let question = format!("{} {}", boot.trim(), base.key());
    let path = place.output()?.join("accelerator.json");
    let known: Option<(String, Accelerator)> = fs::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    if let Some((asked, answer)) = known
        && asked == question
    {
        return Ok(answer);
    }
    let step = Step::start("Trying KVM");
    let answer = if kvm_works(&base)? {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    let text =
        serde_json::to_vec(&(question, answer)).context("cannot write down whether KVM works")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    step.done(match answer {
        Accelerator::Kvm => "it works",
        Accelerator::Tcg => "it does not run an ordinary kernel here; machines are emulated",
    });
    Ok(answer)
}

fn kvm_works(base: &Base) -> Result<bool> {
    let mut child = Emulator::of(base)
        .command()
        .args([
            "-machine",
            "q35,accel=kvm",
            "-cpu",
            "host",
            "-m",
            "256M",
            "-nodefaults",
            "-no-user-config",
        ])
        .args([
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 panic=-1",
            "-kernel",
        ])
        .arg(base.kernel())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run the QEMU of the base")?;
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for QEMU")? {
            return Ok(status.success());
        }
        if Instant::now() > end {
            child.kill().context("cannot end the trial of KVM")?;
            child.wait().context("cannot wait for QEMU")?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
