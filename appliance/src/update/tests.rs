//! Bundles that come, are refused and are kept, on a folder in place of the system partition.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_api::update::{Ended, Manifest, Outcome, Standing, TrialCheck, Version};
use ashlar_api::{BootId, Bytes as Size, Timestamp};
use bytes::Bytes;
use futures_util::stream;
use minisign::KeyPair;
use uuid::Uuid;

use super::bundle::{ARCHITECTURE, BundleError};
use super::esp::Esp;
use super::receive::Wish;
use super::{Place, UpdateError, Updates};

/// A node's folders, and the one who signs for it.
struct Bench {
    folder: tempfile::TempDir,
    pair: KeyPair,
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn boot(number: u128) -> BootId {
    BootId::from(Uuid::from_u128(number))
}

fn manifest(text: &str, release: &[u8]) -> Manifest {
    Manifest {
        version: version(text),
        channel: "test".to_owned(),
        architecture: ARCHITECTURE.to_owned(),
        from: version("0.1.0"),
        made_at: Timestamp::UNIX_EPOCH,
        size: Size(release.len() as u64),
        sha256: super::bundle::sum(release).unwrap(),
        notes: format!("What is new in {text}."),
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

impl Bench {
    /// With version 0.2.0 running, good, and 0.1.0 beside it.
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
            pair: KeyPair::generate_unencrypted_keypair().unwrap(),
        };
        let keys = bench.path("keys");
        std::fs::create_dir_all(&keys).unwrap();
        let other = KeyPair::generate_unencrypted_keypair().unwrap();
        for (name, pair) in [("1.pub", &other), ("2.pub", &bench.pair)] {
            let text = pair.pk.to_box().unwrap().to_string();
            std::fs::write(keys.join(name), text).unwrap();
        }
        Esp::at(&bench.path("esp"));
        bench.put("ashlar-0.2.0.efi");
        bench.put("ashlar-0.1.0.efi");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str) {
        std::fs::write(self.path("esp/EFI/Linux").join(name), name).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("esp/EFI/Linux")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(
            !self.path("esp/EFI/Linux/ashlar.part").exists(),
            "a draft was left behind"
        );
        names
    }

    /// A node that has started.
    async fn node(&self, running: &str, start: u128) -> Updates {
        let esp = self.path("esp");
        let place = Place {
            state: self.folder.path().to_owned(),
            keys: self.path("keys"),
            esp: Arc::new(move || Ok(Esp::at(Path::new(&esp)))),
        };
        let updates = Updates::of(place, boot(start), version(running));
        updates.look().await;
        updates
    }

    /// A node that has started and received 0.3.0, and the bundle.
    async fn with_new_release(&self) -> (Updates, Vec<u8>) {
        let node = self.node("0.2.0", 1).await;
        let bundle = self.signed(&manifest("0.3.0", &release()), &release());
        send(&node, &bundle, wish()).await.unwrap();
        (node, bundle)
    }

    fn signed(&self, manifest: &Manifest, release: &[u8]) -> Vec<u8> {
        self.signed_by(&self.pair, manifest, release)
    }

    fn signed_by(&self, pair: &KeyPair, manifest: &Manifest, release: &[u8]) -> Vec<u8> {
        let text = serde_json::to_vec(manifest).unwrap();
        let signature = minisign::sign(Some(&pair.pk), &pair.sk, text.as_slice(), None, None);
        self.packed(&text, &signature.unwrap().to_string(), release)
    }

    fn packed(&self, manifest: &[u8], signature: &str, release: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, "manifest.json", manifest);
        append(&mut archive, "manifest.json.minisig", signature.as_bytes());
        append(&mut archive, "ashlar.efi", release);
        archive.into_inner().unwrap()
    }
}

fn wish() -> Wish {
    Wish {
        source: "admin".to_owned(),
        downgrade: false,
    }
}

