//! A golden file per command in `testdata/command/`: how the command is written
//! in the log, and what it does to a known state.
//!
//! A log that was written once is read again by every later version, and must
//! lead to the same state. So a file here never changes: when a command gets a
//! field, its file keeps showing the old form, and the new form gets a file of
//! its own (`<command>.<what>.json`). `BLESS=1 cargo test` writes files that
//! are missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use ashlar_api::image::{ImageFormat, ImageSource};
use ashlar_api::job::Verb;
use ashlar_api::network::NetworkMode;
use ashlar_api::node::Addressing;
use ashlar_api::user::Role;
use ashlar_api::vm::{CloudInit, RunPolicy, VmAction};
use serde_json::{Value, json};

use super::sample::*;
use super::{Model, documents};
use crate::state::command::{Command, Outcome, Proposal};
use crate::state::migrate::RAFT;
use crate::state::schema::*;

/// Commands by name; the compiler has every one listed here.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Claim { .. } => "claim",
        Command::ReplaceSite { .. } => "replace-site",
        Command::RegisterNode { .. } => "register-node",
        Command::ReplaceNode { .. } => "replace-node",
        Command::ConfirmNode { .. } => "confirm-node",
        Command::RevertNode { .. } => "revert-node",
        Command::CreateUser { .. } => "create-user",
        Command::ReplaceUser { .. } => "replace-user",
        Command::SetPassword { .. } => "set-password",
        Command::DeleteUser { .. } => "delete-user",
        Command::CreateToken { .. } => "create-token",
        Command::DeleteToken { .. } => "delete-token",
        Command::OpenSession { .. } => "open-session",
        Command::CloseSession { .. } => "close-session",
        Command::CreateNetwork { .. } => "create-network",
        Command::ReplaceNetwork { .. } => "replace-network",
        Command::DeleteNetwork { .. } => "delete-network",
        Command::ForgetNetwork { .. } => "forget-network",
        Command::CreatePool { .. } => "create-pool",
        Command::SettlePool { .. } => "settle-pool",
        Command::DeletePool { .. } => "delete-pool",
        Command::ForgetPool { .. } => "forget-pool",
        Command::CreateVolume { .. } => "create-volume",
        Command::ReplaceVolume { .. } => "replace-volume",
        Command::SettleVolume { .. } => "settle-volume",
        Command::DeleteVolume { .. } => "delete-volume",
        Command::ForgetVolume { .. } => "forget-volume",
        Command::CreateImage { .. } => "create-image",
        Command::ReplaceImage { .. } => "replace-image",
        Command::SettleImage { .. } => "settle-image",
        Command::DeleteImage { .. } => "delete-image",
        Command::ForgetImage { .. } => "forget-image",
        Command::CreateVm { .. } => "create-vm",
        Command::ReplaceVm { .. } => "replace-vm",
        Command::ActOnVm { .. } => "act-on-vm",
        Command::EndVm { .. } => "end-vm",
        Command::DeleteVm { .. } => "delete-vm",
        Command::ForgetVm { .. } => "forget-vm",
        Command::CancelJob { .. } => "cancel-job",
        Command::FinishJob { .. } => "finish-job",
    }
}

/// How many commands each format of the log knows. A new command needs a new
/// format (a migration of `raft.db`, an empty one will do), so that an older
/// program refuses the log instead of stumbling over the command.
const COMMANDS: [(u32, usize); 1] = [(1, 40)];

