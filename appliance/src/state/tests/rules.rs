//! The rules between records, one test a noun: what is refused, how the
//! refusal reads, and what follows from what is accepted. Those of virtual
//! machines are in `machines`.

use ashlar_api::image::ImageFormat;
use ashlar_api::job::{JobState, Verb};
use ashlar_api::network::NetworkMode;
use ashlar_api::node::{Addressing, NodeSpec};
use ashlar_api::user::Role;
use ashlar_api::vm::RunPolicy;
use ashlar_api::volume::BLOCK;
use ashlar_api::{Bytes, JobId};

use super::Model;
use super::sample::*;
use crate::state::command::{Command, Outcome};
use crate::state::schema::*;

pub fn failed() -> Outcome {
    Outcome::Failed {
        message: "the drive does not answer".to_owned(),
    }
}

pub fn job_state(model: &Model, number: u64) -> Option<JobState> {
    let job: Option<JobRecord> = model.record(id::<JobId>(number));
    job.map(|job| job.state)
}

#[test]
fn the_site_is_claimed_once() {
    let mut model = Model::new();
    let claim = furnished().swap_remove(1);
    let spec = site_spec("x");
    assert_eq!(
        model.refuse(claim.clone()),
        format!("there is no node with the id {}", id::<uuid::Uuid>(1))
    );
    model.accept(furnished().swap_remove(0));
    let replace = Command::ReplaceSite {
        spec,
        revision: None,
    };
    let unclaimed = "the appliance has not been claimed yet";
    assert_eq!(model.refuse(replace.clone()), unclaimed);
    let create = Command::CreateUser {
        user: Box::new(user(8, "eve", Role::Administrator)),
    };
    assert_eq!(model.refuse(create), unclaimed);
    model.accept(claim.clone());
    assert_eq!(
        model.refuse(claim),
        "the appliance has been claimed already"
    );
    let revision = model.accept(replace.clone());
    assert_eq!(model.accept(replace), revision, "nothing changed");
}

#[test]
fn a_node_goes_back_to_what_was_confirmed() {
    let mut model = Model::furnished();
    let spec = |name: &str, address: Option<&str>| {
        let mut spec = NodeSpec {
            name: name.parse().expect("a name"),
            management: Default::default(),
        };
        if let Some(address) = address {
            spec.management.ipv4 = Addressing::Static {
                address: address.parse().expect("an address"),
                gateway: None,
                dns: Vec::new(),
            };
        }
        spec
    };
    let replace = |spec, wait: bool| Command::ReplaceNode {
        id: id(1),
        spec,
        revision: None,
        confirm_until: wait.then(|| at(500)),
    };
    let read = |model: &Model| model.record::<NodeRecord>(id(1)).expect("the node");

    model.accept(replace(spec("ashlar-1", Some("192.0.2.10/24")), true));
    model.accept(replace(spec("ashlar-1", Some("192.0.2.11/24")), true));
    model.accept(replace(spec("renamed", Some("192.0.2.11/24")), false));
    model.accept(Command::RevertNode { id: id(1) });
    assert_eq!(read(&model).spec, spec("renamed", None));
    assert_eq!(read(&model).unconfirmed, None);

    model.accept(replace(spec("renamed", Some("192.0.2.12/24")), true));
    model.accept(Command::ConfirmNode { id: id(1) });
    let revision = model.accept(Command::RevertNode { id: id(1) });
    assert_eq!(read(&model).spec, spec("renamed", Some("192.0.2.12/24")));
    assert_eq!(model.accept(Command::ConfirmNode { id: id(1) }), revision);

    // A change that is final by itself ends the waiting.
    model.accept(replace(spec("renamed", Some("192.0.2.13/24")), true));
    model.accept(replace(spec("renamed", None), false));
    model.accept(Command::RevertNode { id: id(1) });
    assert_eq!(read(&model).spec, spec("renamed", None));

    // The name may be gone when the network comes back.
    model.accept(replace(spec("other", None), true));
    model.accept(Command::RegisterNode {
        node: Box::new(node(11, "Renamed")),
    });
    model.accept(Command::RevertNode { id: id(1) });
    assert_eq!(read(&model).spec, spec("other", None));
}

