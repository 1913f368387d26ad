use proptest::prelude::*;

use super::*;

const TB: u64 = 1_000_000_000_000;

fn plan(nodes: u16, drives: u16, resiliency: Resiliency) -> SizingSpec {
    SizingSpec {
        resiliency: Some(resiliency),
        ..SizingSpec::new(nodes, drives, Bytes(2 * TB))
    }
}

fn sized(plan: &SizingSpec) -> Sizing {
    size(plan).unwrap_or_else(|errors| panic!("{plan:?}: {errors:?}"))
}

/// The hints, but for what most of the plans here leave out.
fn codes(sizing: &Sizing) -> Vec<&str> {
    let codes = sizing.hints.iter().map(|hint| hint.code.as_str());
    codes.filter(|code| *code != "not-given").collect()
}

fn field(plan: &SizingSpec) -> String {
    let errors = size(plan).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    format!("{}: {}", errors[0].field, errors[0].message)
}

/// The tables of Storage Spaces Direct, where Ashlar has the same.
#[test]
fn mirrors_have_the_efficiency_of_the_table() {
    let percent = |nodes, resiliency| sized(&plan(nodes, 8, resiliency)).efficiency.to_string();
    assert_eq!(percent(1, Resiliency::Single), "100 %");
    assert_eq!(percent(1, Resiliency::Mirror), "50 %");
    for nodes in 2..=16 {
        assert_eq!(percent(nodes, Resiliency::TwoWay), "50 %");
    }
    for nodes in 3..=16 {
        assert_eq!(percent(nodes, Resiliency::ThreeWay), "33.3 %");
    }
    assert_eq!(percent(2, Resiliency::NestedMirror), "25 %");
}

#[test]
fn dual_parity_has_the_efficiency_of_the_table() {
    for (nodes, hybrid, flash) in [
        (4, "50 %", "50 %"),
        (5, "50 %", "50 %"),
        (6, "50 %", "50 %"),
        (7, "66.7 %", "66.7 %"),
        (8, "66.7 %", "66.7 %"),
        (9, "66.7 %", "75 %"),
        (11, "66.7 %", "75 %"),
        (12, "72.7 %", "75 %"),
        (15, "72.7 %", "75 %"),
        (16, "72.7 %", "80 %"),
    ] {
        for (drive_kind, wanted) in [(DriveKind::Hybrid, hybrid), (DriveKind::Flash, flash)] {
            let plan = SizingSpec {
                drive_kind,
                ..plan(nodes, 4, Resiliency::DualParity)
            };
            let got = sized(&plan).efficiency.to_string();
            assert_eq!(got, wanted, "{nodes} nodes, {drive_kind:?}");
        }
    }
}

#[test]
fn nested_parity_has_the_efficiency_of_the_table() {
    for (drives, wanted) in [
        (4, ["35.7 %", "34.1 %", "32.6 %"]),
        (5, ["37.7 %", "35.7 %", "33.9 %"]),
        (6, ["39.1 %", "36.8 %", "34.7 %"]),
        (7, ["40 %", "37.5 %", "35.3 %"]),
        (8, ["40 %", "37.5 %", "35.3 %"]),
        (16, ["40 %", "37.5 %", "35.3 %"]),
    ] {
        for (mirror_share, wanted) in [10, 20, 30].into_iter().zip(wanted) {
            let plan = SizingSpec {
                mirror_share,
                reserve_drives: Some(0),
                ..plan(2, drives, Resiliency::NestedParity)
            };
            let got = sized(&plan).efficiency.to_string();
            assert_eq!(got, wanted, "{drives} drives, {mirror_share} % mirrored");
        }
    }
}

#[test]
fn parity_in_a_node_costs_one_drive_of_seven_or_two_of_eight() {
    let percent = |drives, resiliency| {
        let plan = SizingSpec {
            reserve_drives: Some(0),
            ..plan(1, drives, resiliency)
        };
        sized(&plan).efficiency.to_string()
    };
    assert_eq!(percent(3, Resiliency::Raid5), "66.7 %");
    assert_eq!(percent(4, Resiliency::Raid5), "75 %");
    assert_eq!(percent(7, Resiliency::Raid5), "85.7 %");
    assert_eq!(percent(24, Resiliency::Raid5), "85.7 %");
    assert_eq!(percent(5, Resiliency::Raid6), "60 %");
    assert_eq!(percent(8, Resiliency::Raid6), "75 %");
    assert_eq!(percent(24, Resiliency::Raid6), "75 %");
}

