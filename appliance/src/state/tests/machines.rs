//! The rules of virtual machines: what they share with none, what protects
//! them, when they run.

use super::Model;
use super::rules::{failed, job_state};
use super::sample::*;
use crate::state::command::Command;
use crate::state::schema::*;
use ashlar_api::job::{JobState, Verb};
use ashlar_api::vm::{RunPolicy, VmAction, VmDisk};
use ashlar_api::{BootId, Bytes};

#[test]
fn machines_share_nothing() {
    let mut model = Model::furnished();
    let create = |vm: VmRecord| Command::CreateVm {
        vm: Box::new(vm),
        volumes: vec![],
    };
    let manual = RunPolicy::Manual;
    model.accept(create(vm(40, "web", manual, &[7], &[(6, 1)])));
    assert_eq!(
        model.refuse(create(vm(41, "WEB", manual, &[], &[]))),
        "there is a virtual machine called `WEB` already"
    );
    assert_eq!(
        model.refuse(create(vm(41, "db", manual, &[7], &[]))),
        "disks[0].volume: the volume belongs to the virtual machine `web`"
    );
    assert_eq!(
        model.refuse(create(vm(41, "db", manual, &[], &[(6, 2), (6, 1)]))),
        "nics[1].mac: the virtual machine `web` has this hardware address"
    );
    assert_eq!(
        model.refuse(create(vm(41, "db", manual, &[], &[(6, 2), (6, 2)]))),
        "nics[1].mac: this hardware address is named twice"
    );
    assert_eq!(
        model.refuse(create(vm(41, "db", manual, &[], &[(6, 2), (9, 3)]))),
        "nics[1].network: there is no such network"
    );
    assert_eq!(
        model.refuse(create(vm(41, "db", manual, &[99], &[]))),
        "disks[0].volume: there is no such volume"
    );
    assert_eq!(
        model.refuse(Command::CreateVm {
            vm: Box::new(vm(41, "db", manual, &[70], &[])),
            volumes: vec![(
                volume(70, "v", 3, Bytes::gib(1), Some(4)),
                job(170, Verb::Fill)
            )],
        }),
        "disks[0].size: at least 3 GiB, the size of the image `debian-13`"
    );
    let mut unsettled = vm(41, "db", manual, &[], &[]);
    unsettled.spec.disks.push(VmDisk::New {
        pool: id(3),
        size: Bytes::gib(1),
        image: None,
    });
    assert_eq!(
        model.refuse(create(unsettled)),
        "disks[0]: a disk that is stored names its volume"
    );
    model.accept(create(vm(41, "db", manual, &[], &[])));
    model.accept(create(vm(42, "third", manual, &[], &[])));
    let uid = |model: &Model, number| model.record::<VmRecord>(id(number)).map(|vm| vm.uid);
    assert_eq!(uid(&model, 40), Some(30_000));
    assert_eq!(uid(&model, 42), Some(30_002));
    let delete = |number, volumes| Command::DeleteVm {
        id: id(number),
        revision: None,
        volumes,
    };
    model.accept(delete(41, vec![]));
    model.accept(Command::ForgetVm { id: id(41) });
    model.accept(create(vm(43, "fourth", manual, &[], &[])));
    assert_eq!(uid(&model, 43), Some(30_001), "the lowest that is free");
    assert_eq!(
        model.refuse(Command::DeleteVolume {
            id: id(7),
            revision: None,
            job: job(171, Verb::Delete)
        }),
        "it is in use: the virtual machine `web`"
    );
    assert_eq!(
        model.refuse(delete(42, vec![id(7)])),
        "volumes[0]: this volume is no disk of the machine"
    );
    assert_eq!(
        model.refuse(Command::ForgetVm { id: id(40) }),
        "the virtual machine is wanted"
    );
    model.accept(delete(40, vec![id(7)]));
    model.accept(Command::ForgetVm { id: id(40) });
    let doomed: VolumeRecord = model.record(id(7)).expect("still there");
    assert_eq!(doomed.phase, Phase::Deleting);
    model.accept(Command::ForgetVolume { id: id(7) });
    assert_eq!(model.record::<VolumeRecord>(id(7)), None);
}

#[test]
fn a_protected_machine_stays() {
    let mut model = Model::furnished();
    let mut record = vm(40, "web", RunPolicy::Manual, &[], &[]);
    record.spec.protected = true;
    model.accept(Command::CreateVm {
        vm: Box::new(record.clone()),
        volumes: vec![],
    });
    let delete = Command::DeleteVm {
        id: id(40),
        revision: None,
        volumes: vec![],
    };
    assert_eq!(
        model.refuse(delete.clone()),
        "the virtual machine is protected from being deleted"
    );
    record.spec.protected = false;
    let replace = |revision| Command::ReplaceVm {
        id: id(40),
        spec: Box::new(record.spec.clone()),
        revision,
        volumes: vec![],
        boot: None,
    };
    let read = model.record::<VmRecord>(id(40)).expect("it").revision;
    assert_eq!(
        model.refuse(replace(Some(read - 1))),
        format!(
            "it was changed since you read it: revision {} was expected, it has {read}",
            read - 1
        )
    );
    model.accept(replace(Some(read)));
    let revision = model.accept(delete.clone());
    assert_eq!(model.accept(delete), revision);
    assert_eq!(
        model.refuse(replace(None)),
        "the virtual machine is being deleted"
    );
}