#[test]
fn somebody_can_always_administer() {
    let mut model = Model::furnished();
    let last = "`admin` is the last administrator";
    let demote = Command::ReplaceUser {
        id: id(2),
        spec: user(2, "admin", Role::Viewer).spec,
        revision: None,
    };
    let delete = Command::DeleteUser {
        id: id(2),
        revision: None,
    };
    assert_eq!(model.refuse(demote.clone()), last);
    assert_eq!(model.refuse(delete.clone()), last);
    assert_eq!(
        model.refuse(Command::CreateUser {
            user: Box::new(user(8, "ADMIN", Role::Viewer))
        }),
        "there is a user called `ADMIN` already"
    );
    model.accept(Command::CreateUser {
        user: Box::new(user(8, "olga", Role::Administrator)),
    });
    model.accept(Command::CreateToken {
        token: Box::new(token(9, 2, Role::Administrator)),
    });
    model.accept(demote);
    let token_left: TokenRecord = model.record(id(9)).expect("the token");
    assert_eq!(
        token_left.spec.role,
        Role::Viewer,
        "a token loses what its owner lost"
    );
    assert_eq!(
        model.refuse(Command::CreateToken {
            token: Box::new(token(10, 2, Role::Operator))
        }),
        "role: a token can not do more than the user who makes it"
    );
    model.accept(delete);
    assert_eq!(model.record::<TokenRecord>(id(9)), None);
}

#[test]
fn sessions_end_with_time_password_and_number() {
    let mut model = Model::furnished();
    let open = |number, until| Command::OpenSession {
        session: Box::new(session(number, 2, number.cast_signed(), until)),
    };
    model.accept(open(50, 14));
    model.accept(open(51, 4000));
    // The model's clock is at 13 now, then 14: the first has ended.
    model.accept(open(52, 4000));
    assert_eq!(model.record::<SessionRecord>(id(50)), None);
    model.accept(Command::SetPassword {
        id: id(2),
        password_hash: "new".to_owned(),
        keep: Some(id(52)),
    });
    assert_eq!(model.record::<SessionRecord>(id(51)), None);
    for number in 200..260 {
        model.accept(open(number, 4000));
    }
    let count = model.dump()["session"].as_object().map(|all| all.len());
    assert_eq!(count, Some(50));
    assert_eq!(
        model.record::<SessionRecord>(id(52)),
        None,
        "the oldest went"
    );
    let revision = model.accept(Command::CloseSession { id: id(259) });
    assert_eq!(
        model.accept(Command::CloseSession { id: id(259) }),
        revision
    );
    let mut twin = session(300, 2, 0, 4000);
    twin.secret_hash = session(258, 2, 0, 0).secret_hash;
    let text = model.refuse(Command::OpenSession {
        session: Box::new(twin),
    });
    assert_eq!(text, "secret_hash: another session has this secret");
}

