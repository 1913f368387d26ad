//! The plan: fixtures in `testdata/plan/<case>/{desired,observed,plan}.json`
//! (set `ASHLAR_BLESS=1` to write the plans anew), and what must hold for any.

use std::path::Path;

use ashlar_api::{Bytes, ImageId, PoolId, VolumeId};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model;
use crate::state::schema::Phase;
use crate::storage::observe::{Content, Observed};
use crate::storage::plan::{Step, plan};
use crate::storage::want::Desired;

#[test]
fn plans_are_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/testdata/plan");
    let mut cases = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(case.join(name)).unwrap_or_default();
        let mut desired: Desired = serde_json::from_str(&read("desired.json")).unwrap();
        let mut observed: Observed = serde_json::from_str(&read("observed.json")).unwrap();
        let made = serde_json::to_value(plan(&desired, &observed)).unwrap();
        if std::env::var_os("ASHLAR_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&made).unwrap();
            std::fs::write(case.join("plan.json"), text + "\n").unwrap();
        }
        let recorded: Value = serde_json::from_str(&read("plan.json")).unwrap_or(Value::Null);
        assert_eq!(made, recorded, "{}", case.display());
        converges(&mut desired, &mut observed);
        cases += 1;
    }
    assert!(cases >= 40, "{cases} cases");
}

/// A few passes do all: what is made is seen, settled, and then builds on each other.
fn converges(desired: &mut Desired, machine: &mut Observed) {
    for _ in 0..30 {
        let steps = plan(desired, machine);
        if steps.is_empty() && !model::go_on(desired, machine) {
            return;
        }
        for step in steps {
            harmless(&step, desired, machine);
            model::apply(step, desired, machine);
        }
    }
    panic!("still to do: {:?}", plan(desired, machine));
}

/// What no step may do, whatever is wanted and seen.
fn harmless(step: &Step, desired: &Desired, machine: &Observed) {
    match step {
        Step::CreatePool {
            id,
            drives,
            erase,
            orphans,
        } => {
            assert!(orphans.iter().all(|path| machine.orphans.contains(path)));
            assert!(machine.settled);
            let pool = desired.pool(*id).unwrap();
            for drive in machine
                .drives
                .iter()
                .filter(|d| model::are(drives, &d.path))
            {
                assert!(!drive.system && model::is_device(&drive.path));
                assert!(drives.contains(&machine.disk(&drive.path)));
                let is_confirmed = pool.erase.contains(&drive.id);
                let is_orphan = orphans.contains(&drive.path);
                assert!(drive.content == Content::Blank || is_confirmed || is_orphan);
                let goes = erase.contains(&drive.path) || is_orphan;
                assert_eq!(goes, drive.content != Content::Blank);
            }
        }
        Step::RemoveVolume { name, .. } => {
            let mut volumes = desired.volumes.iter();
            let record = volumes.find(|volume| volume.logical_volume() == *name);
            assert!(record.is_none_or(|volume| volume.phase != Phase::Ready));
        }
        Step::ForgetPool(id) => {
            assert!(machine.is_complete() && machine.groups_of(*id).next().is_none());
        }
        Step::ForgetVolume(id) => {
            let mut volumes = desired.volumes.iter();
            let volume = volumes.find(|volume| volume.id == *id).unwrap();
            let group = machine.group(volume.spec.pool);
            let is_seen_gone = group.is_some_and(|group| group.is_whole());
            assert!(is_seen_gone || machine.is_complete());
            let pool = desired.pool(volume.spec.pool);
            let may_come_back = pool.is_some_and(|pool| {
                !machine.damaged(pool).is_empty() && !machine.unrestorable.contains_key(&pool.id)
            });
            assert!(!may_come_back);
        }
        Step::RestoreGroup { id, drives } => {
            let pool = desired.pool(*id).unwrap();
            assert!(machine.is_complete() && pool.phase == Phase::Ready && !drives.is_empty());
            for drive in machine.damaged(pool) {
                assert!(!drive.system && pool.spec.drives.contains(&drive.id));
                assert!(drives.contains(&machine.disk(&drive.path)) && drive.holders.is_empty());
            }
        }
        Step::ForgetImage(_) => assert!(machine.library.is_some() || machine.is_complete()),
        Step::RemoveGroup { group, partial, .. } => {
            assert!(!partial || machine.is_complete());
            let mut pools = desired.pools.iter();
            let pool = pools.find(|pool| pool.volume_group() == *group).unwrap();
            assert!(matches!(pool.phase, Phase::Deleting | Phase::Failed { .. }));
        }
        Step::FillVolume { id, .. } | Step::CreateVolume { id, .. } => {
            let mut volumes = desired.volumes.iter();
            let volume = volumes.find(|volume| volume.id == *id).unwrap();
            assert_eq!(volume.phase, Phase::Preparing);
        }
        _ => {}
    }
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}
fn a_phase() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"phase": "preparing"}),
        json!({"phase": "ready"}),
        json!({"phase": "failed", "message": "no"}),
        json!({"phase": "deleting"}),
    ])
}

