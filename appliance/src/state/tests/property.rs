//! Whatever is proposed, in whatever order: the state machine never fails, a
//! refused command changes nothing, replicas agree, and the rules between
//! records hold after every command.

use std::collections::BTreeSet;

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;
use ashlar_api::job::Verb;
use ashlar_api::network::NetworkMode;
use ashlar_api::user::Role;
use ashlar_api::vm::{RunPolicy, VmAction};
use proptest::prelude::*;
use serde_json::Value;

use super::sample::*;
use super::{Model, documents};
use crate::state::command::{Command, Outcome, Verdict};
use crate::state::schema::*;

/// Few ids and names, so that commands meet.
fn number(base: u64) -> impl Strategy<Value = u64> {
    (0u64..5).prop_map(move |n| base + n)
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "A", "b", "c", "d"]).prop_map(str::to_owned)
}

fn revision() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(None), 1 => (0u64..40).prop_map(Some)]
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Viewer, Role::Operator, Role::Administrator])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Done),
        1 => Just(Outcome::Failed { message: "it failed".to_owned() }),
        1 => Just(Outcome::Cancelled),
    ]
}

fn new_job() -> impl Strategy<Value = crate::state::command::NewJob> {
    let verbs = prop::sample::select(vec![Verb::Create, Verb::Fill, Verb::Upload, Verb::Delete]);
    ((1000u64..100_000), verbs).prop_map(|(number, verb)| job(number, verb))
}

fn mode() -> impl Strategy<Value = NetworkMode> {
    prop_oneof![
        Just(NetworkMode::Bridged {}),
        Just(NetworkMode::Isolated {}),
        prop::sample::select(vec!["10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/24"]).prop_map(nat),
    ]
}

fn policy() -> impl Strategy<Value = RunPolicy> {
    prop::sample::select(vec![
        RunPolicy::Always,
        RunPolicy::Manual,
        RunPolicy::Stopped,
    ])
}

fn size() -> impl Strategy<Value = Bytes> {
    (1u64..6).prop_map(Bytes::gib)
}

const NODES: u64 = 0;
const USERS: u64 = 10;
const TOKENS: u64 = 20;
const SESSIONS: u64 = 30;
const NETWORKS: u64 = 40;
const POOLS: u64 = 50;
const VOLUMES: u64 = 60;
const IMAGES: u64 = 70;
const VMS: u64 = 80;
const BOOTS: u64 = 90;

fn any_volume() -> impl Strategy<Value = VolumeRecord> {
    (
        number(VOLUMES),
        word(),
        number(POOLS),
        size(),
        prop::option::weighted(0.3, number(IMAGES)),
    )
        .prop_map(|(n, name, pool, size, image)| volume(n, &name, pool, size, image))
}

fn any_vm() -> impl Strategy<Value = VmRecord> {
    let disks = prop::collection::vec(number(VOLUMES), 0..3);
    let nics = prop::collection::vec((number(NETWORKS), 0u8..4), 0..3);
    let cdrom = prop::option::weighted(0.2, number(IMAGES));
    (
        number(VMS),
        word(),
        policy(),
        disks,
        nics,
        cdrom,
        any::<bool>(),
    )
        .prop_map(|(n, name, policy, disks, nics, cdrom, protected)| {
            let mut record = vm(n, &name, policy, &disks, &nics);
            record.spec.cdrom = cdrom.map(id);
            record.spec.protected = protected;
            record
        })
}