/// A drive in reserve is no part of a group with parity: of four drives, three hold two drives of data.
#[test]
fn parity_is_reckoned_on_what_the_reserve_leaves() {
    let sizing = sized(&plan(1, 4, Resiliency::Raid5));
    assert_eq!((sizing.reserve_drives, sizing.usable), (1, Bytes(4 * TB)));
    assert_eq!(sizing.efficiency.to_string(), "66.7 %");
    assert_eq!(sized(&plan(1, 6, Resiliency::Raid6)).usable, Bytes(6 * TB));
    // Of two nodes with six drives, one keeps a drive: four drives of data there, five on the other.
    let uneven = SizingSpec {
        reserve_drives: Some(1),
        ..plan(2, 6, Resiliency::Raid5)
    };
    assert_eq!(sized(&uneven).usable, Bytes((4 + 5) * 2 * TB));
    let nested = SizingSpec {
        mirror_share: 0,
        ..plan(2, 5, Resiliency::NestedParity)
    };
    assert_eq!(sized(&nested).usable, Bytes(3 * 2 * TB));
}

/// What stays in a node is repaired there, so each needs a drive of its own.
#[test]
fn what_stays_in_a_node_has_its_reserve_there() {
    for resiliency in [Resiliency::Mirror, Resiliency::Raid5, Resiliency::Raid6] {
        assert_eq!(sized(&plan(16, 8, resiliency)).reserve_drives, 16);
        let few = SizingSpec {
            reserve_drives: Some(4),
            ..plan(8, 8, resiliency)
        };
        assert!(codes(&sized(&few)).contains(&"low-reserve"));
    }
}

/// Four nodes with sixteen drives of 2 TB each: 128 TB, of which 8 TB are kept for repair.
#[test]
fn four_nodes_keep_one_drive_each() {
    let mut plan = plan(4, 16, Resiliency::ThreeWay);
    let sizing = sized(&plan);
    assert_eq!(sizing.raw, Bytes(128 * TB));
    assert_eq!(sizing.reserve, Bytes(8 * TB));
    assert_eq!(sizing.reserve_drives, 4);
    assert_eq!(sizing.footprint, Bytes(120 * TB));
    assert_eq!(sizing.usable, Bytes(40 * TB));
    plan.resiliency = Some(Resiliency::TwoWay);
    assert_eq!(sized(&plan).usable, Bytes(60 * TB));
    plan.resiliency = Some(Resiliency::DualParity);
    assert_eq!(sized(&plan).usable, Bytes(60 * TB));
    plan.nodes = 16;
    assert_eq!(sized(&plan).reserve_drives, 4, "four at most");
    assert_eq!(sized(&plan).usable, Bytes(504 * TB / 5 * 4));
}

#[test]
fn two_nodes_nested() {
    let sizing = sized(&plan(2, 4, Resiliency::NestedMirror));
    assert_eq!(sizing.footprint, Bytes(12 * TB));
    assert_eq!(sizing.usable, Bytes(3 * TB));
    assert_eq!((sizing.failures.drives, sizing.failures.nodes), (2, 1));
    let parity = SizingSpec {
        mirror_share: 0,
        ..plan(2, 7, Resiliency::NestedParity)
    };
    // Twelve of fourteen drives, five of six for data, kept twice.
    assert_eq!(sized(&parity).usable.0, 12 * 2 * TB * 5 / 12);
}

