//! On files made by `qemu-img` here and now, and on what becomes of them when
//! someone changes or cuts them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Makes an image in `directory`; `words` are those of `qemu-img create`.
fn create(directory: &Path, name: &str, words: &[&str]) -> PathBuf {
    let path = directory.join(name);
    let mut all = vec!["create", "-q"];
    let (size, options) = words.split_last().unwrap();
    all.extend(options);
    all.push(name);
    if !size.is_empty() {
        all.push(size);
    }
    qemu_img(directory, &all);
    path
}

fn qemu_img(directory: &Path, words: &[&str]) {
    // To encrypt, it measures how quick the processor is, and on a busy one may say that it can not.
    for _ in 0..20 {
        let output = Command::new("qemu-img")
            .args(words)
            .current_dir(directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return;
        }
        assert!(
            said.contains("accurate CPU usage"),
            "qemu-img {words:?}: {said}"
        );
    }
    panic!("qemu-img {words:?}: the processor is too busy to be measured");
}

fn look(path: &Path) -> Result<Found, InspectError> {
    inspect(&FileSource::new(File::open(path).unwrap()).unwrap())
}

/// A disk with a partition table and something in it.
fn disk(directory: &Path) -> PathBuf {
    let path = directory.join("disk");
    let mut bytes = vec![0u8; 4 << 20];
    bytes[450] = 0x83;
    bytes[454..458].copy_from_slice(&2048u32.to_le_bytes());
    bytes[458..462].copy_from_slice(&6144u32.to_le_bytes());
    bytes[510] = 0x55;
    bytes[511] = 0xaa;
    for (place, byte) in bytes[1 << 20..2 << 20].iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap();
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn knows_what_qemu_img_makes() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    disk(at);
    let kinds: [(&str, &[&str], ImageFormat); 14] = [
        ("v3", &["-O", "qcow2"], ImageFormat::Qcow2),
        (
            "v2",
            &["-O", "qcow2", "-o", "compat=0.10"],
            ImageFormat::Qcow2,
        ),
        (
            "small",
            &["-O", "qcow2", "-o", "cluster_size=512"],
            ImageFormat::Qcow2,
        ),
        (
            "large",
            &["-O", "qcow2", "-o", "cluster_size=2M"],
            ImageFormat::Qcow2,
        ),
        (
            "fine",
            &["-O", "qcow2", "-o", "extended_l2=on"],
            ImageFormat::Qcow2,
        ),
        (
            "zstd",
            &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
            ImageFormat::Qcow2,
        ),
        ("sparse.vmdk", &["-O", "vmdk"], ImageFormat::Vmdk),
        (
            "stream.vmdk",
            &["-O", "vmdk", "-o", "subformat=streamOptimized"],
            ImageFormat::Vmdk,
        ),
        (
            "dynamic.vhdx",
            &["-O", "vhdx", "-o", "subformat=dynamic"],
            ImageFormat::Vhdx,
        ),
        (
            "fixed.vhdx",
            &["-O", "vhdx", "-o", "subformat=fixed"],
            ImageFormat::Vhdx,
        ),
        (
            "blocks.vhdx",
            &["-O", "vhdx", "-o", "block_size=1M"],
            ImageFormat::Vhdx,
        ),
        (
            "dynamic.vhd",
            &["-O", "vpc", "-o", "force_size=on"],
            ImageFormat::Vhd,
        ),
        (
            "fixed.vhd",
            &["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
            ImageFormat::Vhd,
        ),
        ("raw", &["-O", "raw"], ImageFormat::Raw),
    ];
    for (name, words, format) in kinds {
        let mut all = vec!["convert", "-f", "raw"];
        all.extend(words);
        all.extend(["disk", name]);
        qemu_img(at, &all);
        let found = look(&at.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            found,
            Found {
                format,
                virtual_size: Bytes(4 * MIB)
            },
            "{name}"
        );
        let whole = std::fs::read(at.join(name)).unwrap();
        assert_eq!(inspect(whole.as_slice()).unwrap(), found, "{name}");
        // Whatever is cut off in front of the data is missed.
        let cut = inspect(&whole[..600]);
        assert!(cut.is_err(), "{name}: {cut:?}");
    }
}

#[test]
fn refuses_what_needs_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    disk(at);
    create(at, "base.qcow2", &["-f", "qcow2", "4M"]);
    let cases = [
        create(
            at,
            "back",
            &["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", ""],
        ),
        create(
            at,
            "passwd",
            &["-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "4M"],
        ),
        create(
            at,
            "data",
            &["-f", "qcow2", "-o", "data_file=data.raw", "4M"],
        ),
        create(
            at,
            "split.vmdk",
            &["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "4M"],
        ),
        at.join("split-s001.vmdk"),
        create(
            at,
            "flat.vmdk",
            &["-f", "vmdk", "-o", "subformat=monolithicFlat", "4M"],
        ),
        create(at, "parent.vmdk", &["-f", "vmdk", "4M"]),
        create(
            at,
            "child.vmdk",
            &["-f", "vmdk", "-b", "parent.vmdk", "-F", "vmdk", ""],
        ),
    ];
    for path in cases {
        let seen = look(&path);
        if path.ends_with("parent.vmdk") {
            assert!(seen.is_ok(), "{seen:?}");
        } else {
            assert!(
                matches!(seen, Err(InspectError::OtherFile { .. })),
                "{}: {seen:?}",
                path.display()
            );
        }
    }
}

#[test]
fn refuses_encrypted_and_unknown_kinds() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    create(
        at,
        "luks",
        &[
            "-f",
            "qcow2",
            "--object",
            "secret,id=s,data=geheim",
            "-o",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
            "4M",
        ],
    );
    let seen = look(&at.join("luks"));
    assert!(
        matches!(seen, Err(InspectError::Encrypted { .. })),
        "{seen:?}"
    );
    create(at, "old", &["-f", "qcow", "4M"]);
    create(at, "box", &["-f", "vdi", "4M"]);
    create(at, "qed", &["-f", "qed", "4M"]);
    assert!(matches!(
        look(&at.join("old")),
        Err(InspectError::Unsupported { .. })
    ));
    for name in ["box", "qed"] {
        assert!(
            matches!(
                look(&at.join(name)),
                Err(InspectError::SomethingElse { .. })
            ),
            "{name}"
        );
    }
    let texts: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (
            b"just a text",
            "this is not an image of a disk or CD that Ashlar knows",
        ),
        (
            b"\n <!DOCTYPE HTML><html>",
            "this is a web page, not an image of a disk or CD",
        ),
        (
            b"\xfd7zXZ\0....",
            "this is an xz archive, not an image of a disk or CD",
        ),
        (
            b"# Disk DescriptorFile\nversion=1\n",
            "VMDK: the disk is not complete without another file (it is the descriptor of a disk, without the data)",
        ),
        (
            b"QFI\xfb\0\0\0\x03",
            "qcow2: the header would end at byte 72, the file has 8",
        ),
    ];
    for (bytes, message) in texts {
        let error = inspect(bytes).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.remedy().ends_with('.'));
    }
}

