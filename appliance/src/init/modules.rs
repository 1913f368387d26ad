//! Kernel modules: drivers for what is in the machine, loaded by the names the devices give themselves.
//!
//! ```text
//!   /sys/bus/*/devices/*/modalias ─┐
//!   events of devices that appear ─┴─► names not tried yet ─► one modprobe at a time ─► new devices ─► …
//!                                      first what the state and the console's address need, then the rest
//! ```
//!
//! The state and the console's address wait for a drive and a NIC, so their drivers come first, with what the network
//! needs, then other drives, then all else. Once the state is found, the others are held back until the console is
//! up, with a bound: loading a module stops all processors many times (each place that a static call patches is patched
//! by itself), which no priority can lessen.
//!
//! Invariant: a name is tried once, and one `modprobe` runs at a time, in the background: a driver makes new devices
//! appear (a controller its disks), whose names come as events while it loads. Waiting is the caller's choice.
//! What has no device (tun, vhost-net, nftables, device-mapper, file systems) is not loaded here: the kernel asks
//! for it on first use, see [`super::mounts::static_devices`]. After the start, udevd does the same for hot-plugged
//! devices.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::log;
use crate::sys::child::{Child, Launch};
use crate::sys::sysfs;
use crate::sys::uevent::Uevent;

/// Wanted first, whether or not a device asks: the state partition's file system, so that mounting does not wait for it.
/// That of the firmware's variables, which name the disk we were started from, is loaded by mounting it meanwhile.
const FIRST: [&str; 4] = ["virtio_pci", "virtio_blk", "ext4", "efi_pstore"];

/// Wanted whether or not a device asks: the power button's events. Before other drives: a press that comes before its
/// driver is lost.
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
/// How long the drivers that nobody waits for may be held back.
const HELD: Duration = Duration::from_secs(8);
/// A guard against names that are made up as fast as we try them.
const MOST_NAMES: usize = 4096;

/// In which order names are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Behind the state or the console's address.
    First,
    /// Behind the power button, other drives, and the state when it is none of the first.
    Drives,
    /// All else.
    Rest,
}

const TURNS: [Turn; 3] = [Turn::First, Turn::Drives, Turn::Rest];

/// Loads modules in the background.
#[derive(Debug)]
pub struct Loader {
    tried: BTreeSet<String>,
    /// The names that wait, by [`Turn`].
    waiting: [Vec<String>; TURNS.len()],
    running: Option<Child>,
    /// Until when drives and the rest are held back.
    held: Option<Instant>,
}

impl Loader {
    /// Begins with what is in the machine now.
    pub fn start() -> Loader {
        let mut loader = Loader::empty();
        for name in FIRST {
            loader.want(name, Turn::First);
        }
        for name in ALWAYS {
            loader.want(name, Turn::Drives);
        }
        loader.look_again();
        for name in NETWORK {
            loader.want(name, Turn::First);
        }
        // It takes seconds on a slow machine, and machines start last.
        if let Some(name) = virtualisation() {
            loader.want(name, Turn::Rest);
        }
        loader.pump(Instant::now());
        loader
    }

    fn empty() -> Loader {
        Loader {
            tried: BTreeSet::new(),
            waiting: Default::default(),
            running: None,
            held: None,
        }
    }

    /// Takes note of a device that appeared.
    pub fn hear(&mut self, event: &Uevent) {
        if let Some(alias) = event.get("MODALIAS").filter(|_| event.action == "add") {
            self.want(alias, turn(alias));
        }
    }

    /// Looks at all devices again, after events were lost.
    pub fn look_again(&mut self) {
        for alias in aliases(Path::new("/sys")) {
            self.want(&alias, turn(&alias));
        }
    }

    /// Holds back what nobody waits for: the state is found.
    pub fn hold(&mut self, now: Instant) {
        self.held = Some(now + HELD);
    }

