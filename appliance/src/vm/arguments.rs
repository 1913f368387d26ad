//! The command line of a machine's QEMU.
//!
//! Pure: a machine and what the node can do in, arguments and the list of things
//! to be opened out. QEMU opens nothing of ours itself. Disks, firmware
//! variables, sockets, taps and the serial log are opened by the supervisor and
//! handed over as descriptors, so its unprivileged user needs no right to
//! anything on the node, and a guest that takes over its QEMU finds nothing to
//! open either.
//!
//! What is chosen here, and why:
//! - `q35` with OVMF, no SMM (no Secure Boot yet), no HPET (a slow clock that old Linux prefers).
//! - Fixed PCI slots: the names of a guest's interfaces follow from them and must not change when a disk is added.
//! - Standard VGA: firmware, Linux without a driver and Windows all show on it.
//! - A PS/2 keyboard (always there) and a USB tablet. A second, USB keyboard would take the keys away
//!   from guests without a driver for it, because firmware wakes it up.
//! - The cloud-init disk is a virtio disk, not a CD: cloud kernels have no driver for SATA.
//! - A guest that switches off or crashes leaves its process behind, paused: the owner decides, the screen
//!   can still be read, and nothing is lost while the supervisor is away.
//! - The guest waits (`-S`) until its owner has a connection.
//! - Held when the pool is full (`werror=enospc` is the default), told any other error.

use std::os::fd::RawFd;

use ashlar_api::VolumeId;
use ashlar_api::vm::{Mac, VmDisk};
use serde_json::json;

use crate::state::schema::VmRecord;

/// Descriptors handed to QEMU begin with this number.
pub const FIRST_FD: RawFd = 3;

/// What the node can do, and what the machine's things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Hardware virtualisation can be used.
    pub kvm: bool,
    /// The node's processor is itself an emulated one.
    pub emulated_cpu: bool,
    /// io_uring can be used.
    pub io_uring: bool,
    /// The kernel moves packets.
    pub vhost_net: bool,
    /// What each disk is.
    pub disks: Vec<DiskKind>,
    /// There is a cloud-init disk.
    pub seed: bool,
}

/// What a disk is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A block device.
    Block,
    /// A file.
    File,
}

/// Something to be opened for QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// Listening socket of the owner's QMP connection.
    Monitor,
    /// Listening socket of a second one, for people.
    Debug,
    /// Listening socket of the serial line.
    Serial,
    /// File to which the serial line is written as well.
    SerialLog,
    /// Listening socket of the guest agent's channel.
    Agent,
    /// The firmware.
    Firmware,
    /// The firmware's variables.
    Variables,
    /// A disk.
    Disk(usize),
    /// The medium in the CD drive.
    Cdrom,
    /// The cloud-init disk.
    Seed,
    /// A network interface.
    Tap(usize),
    /// The kernel's packet mover for an interface.
    Vhost(usize),
}

/// What QEMU is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Its arguments.
    pub args: Vec<String>,
    /// What it is handed, in the order of the numbers from [`FIRST_FD`] on.
    pub handles: Vec<Handle>,
}

impl CommandLine {
    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.args.push(name.to_owned());
        self.args.push(value.into());
    }

    fn hand_over(&mut self, handle: Handle) -> RawFd {
        self.handles.push(handle);
        let count = RawFd::try_from(self.handles.len()).unwrap_or(RawFd::MAX);
        FIRST_FD.saturating_add(count - 1)
    }

    /// A path under which QEMU can open what it is handed.
    fn as_file(&mut self, handle: Handle) -> String {
        let fd = self.hand_over(handle);
        self.option("-add-fd", format!("fd={fd},set={fd}"));
        format!("/dev/fdset/{fd}")
    }

    fn listen(&mut self, handle: Handle, id: &str, more: &str) {
        let fd = self.hand_over(handle);
        self.option(
            "-chardev",
            format!("socket,id={id},fd={fd},server=on,wait=off{more}"),
        );
    }

    fn read_only_file(&mut self, handle: Handle, node: &str) {
        let path = self.as_file(handle);
        let node =
            json!({"driver": "file", "node-name": node, "filename": path, "read-only": true});
        self.option("-blockdev", node.to_string());
    }
}