fn people() -> BoxedStrategy<Command> {
    prop_oneof![
        (number(NODES), number(USERS), word(), role()).prop_map(|(n, u, name, role)| {
            Command::Claim {
                site: site_spec("home"),
                node: id(n),
                node_spec: node(n, &name).spec,
                user: Box::new(user(u, &name, role)),
            }
        }),
        (word(), revision()).prop_map(|(name, revision)| Command::ReplaceSite {
            spec: site_spec(&name),
            revision
        }),
        (number(NODES), word()).prop_map(|(n, name)| Command::RegisterNode {
            node: Box::new(node(n, &name))
        }),
        (number(NODES), word(), revision(), any::<bool>()).prop_map(|(n, name, revision, wait)| {
            Command::ReplaceNode {
                id: id(n),
                spec: node(n, &name).spec,
                revision,
                confirm_until: wait.then(|| at(100)),
            }
        }),
        number(NODES).prop_map(|n| Command::ConfirmNode { id: id(n) }),
        number(NODES).prop_map(|n| Command::RevertNode { id: id(n) }),
        (number(USERS), word(), role()).prop_map(|(n, name, role)| Command::CreateUser {
            user: Box::new(user(n, &name, role))
        }),
        (number(USERS), word(), role(), revision()).prop_map(|(n, name, role, revision)| {
            Command::ReplaceUser {
                id: id(n),
                spec: user(n, &name, role).spec,
                revision,
            }
        }),
        (number(USERS), prop::option::of(number(SESSIONS))).prop_map(|(n, keep)| {
            Command::SetPassword {
                id: id(n),
                password_hash: "hash".to_owned(),
                keep: keep.map(id),
            }
        }),
        (number(USERS), revision()).prop_map(|(n, revision)| Command::DeleteUser {
            id: id(n),
            revision
        }),
        (number(TOKENS), number(USERS), role(), number(TOKENS)).prop_map(|(n, u, role, secret)| {
            let mut token = token(n, u, role);
            token.secret_hash = format!("{secret}");
            Command::CreateToken {
                token: Box::new(token),
            }
        }),
        number(TOKENS).prop_map(|n| Command::DeleteToken { id: id(n) }),
        (number(SESSIONS), number(USERS), 0i64..90, number(SESSIONS)).prop_map(
            |(n, u, until, secret)| {
                let mut session = session(n, u, 0, until);
                session.secret_hash = format!("{secret}");
                Command::OpenSession {
                    session: Box::new(session),
                }
            }
        ),
        number(SESSIONS).prop_map(|n| Command::CloseSession { id: id(n) }),
    ]
    .boxed()
}

fn storage() -> BoxedStrategy<Command> {
    let drives = prop::sample::subsequence(vec!["x", "y", "z"], 1..3);
    prop_oneof![
        (number(POOLS), word(), drives, new_job()).prop_map(|(n, name, drives, job)| {
            Command::CreatePool {
                pool: Box::new(pool(n, &name, &drives)),
                job,
            }
        }),
        (number(POOLS), outcome())
            .prop_map(|(n, outcome)| Command::SettlePool { id: id(n), outcome }),
        (number(POOLS), revision(), new_job()).prop_map(|(n, revision, job)| Command::DeletePool {
            id: id(n),
            revision,
            job
        }),
        number(POOLS).prop_map(|n| Command::ForgetPool { id: id(n) }),
        (any_volume(), new_job()).prop_map(|(volume, job)| Command::CreateVolume {
            volume: Box::new(volume),
            job
        }),
        (any_volume(), revision()).prop_map(|(volume, revision)| Command::ReplaceVolume {
            id: volume.id,
            spec: volume.spec,
            revision
        }),
        (number(VOLUMES), outcome())
            .prop_map(|(n, outcome)| Command::SettleVolume { id: id(n), outcome }),
        (number(VOLUMES), revision(), new_job()).prop_map(|(n, revision, job)| {
            Command::DeleteVolume {
                id: id(n),
                revision,
                job,
            }
        }),
        number(VOLUMES).prop_map(|n| Command::ForgetVolume { id: id(n) }),
        (number(IMAGES), word(), new_job()).prop_map(|(n, name, job)| Command::CreateImage {
            image: Box::new(image(n, &name)),
            job
        }),
        (number(IMAGES), word(), revision()).prop_map(|(n, name, revision)| {
            Command::ReplaceImage {
                id: id(n),
                spec: image(n, &name).spec,
                revision,
            }
        }),
        (number(IMAGES), outcome(), any::<bool>(), size()).prop_map(|(n, outcome, iso, size)| {
            let format = if iso {
                ImageFormat::Iso
            } else {
                ImageFormat::Qcow2
            };
            Command::SettleImage {
                id: id(n),
                outcome,
                content: Some(content(format, size)),
            }
        }),
        (number(IMAGES), revision()).prop_map(|(n, revision)| Command::DeleteImage {
            id: id(n),
            revision
        }),
        number(IMAGES).prop_map(|n| Command::ForgetImage { id: id(n) }),
    ]
    .boxed()
}