    /// Goes on with what was held back.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Goes on with the next names when the last are through.
    pub fn pump(&mut self, now: Instant) {
        if self
            .running
            .as_ref()
            .is_some_and(|child| child.pidfd.is_alive())
        {
            return;
        }
        if let Some(child) = self.running.take() {
            // Reaps it. Names without a module are no failure, so its result says nothing.
            let _ = child.pidfd.wait_blocking(Duration::ZERO);
        }
        if let Some((turn, names)) = self.next(now) {
            log::info(format_args!("loading modules for {} names", names.len()));
            let nice = if turn == Turn::Rest { BACK } else { 0 };
            self.running = modprobe(&names, nice);
        }
    }

    /// The names whose turn it is.
    fn next(&mut self, now: Instant) -> Option<(Turn, Vec<String>)> {
        self.held = self.held.filter(|end| now < *end);
        let held = self.held.is_some();
        let mut turns = TURNS.into_iter().zip(&mut self.waiting);
        let may = |turn: Turn| !held || turn == Turn::First;
        let (turn, names) = turns.find(|(turn, names)| may(*turn) && !names.is_empty())?;
        Some((turn, std::mem::take(names)))
    }

    /// Whether something is being loaded or waits for it.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || self.waiting.iter().any(|names| !names.is_empty())
    }

    /// Readable when the running modprobe ends.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|child| child.pidfd.as_fd())
    }

    fn want(&mut self, name: &str, turn: Turn) {
        if self.tried.len() < MOST_NAMES && self.tried.insert(name.to_owned()) {
            self.waiting[turn as usize].push(name.to_owned());
        }
    }
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

/// When a device's driver is loaded. The classes of PCI (01 mass storage, of which 08 is NVMe; 02 network), the kinds of
/// virtio (1 network, 2 block, 8 SCSI) and the types of SCSI (00 and 0e disks) are those of their specifications.
fn turn(alias: &str) -> Turn {
    let starts = |begins: &[&str]| begins.iter().any(|begin| alias.starts_with(begin));
    let pci = |class: &str| alias.starts_with("pci:") && alias.contains(class);
    if starts(&["virtio:d00000001", "virtio:d00000002"]) || pci("bc02sc") || pci("bc01sc08") {
        Turn::First
    } else if starts(&["virtio:d00000008", "scsi:t-0x00", "scsi:t-0x0e"]) || pci("bc01sc") {
        Turn::Drives
    } else {
        Turn::Rest
    }
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
    fn what_is_waited_for_goes_first() {
        for (alias, expected) in [
            ("virtio:d00000001v00001AF4", Turn::First),
            ("virtio:d00000002v00001AF4", Turn::First),
            (
                "pci:v00008086d0000100Esv00008086sd0000100Ebc02sc00i00",
                Turn::First,
            ),
            (
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                Turn::First,
            ),
            (
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                Turn::Drives,
            ),
            ("scsi:t-0x00", Turn::Drives),
            ("virtio:d00000004v00001AF4", Turn::Rest),
            (
                "pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00",
                Turn::Rest,
            ),
            ("acpi:PNP0303:", Turn::Rest),
        ] {
            assert_eq!(turn(alias), expected, "{alias}");
        }
    }

    #[test]
    fn holds_back_what_nobody_waits_for() {
        let (mut loader, now) = (Loader::empty(), Instant::now());
        for (name, turn) in TURNS.iter().map(|turn| (format!("{turn:?}"), *turn)) {
            loader.want(&name, turn);
        }
        loader.hold(now);
        let mut next = |now| Some(loader.next(now)?.0);
        assert_eq!(next(now), Some(Turn::First));
        assert_eq!(next(now), None);
        // In the end they are loaded though nobody asked.
        assert_eq!(next(now + HELD), Some(Turn::Drives));
        loader.hold(now);
        assert!(loader.is_busy() && loader.next(now).is_none());
        loader.release();
        assert_eq!(loader.next(now).map(|(turn, _)| turn), Some(Turn::Rest));
        assert!(!loader.is_busy());
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
        assert_eq!(loader.waiting[Turn::Rest as usize], ["virtio:d2"]);
        assert!(loader.is_busy());
    }
}