/// Sends a bundle in pieces of an odd size.
async fn send(updates: &Updates, bundle: &[u8], wish: Wish) -> Result<Version, UpdateError> {
    let pieces: Vec<io::Result<Bytes>> = bundle
        .chunks(777)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    updates
        .receive(wish, Some(bundle.len() as u64), stream::iter(pieces))
        .await
}

/// An archive that begins with an extension which claims to be a name of 1 TiB.
fn endless_name() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(1 << 20, b'x');
    bytes
}

fn release() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_release_comes_is_tried_and_kept() {
    let bench = Bench::new();
    let node = bench.node("0.2.0", 1).await;
    let bundle = bench.signed(&manifest("0.3.0", &release()), &release());
    assert_eq!(
        send(&node, &bundle, wish()).await.unwrap(),
        version("0.3.0")
    );
    assert_eq!(
        bench.names(),
        ["ashlar-0.1.0.efi", "ashlar-0.2.0.efi", "ashlar-0.3.0.ready"]
    );
    let status = node.status();
    assert_eq!(status.releases[0].standing, Standing::Ready);
    assert_eq!(status.releases[0].notes, "What is new in 0.3.0.");
    assert!(status.releases[1].next && status.releases[1].running);
    assert_eq!(status.receiving, None);

    node.apply(version("0.3.0"), "admin", Vec::new())
        .await
        .unwrap();
    assert_eq!(
        bench.names(),
        [
            "ashlar-0.1.0.aside",
            "ashlar-0.2.0.efi",
            "ashlar-0.3.0+3.efi"
        ]
    );
    assert!(node.status().releases[0].next);

    // The boot loader counts, and it starts.
    let linux = bench.path("esp/EFI/Linux");
    std::fs::rename(
        linux.join("ashlar-0.3.0+3.efi"),
        linux.join("ashlar-0.3.0+2-1.efi"),
    )
    .unwrap();
    let node = bench.node("0.3.0", 2).await;
    assert!(node.status().on_trial);
    assert!(matches!(
        send(&node, &bundle, wish()).await,
        Err(UpdateError::OnTrial)
    ));
    assert!(matches!(
        node.remove(version("0.2.0")).await,
        Err(UpdateError::OnTrial)
    ));
    node.keep().await.unwrap();
    assert_eq!(
        bench.names(),
        ["ashlar-0.1.0.aside", "ashlar-0.2.0.efi", "ashlar-0.3.0.efi"]
    );
    let status = node.status();
    assert!(!status.on_trial);
    assert!(matches!(
        status.attempt.unwrap().ended,
        Some(Ended::Kept { .. })
    ));
}

#[tokio::test]
async fn a_release_that_fails_goes_and_says_why() {
    let bench = Bench::new();
    let (node, bundle) = bench.with_new_release().await;
    node.apply(version("0.3.0"), "admin", Vec::new())
        .await
        .unwrap();
    let node = bench.node("0.3.0", 2).await;
    let checks = vec![TrialCheck {
        name: "network".to_owned(),
        title: "The node has an address.".to_owned(),
        outcome: Outcome::Failed,
        finding: "it has none".to_owned(),
    }];
    assert!(
        node.reject(checks).await.unwrap(),
        "another one starts next"
    );
    let node = bench.node("0.2.0", 3).await;
    let attempt = node.status().attempt.unwrap();
    let Some(Ended::Returned { reason, .. }) = attempt.ended else {
        panic!("{attempt:?}");
    };
    assert_eq!(
        reason,
        "The node has an address. This did not hold: it has none"
    );
    // It may be received once more.
    send(&node, &bundle, wish()).await.unwrap();
    assert_eq!(
        bench.names(),
        [
            "ashlar-0.1.0.aside",
            "ashlar-0.2.0.efi",
            "ashlar-0.3.0.ready"
        ]
    );
    node.remove(version("0.3.0")).await.unwrap();
    assert_eq!(bench.names(), ["ashlar-0.1.0.aside", "ashlar-0.2.0.efi"]);
}