/// Three nodes of 64 GiB: 1 GiB of each goes to the kernel's records, 1 GiB is never promised, 0.25 GiB is in use; a
/// machine of 4 GiB takes 88 MiB beside its own memory.
#[test]
fn machines_are_counted_node_by_node() {
    let plan = SizingSpec {
        memory_per_node: Some(Bytes::gib(64)),
        threads_per_node: Some(16),
        ..plan(3, 4, Resiliency::ThreeWay)
    };
    let sizing = sized(&plan);
    assert_eq!(sizing.memory_for_vms, Some(Bytes::mib(63_232)));
    let vms = &sizing.vms;
    // 63232 / 4184 = 15.1 on each of the two nodes that are left.
    assert_eq!(vms.by_memory, Some(30));
    assert_eq!(vms.by_processors, Some(2 * 16 * 4 / 2));
    // Three drives of 2 TB on each node, and all three nodes hold each disk of 40 GiB.
    assert_eq!(vms.by_storage, 6 * TB / (40 * Bytes::GIB));
    assert_eq!((vms.count, vms.limit), (30, Limit::Memory));
    assert_eq!(
        sizing.summary,
        "5.46 TiB for volumes. Two nodes may fail, one after the other and with a witness, or any number of \
         drives in two nodes. \
         30 virtual machines of this size fit; memory ends first."
    );
    let alone = SizingSpec {
        spare_nodes: Some(0),
        ..plan.clone()
    };
    assert_eq!(sized(&alone).vms.by_memory, Some(45));
    let large = SizingSpec {
        vm: VmShape {
            disk: Bytes(4 * Bytes::TIB),
            ..VmShape::default()
        },
        ..plan
    };
    // Two would be 8.8 TB on a node of 6 TB.
    assert_eq!(
        (sized(&large).vms.count, sized(&large).vms.limit),
        (1, Limit::Storage)
    );
}

#[test]
fn what_was_not_given_limits_nothing() {
    let sizing = sized(&plan(3, 4, Resiliency::TwoWay));
    assert_eq!(sizing.vms.by_memory, None);
    assert_eq!(sizing.vms.by_processors, None);
    assert_eq!(sizing.vms.limit, Limit::Storage);
    assert_eq!(sizing.vms.count, sizing.vms.by_storage);
    let told = |sizing: &Sizing| sizing.hints.iter().any(|hint| hint.code == "not-given");
    assert!(told(&sizing));
    let whole = SizingSpec {
        memory_per_node: Some(Bytes::gib(64)),
        threads_per_node: Some(8),
        ..plan(3, 4, Resiliency::TwoWay)
    };
    assert!(!told(&sized(&whole)));
}

/// Disks stay on one node each: what is left over on one does not add to what is left over on another.
#[test]
fn leftovers_of_nodes_do_not_add_up() {
    let vm = VmShape {
        disk: Bytes(1_200_000_000_000),
        ..VmShape::default()
    };
    let local = SizingSpec {
        vm: vm.clone(),
        ..plan(3, 1, Resiliency::Single)
    };
    assert_eq!(sized(&local).vms.by_storage, 3);
    let mirrored = SizingSpec {
        vm,
        ..plan(3, 1, Resiliency::TwoWay)
    };
    assert_eq!(sized(&mirrored).vms.by_storage, 1);
}

#[test]
fn what_is_usual_follows_from_the_nodes() {
    let usual = |nodes, drives| {
        let sizing = sized(&SizingSpec::new(nodes, drives, Bytes(TB)));
        (sizing.resiliency, sizing.reserve_drives, sizing.spare_nodes)
    };
    assert_eq!(usual(1, 1), (Resiliency::Single, 0, 0));
    assert_eq!(usual(1, 2), (Resiliency::Mirror, 0, 0));
    assert_eq!(usual(1, 4), (Resiliency::Mirror, 1, 0));
    assert_eq!(usual(2, 1), (Resiliency::TwoWay, 0, 1));
    assert_eq!(usual(2, 4), (Resiliency::TwoWay, 2, 1));
    assert_eq!(usual(3, 4), (Resiliency::ThreeWay, 3, 1));
    assert_eq!(usual(16, 4), (Resiliency::ThreeWay, 4, 1));
}