#[test]
fn networks_do_not_overlap_and_stay_while_used() {
    let mut model = Model::furnished();
    let create = |number, name: &str, mode| Command::CreateNetwork {
        network: Box::new(network(number, name, mode)),
    };
    assert_eq!(
        model.refuse(create(60, "wide", nat("10.0.0.0/8"))),
        "mode.subnet: 10.0.0.0/8 overlaps 10.77.0.0/24 of the network `lab`; choose another private network"
    );
    assert_eq!(
        model.refuse(create(60, "Lab", nat("10.78.0.0/24"))),
        "there is a network called `Lab` already"
    );
    model.accept(create(60, "inside", NetworkMode::Isolated {}));
    model.accept(Command::CreateVm {
        vm: Box::new(vm(40, "web", RunPolicy::Manual, &[], &[(6, 1)])),
        volumes: vec![],
    });
    let delete = |number| Command::DeleteNetwork {
        id: id(number),
        revision: None,
    };
    let in_use = "it is in use: the virtual machine `web`";
    assert_eq!(model.refuse(delete(6)), in_use);
    let isolate = Command::ReplaceNetwork {
        id: id(6),
        spec: network(6, "lab", NetworkMode::Isolated {}).spec,
        revision: None,
    };
    assert_eq!(model.refuse(isolate), in_use);
    model.accept(Command::ReplaceNetwork {
        id: id(6),
        spec: network(6, "lab", nat("10.79.0.0/24")).spec,
        revision: None,
    });
    assert_eq!(
        model.refuse(Command::ForgetNetwork { id: id(60) }),
        "the network is wanted"
    );
    let revision = model.accept(delete(60));
    assert_eq!(model.accept(delete(60)), revision);
    model.accept(Command::ForgetNetwork { id: id(60) });
    assert_eq!(
        model.accept(Command::ForgetNetwork { id: id(60) }),
        revision + 1
    );
    let management = Command::ReplaceNode {
        id: id(1),
        spec: NodeSpec {
            name: "ashlar-1".parse().expect("a name"),
            management: ashlar_api::node::Management {
                interface: None,
                ipv4: Addressing::Static {
                    address: "192.168.4.10/24".parse().expect("an address"),
                    gateway: None,
                    dns: Vec::new(),
                },
            },
        },
        revision: None,
        confirm_until: None,
    };
    model.accept(management);
    assert_eq!(
        model.refuse(create(61, "clash", nat("192.168.4.128/25"))),
        "mode.subnet: 192.168.4.128/25 overlaps 192.168.4.0/24 of the management network of `ashlar-1`; choose another private network"
    );
}

#[test]
fn the_images_stay_in_the_first_pool_that_was_made() {
    let mut model = Model::new();
    for command in furnished().into_iter().take(2) {
        model.accept(command);
    }
    let create = |number, name: &str, drive: &str| Command::CreatePool {
        pool: Box::new(pool(number, name, &[drive])),
        job: job(number + 100, Verb::Create),
    };
    let settle = |number, outcome| Command::SettlePool {
        id: id(number),
        outcome,
    };
    let delete = |number, with| Command::DeletePool {
        id: id(number),
        revision: None,
        job: job(with, Verb::Delete),
    };
    let library = |model: &Model, number| model.record::<PoolRecord>(id(number)).map(|p| p.library);
    let new_image = Command::CreateImage {
        image: Box::new(image(4, "debian")),
        job: job(150, Verb::Upload),
    };
    model.accept(create(30, "slow", "a"));
    model.accept(create(31, "fast", "b"));
    assert_eq!(
        model.refuse(create(32, "third", "a")),
        "drives[0]: the drive belongs to the storage pool `slow`"
    );
    assert_eq!(
        model.refuse(new_image.clone()),
        "there is no storage pool to keep images in"
    );
    model.accept(settle(31, Outcome::Done));
    model.accept(settle(30, Outcome::Done));
    assert_eq!(
        (library(&model, 30), library(&model, 31)),
        (Some(false), Some(true))
    );
    let erase = model.record::<PoolRecord>(id(31)).expect("the pool").erase;
    assert!(erase.is_empty(), "what was made is not erased again");
    model.accept(new_image);
    assert_eq!(
        model.refuse(delete(31, 160)),
        "it is in use: the images are kept in it"
    );
    model.accept(delete(30, 161));
    assert_eq!(
        model.refuse(delete(30, 162)),
        "the storage pool is being deleted already"
    );
    model.accept(Command::ForgetPool { id: id(30) });
    assert_eq!(job_state(&model, 161), Some(JobState::Succeeded));
    model.accept(create(33, "next", "a"));
    model.accept(settle(33, Outcome::Done));
    model.accept(Command::DeleteImage {
        id: id(4),
        revision: None,
    });
    assert_eq!(job_state(&model, 150), Some(JobState::Cancelled));
    model.accept(Command::ForgetImage { id: id(4) });
    model.accept(delete(31, 163));
    assert_eq!(
        (library(&model, 31), library(&model, 33)),
        (Some(false), Some(true))
    );
}