#[tokio::test]
async fn a_change_that_does_not_take_place_leaves_no_trace() {
    let bench = Bench::new();
    let (node, _) = bench.with_new_release().await;
    node.apply(version("0.3.0"), "admin", Vec::new())
        .await
        .unwrap();
    node.cancel(version("0.3.0")).await.unwrap();
    let names = bench.names();
    assert!(names.contains(&"ashlar-0.2.0.efi".to_owned()), "{names:?}");
    assert!(
        names.contains(&"ashlar-0.3.0.ready".to_owned()),
        "{names:?}"
    );
    assert_eq!(node.status().attempt, None);
    // One step back, which did not take place either: what runs was never on trial.
    node.apply(version("0.1.0"), "admin", Vec::new())
        .await
        .unwrap();
    node.look().await;
    assert!(!node.status().on_trial);
    node.cancel(version("0.1.0")).await.unwrap();
    assert!(bench.names().contains(&"ashlar-0.2.0.efi".to_owned()));
}

#[tokio::test]
async fn what_the_drive_forgot_is_not_started() {
    let bench = Bench::new();
    let (node, _) = bench.with_new_release().await;
    let file = bench.path("esp/EFI/Linux/ashlar-0.3.0.ready");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = node
        .apply(version("0.3.0"), "admin", Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(error, UpdateError::Unsound(_)), "{error:?}");
    assert!(!node.status().releases[0].next);
}

#[tokio::test]
async fn a_release_that_is_back_is_known_to_be() {
    let bench = Bench::new();
    let node = bench.node("0.2.0", 1).await;
    node.apply(version("0.1.0"), "admin", Vec::new())
        .await
        .unwrap();
    let linux = bench.path("esp/EFI/Linux");
    std::fs::rename(
        linux.join("ashlar-0.1.0+3.efi"),
        linux.join("ashlar-0.1.0+0-3.efi"),
    )
    .unwrap();
    std::fs::rename(
        linux.join("ashlar-0.2.0+0.efi"),
        linux.join("ashlar-0.2.0+0-1.efi"),
    )
    .unwrap();
    let node = bench.node("0.2.0", 2).await;
    assert!(node.status().on_trial && node.is_back());
    node.keep().await.unwrap();
    assert!(bench.names().contains(&"ashlar-0.2.0.efi".to_owned()));
}