fn machines() -> BoxedStrategy<Command> {
    let volumes = || prop::collection::vec((any_volume(), new_job()), 0..2);
    let actions = prop::sample::select(VmAction::ALL.to_vec());
    prop_oneof![
        1 => (number(NETWORKS), word(), mode()).prop_map(|(n, name, mode)| Command::CreateNetwork {
            network: Box::new(network(n, &name, mode))
        }),
        1 => (number(NETWORKS), word(), mode(), revision()).prop_map(|(n, name, mode, revision)| {
            Command::ReplaceNetwork {
                id: id(n),
                spec: network(n, &name, mode).spec,
                revision,
            }
        }),
        1 => (number(NETWORKS), revision()).prop_map(|(n, revision)| Command::DeleteNetwork {
            id: id(n),
            revision
        }),
        1 => number(NETWORKS).prop_map(|n| Command::ForgetNetwork { id: id(n) }),
        3 => (any_vm(), volumes()).prop_map(|(vm, volumes)| Command::CreateVm {
            vm: Box::new(vm),
            volumes
        }),
        3 => (any_vm(), revision(), volumes(), number(BOOTS)).prop_map(|(vm, revision, volumes, boot)| {
            Command::ReplaceVm {
                id: vm.id,
                spec: Box::new(vm.spec),
                revision,
                volumes,
                boot: Some(id(boot)),
            }
        }),
        2 => (number(VMS), actions, number(BOOTS)).prop_map(|(n, action, boot)| Command::ActOnVm {
            id: id(n),
            action,
            boot: id(boot)
        }),
        1 => (number(VMS), number(BOOTS)).prop_map(|(n, boot)| Command::EndVm {
            id: id(n),
            boot: id(boot)
        }),
        1 => (number(VMS), revision(), prop::collection::vec(number(VOLUMES), 0..2)).prop_map(
            |(n, revision, volumes)| Command::DeleteVm {
                id: id(n),
                revision,
                volumes: volumes.into_iter().map(id).collect(),
            }
        ),
        1 => number(VMS).prop_map(|n| Command::ForgetVm { id: id(n) }),
        1 => (1000u64..1100).prop_map(|n| Command::CancelJob { id: id(n) }),
        1 => (1000u64..1100, outcome()).prop_map(|(n, outcome)| Command::FinishJob { id: id(n), outcome }),
    ]
    .boxed()
}

fn records<R: Record>(dump: &Value) -> Vec<R> {
    let table = dump[R::TABLE].as_object().expect("a table");
    table
        .values()
        .map(|document| serde_json::from_value(document.clone()).expect("a record"))
        .collect()
}

fn assert_distinct<T: Ord + std::fmt::Debug>(what: &str, values: impl Iterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for value in values {
        let text = format!("{value:?}");
        assert!(seen.insert(value), "{what}: {text} is there twice");
    }
}

fn assert_names_differ<R: Record>(dump: &Value) {
    let names = records::<R>(dump)
        .into_iter()
        .map(|r| r.name().to_ascii_lowercase());
    assert_distinct(R::NOUN, names);
}