#[test]
fn volumes_fit_their_pool_and_image() {
    let mut model = Model::furnished();
    let create = |number, pool, size, image| Command::CreateVolume {
        volume: Box::new(volume(number, &format!("v{number}"), pool, size, image)),
        job: job(number + 100, Verb::Fill),
    };
    let ten = Bytes::gib(10);
    assert_eq!(
        model.refuse(create(70, 99, ten, None)),
        "pool: there is no such storage pool"
    );
    assert_eq!(
        model.refuse(create(70, 3, ten, Some(99))),
        "image: there is no such image"
    );
    assert_eq!(
        model.refuse(create(70, 3, ten, Some(5))),
        "image: `netinst` is a CD image; put it in the CD drive of a machine"
    );
    assert_eq!(
        model.refuse(create(70, 3, Bytes::gib(1), Some(4))),
        "size: at least 3 GiB, the size of the image `debian-13`"
    );
    model.accept(Command::CreatePool {
        pool: Box::new(pool(30, "slow", &["c"])),
        job: job(130, Verb::Create),
    });
    assert_eq!(
        model.refuse(create(70, 30, ten, None)),
        "the storage pool `slow` is being made"
    );
    model.accept(create(70, 3, Bytes(ten.0 + 1), Some(4)));
    let made: VolumeRecord = model.record(id(70)).expect("the volume");
    assert_eq!(made.spec.size, Bytes(ten.0 + BLOCK));
    assert_eq!(
        model.refuse(Command::DeleteImage {
            id: id(4),
            revision: None
        }),
        "it is in use: filling the volume `v70`"
    );

    let replace = |change: fn(&mut VolumeRecord)| {
        let mut record = volume(70, "v70", 3, Bytes(ten.0 + BLOCK), Some(4));
        change(&mut record);
        Command::ReplaceVolume {
            id: id(70),
            spec: record.spec,
            revision: None,
        }
    };
    let grow = replace(|volume| volume.spec.size = Bytes::gib(20));
    assert_eq!(model.refuse(grow.clone()), "the volume is not ready");
    model.accept(Command::SettleVolume {
        id: id(70),
        outcome: Outcome::Done,
    });
    assert_eq!(job_state(&model, 170), Some(JobState::Succeeded));
    model.accept(grow);
    assert_eq!(
        model.refuse(replace(|volume| volume.spec.size = Bytes::gib(19))),
        "size: a volume never shrinks; it has 20 GiB"
    );
    assert_eq!(
        model.refuse(replace(|volume| volume.spec.pool = id(30))),
        "pool: a volume stays in its pool"
    );
    assert_eq!(
        model.refuse(replace(|volume| volume.spec.image = None)),
        "image: a volume is filled once, when it is made"
    );
    assert_eq!(
        model.refuse(Command::DeletePool {
            id: id(3),
            revision: None,
            job: job(180, Verb::Delete)
        }),
        "it is in use: the volume `data`, the volume `v70`"
    );
    // What is settled stays settled.
    let revision = model.accept(Command::SettleVolume {
        id: id(7),
        outcome: failed(),
    });
    let ready: VolumeRecord = model.record(id(7)).expect("the volume");
    assert_eq!(ready.phase, Phase::Ready);
    assert!(revision > ready.revision);
}

