//! Looking at the machine: `/proc` and `/sys`, read once, with what they say
//! kept as it is. Nothing is decided here, no device is opened and no network is
//! used, so a look takes milliseconds and a drive that hangs does not hold it up.
//!
//! All of it is read below a root, so that a test can make one; only whether the
//! clock is synchronised is a question to the kernel, and asked outside.

use std::collections::BTreeSet;
use std::path::Path;

use ashlar_api::hardware::Module;
use ashlar_api::{Bytes, Timestamp};

use super::observed::{
    Clock, Controller, Correction, Device, DeviceKind, Dmi, Drive, Firmware, Link, Memory,
    Observed, Processor, Purpose, Rtc, Tpm,
};
use crate::sys::block::{self, Block};
use crate::sys::{clock, fs, proc, smbios, sysfs};

/// What a check asks of a processor, by the kernel's names.
const FEATURES: [&str; 11] = [
    "vmx",
    "svm",
    "ept",
    "npt",
    "hypervisor",
    "cx16",
    "lahf_lm",
    "popcnt",
    "sse4_1",
    "sse4_2",
    "ssse3",
];
/// The namespace of the variables that UEFI itself defines.
const EFI_GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// A class of PCI devices: what keeps data.
const STORAGE_CLASS: u32 = 0x01;
/// Of networks those with a cable: a radio without a driver is missed by nobody.
const ETHERNET_CLASS: u32 = 0x0200;

/// Looks at the whole machine.
pub fn observe(purpose: Purpose) -> Observed {
    let mut seen = observe_in(Path::new("/"), purpose);
    seen.clock.synchronised = clock::synchronised();
    seen
}