/// The slot of each device on the root bus.
mod slot {
    pub const VGA: usize = 0x01;
    pub const USB: usize = 0x02;
    pub const CHANNELS: usize = 0x03;
    pub const BALLOON: usize = 0x04;
    pub const RANDOM: usize = 0x05;
    pub const SEED: usize = 0x06;
    pub const FIRST_NIC: usize = 0x08;
    pub const FIRST_DISK: usize = 0x10;
    /// The last before those that the chip set has itself.
    pub const LAST: usize = 0x1e;
    /// The one that is left, for the sixteenth disk.
    pub const SPARE: usize = 0x07;
}

/// The node name of a disk.
pub fn disk_node(index: usize) -> String {
    format!("disk{index}")
}

/// The volumes of a machine's disks, in their order.
pub fn volumes(machine: &VmRecord) -> Vec<VolumeId> {
    let volume = |disk: &VmDisk| match disk {
        VmDisk::Volume { volume } => Some(*volume),
        // What is stored names volumes only.
        VmDisk::New { .. } => None,
    };
    machine.spec.disks.iter().filter_map(volume).collect()
}

/// The addresses of a machine's interfaces, in their order.
pub fn macs(machine: &VmRecord) -> Vec<Mac> {
    machine.spec.nics.iter().filter_map(|nic| nic.mac).collect()
}

/// What a machine's QEMU is started with.
pub fn command_line(machine: &VmRecord, facts: &Facts) -> CommandLine {
    let mut line = CommandLine::default();
    board(&mut line, machine, facts);
    firmware(&mut line);
    consoles(&mut line);
    disks(&mut line, machine, facts);
    interfaces(&mut line, machine, facts);
    line
}