/// A change of a good qcow2: the bytes at a place.
fn changed(at: usize, bytes: &[u8]) -> Result<Found, InspectError> {
    let mut image = SEEDS[0].clone();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    inspect(image.as_slice())
}

#[test]
fn refuses_sizes_that_lie() {
    assert!(changed(0, b"QFI").is_ok());
    let beyond = [
        (40, u64::MAX.to_be_bytes().to_vec()),
        (48, (1u64 << 40).to_be_bytes().to_vec()),
        (56, u32::MAX.to_be_bytes().to_vec()),
        (60, 65536u32.to_be_bytes().to_vec()),
    ];
    for (at, bytes) in beyond {
        let seen = changed(at, &bytes);
        assert!(
            matches!(seen, Err(InspectError::Beyond { .. })),
            "{at}: {seen:?}"
        );
    }
    // A disk without size, one that its table can not hold, one past the end of numbers.
    for size in [0u64, 1 << 50, u64::MAX] {
        let seen = changed(24, &size.to_be_bytes());
        assert!(
            matches!(
                seen,
                Err(InspectError::DiskSize { .. } | InspectError::Damaged { .. })
            ),
            "{size}: {seen:?}"
        );
    }
    // One bit that nobody knows; the mark of a corrupt disk; impossible clusters.
    assert!(matches!(
        changed(72, &(1u64 << 40).to_be_bytes()),
        Err(InspectError::Unsupported { .. })
    ));
    assert!(matches!(
        changed(72, &2u64.to_be_bytes()),
        Err(InspectError::Damaged { .. })
    ));
    assert!(matches!(
        changed(20, &63u32.to_be_bytes()),
        Err(InspectError::Damaged { .. })
    ));
    let directory = tempfile::tempdir().unwrap();
    let huge = create(directory.path(), "huge", &["-f", "qcow2", "65T"]);
    assert!(matches!(look(&huge), Err(InspectError::DiskSize { .. })));
}