#[test]
fn what_can_not_be_names_its_field_and_the_remedy() {
    assert_eq!(
        field(&plan(2, 4, Resiliency::ThreeWay)),
        "resiliency: three-way mirror needs at least 3 nodes; change the nodes, or choose two-way mirror"
    );
    assert_eq!(
        field(&plan(3, 4, Resiliency::NestedMirror)),
        "resiliency: nested two-way mirror needs exactly 2 nodes; change the nodes, or choose three-way mirror"
    );
    assert_eq!(
        field(&plan(2, 3, Resiliency::NestedParity)),
        "drives_per_node: nested mirror-accelerated parity needs at least 4 drives in each node; add drives, or choose \
         two-way mirror"
    );
    assert!(field(&plan(3, 4, Resiliency::DualParity)).starts_with("resiliency: dual parity"));
    assert!(field(&plan(1, 1, Resiliency::TwoWay)).ends_with("or choose single copy"));
    assert!(field(&plan(17, 4, Resiliency::TwoWay)).starts_with("nodes: between 1 and 16"));
    assert!(field(&plan(0, 4, Resiliency::TwoWay)).starts_with("nodes: between 1 and 16"));
    assert!(field(&plan(2, 0, Resiliency::TwoWay)).starts_with("drives_per_node: between"));
    let reserve = SizingSpec {
        reserve_drives: Some(9),
        ..plan(4, 3, Resiliency::TwoWay)
    };
    assert!(field(&reserve).starts_with("reserve_drives: at most 8"));
    let reserve = SizingSpec {
        reserve_drives: Some(1),
        ..plan(1, 2, Resiliency::Mirror)
    };
    assert!(field(&reserve).starts_with("reserve_drives: 0: mirror in each node needs every"));
    let spare = SizingSpec {
        spare_nodes: Some(3),
        ..plan(3, 3, Resiliency::ThreeWay)
    };
    assert!(field(&spare).starts_with("spare_nodes: at most 2"));
    let vm = SizingSpec {
        vm: VmShape {
            disk: Bytes(1),
            ..VmShape::default()
        },
        ..plan(3, 3, Resiliency::ThreeWay)
    };
    assert!(field(&vm).starts_with("vm.disk: between 4 MiB"));
}

#[test]
fn hints_say_what_to_change() {
    let none = SizingSpec {
        reserve_drives: Some(0),
        ..plan(4, 16, Resiliency::ThreeWay)
    };
    let sizing = sized(&none);
    assert_eq!(codes(&sizing), ["no-reserve", "witness", "planned"]);
    assert_eq!(sizing.hints[0].severity, Severity::Warning);
    assert_eq!(sizing.hints[0].remedy, "Keep 4 drives in reserve.");
    let two = sized(&plan(2, 4, Resiliency::TwoWay));
    assert_eq!(codes(&two), ["nested", "witness", "planned"]);
    assert_eq!(
        two.hints[1].title,
        "2 nodes need a witness, to go on when one fails"
    );
    assert_eq!(
        codes(&sized(&plan(1, 1, Resiliency::Single))),
        ["single-copy"]
    );
    let local = sized(&plan(2, 4, Resiliency::Mirror));
    assert_eq!(codes(&local), ["spare-beyond-copies", "witness", "planned"]);
    let three = sized(&plan(3, 4, Resiliency::TwoWay));
    assert_eq!(codes(&three), ["three-way", "planned"]);
    let daring = SizingSpec {
        spare_nodes: Some(2),
        ..plan(3, 4, Resiliency::ThreeWay)
    };
    assert_eq!(codes(&sized(&daring)), ["majority", "witness", "planned"]);
    let bound = SizingSpec {
        spare_nodes: Some(0),
        ..plan(3, 4, Resiliency::ThreeWay)
    };
    let bound = sized(&bound);
    assert_eq!(codes(&bound), ["no-spare-node", "witness", "planned"]);
    let told = |hint: &Hint| hint.title.contains("when two fail one after the other");
    assert!(bound.hints.iter().any(told), "{:?}", bound.hints);
    // One drive a node can hold no nested mirror.
    assert_eq!(
        codes(&sized(&plan(2, 1, Resiliency::TwoWay))),
        ["no-reserve", "witness", "planned"]
    );
    let uneven = SizingSpec {
        reserve_drives: Some(1),
        ..plan(2, 4, Resiliency::TwoWay)
    };
    let uneven = sized(&uneven);
    assert_eq!(
        uneven.usable,
        Bytes(6 * TB),
        "the smaller node has three drives left"
    );
    assert!(codes(&uneven).contains(&"uneven-reserve"));
    assert!(codes(&uneven).contains(&"low-reserve"));
    let hybrid = SizingSpec {
        drive_kind: DriveKind::Hybrid,
        ..plan(4, 10, Resiliency::DualParity)
    };
    let hybrid = sized(&hybrid);
    assert_eq!(
        codes(&hybrid),
        ["comparison", "parity-writes", "witness", "cache", "planned"]
    );
    assert!(
        hybrid
            .hints
            .iter()
            .any(|hint| hint.remedy.contains("3 TB together")),
        "{:?}",
        hybrid.hints
    );
    let wide = SizingSpec {
        threads_per_node: Some(4),
        vcpus_per_thread: 1,
        vm: VmShape {
            cpus: 8,
            ..VmShape::default()
        },
        ..plan(3, 4, Resiliency::ThreeWay)
    };
    assert_eq!(
        codes(&sized(&wide)),
        ["nothing-fits", "wide-machine", "witness", "planned"]
    );
    assert!(
        sized(&wide)
            .summary
            .contains("No virtual machine of this size fits: processors end first.")
    );
}