/// One sample of every command, with what must have gone before it.
fn samples() -> Vec<(Vec<Command>, Command)> {
    let site = |name: &str| {
        let mut site = site_spec(name);
        site.description = "in the cellar".to_owned();
        site.ntp_servers = vec!["ntp.example.org".to_owned()];
        site
    };
    let fixed = || {
        let mut spec = node(1, "ashlar-1").spec;
        spec.management.interface = Some("enp1s0".to_owned());
        spec.management.ipv4 = Addressing::Static {
            address: "192.0.2.10/24".parse().expect("an address"),
            gateway: Some("192.0.2.1".parse().expect("an address")),
            dns: vec!["192.0.2.53".parse().expect("an address")],
        };
        spec
    };
    let change_node = || Command::ReplaceNode {
        id: id(1),
        spec: fixed(),
        revision: None,
        confirm_until: Some(at(200)),
    };
    let create_user = || Command::CreateUser {
        user: Box::new(user(20, "olga", Role::Operator)),
    };
    let create_token = || Command::CreateToken {
        token: Box::new(TokenRecord {
            spec: ashlar_api::user::TokenSpec {
                expires_at: Some(at(5000)),
                ..token(21, 20, Role::Viewer).spec
            },
            ..token(21, 20, Role::Viewer)
        }),
    };
    let open_session = || Command::OpenSession {
        session: Box::new(session(22, 20, 30, 4000)),
    };
    let create_pool = || Command::CreatePool {
        pool: Box::new(pool(30, "spare", &["drive-c"])),
        job: job(130, Verb::Create),
    };
    let delete_pool = || Command::DeletePool {
        id: id(30),
        revision: None,
        job: job(131, Verb::Delete),
    };
    let create_volume = || Command::CreateVolume {
        volume: Box::new(volume(
            31,
            "web-disk",
            3,
            Bytes(Bytes::gib(10).0 + 1),
            Some(4),
        )),
        job: job(132, Verb::Fill),
    };
    let delete_volume = || Command::DeleteVolume {
        id: id(31),
        revision: None,
        job: job(133, Verb::Delete),
    };
    let create_image = || {
        let mut image = image(32, "alpine");
        image.spec.source = ImageSource::Url {
            url: "https://example.org/alpine.qcow2".to_owned(),
        };
        image.spec.sha256 = Some("ab".repeat(32));
        Command::CreateImage {
            image: Box::new(image),
            job: job(134, Verb::Download),
        }
    };
    let delete_image = || Command::DeleteImage {
        id: id(32),
        revision: None,
    };
    let create_vm = || {
        let mut vm = vm(40, "web", RunPolicy::Always, &[41, 7], &[(6, 1)]);
        vm.spec.cdrom = Some(id(5));
        vm.spec.cloud_init = Some(CloudInit {
            user: "alice".to_owned(),
            password: Some("$6$salt$hash".to_owned()),
            ..CloudInit::default()
        });
        vm.power.boot = Some(id(900));
        let disk = volume(41, "web-disk0", 3, Bytes::gib(4), Some(4));
        Command::CreateVm {
            vm: Box::new(vm),
            volumes: vec![(disk, job(140, Verb::Fill))],
        }
    };
    let replaced_vm = || {
        let mut vm = vm(40, "web-2", RunPolicy::Manual, &[41, 42], &[(6, 1), (6, 2)]);
        vm.spec.protected = true;
        Command::ReplaceVm {
            id: id(40),
            spec: Box::new(vm.spec),
            revision: None,
            volumes: vec![(
                volume(42, "web-disk1", 3, Bytes::gib(1), None),
                job(141, Verb::Create),
            )],
            boot: Some(id(900)),
        }
    };
    let delete_vm = || Command::DeleteVm {
        id: id(40),
        revision: None,
        volumes: vec![id(41)],
    };
    let failed = || Outcome::Failed {
        message: "the drive does not answer".to_owned(),
    };
    let renamed_volume = {
        let mut volume = volume(7, "data-2", 3, Bytes::gib(12), None);
        volume.spec.description = "more of it".to_owned();
        volume.spec
    };
    let renamed_image = {
        let mut image = image(4, "debian-trixie");
        image.spec.description = "with cloud-init".to_owned();
        image.spec
    };
    let act = |action| Command::ActOnVm {
        id: id(40),
        action,
        boot: id(901),
    };

    vec![
        (vec![], furnished().swap_remove(1)),
        (
            vec![],
            Command::ReplaceSite {
                spec: site("cellar"),
                revision: Some(2),
            },
        ),
        (
            vec![],
            Command::RegisterNode {
                node: Box::new(node(11, "node-2")),
            },
        ),
        (vec![], change_node()),
        (vec![change_node()], Command::ConfirmNode { id: id(1) }),
        (vec![change_node()], Command::RevertNode { id: id(1) }),
        (vec![], create_user()),
        (
            vec![create_user()],
            Command::ReplaceUser {
                id: id(20),
                spec: user(20, "olga", Role::Administrator).spec,
                revision: None,
            },
        ),
        (
            vec![create_user(), open_session()],
            Command::SetPassword {
                id: id(20),
                password_hash: "$argon2id$v=19$m=19456,t=2,p=1$b3RoZXI$aGFzaA".to_owned(),
                keep: Some(id(23)),
            },
        ),
        (
            vec![create_user(), create_token(), open_session()],
            Command::DeleteUser {
                id: id(20),
                revision: None,
            },
        ),
        (vec![create_user()], create_token()),
        (
            vec![create_user(), create_token()],
            Command::DeleteToken { id: id(21) },
        ),
        (vec![create_user()], open_session()),
        (
            vec![create_user(), open_session()],
            Command::CloseSession { id: id(22) },
        ),
        (
            vec![],
            Command::CreateNetwork {
                network: Box::new(network(33, "dmz", nat("10.78.0.0/24"))),
            },
        ),
        (
            vec![],
            Command::ReplaceNetwork {
                id: id(6),
                spec: network(6, "lab-2", NetworkMode::Isolated {}).spec,
                revision: None,
            },
        ),
        (
            vec![],
            Command::DeleteNetwork {
                id: id(6),
                revision: None,
            },
        ),
        (
            vec![Command::DeleteNetwork {
                id: id(6),
                revision: None,
            }],
            Command::ForgetNetwork { id: id(6) },
        ),
        (vec![], create_pool()),
        (
            vec![create_pool()],
            Command::SettlePool {
                id: id(30),
                outcome: failed(),
            },
        ),
        (vec![create_pool()], delete_pool()),
        (
            vec![create_pool(), delete_pool()],
            Command::ForgetPool { id: id(30) },
        ),
        (vec![], create_volume()),
        (
            vec![],
            Command::ReplaceVolume {
                id: id(7),
                spec: renamed_volume,
                revision: None,
            },
        ),
        (
            vec![create_volume()],
            Command::SettleVolume {
                id: id(31),
                outcome: Outcome::Done,
            },
        ),
        (vec![create_volume()], delete_volume()),
        (
            vec![create_volume(), delete_volume()],
            Command::ForgetVolume { id: id(31) },
        ),
        (vec![], create_image()),
        (
            vec![],
            Command::ReplaceImage {
                id: id(4),
                spec: renamed_image,
                revision: None,
            },
        ),
        (
            vec![create_image()],
            Command::SettleImage {
                id: id(32),
                outcome: Outcome::Done,
                content: Some(content(ImageFormat::Vmdk, Bytes::gib(2))),
            },
        ),
        (vec![create_image()], delete_image()),
        (
            vec![create_image(), delete_image()],
            Command::ForgetImage { id: id(32) },
        ),
        (vec![], create_vm()),
        (vec![create_vm()], replaced_vm()),
        (vec![create_vm()], act(VmAction::Restart)),
        (
            vec![create_vm(), replaced_vm()],
            Command::EndVm {
                id: id(40),
                boot: id(900),
            },
        ),
        (vec![create_vm()], delete_vm()),
        (
            vec![create_vm(), delete_vm()],
            Command::ForgetVm { id: id(40) },
        ),
        (vec![create_vm()], Command::CancelJob { id: id(140) }),
        (
            vec![create_vm()],
            Command::FinishJob {
                id: id(140),
                outcome: Outcome::Cancelled,
            },
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/testdata/command")
}

/// What a proposal does to the state that these commands lead to.
fn effect(before: &[Command], proposal: &Proposal) -> Value {
    let mut model = if name(&proposal.command) == "claim" {
        let mut model = Model::new();
        model.accept(furnished().swap_remove(0));
        model
    } else {
        Model::furnished()
    };
    for command in before {
        model.accept(command.clone());
    }
    let (verdict, changed) = model.apply_proposal(proposal);
    json!({ "verdict": verdict, "changed": documents(&model.dump(), &changed) })
}

#[test]
fn every_command_is_written_and_does_as_ever() {
    let mut named = BTreeSet::new();
    for (before, command) in samples() {
        let command_name = name(&command);
        assert!(named.insert(command_name), "{command_name} is there twice");
        let proposal = Proposal {
            by: "admin".to_owned(),
            at: at(100),
            command,
        };
        let seen = json!({ "proposal": proposal, "effect": effect(&before, &proposal) });
        let file = folder().join(format!("{command_name}.json"));
        if !file.exists() && std::env::var_os("BLESS").is_some() {
            let text = serde_json::to_string_pretty(&seen).expect("JSON");
            std::fs::write(&file, text + "\n").expect("written");
        }
        let kept = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{command_name} has no golden file: {error}"));
        let kept: Value = serde_json::from_str(&kept).expect("JSON");
        assert_eq!(seen, kept, "{command_name} changed");
        let read: Proposal = serde_json::from_value(kept["proposal"].clone()).expect("a proposal");
        assert_eq!(read, proposal, "{command_name} is read differently");
    }
    let (format, commands) = COMMANDS[COMMANDS.len() - 1];
    assert_eq!(
        format,
        RAFT.version(),
        "say how many commands the format has"
    );
    assert_eq!(named.len(), commands, "a new command needs a new format");
}

#[test]
fn every_golden_file_can_be_read() {
    for file in std::fs::read_dir(folder()).expect("the folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("reads");
        let kept: Value = serde_json::from_str(&text).expect("JSON");
        serde_json::from_value::<Proposal>(kept["proposal"].clone())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