fn board(line: &mut CommandLine, machine: &VmRecord, facts: &Facts) {
    let spec = &machine.spec;
    line.option("-name", format!("guest={},debug-threads=on", spec.name));
    line.option("-uuid", machine.id.to_string());
    for flag in ["-nodefaults", "-no-user-config", "-S"] {
        line.args.push(flag.to_owned());
    }
    line.option("-msg", "timestamp=on");
    line.option(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    line.option(
        "-machine",
        "q35,usb=off,smm=off,hpet=off,vmport=off,dump-guest-core=off,\
         pflash0=firmware,pflash1=variables",
    );
    let accel = match facts.kvm {
        true => "kvm",
        false => "tcg,thread=multi,tb-size=128",
    };
    line.option("-accel", accel);
    let cpu = match (facts.emulated_cpu, facts.kvm) {
        // An emulated processor has features that its own virtualisation can not pass on.
        (true, _) => "qemu64",
        (false, true) => "host",
        (false, false) => "max",
    };
    line.option("-cpu", cpu);
    let cpus = spec.cpus;
    line.option(
        "-smp",
        format!("cpus={cpus},sockets=1,cores={cpus},threads=1"),
    );
    line.option("-m", format!("size={}M", spec.memory.as_mib()));
    line.option("-overcommit", "mem-lock=off");
    line.option("-rtc", "base=utc,driftfix=slew");
    line.option(
        "-action",
        "reboot=reset,shutdown=pause,panic=pause,watchdog=reset",
    );
    if facts.kvm {
        // Ticks of the old timer that a guest missed are dropped, not delivered late.
        line.option("-global", "kvm-pit.lost_tick_policy=discard");
    }
    // A guest that sleeps looks like one that hangs.
    line.option("-global", "ICH9-LPC.disable_s3=1");
    line.option("-global", "ICH9-LPC.disable_s4=1");
    line.option("-object", "iothread,id=disks");
    line.option("-object", "rng-random,id=entropy,filename=/dev/urandom");
    let modern = "disable-legacy=on";
    line.option("-device", format!("VGA,id=screen,addr={:#04x}", slot::VGA));
    line.option(
        "-device",
        format!("qemu-xhci,id=usb,addr={:#04x}", slot::USB),
    );
    line.option("-device", "usb-tablet,id=pointer,bus=usb.0");
    line.option(
        "-device",
        format!(
            "virtio-balloon-pci,id=balloon,addr={:#04x},{modern},\
             free-page-reporting=on,deflate-on-oom=on",
            slot::BALLOON
        ),
    );
    line.option(
        "-device",
        format!(
            "virtio-rng-pci,id=random,rng=entropy,addr={:#04x},{modern}",
            slot::RANDOM
        ),
    );
    line.option("-device", "pvpanic");
}

fn firmware(line: &mut CommandLine) {
    line.read_only_file(Handle::Firmware, "firmware");
    let path = line.as_file(Handle::Variables);
    let node = json!({"driver": "file", "node-name": "variables", "filename": path});
    line.option("-blockdev", node.to_string());
}

fn consoles(line: &mut CommandLine) {
    line.option("-display", "none");
    // No socket of its own: each viewer is handed over by the monitor.
    line.option("-vnc", "none,share=force-shared");
    line.listen(Handle::Monitor, "monitor", "");
    line.option("-mon", "chardev=monitor,mode=control");
    line.listen(Handle::Debug, "debug", "");
    line.option("-mon", "chardev=debug,mode=control");
    let log = line.as_file(Handle::SerialLog);
    line.listen(
        Handle::Serial,
        "serial",
        &format!(",logfile={log},logappend=on"),
    );
    line.option("-device", "isa-serial,id=com1,chardev=serial");
    line.listen(Handle::Agent, "agent", "");
    line.option(
        "-device",
        format!(
            "virtio-serial-pci,id=channels,addr={:#04x},disable-legacy=on",
            slot::CHANNELS
        ),
    );
    line.option(
        "-device",
        "virtserialport,id=agent,bus=channels.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0",
    );
}

fn disks(line: &mut CommandLine, machine: &VmRecord, facts: &Facts) {
    let volumes = volumes(machine);
    let aio = match facts.io_uring {
        true => "io_uring",
        false => "threads",
    };
    for (index, volume) in volumes.iter().enumerate() {
        let path = line.as_file(Handle::Disk(index));
        let node = disk_node(index);
        let driver = match facts.disks.get(index) {
            Some(DiskKind::File) => "file",
            _ => "host_device",
        };
        let blockdev = json!({
            "driver": driver, "node-name": node, "filename": path, "aio": aio,
            "cache": {"direct": true, "no-flush": false}, "discard": "unmap",
        });
        line.option("-blockdev", blockdev.to_string());
        let slot = slot::FIRST_DISK + index;
        let slot = if slot > slot::LAST { slot::SPARE } else { slot };
        // What the guest sees as /dev/disk/by-id/virtio-…: 20 characters fit.
        let serial = &volume.hex()[12..];
        line.option(
            "-device",
            format!(
                "virtio-blk-pci,id={node},drive={node},addr={slot:#04x},disable-legacy=on,\
                 iothread=disks,write-cache=on,serial={serial},bootindex={}",
                index + 1
            ),
        );
    }
    let mut cd = "ide-cd,id=cdrom,bus=ide.0".to_owned();
    if machine.spec.cdrom.is_some() {
        line.read_only_file(Handle::Cdrom, "medium");
        // After the disks: firmware passes an empty disk over, and an
        // installed system starts without the medium being taken out.
        cd += &format!(",drive=medium,bootindex={}", volumes.len() + 1);
    }
    line.option("-device", cd);
    if facts.seed {
        line.read_only_file(Handle::Seed, "seed");
        line.option(
            "-device",
            format!(
                "virtio-blk-pci,id=seed,drive=seed,addr={:#04x},disable-legacy=on,serial=cidata",
                slot::SEED
            ),
        );
    }
}

fn interfaces(line: &mut CommandLine, machine: &VmRecord, facts: &Facts) {
    for (index, mac) in macs(machine).into_iter().enumerate() {
        let fd = line.hand_over(Handle::Tap(index));
        let mut backend = format!("tap,id=net{index},fd={fd}");
        if facts.vhost_net {
            let vhost = line.hand_over(Handle::Vhost(index));
            backend += &format!(",vhost=on,vhostfd={vhost}");
        }
        line.option("-netdev", backend);
        line.option(
            "-device",
            format!(
                "virtio-net-pci,id=net{index},netdev=net{index},mac={mac},addr={:#04x},\
                 disable-legacy=on,romfile=",
                slot::FIRST_NIC + index
            ),
        );
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A machine for tests, from JSON as it is stored.
    pub fn machine(disks: usize, nics: usize, cdrom: bool) -> VmRecord {
        let id = |n: usize| format!("0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b{n:04x}");
        let disks: Vec<_> = (0..disks)
            .map(|n| json!({"type": "volume", "volume": id(0x100 + n)}))
            .collect();
        let nics: Vec<_> = (0..nics)
            .map(|n| json!({"network": id(0x200), "mac": format!("52:54:00:12:34:{n:02x}")}))
            .collect();
        let mut spec = json!({
            "name": "web-01", "cpus": 2, "memory": 512u64 << 20, "disks": disks, "nics": nics,
        });
        if cdrom {
            spec["cdrom"] = json!(id(0x300));
        }
        serde_json::from_value(json!({
            "id": id(1), "revision": 7, "created_at": "2026-11-22T08:04:52Z",
            "spec": spec, "power": {"want": "on"}, "uid": 30001,
        }))
        .unwrap()
    }

    fn facts(disks: usize) -> Facts {
        Facts {
            kvm: true,
            emulated_cpu: false,
            io_uring: true,
            vhost_net: true,
            disks: vec![DiskKind::Block; disks],
            seed: true,
        }
    }

    fn text(line: &CommandLine) -> String {
        let mut text = String::new();
        for arg in &line.args {
            let separator = if arg.starts_with('-') { '\n' } else { ' ' };
            text.push(separator);
            text.push_str(arg);
        }
        for (index, handle) in line.handles.iter().enumerate() {
            text += &format!("\n{}: {handle:?}", index + 3);
        }
        text
    }

    #[test]
    fn a_machine_with_everything() {
        insta::assert_snapshot!(text(&command_line(&machine(2, 1, true), &facts(2))));
    }

    #[test]
    fn a_machine_with_nothing_on_an_emulated_node() {
        let facts = Facts {
            kvm: false,
            emulated_cpu: true,
            io_uring: false,
            vhost_net: false,
            disks: Vec::new(),
            seed: false,
        };
        insta::assert_snapshot!(text(&command_line(&machine(0, 1, false), &facts)));
    }

    #[test]
    fn every_device_has_a_place_of_its_own() {
        let line = command_line(&machine(16, 8, true), &facts(16));
        let places: Vec<_> = line
            .args
            .iter()
            .filter_map(|arg| Some(arg.split_once("addr=")?.1.split(',').next()?.to_owned()))
            .collect();
        assert_eq!(places.len(), 6 + 16 + 8);
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
        assert!(
            !places
                .iter()
                .any(|place| place == "0x1f" || place == "0x00")
        );
        let text = line.args.join(" ");
        for index in 0..line.handles.len() {
            let fd = index + 3;
            assert!(
                [format!("fd={fd},"), format!("fd={fd} ")]
                    .iter()
                    .any(|word| text.contains(word)),
                "{fd} is not used"
            );
        }
    }
}