#[test]
fn the_words_are_those_of_the_api() {
    for one in Resiliency::ALL {
        assert_eq!(serde_json::to_value(one).unwrap(), one.key());
        assert_eq!(one.key().parse(), Ok(one));
    }
    let error = "raid10".parse::<Resiliency>().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`raid10` is no resiliency; choose one of single, mirror, ")
    );
    let least = r#"{"nodes":2,"drives_per_node":4,"drive_size":2000000000000}"#;
    let read: SizingSpec = serde_json::from_str(least).unwrap();
    assert_eq!(read, SizingSpec::new(2, 4, Bytes(2 * TB)));
    let unknown = r#"{"nodes":2,"drives_per_node":4,"drive_size":2000000000000,"racks":1}"#;
    assert!(serde_json::from_str::<SizingSpec>(unknown).is_err());
}

/// Any values at all, most of which are refused.
fn anything() -> impl Strategy<Value = SizingSpec> {
    let drives = (
        any::<u16>(),
        any::<u16>(),
        any::<u64>(),
        any::<bool>(),
        proptest::option::of(proptest::sample::select(Resiliency::ALL.to_vec())),
        any::<u8>(),
        any::<Option<u16>>(),
    );
    let rest = (
        any::<Option<u64>>(),
        any::<Option<u16>>(),
        any::<u16>(),
        any::<Option<u16>>(),
        any::<(u16, u64, u64)>(),
    );
    (drives, rest).prop_map(|(drives, rest)| {
        let (nodes, drives_per_node, size, hybrid, resiliency, mirror_share, reserve_drives) =
            drives;
        let (memory, threads_per_node, vcpus_per_thread, spare_nodes, vm) = rest;
        SizingSpec {
            nodes,
            drives_per_node,
            drive_size: Bytes(size),
            drive_kind: if hybrid {
                DriveKind::Hybrid
            } else {
                DriveKind::Flash
            },
            resiliency,
            mirror_share,
            reserve_drives,
            memory_per_node: memory.map(Bytes),
            threads_per_node,
            vcpus_per_thread,
            spare_nodes,
            vm: VmShape {
                cpus: vm.0,
                memory: Bytes(vm.1),
                disk: Bytes(vm.2),
            },
        }
    })
}

/// Values that are allowed one by one; most go together, too.
fn sensible() -> impl Strategy<Value = SizingSpec> {
    let drives = (
        1u16..=16,
        1u16..=64,
        1_000_000_000u64..=256 * Bytes::TIB,
        any::<bool>(),
        proptest::option::of(proptest::sample::select(Resiliency::ALL.to_vec())),
        0u8..=50,
        proptest::option::of(0u16..40),
    );
    let rest = (
        proptest::option::of(Bytes::GIB..=64 * Bytes::TIB),
        proptest::option::of(1u16..=4096),
        1u16..=32,
        proptest::option::of(0u16..16),
        (
            1u16..=256,
            64 * Bytes::MIB..=4 * Bytes::TIB,
            4 * Bytes::MIB..=64 * Bytes::TIB,
        ),
    );
    (drives, rest).prop_map(|(drives, rest)| SizingSpec {
        nodes: drives.0,
        drives_per_node: drives.1,
        drive_size: Bytes(drives.2),
        drive_kind: if drives.3 {
            DriveKind::Hybrid
        } else {
            DriveKind::Flash
        },
        resiliency: drives.4,
        mirror_share: drives.5,
        reserve_drives: drives.6,
        memory_per_node: rest.0.map(Bytes),
        threads_per_node: rest.1,
        vcpus_per_thread: rest.2,
        spare_nodes: rest.3,
        vm: VmShape {
            cpus: rest.4.0,
            memory: Bytes(rest.4.1),
            disk: Bytes(rest.4.2),
        },
    })
}

