//! The checks: fixtures in `testdata/<case>/{observed,report}.json` (set
//! `ASHLAR_BLESS=1` to write the reports anew), what must hold for any machine,
//! and that the manual has them all.

use std::collections::BTreeSet;
use std::path::Path;

use ashlar_api::event::Severity;
use ashlar_api::hardware::{Module, Outcome, Report};
use ashlar_api::{Bytes, Timestamp};
use proptest::prelude::*;
use serde_json::Value;

use super::conclude;
use super::observed::{
    Clock, Controller, Correction, Device, DeviceKind, Dmi, Drive, Firmware, Link, Memory,
    Observed, Processor, Purpose, Rtc, Tpm,
};
use crate::hardware::RULES;
use crate::sys::block::Transport;

#[test]
fn reports_are_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hardware/testdata");
    let mut cases = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(case.join(name)).unwrap_or_default();
        let observed: Observed = serde_json::from_str(&read("observed.json"))
            .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let report = Report {
            version: "1".to_owned(),
            ..conclude(&observed)
        };
        let made = serde_json::to_value(report).unwrap();
        if std::env::var_os("ASHLAR_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&made).unwrap();
            std::fs::write(case.join("report.json"), text + "\n").unwrap();
        }
        let recorded: Value = serde_json::from_str(&read("report.json")).unwrap_or(Value::Null);
        assert_eq!(made, recorded, "{}", case.display());
        cases += 1;
    }
    assert!(cases >= 8, "{cases} cases");
}

#[test]
fn the_table_is_in_order() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len(), "an id is there twice");
    for rule in RULES {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(rule.id.chars().all(plain), "{}", rule.id);
        assert!(!rule.title.ends_with('.'), "{}", rule.title);
    }
    assert!(
        RULES.is_sorted_by_key(|rule| rule.area),
        "checks of one area stand together"
    );
}