const SINCE: &str = "2026-11-22T08:00:00Z";

prop_compose! {
    fn a_pool(number: u128)(phase in a_phase(), drives in prop::sample::subsequence(vec!["a", "b", "c", "d"], 1..3), erase in any::<bool>()) -> Value {
        let erase = if erase { drives.clone() } else { Vec::new() };
        json!({"id": PoolId::from(uuid(number)), "revision": 1, "created_at": SINCE, "phase": phase,
            "spec": {"name": format!("p{number}"), "drives": drives}, "erase": erase})
    }
}
prop_compose! {
    fn a_volume(number: u128)(phase in a_phase(), pool in 1..3_u128, image in prop::option::of(1..3_u128), size in 1..4_u64) -> Value {
        let mut spec = json!({"name": format!("v{number}"), "pool": PoolId::from(uuid(pool)), "size": Bytes::gib(size)});
        if let Some(image) = image {
            spec["image"] = json!(ImageId::from(uuid(100 + image)));
        }
        json!({"id": VolumeId::from(uuid(10 + number)), "revision": 1, "created_at": SINCE, "phase": phase, "spec": spec})
    }
}
prop_compose! {
    fn an_image(number: u128)(phase in a_phase(), is_url in any::<bool>()) -> Value {
        let source = if is_url {
            json!({"from": "url", "url": "https://example.org/"})
        } else {
            json!({"from": "upload", "size": Bytes::mib(100)})
        };
        json!({"id": ImageId::from(uuid(100 + number)), "revision": 1, "created_at": SINCE, "phase": phase,
            "spec": {"name": format!("i{number}"), "source": source}})
    }
}
prop_compose! {
    fn a_drive(name: &'static str)(content in prop::sample::select(vec![json!("blank"), json!("lvm"), json!({"data": "x"})]),
        system in prop::bool::weighted(0.1), problem in prop::option::weighted(0.1, Just("broken")), is_busy in prop::bool::weighted(0.1),
        mute in prop::bool::weighted(0.1), sequence in prop::sample::select(vec![1, model::HOPELESS])) -> Value {
        let holders = if is_busy { vec!["md0"] } else { Vec::new() };
        json!({"id": name, "name": name, "path": format!("/dev/{name}"), "sequence": sequence, "model": "", "serial": "", "bus": "", "size": Bytes::gib(100),
            "media": "ssd", "system": system, "content": content, "holders": holders, "problem": problem, "mute": mute})
    }
}
prop_compose! {
    fn a_group(pool: u128, device: &'static str)(there in any::<bool>(), thin in prop::bool::weighted(0.8), active in any::<bool>(),
        missing in prop::bool::weighted(0.2), volumes in prop::sample::subsequence(vec![11_u128, 12, 13, 1], 0..=4),
        preparing in any::<[bool; 4]>()) -> Option<Value> {
        let id = PoolId::from(uuid(pool));
        let volumes: Vec<Value> = volumes.iter().zip(preparing).map(|(number, preparing)| {
            let name = if *number == 1 { "library".to_owned() } else { format!("vol-{}", VolumeId::from(uuid(*number))) };
            json!({"name": name, "size": Bytes::gib(1), "active": active, "ours": true, "preparing": preparing, "used": null})
        }).collect();
        let pool_in_it = json!({"size": Bytes::gib(97), "active": active, "data_used": null, "metadata_used": null, "health": "", "needs_check": false});
        there.then(|| json!({"name": crate::state::schema::volume_group(id), "uuid": device, "ours": true, "pool": id, "size": Bytes::gib(100),
            "free": Bytes::gib(1), "devices": [format!("/dev/{device}")], "missing": u8::from(missing),
            "thin": if thin { pool_in_it } else { Value::Null }, "volumes": if thin { volumes } else { Vec::new() }, "strangers": []}))
    }
}
prop_compose! {
    fn a_world()(mut pools in (a_pool(1), a_pool(2)), volumes in (a_volume(1), a_volume(2), a_volume(3)),
        images in (an_image(1), an_image(2)), drives in (a_drive("a"), a_drive("b"), a_drive("c")),
        groups in (a_group(1, "b"), a_group(2, "c")), cancel in any::<bool>(), mounted in any::<bool>(),
        settled in any::<bool>(), damaged in prop::sample::subsequence(vec!["/dev/a", "/dev/b", "/dev/c"], 0..=2),
        flawed in prop::sample::subsequence(vec!["/dev/b", "/dev/c"], 0..=2),
        fill in prop::option::of(prop::sample::select(vec![json!({"state": "running", "checking": false}),
            json!({"state": "done", "content": null}), json!({"state": "failed", "message": "no"})]))) -> (Desired, Observed) {
        let is_ready = |pool: &Value| pool["phase"]["phase"] == "ready";
        let first = is_ready(&pools.0);
        pools.0["library"] = json!(first);
        pools.1["library"] = json!(!first && is_ready(&pools.1));
        let job = json!({"id": uuid(77), "cancel": cancel});
        let groups: Vec<Value> = [groups.0, groups.1].into_iter().flatten().collect();
        // A mounted library is one that is there.
        let library = groups.iter().filter(|_| mounted).find(|group| {
            let mut volumes = group["volumes"].as_array().into_iter().flatten();
            volumes.any(|v| v["name"] == "library" && v["preparing"] == false && group["missing"] == 0)
        });
        let library = library.map(|group| json!({"device": format!("/dev/{}/library", group["name"].as_str().unwrap()),
            "files": {uuid(101).to_string(): {"partial": 5, "whole": null}}}));
        let mut fills = json!({});
        if let Some(fill) = fill {
            fills[uuid(11).to_string()] = fill;
        }
        let desired = json!({"pools": [pools.0, pools.1], "volumes": [volumes.0, volumes.1, volumes.2],
            "images": [images.0, images.1], "jobs": {uuid(11).to_string(): job, uuid(101).to_string(): job}});
        let in_group = |path: &&str| groups.iter().any(|group| group["devices"][0] == **path);
        let damaged: Vec<&str> = damaged.into_iter().filter(|path| !in_group(path)).collect();
        let observed = json!({"settled": settled, "drives": [drives.0, drives.1, drives.2], "groups": groups, "library": library,
            "fills": fills, "damaged": damaged, "flawed": flawed});
        (serde_json::from_value(desired).unwrap(), serde_json::from_value(observed).unwrap())
    }
}

proptest! {
    #[test]
    fn any_world_converges_unharmed((desired, mut machine) in a_world()) {
        let ready: Vec<String> = desired.volumes.iter().filter(|v| v.phase == Phase::Ready).map(|v| v.logical_volume()).collect();
        let complete = |machine: &Observed| -> Vec<String> {
            let all = machine.groups.iter().filter(|g| g.pool.is_some_and(|p| desired.pool(p).is_some_and(|p| p.phase == Phase::Ready)));
            let all = all.flat_map(|g| &g.volumes).filter(|v| !v.preparing && ready.contains(&v.name));
            all.map(|v| v.name.clone()).collect()
        };
        let before = complete(&machine);
        converges(&mut desired.clone(), &mut machine);
        for name in before {
            prop_assert!(complete(&machine).contains(&name), "{name} was lost");
        }
    }
}