#[tokio::test]
async fn the_only_release_stays_though_it_fails() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path("esp/EFI/Linux/ashlar-0.1.0.efi")).unwrap();
    std::fs::remove_file(bench.path("esp/EFI/Linux/ashlar-0.2.0.efi")).unwrap();
    bench.put("ashlar-0.2.0+2-1.efi");
    let node = bench.node("0.2.0", 1).await;
    assert!(node.status().on_trial && !node.has_way_back());
    assert!(!node.reject(Vec::new()).await.unwrap());
    assert_eq!(bench.names(), ["ashlar-0.2.0+2-1.efi"]);
    node.keep().await.unwrap();
    assert_eq!(bench.names(), ["ashlar-0.2.0.efi"]);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_bundle_it_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let node = bench.node("0.2.0", 1).await;
    let good = manifest("0.3.0", &release());
    let stranger = KeyPair::generate_unencrypted_keypair().unwrap();
    let signature_of = |manifest: &Manifest| {
        let text = serde_json::to_vec(manifest).unwrap();
        let made = minisign::sign(
            Some(&bench.pair.pk),
            &bench.pair.sk,
            text.as_slice(),
            None,
            None,
        );
        made.unwrap().to_string()
    };
    let mut damaged = release();
    damaged[70_000] ^= 1;
    let whole = bench.signed(&good, &release());
    let changed = Manifest {
        notes: "more".to_owned(),
        ..good.clone()
    };
    let foreign = Manifest {
        architecture: "aarch64".to_owned(),
        ..good.clone()
    };
    let far = Manifest {
        from: version("0.2.5"),
        ..good.clone()
    };
    let huge = Manifest {
        size: Size(1 << 40),
        ..good.clone()
    };
    let changed_text = serde_json::to_vec(&changed).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "ended before its end"),
        ("a name without end", endless_name(), "not a bundle"),
        ("nonsense", vec![7; 5000], "not a bundle"),
        (
            "a picture",
            [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 5000]].concat(),
            "not a bundle",
        ),
        (
            "a stranger's",
            bench.signed_by(&stranger, &good, &release()),
            "not signed by a key",
        ),
        (
            "changed",
            bench.packed(&changed_text, &signature_of(&good), &release()),
            "not signed by a key",
        ),
        ("damaged", bench.signed(&good, &damaged), "is damaged"),
        (
            "short of a byte",
            whole[..whole.len() - 200_000].to_vec(),
            "ended before its end",
        ),
        (
            "cut in its head",
            whole[..700].to_vec(),
            "ended before its end",
        ),
        (
            "too long",
            bench.signed(&good, &[release(), vec![0]].concat()),
            "is damaged",
        ),
        (
            "foreign",
            bench.signed(&foreign, &release()),
            "is for aarch64 machines",
        ),
        (
            "what runs",
            bench.signed(&manifest("0.2.0", &release()), &release()),
            "runs already",
        ),
        (
            "what is there",
            bench.signed(&manifest("0.1.0", &release()), &release()),
            "is on the disk already",
        ),
        (
            "older",
            bench.signed(&manifest("0.1.5", &release()), &release()),
            "is older than 0.2.0",
        ),
        (
            "too far",
            bench.signed(&far, &release()),
            "can be reached from 0.2.5",
        ),
        ("huge", bench.signed(&huge, &release()), "is damaged"),
    ];
    for (what, bundle, expected) in cases {
        let error = send(&node, &bundle, wish()).await.expect_err(what);
        let told = error.to_string();
        assert!(told.contains(expected), "{what}: {told}");
        assert_eq!(
            bench.names(),
            ["ashlar-0.1.0.efi", "ashlar-0.2.0.efi"],
            "{what}"
        );
        let refused = node.status().refused;
        assert!(
            refused.contains(expected) && refused.contains(&error.remedy()),
            "{what}: {refused}"
        );
        assert_eq!(node.status().receiving, None, "{what}");
    }
    // It is taken when it is meant.
    let older = bench.signed(&manifest("0.1.5", &release()), &release());
    let meant = Wish {
        downgrade: true,
        ..wish()
    };
    assert_eq!(send(&node, &older, meant).await.unwrap(), version("0.1.5"));
    assert_eq!(node.status().refused, "");
}

#[tokio::test]
async fn without_keys_nothing_is_trusted() {
    let bench = Bench::new();
    for name in ["1.pub", "2.pub"] {
        std::fs::remove_file(bench.path("keys").join(name)).unwrap();
    }
    let node = bench.node("0.2.0", 1).await;
    let bundle = bench.signed(&manifest("0.3.0", &release()), &release());
    let error = send(&node, &bundle, wish()).await.unwrap_err();
    assert!(matches!(
        error,
        UpdateError::Bundle(error) if matches!(*error, BundleError::NoKeys { .. })
    ));
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_and_holds_nobody_up() {
    let bench = Bench::new();
    let node = bench.node("0.2.0", 1).await;
    let bundle = bench.signed(&manifest("0.3.0", &release()), &release());
    let part = Bytes::copy_from_slice(&bundle[..100_000]);
    let broken = stream::iter([Ok(part.clone()), Err(io::ErrorKind::ConnectionReset.into())]);
    let error = node.receive(wish(), None, broken).await.unwrap_err();
    assert!(matches!(error, UpdateError::Source(_)), "{error:?}");
    assert_eq!(bench.names().len(), 2);

    // One who sends nothing more, and is dropped.
    let silent = futures_util::StreamExt::chain(stream::iter([Ok(part)]), stream::pending());
    let receiving = node.receive(wish(), None, silent);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), receiving).await;
    assert!(waited.is_err());
    // Who comes next waits for the thread of the other to notice, and no longer.
    for _ in 0..100 {
        match send(&node, &bundle, wish()).await {
            Ok(_) => return,
            Err(UpdateError::Busy) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("it stays busy");
}
