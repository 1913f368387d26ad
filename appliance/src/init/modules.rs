//! Kernel modules: drivers for what is in the machine, loaded by the names the devices give themselves.
//!
//! ```text
//!   /sys/bus/*/devices/*/modalias ─┐                        drives and NICs first
//!   events of devices that appear ─┴─► names not tried yet ─► one modprobe at a time ─► new devices ─► …
//! ```
//!
//! The state and the console's address wait for drives and NICs, so their drivers come first; all others are loaded at
//! low priority, beside the supervisor that starts meanwhile.
//!
//! Invariant: a name is tried once, and one `modprobe` runs at a time, in the background: a driver makes new devices
//! appear (a controller its disks), whose names come as events while it loads. Waiting is the caller's choice.
//! What has no device (tun, vhost-net, nftables, device-mapper, file systems) is not loaded here: the kernel asks
//! for it on first use, see [`super::mounts::static_devices`]. After the start, udevd does the same for hot-plugged
//! devices.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::log;
use crate::sys::child::{Child, Launch};
use crate::sys::sysfs;
use crate::sys::uevent::Uevent;

/// Wanted first, whether or not a device asks: the state partition's file system, so that mounting does not wait for
/// it, drivers of disks behind controllers, and the firmware's variables, which name the disk we were started from.
const FIRST: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "sd_mod",
    "ext4",
    "efivarfs",
    "efi_pstore",
];

/// Wanted whether or not a device asks: the power button's events.
const ALWAYS: [&str; 2] = ["evdev", "button"];

/// What stands between the machine and its address: the management bridge and the rules of the firewall.
const NETWORK: [&str; 4] = ["bridge", "nf_tables", "nft_ct", "nft_chain_nat"];

/// Used by every virtual machine and network; loaded when all drivers are, so that the first use does not wait.
const SOON: [&str; 17] = [
    "vhost_net",
    "tun",
    "dm_thin_pool",
    "loop",
    "nf_nat",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_limit",
    "nft_fib_inet",
    "nf_log_syslog",
    "veth",
    "8021q",
    "vfat",
    "nls_ascii",
    "nls_cp437",
];

const MODPROBE: &str = "/usr/sbin/modprobe";
const LOG: &str = "/run/ashlar/log/modprobe.log";
/// How much the loading of what nobody waits for yet stands back (setpriority(2)).
const BACK: i32 = 10;
/// A guard against names that are made up as fast as we try them.
const MOST_NAMES: usize = 4096;

/// Loads modules in the background.
#[derive(Debug)]
pub struct Loader {
    tried: BTreeSet<String>,
    first: Vec<String>,
    rest: Vec<String>,
    running: Option<Child>,
}

impl Loader {
    /// Begins with what is in the machine now.
    pub fn start() -> Loader {
        let mut loader = Loader::empty();
        loader.first.extend(FIRST.map(str::to_owned));
        for name in ALWAYS {
            loader.want(name);
        }
        for alias in aliases(Path::new("/sys")) {
            loader.want(&alias);
        }
        // It takes seconds on a slow machine, and machines start last.
        virtualisation()
            .into_iter()
            .for_each(|name| loader.want(name));
        loader.pump();
        loader
    }

    fn empty() -> Loader {
        Loader {
            tried: BTreeSet::new(),
            first: Vec::new(),
            rest: Vec::new(),
            running: None,
        }
    }

    /// Takes note of a device that appeared.
    pub fn hear(&mut self, event: &Uevent) {
        if let Some(alias) = event.get("MODALIAS").filter(|_| event.action == "add") {
            self.want(alias);
        }
    }

    /// Looks at all devices again, after events were lost.
    pub fn look_again(&mut self) {
        for alias in aliases(Path::new("/sys")) {
            self.want(&alias);
        }
    }

    /// Goes on with the next names when the last are through.
    pub fn pump(&mut self) {
        if self
            .running
            .as_ref()
            .is_some_and(|child| child.pidfd.is_alive())
        {
            return;
        }
        if let Some(child) = self.running.take() {
            // Reaps it. Names without a module are no failure, so its result says nothing.
            let _ = child.pidfd.wait_blocking(std::time::Duration::ZERO);
        }
        let (names, back) = match self.first.is_empty() {
            false => (std::mem::take(&mut self.first), 0),
            true => (std::mem::take(&mut self.rest), BACK),
        };
        if !names.is_empty() {
            log::info(format_args!("loading modules for {} names", names.len()));
            self.running = modprobe(&names, back);
        }
    }

    /// Whether something is being loaded or waits for it.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || !self.first.is_empty() || !self.rest.is_empty()
    }

    /// Readable when the running modprobe ends.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|child| child.pidfd.as_fd())
    }

    fn want(&mut self, name: &str) {
        if self.tried.len() < MOST_NAMES && self.tried.insert(name.to_owned()) {
            let queue = match is_drive_or_nic(name) {
                true => &mut self.first,
                false => &mut self.rest,
            };
            queue.push(name.to_owned());
        }
    }
}