fn observe_in(root: &Path, purpose: Purpose) -> Observed {
    let sys = root.join("sys");
    let clock = Clock {
        rtc: rtc(&sys),
        synchronised: false,
    };
    Observed {
        purpose,
        at: Timestamp::now(),
        dmi: dmi(&sys.join("class/dmi/id")),
        processor: processor(root),
        memory: memory(root, &sys),
        firmware: firmware(&sys),
        iommu_groups: count(sysfs::names(sys.join("kernel/iommu_groups")).len()),
        watchdog: watchdog(&sys.join("class/watchdog/watchdog0")),
        drives: drives(root),
        links: links(&sys.join("class/net")),
        driverless: driverless(&sys.join("bus/pci/devices")),
        clock,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn dmi(id: &Path) -> Dmi {
    let text = |name: &str| sysfs::text(id.join(name)).unwrap_or_default();
    Dmi {
        vendor: text("sys_vendor"),
        product: text("product_name"),
        serial: text("product_serial"),
        board_vendor: text("board_vendor"),
        board: text("board_name"),
        firmware_vendor: text("bios_vendor"),
        firmware_version: text("bios_version"),
        firmware_date: text("bios_date"),
    }
}

fn processor(root: &Path) -> Processor {
    let text = sysfs::text(root.join("proc/cpuinfo")).unwrap_or_default();
    let logical = text
        .lines()
        .filter(|line| key(line) == Some("processor"))
        .count();
    let sockets: BTreeSet<&str> = text
        .lines()
        .filter(|line| key(line) == Some("physical id"))
        .filter_map(value)
        .collect();
    // Newer kernels tell what VT-x can do on a line of its own.
    let features = |name: &str| {
        let line = text.lines().find(|line| key(line) == Some(name));
        line.and_then(value).unwrap_or_default().split(' ')
    };
    let told = features("flags").chain(features("vmx flags"));
    let model = text.lines().find(|line| key(line) == Some("model name"));
    Processor {
        model: model.and_then(value).unwrap_or_default().to_owned(),
        features: told
            .filter(|feature| FEATURES.contains(feature))
            .map(str::to_owned)
            .collect(),
        logical: count(logical),
        // A virtual processor may not say where it is plugged in.
        sockets: count(sockets.len()).max(u32::from(logical > 0)),
        kvm: root.join("dev/kvm").exists(),
    }
}

/// What stands before the colon of a line of `/proc/cpuinfo`.
fn key(line: &str) -> Option<&str> {
    Some(line.split_once(':')?.0.trim())
}

fn value(line: &str) -> Option<&str> {
    Some(line.split_once(':')?.1.trim())
}

fn memory(root: &Path, sys: &Path) -> Memory {
    let told = smbios::Memory::parse(
        // Only root may read it: for anybody else nothing is told.
        &std::fs::read(sys.join(smbios::TABLE.trim_start_matches("/sys/"))).unwrap_or_default(),
    );
    let correction = told.correction.and_then(|kind| match kind {
        smbios::Correction::None => Some(Correction::None),
        smbios::Correction::Parity | smbios::Correction::Crc => Some(Correction::Notice),
        smbios::Correction::SingleBit | smbios::Correction::MultiBit => Some(Correction::Correct),
        smbios::Correction::Unknown => None,
    });
    let widths: Option<Vec<bool>> = told
        .modules
        .iter()
        .map(|module| Some(module.total_width? > module.data_width?))
        .collect();
    Memory {
        total: Bytes(proc::Memory::read_in(&root.join("proc")).total),
        correction,
        wide: widths
            .filter(|widths| !widths.is_empty())
            .map(|widths| widths.into_iter().all(|wide| wide)),
        modules: told.modules.into_iter().map(module).collect(),
        controllers: controllers(&sys.join("devices/system/edac/mc")),
    }
}

fn module(module: smbios::Module) -> Module {
    Module {
        slot: module.slot,
        size: Bytes(module.size),
        kind: module.kind.to_owned(),
        speed: module.speed,
        maker: module.maker,
        part: module.part,
        serial: module.serial,
    }
}

fn controllers(edac: &Path) -> Vec<Controller> {
    let numbered = |name: &String, prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    let named = sysfs::names(edac)
        .into_iter()
        .filter(|name| numbered(name, "mc"));
    named
        .map(|name| {
            let at = edac.join(&name);
            let counted =
                |path: &Path, what: &str| sysfs::parse::<u64>(path.join(what)).unwrap_or(0);
            // A slot is a `dimm` or, where the controller does not know slots, a `rank`.
            let slots = sysfs::names(&at)
                .into_iter()
                .filter(|slot| numbered(slot, "dimm") || numbered(slot, "rank"));
            let modules = slots.filter_map(|slot| {
                let place = at.join(&slot);
                let had = counted(&place, "dimm_ce_count") + counted(&place, "dimm_ue_count");
                let label = sysfs::text(place.join("dimm_label"));
                (had > 0).then(|| label.unwrap_or(slot))
            });
            Controller {
                corrected: counted(&at, "ce_count"),
                uncorrected: counted(&at, "ue_count"),
                modules: modules.collect(),
                name,
            }
        })
        .collect()
}

fn firmware(sys: &Path) -> Firmware {
    let variables = sys.join("firmware/efi/efivars");
    // Four bytes of attributes come before the value.
    let flag = |name: &str| {
        let bytes = std::fs::read(variables.join(format!("{name}-{EFI_GLOBAL}"))).ok()?;
        bytes.get(4).map(|value| *value == 1)
    };
    let tables = sysfs::names(sys.join("firmware/acpi/tables"));
    let class = sys.join("class/tpm");
    let tpms = sysfs::names(&class).into_iter().map(|name| Tpm {
        version: sysfs::parse(class.join(&name).join("tpm_version_major")),
        name,
    });
    Firmware {
        uefi: sys.join("firmware/efi").exists(),
        variables: !sysfs::names(&variables).is_empty(),
        secure_boot: flag("SecureBoot"),
        setup_mode: flag("SetupMode"),
        tpms: tpms.collect(),
        tpm_told: tables
            .iter()
            .any(|table| table == "TPM2" || table == "TCPA"),
    }
}

fn watchdog(at: &Path) -> Option<String> {
    let identity = || sysfs::text(at.join("identity")).unwrap_or_default();
    at.exists().then(identity)
}

fn drives(root: &Path) -> Vec<Drive> {
    let blocks = block::list_in(&root.join("sys/class/block"));
    // Without a list of mounts the labels of partitions say what the system's drive is.
    let mounted = fs::mounts_in(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mounted: BTreeSet<String> = mounted.into_iter().map(|mount| mount.device).collect();
    let system = block::system_disks(&blocks, &mounted);
    let rests = block::data_partitions(&blocks, &system);
    let whole = blocks.iter().filter(|block| block::is_drive(block));
    let whole = whole.map(|block| drive(block, system.contains(&block.name)));
    let rests = rests.iter().map(|block| Drive {
        rest: true,
        ..drive(block, false)
    });
    whole.chain(rests).collect()
}

fn drive(block: &Block, system: bool) -> Drive {
    Drive {
        name: block.name.clone(),
        id: block.id(),
        model: block.model.clone().unwrap_or_default(),
        size: Bytes(block.size),
        transport: block.transport,
        rotational: block.rotational,
        removable: block.removable,
        read_only: block.read_only,
        system,
        rest: false,
    }
}

fn links(class: &Path) -> Vec<Link> {
    let names = sysfs::names(class).into_iter();
    let links = names.filter_map(|name| {
        let at = class.join(&name);
        // Bridges and taps have no device; a part of a card that is shared out is no card.
        if !at.join("device").exists() || at.join("device/physfn").exists() {
            return None;
        }
        Some(Link {
            driver: sysfs::link_name(at.join("device/driver")).unwrap_or_default(),
            wireless: at.join("wireless").exists() || at.join("phy80211").exists(),
            carrier: sysfs::flag(at.join("carrier")).unwrap_or(false),
            speed: sysfs::parse::<i64>(at.join("speed"))
                .and_then(|speed| u32::try_from(speed).ok())
                // How a driver says that it does not know.
                .filter(|speed| !matches!(*speed, 0 | u32::MAX)),
            name,
        })
    });
    links.collect()
}

fn driverless(pci: &Path) -> Vec<Device> {
    let number = |at: &Path, name: &str| {
        let text = sysfs::text(at.join(name))?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let devices = sysfs::names(pci).into_iter().filter_map(|address| {
        let at = pci.join(&address);
        let class = number(&at, "class")?;
        let kind = match () {
            // A part of a card that is shared out is for a machine, which has the driver.
            () if at.join("physfn").exists() => return None,
            () if class >> 16 == STORAGE_CLASS => DeviceKind::Drives,
            () if class >> 8 == ETHERNET_CLASS => DeviceKind::Network,
            () => return None,
        };
        let (vendor, device) = (number(&at, "vendor")?, number(&at, "device")?);
        (!at.join("driver").exists()).then(|| Device {
            id: format!("{vendor:04x}:{device:04x}"),
            kind,
            address,
        })
    });
    devices.collect()
}

/// The first clock, which is the one that the kernel starts with.
fn rtc(sys: &Path) -> Option<Rtc> {
    let class = sys.join("class/rtc");
    let name = sysfs::names(&class).into_iter().next()?;
    let seconds = sysfs::parse::<i64>(class.join(&name).join("since_epoch"));
    Some(Rtc {
        shows: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    #[test]
    fn a_made_machine_is_seen_as_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let cpuinfo = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) E-2336\nphysical id\t: 0\nflags\t\t: fpu vmx cx16 popcnt\n\
             vmx flags\t: vnmi ept\n\nprocessor\t: 1\nmodel name\t: x\nphysical id\t: 1\nflags\t\t: fpu vmx cx16 popcnt\n";
        put(
            root,
            &[
                ("proc/cpuinfo", cpuinfo.as_bytes()),
                ("proc/meminfo", b"MemTotal: 4194304 kB\n"),
                (
                    "proc/self/mountinfo",
                    b"30 1 259:2 / /var/lib/ashlar rw - ext4 /dev/nvme0n1p2 rw\n",
                ),
                ("sys/class/block/nvme0n1/dev", b"259:0\n"),
                ("sys/class/block/nvme0n1/size", b"67108864\n"),
                ("sys/class/block/nvme0n1/wwid", b"eui.0025385b11b0f0aa\n"),
                ("sys/class/block/nvme0n1/nvme0n1p2/partition", b"2\n"),
                ("sys/class/block/nvme0n1/nvme0n1p2/dev", b"259:2\n"),
                (
                    "sys/class/block/nvme0n1/nvme0n1p2/uevent",
                    b"PARTNAME=ashlar-state\n",
                ),
                ("sys/class/block/nvme0n1/nvme0n1p3/partition", b"3\n"),
                ("sys/class/block/nvme0n1/nvme0n1p3/dev", b"259:3\n"),
                ("sys/class/block/nvme0n1/nvme0n1p3/size", b"50331648\n"),
                (
                    "sys/class/block/nvme0n1/nvme0n1p3/uevent",
                    b"PARTNAME=ashlar-data\n",
                ),
                ("sys/class/block/sdb/dev", b"8:16\n"),
                ("sys/class/block/sdb/size", b"4194304\n"),
                ("sys/class/block/sdb/device/serial", b"4711\n"),
                ("sys/class/block/sr0/dev", b"11:0\n"),
                ("dev/kvm", b""),
                ("sys/class/dmi/id/sys_vendor", b"Example\n"),
                ("sys/class/dmi/id/product_name", b"Server 1\n"),
                ("sys/class/dmi/id/bios_date", b"05/20/2024\n"),
                ("sys/devices/system/edac/mc/mc0/ce_count", b"2\n"),
                ("sys/devices/system/edac/mc/mc0/ue_count", b"0\n"),
                ("sys/devices/system/edac/mc/mc0/dimm3/dimm_ce_count", b"2\n"),
                (
                    "sys/devices/system/edac/mc/mc0/dimm3/dimm_label",
                    b"DIMM_A1\n",
                ),
                ("sys/devices/system/edac/mc/mc0/dimm4/dimm_ce_count", b"0\n"),
                ("sys/devices/system/edac/mc/power/control", b"auto\n"),
                (
                    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
                    &[6, 0, 0, 0, 1],
                ),
                ("sys/firmware/acpi/tables/TPM2", b""),
                ("sys/class/tpm/tpm0/tpm_version_major", b"2\n"),
                ("sys/kernel/iommu_groups/0/x", b""),
                ("sys/kernel/iommu_groups/1/x", b""),
                ("sys/class/watchdog/watchdog0/identity", b"iTCO_wdt\n"),
                ("sys/class/rtc/rtc0/since_epoch", b"1790000000\n"),
                ("sys/class/net/lo/carrier", b"1\n"),
                ("sys/class/net/eno1/carrier", b"1\n"),
                ("sys/class/net/eno1/speed", b"2500\n"),
                ("sys/class/net/eno1/device/x", b""),
                ("sys/class/net/wlan0/device/x", b""),
                ("sys/class/net/wlan0/wireless/x", b""),
                ("sys/class/net/wlan0/speed", b"-1\n"),
                ("sys/class/net/eno1v0/device/physfn/x", b""),
                ("sys/bus/pci/devices/0000:02:00.0/class", b"0x020000\n"),
                ("sys/bus/pci/devices/0000:02:00.0/vendor", b"0x10ec\n"),
                ("sys/bus/pci/devices/0000:02:00.0/device", b"0x8168\n"),
                ("sys/bus/pci/devices/0000:03:00.0/class", b"0x010601\n"),
                ("sys/bus/pci/devices/0000:03:00.0/vendor", b"0x8086\n"),
                ("sys/bus/pci/devices/0000:03:00.0/device", b"0xa352\n"),
                ("sys/bus/pci/devices/0000:03:00.0/driver/x", b""),
                ("sys/bus/pci/devices/0000:04:00.0/class", b"0x030000\n"),
                // A radio, and a part of a card that is shared out: nobody misses their drivers.
                ("sys/bus/pci/devices/0000:05:00.0/class", b"0x028000\n"),
                ("sys/bus/pci/devices/0000:05:00.0/vendor", b"0x8086\n"),
                ("sys/bus/pci/devices/0000:05:00.0/device", b"0x2725\n"),
                ("sys/bus/pci/devices/0000:06:10.0/class", b"0x020000\n"),
                ("sys/bus/pci/devices/0000:06:10.0/vendor", b"0x8086\n"),
                ("sys/bus/pci/devices/0000:06:10.0/device", b"0x1520\n"),
                ("sys/bus/pci/devices/0000:06:10.0/physfn/x", b""),
            ],
        );
        let seen = observe_in(root, Purpose::Install);
        assert_eq!(seen.purpose, Purpose::Install);
        assert_eq!(
            (
                seen.dmi.vendor.as_str(),
                seen.dmi.product.as_str(),
                seen.dmi.firmware_date.as_str()
            ),
            ("Example", "Server 1", "05/20/2024")
        );
        let processor = &seen.processor;
        assert_eq!(processor.model, "Intel(R) Xeon(R) E-2336");
        assert_eq!((processor.logical, processor.sockets), (2, 2));
        let features: Vec<&str> = processor.features.iter().map(String::as_str).collect();
        assert_eq!(features, ["cx16", "ept", "popcnt", "vmx"]);
        assert!(processor.kvm);
        assert_eq!(
            seen.memory.controllers,
            [Controller {
                name: "mc0".to_owned(),
                corrected: 2,
                uncorrected: 0,
                modules: vec!["DIMM_A1".to_owned()],
            }]
        );
        let firmware = &seen.firmware;
        assert!(firmware.uefi && firmware.variables && firmware.tpm_told);
        assert_eq!(
            (firmware.secure_boot, firmware.setup_mode),
            (Some(true), None)
        );
        assert_eq!(firmware.tpms[0].version, Some(2));
        assert_eq!(seen.iommu_groups, 2);
        assert_eq!(seen.watchdog.as_deref(), Some("iTCO_wdt"));
        assert_eq!(seen.memory.total, Bytes::gib(4));
        let drives: Vec<(&str, &str, Bytes, bool, bool)> = seen
            .drives
            .iter()
            .map(|drive| {
                (
                    drive.name.as_str(),
                    drive.id.as_str(),
                    drive.size,
                    drive.system,
                    drive.rest,
                )
            })
            .collect();
        assert_eq!(
            drives,
            [
                (
                    "nvme0n1",
                    "eui.0025385b11b0f0aa",
                    Bytes::gib(32),
                    true,
                    false
                ),
                ("sdb", "4711", Bytes::gib(2), false, false),
                (
                    "nvme0n1p3",
                    "eui.0025385b11b0f0aa:data",
                    Bytes::gib(24),
                    false,
                    true
                ),
            ]
        );
        let names: Vec<(&str, bool, Option<u32>)> = seen
            .links
            .iter()
            .map(|link| (link.name.as_str(), link.wireless, link.speed))
            .collect();
        assert_eq!(names, [("eno1", false, Some(2500)), ("wlan0", true, None)]);
        assert_eq!(
            seen.driverless,
            [Device {
                address: "0000:02:00.0".to_owned(),
                id: "10ec:8168".to_owned(),
                kind: DeviceKind::Network,
            }]
        );
        let rtc = seen.clock.rtc.unwrap();
        assert_eq!(rtc.shows.unwrap().as_second(), 1_790_000_000);
    }

    #[test]
    fn a_machine_of_which_nothing_is_told_is_seen_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let seen = observe_in(folder.path(), Purpose::Node);
        assert_eq!(seen.processor, Processor::default());
        assert_eq!(seen.firmware, Firmware::default());
        assert_eq!((seen.watchdog, seen.drives.len()), (None, 0));
        assert_eq!((seen.dmi, seen.clock.rtc), (Dmi::default(), None));
    }

    #[test]
    fn this_machine_is_seen() {
        let seen = observe(Purpose::Node);
        assert!(seen.processor.logical > 0 && seen.memory.total.0 > 0);
        let text = serde_json::to_string(&seen).unwrap();
        let again: Observed = serde_json::from_str(&text).unwrap();
        assert_eq!(again, seen);
    }
}