/// The same with one thing more.
type More = fn(&mut SizingSpec);

proptest! {
    #[test]
    fn whatever_is_planned_has_an_answer(plan in anything()) {
        let _ = size(&plan);
    }

    #[test]
    fn room_goes_where_it_is_said_to_go(plan in sensible()) {
        if let Ok(sizing) = size(&plan) {
            prop_assert_eq!(sizing.footprint.0 + sizing.reserve.0, sizing.raw.0);
            prop_assert!(sizing.usable <= sizing.footprint);
            let even = sizing.efficiency.of(u128::from(sizing.footprint.0));
            prop_assert!(u128::from(sizing.usable.0) <= even);
            let taken = u128::from(sizing.vms.count) * u128::from(plan.vm.disk.0);
            prop_assert!(taken <= u128::from(sizing.usable.0));
            prop_assert!(sizing.efficiency.part <= sizing.efficiency.whole);
            let warnings = sizing.hints.iter().map(|hint| hint.severity);
            prop_assert!(warnings.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn refusals_name_a_field_and_what_to_do(plan in prop_oneof![anything(), sensible()]) {
        if let Err(errors) = size(&plan) {
            let whole = serde_json::to_value(SizingSpec {
                resiliency: Some(Resiliency::Single),
                reserve_drives: Some(0),
                memory_per_node: Some(Bytes(0)),
                threads_per_node: Some(0),
                spare_nodes: Some(0),
                ..plan
            }).unwrap();
            prop_assert!(!errors.is_empty());
            for error in errors {
                let pointer = format!("/{}", error.field.replace('.', "/"));
                prop_assert!(whole.pointer(&pointer).is_some(), "{}", error.field);
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn more_drives_never_give_less(plan in sensible()) {
        let more: [More; 4] = [
            |plan| plan.drives_per_node += 1,
            |plan| plan.drive_size.0 += 1_000_000,
            |plan| plan.memory_per_node = plan.memory_per_node.map(|memory| Bytes(memory.0 + Bytes::GIB)),
            |plan| plan.threads_per_node = plan.threads_per_node.map(|threads| threads + 1),
        ];
        for add in more {
            let mut larger = plan.clone();
            // What is usual may change with the drives: the same is compared with the same.
            larger.resiliency = Some(plan.resiliency());
            add(&mut larger);
            if let (Ok(before), Ok(after)) = (size(&plan), size(&larger)) {
                prop_assert!(after.usable >= before.usable, "{:?} {:?}", plan, larger);
                prop_assert!(after.vms.count >= before.vms.count, "{:?} {:?}", plan, larger);
            }
        }
    }

    #[test]
    fn what_is_spread_can_be_laid_out(mut rooms in proptest::collection::vec(0u128..40, 3..7), copies in 1u16..4) {
        rooms.sort_unstable_by(|a, b| b.cmp(a));
        let most = spread(&rooms, copies);
        let holds = |v: u128| rooms.iter().map(|room| *room.min(&v)).sum::<u128>() >= v * u128::from(copies);
        prop_assert!(holds(most));
        if copies > 1 {
            prop_assert!(!holds(most + 1));
        }
    }

    #[test]
    fn ratios_are_in_lowest_terms(part in 0u64..10_000, whole in 0u64..10_000) {
        let ratio = Ratio::new(part, whole);
        prop_assert!(ratio.whole > 0);
        prop_assert_eq!(ratio.part * whole.max(1), part * ratio.whole);
        prop_assert!(ratio.of(u128::from(whole.max(1))) == u128::from(part));
    }
}