#[test]
fn refuses_disks_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(disk(directory.path())).unwrap();
    assert!(inspect(whole.as_slice()).is_ok());
    assert!(matches!(
        inspect(&whole[..3 << 20]),
        Err(InspectError::Beyond { .. })
    ));
}

#[test]
fn tells_cds_from_disks() {
    let mut cd = vec![0u8; 1 << 20];
    cd[32768] = 1;
    cd[32769..32774].copy_from_slice(b"CD001");
    let blocks = 512u32;
    cd[32768 + 80..32768 + 84].copy_from_slice(&blocks.to_le_bytes());
    cd[32768 + 84..32768 + 88].copy_from_slice(&blocks.to_be_bytes());
    cd[32768 + 128..32768 + 130].copy_from_slice(&2048u16.to_le_bytes());
    // Written to a stick, it has a partition table, too.
    cd[510..512].copy_from_slice(&[0x55, 0xaa]);
    let found = inspect(cd.as_slice()).unwrap();
    assert_eq!(
        (found.format, found.virtual_size),
        (ImageFormat::Iso, Bytes(1 << 20))
    );
    let cut = inspect(&cd[..300 << 10]);
    assert!(matches!(cut, Err(InspectError::Beyond { .. })), "{cut:?}");
    let mut dvd = vec![0u8; 1 << 20];
    dvd[32769..32774].copy_from_slice(b"BEA01");
    assert!(matches!(
        inspect(dvd.as_slice()),
        Err(InspectError::Unknown)
    ));
    dvd[34817..34822].copy_from_slice(b"NSR02");
    assert_eq!(inspect(dvd.as_slice()).unwrap().format, ImageFormat::Iso);
}

/// Real images of every format, small.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    disk(at);
    let kinds: [&[&str]; 7] = [
        &["-O", "qcow2"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "vmdk"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        &["-O", "vhdx", "-o", "block_size=1M"],
        &["-O", "vpc"],
        &["-O", "raw"],
    ];
    let make = |words: &&[&str]| {
        let mut all = vec!["convert", "-f", "raw"];
        all.extend(*words);
        all.extend(["disk", "seed"]);
        qemu_img(at, &all);
        std::fs::read(at.join("seed")).unwrap()
    };
    kinds.iter().map(make).collect()
});

/// Where the formats keep what they say of themselves.
fn places() -> impl Strategy<Value = usize> {
    prop_oneof![
        0usize..128,
        0usize..4096,
        (64usize << 10)..(68 << 10),
        (192usize << 10)..(193 << 10),
        (2usize << 20)..(3 << 20),
        any::<usize>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bears_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = inspect(bytes.as_slice());
    }

    #[test]
    fn bears_any_bytes_behind_a_known_mark(
        mark in prop_oneof![
            Just(&b"QFI\xfb\0\0\0\x03"[..]), Just(&b"KDMV\x01\0\0\0"[..]), Just(&b"vhdxfile"[..]), Just(&b"conectix"[..]),
        ],
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
    ) {
        let mut file = mark.to_vec();
        file.extend(bytes);
        let _ = inspect(file.as_slice());
    }

    #[test]
    fn bears_changed_images(
        seed in 0usize..7,
        changes in proptest::collection::vec((places(), any::<u64>(), 1usize..9), 1..6),
        cut in prop_oneof![3 => Just(usize::MAX), 1 => any::<usize>()],
    ) {
        let mut image = SEEDS[seed].clone();
        for (place, value, length) in changes {
            let place = place % (image.len() - 8);
            image[place..place + length].copy_from_slice(&value.to_le_bytes()[..length]);
        }
        if cut != usize::MAX {
            image.truncate(cut % image.len());
        }
        if let Ok(found) = inspect(image.as_slice()) {
            prop_assert!(found.virtual_size.0 >= 512 && found.virtual_size <= LARGEST);
        }
    }
}