/// The rules between records, looked at from outside.
fn assert_whole(dump: &Value) {
    assert_names_differ::<NodeRecord>(dump);
    assert_names_differ::<UserRecord>(dump);
    assert_names_differ::<NetworkRecord>(dump);
    assert_names_differ::<PoolRecord>(dump);
    assert_names_differ::<VolumeRecord>(dump);
    assert_names_differ::<ImageRecord>(dump);
    assert_names_differ::<VmRecord>(dump);

    let users: Vec<UserRecord> = records(dump);
    let claimed = dump["site"]
        .as_object()
        .is_some_and(|site| !site.is_empty());
    let administrators = users.iter().filter(|u| u.spec.role == Role::Administrator);
    assert_eq!(claimed, administrators.count() > 0, "an owner when claimed");
    for token in records::<TokenRecord>(dump) {
        let owner = users
            .iter()
            .find(|u| u.id == token.user)
            .expect("its owner");
        assert!(token.spec.role <= owner.spec.role);
    }
    for session in records::<SessionRecord>(dump) {
        assert!(users.iter().any(|user| user.id == session.user));
    }

    let pools: Vec<PoolRecord> = records(dump);
    let drives = pools.iter().flat_map(|pool| pool.spec.drives.clone());
    assert_distinct("drive", drives);
    let libraries: Vec<_> = pools.iter().filter(|pool| pool.library).collect();
    let ready = pools.iter().any(|pool| pool.phase == Phase::Ready);
    assert_eq!(
        libraries.len(),
        usize::from(ready),
        "one library when there is room for it"
    );
    assert!(libraries.iter().all(|pool| pool.phase == Phase::Ready));
    let images: Vec<ImageRecord> = records(dump);
    assert!(
        images.is_empty() || libraries.len() == 1,
        "images have a place"
    );

    let volumes: Vec<VolumeRecord> = records(dump);
    for volume in &volumes {
        assert!(
            pools.iter().any(|pool| pool.id == volume.spec.pool),
            "a volume has a pool"
        );
    }
    let networks: Vec<NetworkRecord> = records(dump);
    let subnets: Vec<_> = networks
        .iter()
        .filter_map(|network| match network.spec.mode {
            NetworkMode::Nat { subnet } => Some(subnet),
            _ => None,
        })
        .collect();
    for (i, a) in subnets.iter().enumerate() {
        for b in &subnets[i + 1..] {
            assert!(!a.contains(b) && !b.contains(a), "{a} and {b} overlap");
        }
    }

    let vms: Vec<VmRecord> = records(dump);
    assert_distinct("uid", vms.iter().map(|vm| vm.uid));
    assert!(vms.iter().all(|vm| vm.uid >= 30_000));
    let nics = || vms.iter().flat_map(|vm| vm.spec.nics.iter());
    assert_distinct("mac", nics().map(|nic| nic.mac.expect("it has one")));
    for nic in nics() {
        let network = networks.iter().find(|network| network.id == nic.network);
        assert!(network.is_some_and(|network| !network.deleting));
    }
    let disks = || vms.iter().flat_map(|vm| vm.spec.disks.iter());
    assert_distinct("disk", disks().map(|disk| format!("{disk:?}")));
    for disk in disks() {
        let found = volumes
            .iter()
            .find(|volume| *disk == ashlar_api::vm::VmDisk::Volume { volume: volume.id });
        assert!(found.is_some_and(|volume| volume.phase != Phase::Deleting));
    }
    for image in vms.iter().filter_map(|vm| vm.spec.cdrom) {
        let found = images.iter().find(|other| other.id == image);
        assert!(found.is_some_and(|image| image.phase == Phase::Ready));
    }
    assert_jobs_whole(dump, &pools, &volumes, &images);
}

/// A job is at work exactly as long as its subject has not got where it was to get.
fn assert_jobs_whole(
    dump: &Value,
    pools: &[PoolRecord],
    volumes: &[VolumeRecord],
    images: &[ImageRecord],
) {
    let jobs: Vec<JobRecord> = records(dump);
    let mut phases: Vec<(String, Phase)> = Vec::new();
    phases.extend(pools.iter().map(|r| (r.id.to_string(), r.phase.clone())));
    phases.extend(volumes.iter().map(|r| (r.id.to_string(), r.phase.clone())));
    phases.extend(images.iter().map(|r| (r.id.to_string(), r.phase.clone())));
    for job in jobs {
        assert_eq!(job.state.is_over(), job.finished_at.is_some());
        if !job.state.is_over() {
            let phase = phases.iter().find(|(id, _)| *id == job.subject.id);
            assert!(
                matches!(phase, Some((_, Phase::Preparing | Phase::Deleting))),
                "{job:?} is at work on {phase:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn rules_hold_whatever_is_proposed(
        commands in prop::collection::vec(
            prop_oneof![2 => people(), 3 => storage(), 4 => machines()], 1..160),
        claimed in any::<bool>(),
    ) {
        let (mut one, mut other) = if claimed {
            (Model::furnished(), Model::furnished())
        } else {
            (Model::new(), Model::new())
        };
        let mut before = one.dump();
        for command in commands {
            let (verdict, changed) = one.apply(command.clone());
            prop_assert_eq!(&other.apply(command.clone()).0, &verdict);
            let after = one.dump();
            match verdict {
                Verdict::Refused { refusal } => {
                    prop_assert_eq!(&after, &before, "refused: {}", refusal);
                    prop_assert!(changed.is_empty());
                }
                Verdict::Applied { revision } => {
                    prop_assert_eq!(after["revision"].as_u64(), Some(revision));
                    prop_assert_eq!(changed.is_empty(), after == before);
                    for object in documents(&after, &changed).as_array().expect("a list") {
                        let document = &object["document"];
                        prop_assert!(
                            document.is_null() || document["revision"].as_u64() == Some(revision)
                        );
                    }
                    assert_whole(&after);
                }
            }
            before = after;
        }
        prop_assert_eq!(one.dump(), other.dump());
    }
}