#[test]
fn images_keep_their_bytes() {
    let mut model = Model::furnished();
    let mut spec = image(4, "debian-13").spec;
    spec.sha256 = Some("00".repeat(32));
    let replace = |spec| Command::ReplaceImage {
        id: id(4),
        spec,
        revision: None,
    };
    assert_eq!(
        model.refuse(replace(spec)),
        "sha256: an image keeps its checksum; make another image"
    );
    model.accept(Command::CreateImage {
        image: Box::new(image(8, "late")),
        job: job(108, Verb::Upload),
    });
    let settle = |outcome, content| Command::SettleImage {
        id: id(8),
        outcome,
        content,
    };
    assert_eq!(
        model.refuse(settle(Outcome::Done, None)),
        "content: a complete image needs what was found in it"
    );
    let attach = |name: &str, number, image| {
        let mut vm = vm(number, name, RunPolicy::Manual, &[], &[]);
        vm.spec.cdrom = Some(id(image));
        Command::CreateVm {
            vm: Box::new(vm),
            volumes: vec![],
        }
    };
    assert_eq!(
        model.refuse(attach("web", 40, 8)),
        "the image `late` is not complete yet"
    );
    assert_eq!(
        model.refuse(attach("web", 40, 4)),
        "cdrom: `debian-13` is the image of a disk; choose a CD image (ISO)"
    );
    model.accept(attach("web", 40, 5));
    assert_eq!(
        model.refuse(Command::DeleteImage {
            id: id(5),
            revision: None
        }),
        "it is in use: in the CD drive of the virtual machine `web`"
    );
    model.accept(Command::CancelJob { id: id(108) });
    assert_eq!(job_state(&model, 108), Some(JobState::Cancelling));
    model.accept(settle(Outcome::Cancelled, None));
    assert_eq!(job_state(&model, 108), Some(JobState::Cancelled));
    assert_eq!(
        model.refuse(Command::CancelJob { id: id(108) }),
        "the job is over already"
    );
    let late: ImageRecord = model.record(id(8)).expect("the image");
    assert!(matches!(late.phase, Phase::Failed { .. }));
    model.accept(settle(
        Outcome::Done,
        Some(content(ImageFormat::Raw, Bytes::gib(1))),
    ));
    assert_eq!(model.record::<ImageRecord>(id(8)), Some(late));
}

#[test]
fn a_job_that_says_so_can_be_cancelled_and_no_other() {
    let verbs = [
        (Verb::Create, false),
        (Verb::Upload, true),
        (Verb::Download, true),
        (Verb::Fill, true),
        (Verb::Delete, false),
    ];
    for (number, (verb, cancellable)) in (170..).zip(verbs) {
        let mut model = Model::furnished();
        model.accept(Command::CreateVolume {
            volume: Box::new(volume(70, "v70", 3, Bytes::gib(10), Some(4))),
            job: job(number, verb),
        });
        let running: JobRecord = model.record(id(number)).expect("the job");
        assert_eq!(running.is_cancellable(), cancellable, "{verb:?}");
        let cancel = Command::CancelJob { id: id(number) };
        if !cancellable {
            assert_eq!(model.refuse(cancel), "this job can not be cancelled");
            continue;
        }
        model.accept(cancel);
        let asked: JobRecord = model.record(id(number)).expect("the job");
        assert!(!asked.is_cancellable(), "{verb:?} was asked once");
    }
}

#[test]
fn only_the_newest_jobs_that_are_over_are_kept() {
    let mut model = Model::furnished();
    model.accept(Command::CreateVolume {
        volume: Box::new(volume(70, "slow", 3, Bytes::gib(1), None)),
        job: job(999, Verb::Create),
    });
    for number in 1000..1600 {
        model.accept(Command::CreateVolume {
            volume: Box::new(volume(
                number,
                &format!("v{number}"),
                3,
                Bytes::gib(1),
                None,
            )),
            job: job(number + 1000, Verb::Create),
        });
        model.accept(Command::SettleVolume {
            id: id(number),
            outcome: Outcome::Done,
        });
    }
    let jobs = model.dump()["job"].as_object().map(|jobs| jobs.len());
    assert_eq!(jobs, Some(501));
    assert_eq!(job_state(&model, 999), Some(JobState::Running));
    assert_eq!(job_state(&model, 2100), Some(JobState::Succeeded));
    assert_eq!(job_state(&model, 2099), None);
}
