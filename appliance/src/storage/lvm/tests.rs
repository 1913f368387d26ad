//! LVM's reports and failures, recorded in the image, and the cutting of pools.

use std::path::PathBuf;

use super::report::parse;
use super::*;

fn recorded(name: &str) -> Report {
    let path = format!(
        "{}/src/storage/testdata/lvm/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn reads_recorded_reports() {
    assert_eq!(recorded("none"), Report::default());

    let made = recorded("made");
    let group = &made.groups[0];
    assert_eq!(group.name, "ashlar-8a9b0c1d");
    assert!(group.ours && group.missing == 0 && group.strangers.is_empty());
    assert_eq!(
        group.pool,
        "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d".parse().ok()
    );
    assert_eq!(group.devices, [PathBuf::from("/dev/vdc")]);
    let thin = group.thin.as_ref().unwrap();
    assert_eq!((thin.size, thin.active), (Bytes::mib(800), true));
    assert_eq!(thin.data_used, Some(0.0));

    let busy = recorded("busy");
    assert_eq!(busy.unused, [PathBuf::from("/dev/vdd")]);
    let names: Vec<_> = busy
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["ashlar-8a9b0c1d", "other"]);
    assert!(!busy.groups[1].ours && busy.groups[1].thin.is_none());
    let volumes: Vec<_> = busy.groups[0]
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.size, volume.preparing))
        .collect();
    assert_eq!(
        volumes,
        [
            ("library", Bytes::mib(800), false),
            (
                "vol-0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1e",
                Bytes::gib(4),
                false
            ),
        ]
    );

    let full = recorded("full");
    let thin = full.groups[0].thin.as_ref().unwrap();
    assert_eq!(
        (thin.data_used, thin.health.as_str()),
        (Some(1.0), "out_of_data")
    );
    assert_eq!(full.groups[0].volumes[1].used, Some(0.1953));

    let inactive = recorded("inactive");
    let thin = inactive.groups[0].thin.as_ref().unwrap();
    assert!(!thin.active && thin.data_used.is_none() && !thin.needs_check);

    let missing = recorded("missing");
    let group = missing
        .groups
        .iter()
        .find(|group| group.missing > 0)
        .unwrap();
    assert_eq!(group.devices, [PathBuf::from("/dev/vdf")]);
    assert_eq!(group.thin.as_ref().unwrap().health, "partial");
}

#[test]
fn tells_drives_whose_metadata_is_bad() {
    let device = PathBuf::from("/dev/vdb");
    // Nothing can be read: the drive is in no group, and none that is merely unused.
    let damaged = recorded("damaged");
    assert!(damaged.groups.is_empty() && damaged.unused.is_empty());
    assert!(damaged.damaged.contains(&device) && damaged.flawed.contains(&device));
    // One of two copies can be read.
    let flawed = recorded("flawed");
    assert_eq!(flawed.groups[0].devices, std::slice::from_ref(&device));
    assert!(flawed.damaged.is_empty() && flawed.flawed.contains(&device));
    for sound in ["made", "busy", "missing", "full", "inactive", "none"] {
        let report = recorded(sound);
        assert!(
            report.damaged.is_empty() && report.flawed.is_empty(),
            "{sound}"
        );
    }
}

#[test]
fn reads_numbers_of_either_kind() {
    let text = r#"{"report":[{"vg":[{"vg_name":"a","vg_uuid":"u","vg_size":5,"vg_free":"4","vg_missing_pv_count":0}],
        "pv":[],"lv":[{"lv_name":"data","lv_size":3,"lv_layout":"thin,pool","data_percent":12.5,"metadata_percent":3,"lv_active":"active"}]}]}"#;
    let report = parse(text).unwrap();
    let group = &report.groups[0];
    assert_eq!((group.size, group.free), (Bytes(5), Bytes(4)));
    assert_eq!(group.thin.as_ref().unwrap().data_used, Some(0.125));
    assert!(matches!(parse("{"), Err(LvmError::Report(_))));
}

#[test]
fn tells_failures_apart() {
    let failed = |stderr: &str| {
        LvmError::new(
            "try".to_owned(),
            CommandError::Failed {
                tool: "lvm".to_owned(),
                args: Vec::new(),
                status: crate::sys::pidfd::Exit::Code(5),
                stderr: stderr.to_owned(),
                stdout: String::new(),
            },
        )
    };
    let volume = "ashlar-8a9b0c1d/vol-0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1e";
    assert!(matches!(
        failed(&format!("  Logical volume {volume} in use.\n")),
        LvmError::InUse { .. }
    ));
    assert!(matches!(
        failed("  Logical volume ashlar-8a9b0c1d/library contains a filesystem in use.\n"),
        LvmError::InUse { .. }
    ));
    assert!(matches!(
        failed(
            "  Can't open /dev/vdf exclusively.  Mounted filesystem?\n  Cannot use /dev/vdf: device has a signature\n"
        ),
        LvmError::InUse { .. }
    ));
    for absent in [
        "  Failed to find logical volume \"ashlar-8a9b0c1d/nosuch\"\n",
        "  Volume group \"ashlar-00000000\" not found\n  Cannot process volume group ashlar-00000000\n",
    ] {
        assert!(matches!(failed(absent), LvmError::NotFound { .. }));
    }
    assert!(matches!(
        failed("  Logical Volume \"library\" already exists in volume group \"ashlar-8a9b0c1d\"\n"),
        LvmError::Exists { .. }
    ));
    assert!(matches!(
        failed(
            "  Volume group \"ashlar-8a9b0c1d\" has insufficient free space (39 extents): 2000 required.\n"
        ),
        LvmError::NoSpace { .. }
    ));
    let other = failed(
        "  WARNING: VG x is missing PV y.\n  Refusing activation of partial LV ashlar-8a9b0c1f/data.  Use '--activationmode partial' to override.\n",
    );
    assert_eq!(
        other.to_string(),
        "try: Refusing activation of partial LV ashlar-8a9b0c1f/data.  Use '--activationmode partial' to override."
    );
}

#[test]
fn cuts_pools_of_every_size() {
    assert_eq!(layout(Bytes::mib(96)), None);
    let small = layout(Bytes::gib(8)).unwrap();
    assert_eq!(
        (small.metadata, small.chunk),
        (Bytes::mib(32), Bytes(128 << 10))
    );
    assert_eq!(small.data_extents, 2048 - 24);
    let usual = layout(Bytes(4 * Bytes::TIB)).unwrap();
    assert_eq!(
        (usual.metadata, usual.chunk),
        (Bytes::gib(2), Bytes(128 << 10))
    );
    for shift in 33..54 {
        let room = Bytes((1 << shift) + 12345);
        let cut = layout(room).unwrap();
        let chunks = cut.data_extents * EXTENT / cut.chunk.0;
        assert!(cut.metadata.0 <= LARGEST_METADATA && cut.metadata.0 >= chunks * 64);
        assert!(cut.data_extents * EXTENT + 3 * cut.metadata.0 <= room.0);
        assert!(cut.data_extents * EXTENT > room.0 / 100 * 98 || room.0 < 10 << 30);
    }
}

#[test]
fn sees_its_own_drives_only() {
    let lvm = Lvm::on(["/dev/vdb", "/dev/cciss!c0d0.1"]);
    assert!(
        lvm.config
            .contains(r#"global_filter=["a|^/dev/vdb$|","a|^/dev/cciss!c0d0.1$|","r|.*|"]"#),
        "{}",
        lvm.config
    );
}