/// Loads what the network needs, while the supervisor starts. Whoever reaps takes the child.
pub fn load_network() {
    modprobe(&NETWORK.map(str::to_owned), 0);
}

/// Loads what will be used soon, while the machine does something else. Whoever reaps takes the child.
pub fn load_soon() {
    modprobe(&SOON.map(str::to_owned), BACK);
}

fn modprobe(names: &[String], nice: i32) -> Option<Child> {
    let launch = Launch::new(MODPROBE)
        .nice(nice)
        .args(["-a", "-b", "-q"])
        .args(names)
        .log(LOG);
    match launch.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            log::warn(log::chain(&error));
            None
        }
    }
}

/// Whether a device is behind the state or the console's address: its driver is loaded before the others. The classes
/// of PCI (01 mass storage, 02 network) and the kinds of virtio (1 network, 2 block, 8 SCSI) are those of their
/// specifications.
fn is_drive_or_nic(alias: &str) -> bool {
    let virtio = ["virtio:d00000001", "virtio:d00000002", "virtio:d00000008"];
    virtio.iter().any(|kind| alias.starts_with(kind))
        || (alias.starts_with("pci:") && (alias.contains("bc01sc") || alias.contains("bc02sc")))
}

/// The hypervisor module of this processor.
fn virtualisation() -> Option<&'static str> {
    virtualisation_for(&sysfs::text("/proc/cpuinfo").unwrap_or_default())
}

fn virtualisation_for(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    match () {
        () if has("svm") => Some("kvm_amd"),
        () if has("vmx") => Some("kvm_intel"),
        () => None,
    }
}

/// The names of all devices. Devices sit on a bus or in one of two classes, so that two levels of directories are
/// enough and the whole tree of `/sys/devices` need not be walked.
fn aliases(sys: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let buses = sysfs::names(sys.join("bus"))
        .into_iter()
        .map(|bus| sys.join("bus").join(bus).join("devices"));
    let classes = ["input", "dmi"].map(|class| sys.join("class").join(class));
    for directory in buses.chain(classes) {
        for device in sysfs::names(&directory) {
            found.extend(sysfs::text(directory.join(device).join("modalias")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn drives_and_nics_go_first() {
        for alias in [
            "virtio:d00000001v00001AF4",
            "pci:v00008086d0000100Esv00008086sd0000100Ebc02sc00i00",
            "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
        ] {
            assert!(is_drive_or_nic(alias), "{alias}");
        }
        for alias in [
            "virtio:d00000004v00001AF4",
            "pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00",
            "acpi:PNP0303:",
        ] {
            assert!(!is_drive_or_nic(alias), "{alias}");
        }
    }

    #[test]
    fn knows_the_processors() {
        assert_eq!(
            virtualisation_for("processor: 0\nflags\t\t: fpu svm npt\n"),
            Some("kvm_amd")
        );
        assert_eq!(
            virtualisation_for("flags\t\t: fpu vmx ept\n"),
            Some("kvm_intel")
        );
        assert_eq!(virtualisation_for("flags\t\t: fpu hypervisor\n"), None);
        assert_eq!(virtualisation_for(""), None);
    }

    #[test]
    fn finds_names_on_buses_and_classes() {
        let directory = tempfile::tempdir().unwrap();
        for (place, alias) in [
            (
                "bus/pci/devices/0000:00:03.0",
                "pci:v00001AF4d00001041sv*\n",
            ),
            ("bus/virtio/devices/virtio0", "virtio:d00000001v00001AF4\n"),
            ("bus/virtio/devices/virtio1", "virtio:d00000001v00001AF4\n"),
            ("class/dmi/id", "dmi:bvnEDK\n"),
            ("class/net/eth0", "never:looked\n"),
        ] {
            std::fs::create_dir_all(directory.path().join(place)).unwrap();
            std::fs::write(directory.path().join(place).join("modalias"), alias).unwrap();
        }
        let found: Vec<_> = aliases(directory.path()).into_iter().collect();
        assert_eq!(
            found,
            [
                "dmi:bvnEDK",
                "pci:v00001AF4d00001041sv*",
                "virtio:d00000001v00001AF4"
            ]
        );
    }

    #[test]
    fn tries_a_name_once() {
        let mut loader = Loader::empty();
        let event = |action: &str| Uevent {
            action: action.to_owned(),
            devpath: "/devices/x".to_owned(),
            subsystem: "virtio".to_owned(),
            properties: BTreeMap::from([("MODALIAS".to_owned(), "virtio:d2".to_owned())]),
        };
        loader.hear(&event("remove"));
        assert!(!loader.is_busy());
        loader.hear(&event("add"));
        loader.hear(&event("add"));
        assert_eq!(loader.rest, ["virtio:d2"]);
        assert!(loader.is_busy());
    }
}
