//! QEMU's command line from what a machine shall be: pure, so that it can be read and tested in one place.
//!
//! Disks are given as JSON, where a path may hold any character. Sockets are given relative to the machine's folder,
//! which is QEMU's working directory while it starts: a socket's path may have 107 bytes only.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Accelerator, Nic, RunOptions, emulation, shell};

/// Slots for devices that come later.
pub const FREE_PORTS: usize = 4;

/// QEMU's own words, in the machine's folder.
pub const LOG: &str = "qemu.log";

/// All arguments. `folder` is the machine's folder, `port` the port chosen for HTTPS, `state` a saved state to go on from.
pub fn arguments(
    options: &RunOptions,
    accelerator: Accelerator,
    firmware: &Path,
    folder: &Path,
    port: u16,
    state: Option<&str>,
) -> Result<Vec<String>> {
    let mut list = List(Vec::new());
    list.add("-name", &options.name);
    list.add(
        "-machine",
        "q35,pflash0=firmware,pflash1=variables,graphics=on",
    );
    list.add("-accel", accelerator.argument());
    list.add(
        "-cpu",
        options.cpu.as_deref().unwrap_or_else(|| accelerator.cpu()),
    );
    list.add("-smp", &options.cpus.to_string());
    list.add("-m", &format!("{}M", options.memory_mib));
    for flag in ["-nodefaults", "-no-user-config", "-daemonize"] {
        list.0.push(flag.to_owned());
    }
    list.add("-pidfile", "qemu.pid");
    // With a log, what QEMU itself says when it ends is kept too.
    list.add("-D", LOG);
    list.add("-display", "none");
    let clock = options.clock.as_deref().unwrap_or("utc");
    list.add("-rtc", &format!("base={clock}"));

    list.block(
        &json!({ "node-name": "firmware", "driver": "raw", "read-only": true,
        "file": { "driver": "file", "filename": text(firmware)? } }),
    );
    list.block(&disk("variables", &folder.join("variables.qcow2"))?);
    list.block(&disk("boot", &folder.join("boot.qcow2"))?);
    list.add(
        "-device",
        "virtio-blk-pci,drive=boot,serial=ashlar-boot,bootindex=0",
    );
    for number in 0..options.data.len() {
        let name = format!("data{number}");
        list.block(&disk(&name, &folder.join(format!("{name}.qcow2")))?);
        list.add(
            "-device",
            &format!("virtio-blk-pci,drive={name},serial={name}"),
        );
    }
    for number in 0..FREE_PORTS {
        list.add(
            "-device",
            &format!(
                "pcie-root-port,id=port{number},chassis={},slot={}",
                number + 1,
                number + 1
            ),
        );
    }

    let mut forwarded = false;
    for (number, nic) in options.nics.iter().enumerate() {
        let id = format!("nic{number}");
        let forward = (*nic == Nic::User && !forwarded).then_some(port);
        forwarded |= forward.is_some();
        list.add("-netdev", &netdev(*nic, &id, number, forward));
        list.add(
            "-device",
            &format!(
                "virtio-net-pci,netdev={id},id={id}-card,mac={}",
                mac(number)
            ),
        );
    }

    list.add(
        "-chardev",
        "socket,id=serial,path=serial.sock,server=on,wait=off,logfile=serial.log,logappend=on",
    );
    list.add("-serial", "chardev:serial");
    if options.shell {
        let socket = format!("socket,id=shell,path={},server=on,wait=off", shell::SOCKET);
        list.add("-chardev", &socket);
        list.add("-serial", "chardev:shell");
    }
    list.add("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off");
    list.add("-mon", "chardev=qmp,mode=control");
    for device in ["virtio-vga", "virtio-rng-pci", "i6300esb"] {
        list.add("-device", device);
    }
    list.add("-action", "watchdog=reset");
    if let Some(seed) = &options.seed {
        list.add(
            "-fw_cfg",
            &format!("name=opt/ashlar/seed,file={}", doubled(text(seed)?)),
        );
    }
    let words: Vec<_> = emulation::kernel_word(accelerator)
        .into_iter()
        .chain(options.shell.then_some(shell::WORD))
        .chain(options.kernel_arguments.iter().map(String::as_str))
        .collect();
    if !words.is_empty() {
        let words = doubled(&words.join(" "));
        list.add(
            "-smbios",
            &format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={words}"),
        );
    }
    if let Some(state) = state {
        list.add("-loadvm", state);
    }
    list.0.extend(options.extra.iter().cloned());
    Ok(list.0)
}

/// The address of the card with this number: locally administered, the same at every start.
pub fn mac(number: usize) -> String {
    format!("52:54:00:a5:00:{number:02x}")
}

/// A `-netdev` value.
fn netdev(nic: Nic, id: &str, number: usize, forward: Option<u16>) -> String {
    match nic {
        Nic::User => {
            let forward = forward
                .map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:443"))
                .unwrap_or_default();
            // A network of its own for each card, so that none has two ways to the same addresses.
            format!("user,id={id},net=10.0.{}.0/24{forward}", number + 2)
        }
        Nic::Silent => format!("hubport,id={id},hubid={number}"),
    }
}

/// A qcow2 file as a block node that passes discards on.
pub fn disk(name: &str, path: &Path) -> Result<Value> {
    Ok(
        json!({ "node-name": name, "driver": "qcow2", "discard": "unmap",
        "file": { "driver": "file", "filename": text(path)?, "discard": "unmap" } }),
    )
}

struct List(Vec<String>);

impl List {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(name.to_owned());
        self.0.push(value.to_owned());
    }

    fn block(&mut self, node: &Value) {
        self.add("-blockdev", &node.to_string());
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| {
        format!(
            "{} is not text; QEMU cannot be given this path",
            path.display()
        )
    })
}

/// QEMU reads two commas as one that separates nothing.
pub fn doubled(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::DataDisk;

    fn line(options: &RunOptions) -> String {
        arguments(
            options,
            Accelerator::Tcg,
            Path::new("/fw"),
            Path::new("/m"),
            8443,
            None,
        )
        .unwrap()
        .join(" ")
    }

    #[test]
    fn the_first_connected_card_is_forwarded() {
        let options = RunOptions {
            nics: vec![Nic::Silent, Nic::User, Nic::User],
            ..RunOptions::default()
        };
        let line = line(&options);
        assert!(
            line.contains("user,id=nic1,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:8443-:443"),
            "{line}"
        );
        assert_eq!(line.matches("hostfwd").count(), 1);
    }

    #[test]
    fn data_disks_have_serials() {
        let options = RunOptions {
            data: vec![DataDisk::Empty(1), DataDisk::Empty(1)],
            ..RunOptions::default()
        };
        assert!(line(&options).contains("virtio-blk-pci,drive=data1,serial=data1"));
    }

    #[test]
    fn commas_in_values_are_doubled() {
        let options = RunOptions {
            kernel_arguments: vec!["a=1,2".to_owned()],
            ..RunOptions::default()
        };
        let line = line(&options);
        assert!(line.contains("type=11,value=io.systemd.stub.kernel-cmdline-extra="));
        assert!(line.contains(" a=1,,2"), "{line}");
    }
}