/// The rows of the table in a page of the manual: the id, and how much it matters.
fn rows(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().filter_map(|line| {
        let (id, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let severity = rest.split(" | ").nth(1)?;
        Some((id.to_owned(), severity.to_owned()))
    });
    rows.collect()
}

#[test]
fn the_manual_has_every_check() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hardware.md");
    let described = rows(&std::fs::read_to_string(manual).unwrap());
    let table: Vec<(String, String)> = RULES
        .iter()
        .map(|rule| {
            let severity = serde_json::to_value(rule.severity).unwrap();
            (rule.id.to_owned(), severity.as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(described, table);
}

#[test]
fn what_another_part_tells_is_told_there() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md");
    let page = std::fs::read_to_string(page).unwrap();
    for code in RULES.iter().filter_map(|rule| rule.told_by) {
        assert!(page.contains(&format!("| `{code}` |")), "{code}");
    }
}

/// A machine with everything: nothing is left to say.
fn sound() -> Observed {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hardware/testdata/sound");
    let text = std::fs::read_to_string(path.join("observed.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_sound_machine_passes_everything() {
    let report = conclude(&sound());
    for check in &report.checks {
        assert_eq!(check.outcome, Outcome::Passed, "{check:?}");
    }
    assert_eq!(report.worst, None);
}

/// What is taken from the sound machine, and what then fails.
#[test]
fn each_lack_fails_its_check_and_no_other() {
    type Lack = (&'static str, Severity, fn(&mut Observed));
    let lacks: [Lack; 27] = [
        ("cpu-virtualisation", Severity::Warning, |m| {
            m.processor.kvm = false
        }),
        ("cpu-nested-paging", Severity::Warning, |m| {
            m.processor.features.remove("ept");
        }),
        ("cpu-level", Severity::Warning, |m| {
            m.processor.features.remove("popcnt");
        }),
        ("cpu-count", Severity::Info, |m| m.processor.logical = 1),
        ("iommu", Severity::Info, |m| m.iommu_groups = 0),
        ("memory-size", Severity::Warning, |m| {
            m.memory.total = Bytes::mib(700)
        }),
        ("memory-size", Severity::Warning, |m| {
            m.memory.total = Bytes::mib(960)
        }),
        ("memory-errors", Severity::Warning, |m| {
            m.memory.controllers[0].corrected = 1
        }),
        ("memory-errors", Severity::Critical, |m| {
            m.memory.controllers[0].uncorrected = 1
        }),
        ("firmware-uefi", Severity::Critical, |m| {
            m.firmware.uefi = false
        }),
        ("secure-boot", Severity::Warning, |m| {
            m.firmware.secure_boot = Some(false)
        }),
        ("secure-boot", Severity::Warning, |m| {
            m.firmware.secure_boot = None
        }),
        ("tpm", Severity::Warning, |m| m.firmware.tpms.clear()),
        ("tpm", Severity::Warning, |m| {
            m.firmware.tpms[0].version = Some(1)
        }),
        ("firmware-age", Severity::Info, |m| {
            m.dmi.firmware_date = "01/01/2015".to_owned();
        }),
        ("watchdog", Severity::Info, |m| {
            m.watchdog = Some("Software Watchdog".to_owned());
        }),
        ("watchdog", Severity::Info, |m| m.watchdog = None),
        ("boot-drive-size", Severity::Warning, |m| {
            m.drives[0].size = Bytes::gib(2)
        }),
        ("boot-drive-fixed", Severity::Warning, |m| {
            m.drives[0].transport = Some(Transport::Usb);
        }),
        ("drive-flash", Severity::Info, |m| {
            m.drives[1].rotational = true
        }),
        ("drive-controller", Severity::Warning, |m| {
            m.driverless = vec![Device::default()];
        }),
        ("network-driver", Severity::Warning, |m| {
            m.driverless = vec![Device {
                kind: DeviceKind::Network,
                ..Device::default()
            }];
        }),
        ("network-speed", Severity::Info, |m| {
            for link in &mut m.links {
                link.speed = Some(100);
            }
        }),
        ("network-spare", Severity::Info, |m| m.links.truncate(1)),
        ("clock", Severity::Warning, |m| m.clock.rtc = None),
        ("clock", Severity::Warning, |m| {
            m.clock.rtc.as_mut().unwrap().shows = Timestamp::from_second(981_173_106).ok();
        }),
        ("clock", Severity::Warning, |m| {
            let two_hours = m.at.as_second() + 7200;
            m.clock.rtc.as_mut().unwrap().shows = Timestamp::from_second(two_hours).ok();
        }),
    ];
    for (id, severity, take) in lacks {
        let mut machine = sound();
        take(&mut machine);
        let report = conclude(&machine);
        let failed: Vec<(&str, Severity)> = report
            .open()
            .map(|check| (check.id.as_str(), check.severity))
            .collect();
        assert_eq!(failed, [(id, severity)], "{machine:?}");
    }
    // These take something from other checks, too.
    let failing = |take: fn(&mut Observed)| -> Vec<String> {
        let mut machine = sound();
        take(&mut machine);
        conclude(&machine).open().map(|c| c.id.clone()).collect()
    };
    assert_eq!(failing(|m| m.links.clear()), ["network-card"]);
    assert_eq!(failing(|m| m.drives.truncate(1)), ["data-drive"]);
    assert_eq!(
        failing(|m| {
            m.processor.features.remove("vmx");
            m.processor.features.remove("ept");
            m.processor.kvm = false;
        }),
        ["cpu-virtualisation"]
    );
    assert_eq!(
        failing(|m| {
            m.memory.controllers.clear();
            m.memory.correction = Some(Correction::None);
            m.memory.wide = Some(false);
        }),
        ["memory-ecc"]
    );
}

#[test]
fn the_medium_is_nothing_to_install_on() {
    let mut machine = Observed {
        purpose: Purpose::Install,
        ..sound()
    };
    // The stick that it runs from.
    machine.drives[0].transport = Some(Transport::Usb);
    let failed = |machine: &Observed| -> Vec<String> {
        conclude(machine).open().map(|c| c.id.clone()).collect()
    };
    machine.drives.truncate(1);
    assert_eq!(failed(&machine), ["boot-drive-size", "data-drive"]);
    assert!(conclude(&machine).blocks());
    let small = Drive {
        name: "sdb".to_owned(),
        size: Bytes::gib(2),
        ..Drive::default()
    };
    machine.drives.push(small.clone());
    assert_eq!(failed(&machine), ["boot-drive-size", "data-drive"]);
    machine.drives[1].size = Bytes::gib(8);
    assert_eq!(failed(&machine), ["data-drive"]);
    machine.drives.push(Drive {
        name: "sdc".to_owned(),
        ..small
    });
    assert!(failed(&machine).is_empty());
    // One that is large enough has room for both.
    machine.drives.truncate(2);
    machine.drives[1].size = Bytes(16_000_000_000);
    assert!(failed(&machine).is_empty());
    // What another system runs from can be installed on.
    machine.drives.remove(0);
    machine.drives[0].system = true;
    assert!(failed(&machine).is_empty());
}

/// What the documentation promises of a machine with one drive.
#[test]
fn the_rest_of_the_system_drive_is_a_drive_for_data() {
    let mut machine = sound();
    machine.drives.truncate(1);
    let outcome = |machine: &Observed, id: &str| conclude(machine).check(id).unwrap().clone();
    assert_eq!(outcome(&machine, "data-drive").outcome, Outcome::Failed);
    machine.drives.push(Drive {
        name: "nvme0n1p3".to_owned(),
        size: Bytes::gib(200),
        rest: true,
        ..machine.drives[0].clone()
    });
    machine.drives[1].system = false;
    let data = outcome(&machine, "data-drive");
    assert_eq!(data.outcome, Outcome::Passed);
    assert!(data.finding.contains("what the system leaves"), "{data:?}");
    assert_eq!(outcome(&machine, "drive-flash").outcome, Outcome::Passed);
    // A stick that somebody forgot is none.
    machine.drives[1] = Drive {
        name: "sdb".to_owned(),
        size: Bytes::gib(64),
        transport: Some(Transport::Usb),
        ..Drive::default()
    };
    assert_eq!(outcome(&machine, "data-drive").outcome, Outcome::Failed);
    assert_eq!(outcome(&machine, "drive-flash").outcome, Outcome::Unknown);
}

#[test]
fn flash_on_the_board_stays_in() {
    let mut machine = sound();
    machine.drives[0].transport = Some(Transport::Emmc);
    let report = conclude(&machine);
    let fixed = report.check("boot-drive-fixed").unwrap();
    assert_eq!(fixed.outcome, Outcome::Passed);
    assert!(fixed.finding.contains("wears out"), "{}", fixed.finding);
    assert!(!fixed.finding.contains("card"), "{}", fixed.finding);
}

/// An override holds for these, whatever the kernel calls them after the next start.
#[test]
fn what_a_check_is_about_keeps_its_identity() {
    let identity = |change: fn(&mut Observed), id: &str| {
        let mut machine = sound();
        change(&mut machine);
        let report = conclude(&machine);
        let check = report.check(id).unwrap();
        assert_eq!(check.outcome, Outcome::Failed, "{check:?}");
        check.identity.clone()
    };
    let stick = |machine: &mut Observed| {
        machine.drives[0].transport = Some(Transport::Usb);
        machine.drives[0].id = "Ultra_Fit_4C53".to_owned();
    };
    assert_eq!(identity(stick, "boot-drive-fixed"), "Ultra_Fit_4C53");
    let card = |machine: &mut Observed| {
        machine.driverless = vec![Device {
            address: "0000:06:00.0".to_owned(),
            id: "1d6a:d107".to_owned(),
            kind: DeviceKind::Network,
        }];
    };
    assert_eq!(identity(card, "network-driver"), "1d6a:d107");
    let errors = |corrected| {
        let mut machine = sound();
        machine.memory.controllers[0].corrected = corrected;
        let report = conclude(&machine);
        report.check("memory-errors").unwrap().identity.clone()
    };
    assert_eq!(errors(2), errors(9));
    assert_ne!(errors(9), errors(10));
}

#[test]
fn a_watchdog_that_tells_nothing_is_not_believed() {
    let mut machine = sound();
    machine.watchdog = Some(String::new());
    let report = conclude(&machine);
    assert_eq!(report.check("watchdog").unwrap().outcome, Outcome::Unknown);
}

#[test]
fn firmware_that_contradicts_itself_is_not_believed() {
    for (correction, wide) in [(Correction::Correct, false), (Correction::None, true)] {
        let mut machine = sound();
        machine.memory.controllers.clear();
        machine.memory.correction = Some(correction);
        machine.memory.wide = Some(wide);
        let report = conclude(&machine);
        let check = report.check("memory-ecc").unwrap();
        assert_eq!(check.outcome, Outcome::Unknown, "{check:?}");
    }
}

/// On a node that runs, another part of the program tells of these as warnings.
#[test]
fn one_thing_matters_as_much_everywhere() {
    for (purpose, severity) in [
        (Purpose::Node, Severity::Warning),
        (Purpose::Install, Severity::Critical),
    ] {
        let mut machine = Observed { purpose, ..sound() };
        machine.processor.kvm = false;
        machine.memory.total = Bytes::mib(700);
        let report = conclude(&machine);
        for id in ["cpu-virtualisation", "memory-size"] {
            assert_eq!(report.check(id).unwrap().severity, severity, "{id}");
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,10}",
        Just("QEMU".to_owned()),
        Just("Standard PC (Q35 + ICH9, 2009)".to_owned()),
        "[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,5}",
        Just("Software Watchdog".to_owned()),
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any::<u64>(),
        (0u64..64).prop_map(|gib| gib << 30),
        (3_900_000_000u64..4_100_000_000),
    ]
    .prop_map(Bytes)
}

fn time() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![first..=last, 0i64..2_000_000_000]
        .prop_map(|second| Timestamp::from_second(second).unwrap_or_default())
}

fn processor() -> impl Strategy<Value = Processor> {
    let known = [
        "vmx",
        "svm",
        "ept",
        "npt",
        "cx16",
        "lahf_lm",
        "popcnt",
        "sse4_1",
        "sse4_2",
        "ssse3",
        "hypervisor",
    ];
    let features = proptest::sample::subsequence(known.to_vec(), 0..=known.len());
    (text(), features, any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |(model, features, logical, sockets, kvm)| Processor {
            model,
            features: features.into_iter().map(str::to_owned).collect(),
            logical,
            sockets,
            kvm,
        },
    )
}

fn memory() -> impl Strategy<Value = Memory> {
    let correction = proptest::sample::select(vec![
        None,
        Some(Correction::None),
        Some(Correction::Notice),
        Some(Correction::Correct),
    ]);
    let module = (text(), bytes()).prop_map(|(slot, size)| Module {
        slot,
        size,
        ..Module::default()
    });
    let controller = (
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(text(), 0..3),
    )
        .prop_map(|(corrected, uncorrected, modules)| Controller {
            name: "mc0".to_owned(),
            corrected,
            uncorrected,
            modules,
        });
    (
        bytes(),
        correction,
        any::<Option<bool>>(),
        prop::collection::vec(module, 0..3),
        prop::collection::vec(controller, 0..3),
    )
        .prop_map(|(total, correction, wide, modules, controllers)| Memory {
            total,
            correction,
            wide,
            modules,
            controllers,
        })
}

fn firmware() -> impl Strategy<Value = Firmware> {
    let tpm = (text(), any::<Option<u32>>()).prop_map(|(name, version)| Tpm { name, version });
    (
        any::<[bool; 3]>(),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        prop::collection::vec(tpm, 0..3),
    )
        .prop_map(
            |([uefi, variables, tpm_told], secure_boot, setup_mode, tpms)| Firmware {
                uefi,
                variables,
                secure_boot,
                setup_mode,
                tpms,
                tpm_told,
            },
        )
}

fn drives() -> impl Strategy<Value = Vec<Drive>> {
    let transport = proptest::sample::select(vec![
        None,
        Some(Transport::Nvme),
        Some(Transport::Usb),
        Some(Transport::Virtio),
        Some(Transport::Mmc),
        Some(Transport::Emmc),
    ]);
    let drive = (text(), text(), bytes(), transport, any::<[bool; 5]>()).prop_map(
        |(name, id, size, transport, [rotational, removable, read_only, system, rest])| Drive {
            name,
            id,
            model: String::new(),
            size,
            transport,
            rotational,
            removable,
            read_only,
            system,
            rest,
        },
    );
    prop::collection::vec(drive, 0..5)
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = (text(), any::<[bool; 2]>(), any::<Option<u32>>()).prop_map(
        |(name, [wireless, carrier], speed)| Link {
            name,
            driver: String::new(),
            wireless,
            carrier,
            speed,
        },
    );
    prop::collection::vec(link, 0..4)
}

fn machine() -> impl Strategy<Value = Observed> {
    let kind = proptest::sample::select(vec![DeviceKind::Drives, DeviceKind::Network]);
    let device =
        (text(), text(), kind).prop_map(|(address, id, kind)| Device { address, id, kind });
    let dmi = [(); 4].map(|()| text());
    let rtc = proptest::option::of(proptest::option::of(time()).prop_map(|shows| Rtc {
        name: "rtc0".to_owned(),
        shows,
    }));
    let purpose = proptest::sample::select(vec![Purpose::Node, Purpose::Install]);
    (
        (purpose, time(), dmi, processor(), memory(), firmware()),
        (
            any::<u32>(),
            proptest::option::of(text()),
            drives(),
            links(),
            prop::collection::vec(device, 0..3),
            (rtc, any::<bool>()),
        ),
    )
        .prop_map(
            |(
                (
                    purpose,
                    at,
                    [vendor, product, firmware_version, firmware_date],
                    processor,
                    memory,
                    firmware,
                ),
                (iommu_groups, watchdog, drives, links, driverless, (rtc, synchronised)),
            )| Observed {
                purpose,
                at,
                dmi: Dmi {
                    vendor,
                    product,
                    firmware_version,
                    firmware_date,
                    ..Dmi::default()
                },
                processor,
                memory,
                firmware,
                iommu_groups,
                watchdog,
                drives,
                links,
                driverless,
                clock: Clock { rtc, synchronised },
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_a_machine_is_like_it_is_told_with_what_to_do(seen in machine()) {
        let report = conclude(&seen);
        let ids: Vec<&str> = report.checks.iter().map(|check| check.id.as_str()).collect();
        let table: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        prop_assert_eq!(ids, table);
        for (check, rule) in report.checks.iter().zip(RULES) {
            prop_assert!(check.severity <= rule.severity, "{check:?}");
            prop_assert!(check.finding.ends_with('.'), "{check:?}");
            let remedy = check.remedy.ends_with('.');
            prop_assert_eq!(remedy, check.outcome == Outcome::Failed, "{:?}", check);
            // Only what failed matters less than it could.
            let most = check.severity == rule.severity;
            prop_assert!(most || check.outcome == Outcome::Failed, "{check:?}");
        }
        prop_assert_eq!(report.blocks(), report.worst == Some(Severity::Critical));
        let text = serde_json::to_string(&report).unwrap();
        prop_assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        let text = serde_json::to_string(&seen).unwrap();
        prop_assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), seen);
    }
}