#[test]
fn power_follows_wishes_and_policies() {
    let mut model = Model::furnished();
    let (first, second): (BootId, BootId) = (id(900), id(901));
    let create = |number, name: &str, policy| Command::CreateVm {
        vm: Box::new(vm(number, name, policy, &[], &[])),
        volumes: vec![],
    };
    let act = |action, boot| Command::ActOnVm {
        id: id(40),
        action,
        boot,
    };
    let power = |model: &Model, number: u64| {
        let vm: VmRecord = model.record(id(number)).expect("the machine");
        vm.power
    };
    let policy = |number: u64, name: &str, policy, boot| Command::ReplaceVm {
        id: id(number),
        spec: Box::new(vm(number, name, policy, &[], &[]).spec),
        revision: None,
        volumes: vec![],
        boot: Some(boot),
    };
    let not_running = "the virtual machine is not running";
    model.accept(create(40, "web", RunPolicy::Manual));
    assert_eq!(power(&model, 40).want, Want::Off);
    assert_eq!(model.refuse(act(VmAction::Pause, first)), not_running);
    assert_eq!(model.refuse(act(VmAction::Reset, first)), not_running);
    let started = model.accept(act(VmAction::Start, first));
    assert_eq!(model.accept(act(VmAction::Start, first)), started);
    model.accept(act(VmAction::Pause, first));
    model.accept(act(VmAction::Reset, first));
    assert_eq!(power(&model, 40).want, Want::Paused);
    model.accept(act(VmAction::Resume, first));
    model.accept(act(VmAction::Restart, first));
    assert_eq!(
        power(&model, 40),
        Power {
            want: Want::On,
            boot: Some(first),
            restarts: 1,
            resets: 1
        }
    );
    // After the node started again, a manual machine is off until somebody starts it.
    assert_eq!(model.refuse(act(VmAction::Reset, second)), not_running);
    model.accept(act(VmAction::Start, second));
    model.accept(Command::EndVm {
        id: id(40),
        boot: first,
    });
    assert_eq!(power(&model, 40).want, Want::On, "that was another start");
    model.accept(Command::EndVm {
        id: id(40),
        boot: second,
    });
    assert_eq!(power(&model, 40).want, Want::Off);
    model.accept(act(VmAction::Stop, second));
    model.accept(act(VmAction::Shutdown, second));
    assert_eq!(power(&model, 40).want, Want::Cut);

    model.accept(policy(40, "web", RunPolicy::Always, second));
    assert_eq!(power(&model, 40).want, Want::On);
    model.accept(policy(40, "web", RunPolicy::Stopped, second));
    assert_eq!(power(&model, 40).want, Want::Off);
    assert_eq!(
        model.refuse(act(VmAction::Start, second)),
        "the run policy of the virtual machine is `stopped`"
    );

    // A machine that always runs goes on when it becomes manual.
    model.accept(create(41, "db", RunPolicy::Always));
    model.accept(Command::EndVm {
        id: id(41),
        boot: first,
    });
    assert_eq!(power(&model, 41).want, Want::On);
    model.accept(policy(41, "db", RunPolicy::Manual, second));
    let db: VmRecord = model.record(id(41)).expect("the machine");
    assert_eq!(db.wanted(second), Want::On);
    assert_eq!(db.wanted(first), Want::Off);
}

#[test]
fn what_can_not_run_is_not_started() {
    let mut model = Model::furnished();
    model.accept(Command::CreateVm {
        vm: Box::new(vm(40, "web", RunPolicy::Manual, &[70], &[])),
        volumes: vec![(
            volume(70, "v70", 3, Bytes::gib(4), Some(4)),
            job(170, Verb::Fill),
        )],
    });
    assert_eq!(
        model.refuse(Command::CancelJob { id: id(199) }),
        format!("there is no job with the id {}", id::<uuid::Uuid>(199))
    );
    model.accept(Command::CancelJob { id: id(170) });
    model.accept(Command::SettleVolume {
        id: id(70),
        outcome: failed(),
    });
    assert_eq!(job_state(&model, 170), Some(JobState::Failed));
    assert_eq!(
        model.refuse(Command::ActOnVm {
            id: id(40),
            action: VmAction::Start,
            boot: id(900)
        }),
        "its disk `v70` could not be made: the drive does not answer"
    );
    // The rest of it can still be changed.
    let mut spec = vm(40, "web", RunPolicy::Manual, &[70], &[]).spec;
    spec.cpus = 4;
    model.accept(Command::ReplaceVm {
        id: id(40),
        spec: Box::new(spec),
        revision: None,
        volumes: vec![],
        boot: None,
    });
}
