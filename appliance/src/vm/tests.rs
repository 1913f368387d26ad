//! The domain with the real QEMU, emulated, its things in a folder of the test.
//!
//! The control groups are real as well: without a writable cgroup2 these tests fail.

use std::path::PathBuf;
use std::time::Duration;

use ashlar_api::job::Verb;
use ashlar_api::vm::{RunPolicy, VmAction, VmPhase, VmStatus};
use ashlar_api::{BootId, Bytes, NodeId, VmId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::arguments::tests::machine;
use super::process::Found;
use super::qmp::Qmp;
use super::wanted::{Assignment, Plug};
use super::*;
use crate::reconcile::{Waker, drive};
use crate::state::Store;
use crate::state::command::{Command, NewJob, Outcome};
use crate::state::schema::{PoolRecord, Power, VmRecord, VolumeRecord, Want};

/// How long anything may take here, on a busy machine without KVM.
const LONG: Duration = Duration::from_secs(120);

/// A node with nothing but machines.
struct Node {
    directory: tempfile::TempDir,
    store: Store,
    place: Place,
    boot: BootId,
}

/// A supervisor's part of it.
struct Watch {
    consoles: Consoles,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Node {
    async fn new(name: &str) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeId(uuid::Uuid::from_u128(7));
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let store = Store::open(&state, node).await.unwrap();
        let group = format!("ashlar-test-{name}-{}", std::process::id());
        let place = Place {
            root: directory.path().join("root"),
            group: PathBuf::from(group),
            with_kvm: false,
            ..Place::default()
        };
        Node {
            directory,
            store,
            place,
            boot: BootId(uuid::Uuid::from_u128(9)),
        }
    }

    fn begin(&self) -> Watch {
        let (sender, status) = watch::channel(Status::default());
        let waker = Waker::default();
        let node = NodeId(uuid::Uuid::from_u128(7));
        let (domain, consoles) = VmDomain::new(
            self.store.clone(),
            node,
            self.boot,
            self.place.clone(),
            waker.clone(),
            sender,
        );
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(drive(domain, waker, self.store.watch(), stopped));
        Watch {
            consoles,
            status,
            task,
            stop,
        }
    }

    async fn create(&self, policy: RunPolicy) -> VmId {
        self.create_with(policy, 0).await
    }

    async fn create_with(&self, policy: RunPolicy, disks: usize) -> VmId {
        let mut vm: VmRecord = machine(disks, 0, false);
        vm.uid = 0;
        vm.power = Power::default();
        vm.spec.run_policy = policy;
        vm.spec.memory = Bytes::mib(256);
        let id = vm.id;
        let vm = Box::new(vm);
        let volumes = Vec::new();
        self.say(Command::CreateVm { vm, volumes }).await;
        id
    }

    async fn say(&self, command: Command) {
        self.store.propose("test", command).await.unwrap();
    }

    /// A volume for the only disk of a machine; a file stands in for its device.
    async fn provide_disk(&self, size: u64) -> PathBuf {
        let created_at = "2026-11-22T08:04:52Z";
        let volumes = arguments::volumes(&machine(1, 0, false));
        let pool = json!({
            "id": uuid::Uuid::from_u128(0x400), "revision": 0, "created_at": created_at,
            "phase": {"phase": "preparing"}, "spec": {"name": "tank", "drives": ["drive-a"]}, "erase": [],
        });
        let volume = json!({
            "id": volumes[0], "revision": 0, "created_at": created_at, "phase": {"phase": "preparing"},
            "spec": {"name": "data", "pool": pool["id"], "size": 1 << 30},
        });
        let volume: VolumeRecord = serde_json::from_value(volume).unwrap();
        let pool: PoolRecord = serde_json::from_value(pool).unwrap();
        let job = |number| NewJob {
            id: ashlar_api::JobId(uuid::Uuid::from_u128(number)),
            verb: Verb::Create,
        };
        let (path, outcome) = (self.place.under(&volume.device()), Outcome::Done);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        let (id, of) = (volume.id, pool.id);
        let (pool, volume) = (Box::new(pool), Box::new(volume));
        let (first, second) = (job(0x401), job(0x402));
        self.say(Command::CreatePool { pool, job: first }).await;
        let done = outcome.clone();
        self.say(Command::SettlePool {
            id: of,
            outcome: done,
        })
        .await;
        let job = second;
        self.say(Command::CreateVolume { volume, job }).await;
        self.say(Command::SettleVolume { id, outcome }).await;
        path
    }

    async fn act(&self, id: VmId, action: VmAction) {
        let boot = self.boot;
        self.say(Command::ActOnVm { id, action, boot }).await;
    }

    fn kill_all(&self) {
        let groups = self.place.groups().unwrap();
        let _ = groups.kill();
        for _ in 0..50 {
            if groups.remove().is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Nothing is left behind by a test that fails.
impl Drop for Node {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl Watch {
    /// Waits until the status of a machine is as wanted.
    async fn until(&mut self, id: VmId, what: impl Fn(&VmStatus) -> bool) -> VmStatus {
        let mut status = self.status.clone();
        let seen = status.wait_for(|status| status.vms.get(&id).is_some_and(&what));
        match tokio::time::timeout(LONG, seen).await {
            Ok(status) => status.unwrap().vms[&id].clone(),
            Err(_) => panic!("never came; last: {:#?}", self.status.borrow()),
        }
    }

    async fn phase(&mut self, id: VmId, phase: VmPhase) -> VmStatus {
        self.until(id, |status| status.phase == phase).await
    }

    /// Ends as a supervisor does that is only replaced.
    async fn leave(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        drop(self.consoles);
    }
}

async fn until_serial(consoles: &Consoles, id: VmId, text: &str) -> String {
    let mut session = consoles.serial(id).await.unwrap();
    let mut seen = String::from_utf8_lossy(&session.history).into_owned();
    while !seen.contains(text) {
        let piece = tokio::time::timeout(LONG, session.output.recv()).await;
        let piece = piece.unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        seen += &String::from_utf8_lossy(&piece.unwrap());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_started_adopted_seen_killed_and_removed() {
    let node = Node::new("vm").await;
    let mut watch = node.begin();
    let id = node.create(RunPolicy::Manual).await;
    let stopped = watch.phase(id, VmPhase::Stopped).await;
    assert!(!stopped.wanted && stopped.pid.is_none());
    let error = watch.consoles.picture(id).await.unwrap_err();
    assert!(matches!(error, ConsoleError::NotRunning), "{error}");
    let nobody = VmId(uuid::Uuid::nil());
    let error = watch.consoles.vnc(nobody).await.unwrap_err();
    assert!(matches!(error, ConsoleError::NoSuchVm), "{error}");

    node.act(id, VmAction::Start).await;
    let running = watch.phase(id, VmPhase::Running).await;
    assert_eq!(running.kvm, Some(false));
    let pid = running.pid.unwrap();
    let line = until_serial(&watch.consoles, id, "BdsDxe").await;
    assert!(line.contains("BdsDxe"), "{line:?}");
    let user = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(user.contains("Uid:\t30000\t30000\t30000\t30000"), "{user}");
    assert!(user.contains("Seccomp:\t2") && user.contains("NoNewPrivs:\t1"));

    // A supervisor is replaced by another one; the guest goes on.
    watch.leave().await;
    assert_eq!(node.place.cgroup(id).unwrap().procs().unwrap(), [pid]);
    let mut watch = node.begin();
    let found = watch.phase(id, VmPhase::Running).await;
    assert_eq!(found.pid, Some(pid));
    assert!(found.since.is_some());
    let again = watch.consoles.serial(id).await.unwrap();
    assert!(String::from_utf8_lossy(&again.history).contains("BdsDxe"));

    let picture = watch.consoles.picture(id).await.unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n") && picture.len() > 200);
    let mut viewer = watch.consoles.vnc(id).await.unwrap();
    let mut hello = [0; 12];
    viewer.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"RFB 003.008\n");
    let loaded = watch.until(id, |status| status.load.is_some()).await;
    assert!(loaded.load.unwrap().memory > Bytes::mib(20));

    node.act(id, VmAction::Pause).await;
    watch.phase(id, VmPhase::Paused).await;
    node.act(id, VmAction::Resume).await;
    watch.phase(id, VmPhase::Running).await;
    node.act(id, VmAction::Reset).await;
    let mut record: VmRecord = node.store.get(id).unwrap().unwrap();
    record.spec.cpus = 3;
    record.spec.memory = Bytes::mib(192);
    node.say(Command::ReplaceVm {
        id,
        spec: Box::new(record.spec),
        revision: None,
        volumes: Vec::new(),
        boot: Some(node.boot),
    })
    .await;
    let waits = watch.until(id, |status| !status.pending.is_empty()).await;
    assert_eq!(waits.pending, ["cpus", "memory"]);
    assert_eq!(waits.pid, Some(pid));

    // A process that is killed: the status says so, and a machine that is run by hand stays off.
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let ended = watch.phase(id, VmPhase::Stopped).await;
    assert!(
        ended.message.contains("Its process ended unexpectedly"),
        "{ended:?}"
    );
    let off = tokio::time::timeout(LONG, async {
        loop {
            let record: VmRecord = node.store.get(id).unwrap().unwrap();
            if record.power.want == Want::Off {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    off.await.unwrap();
    assert!(!node.place.cgroup(id).unwrap().exists());

    // Started again, and cut.
    node.act(id, VmAction::Start).await;
    let running = watch
        .until(id, |status| {
            status.phase == VmPhase::Running && status.pid.is_some()
        })
        .await;
    assert!(running.pending.is_empty() && running.message.is_empty());
    node.act(id, VmAction::Stop).await;
    let off = watch.phase(id, VmPhase::Stopped).await;
    assert_eq!((off.message.as_str(), off.pid), ("", None));
    assert!(node.place.variables(id).exists());

    node.say(Command::DeleteVm {
        id,
        revision: None,
        volumes: Vec::new(),
    })
    .await;
    let gone = watch.status.wait_for(|status| status.vms.is_empty());
    tokio::time::timeout(LONG, gone).await.unwrap().unwrap();
    assert!(node.store.get::<VmRecord>(id).unwrap().is_none());
    assert!(!node.place.runtime(id).exists() && !node.place.variables(id).exists());
    watch.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_always_runs_comes_back_and_ends_with_the_node() {
    let node = Node::new("always").await;
    let mut watch = node.begin();
    let id = node.create(RunPolicy::Always).await;
    let first = watch.phase(id, VmPhase::Running).await.pid.unwrap();

    // Media go in and out of the drive of a machine that runs.
    let monitor = node.place.runtime(id).join("debug.sock");
    let (qmp, _events) = Qmp::connect(&monitor, LONG).await.unwrap();
    let medium = node.directory.path().join("medium.iso");
    std::fs::write(&medium, vec![0; 1 << 20]).unwrap();
    for path in [Some(medium.as_path()), Some(medium.as_path()), None, None] {
        settings::change_medium(&qmp, path).await.unwrap();
        let drives = qmp.run("query-block", json!({})).await.unwrap();
        let text = drives.to_string();
        assert!(text.contains("/dev/fdset/"), "{text}");
        assert_eq!(text.contains("medium"), path.is_some(), "{text}");
    }
    drop(qmp);

    kill(Pid::from_raw(first.cast_signed()), Signal::SIGKILL).unwrap();
    let failed = watch.phase(id, VmPhase::Failed).await;
    assert!(failed.message.contains("tried again"), "{failed:?}");
    assert_eq!(watch.status.borrow().faults[0].code, "vm-failed");
    let second = watch.phase(id, VmPhase::Running).await.pid.unwrap();
    assert_ne!(first, second);
    assert!(watch.status.borrow().faults.is_empty());

    assert_eq!(
        watch.until(id, |status| status.load.is_some()).await.pid,
        Some(second)
    );

    // The firmware does not hear the power button: it is cut when its time is over.
    let bound = Duration::from_secs(3);
    let began = std::time::Instant::now();
    watch.stop.send(true).unwrap();
    assert_eq!(end_all(&watch.consoles, bound).await, []);
    assert!(began.elapsed() >= bound && began.elapsed() < bound * 4);
    assert!(!node.place.cgroup(id).unwrap().is_populated());
    watch.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_grows_is_larger_for_the_guest_at_once() {
    let node = Node::new("grow").await;
    let path = node.provide_disk(8 << 20).await;
    let mut watch = node.begin();
    let id = node.create_with(RunPolicy::Always, 1).await;
    watch.phase(id, VmPhase::Running).await;
    let monitor = node.place.runtime(id).join("debug.sock");
    let (qmp, _events) = Qmp::connect(&monitor, LONG).await.unwrap();
    let size = async || {
        let drives = qmp.run("query-block", json!({})).await.unwrap();
        let drives = drives.as_array().unwrap().iter();
        let mut disks = drives.filter(|drive| drive["inserted"]["node-name"] == "disk0");
        disks.next().unwrap()["inserted"]["image"]["virtual-size"].as_u64()
    };
    let grow = |size| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
    };
    assert_eq!(size().await, Some(8 << 20));
    // Before and after a supervisor is replaced by another one.
    for bytes in [24 << 20, 32 << 20] {
        grow(bytes);
        let grown = tokio::time::timeout(LONG, async {
            while size().await != Some(bytes) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        grown.await.unwrap();
        watch.leave().await;
        watch = node.begin();
        let running = watch.phase(id, VmPhase::Running).await;
        assert!(running.message.is_empty() && running.pending.is_empty());
    }
    watch.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_can_not_run_says_why() {
    let mut node = Node::new("why").await;
    // A program that ends at once is a QEMU that ends at once.
    node.place.program = PathBuf::from("/bin/false");
    let mut watch = node.begin();
    let id = node.create(RunPolicy::Always).await;
    let failed = watch.phase(id, VmPhase::Failed).await;
    assert!(
        failed.message.contains("QEMU ended right after its start"),
        "{failed:?}"
    );
    assert!(!node.place.cgroup(id).unwrap().is_populated());
    node.act(id, VmAction::Stop).await;
    watch.phase(id, VmPhase::Stopped).await;

    let mut record: VmRecord = node.store.get(id).unwrap().unwrap();
    record.spec.memory = Bytes(4 * Bytes::TIB);
    node.say(Command::ReplaceVm {
        id,
        spec: Box::new(record.spec),
        revision: None,
        volumes: Vec::new(),
        boot: None,
    })
    .await;
    node.act(id, VmAction::Start).await;
    let short = watch.until(id, |status| {
        status.message.starts_with("It needs 4.02 TiB of memory")
    });
    let short = short.await;
    assert_eq!(short.phase, VmPhase::Failed);
    assert!(short.remedy.starts_with("Give it less memory"));
    assert_eq!(watch.status.borrow().faults[0].remedy, short.remedy);
    watch.leave().await;
}

/// A bridge in the network namespace of this thread.
async fn make_bridge(name: &str) {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    let bridge = rtnetlink::LinkBridge::new(name).up().build();
    handle.link().add(bridge).execute().await.unwrap();
    connection.abort();
}

/// Everything a machine can have, with the real taps in a network namespace of its own.
async fn start_with_everything() {
    make_bridge("br-test").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, size: u64| {
        let path = directory.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    };
    let mut record = machine(2, 1, true);
    record.spec.memory = Bytes::mib(128);
    record.spec.cloud_init = Some(ashlar_api::vm::CloudInit::default());
    let mac = record.spec.nics[0].mac.unwrap();
    let assignment = Assignment {
        disks: vec![file("one", 8 << 20), file("two", 8 << 20)],
        nics: vec![Plug {
            mac,
            tap: VmRecord::tap(mac),
            bridge: "br-test".to_owned(),
        }],
        cdrom: Some(file("medium", 1 << 20)),
        record,
    };
    let place = Place {
        root: directory.path().join("root"),
        group: PathBuf::from(format!("ashlar-test-every-{}", std::process::id())),
        with_kvm: false,
        ..Place::default()
    };
    let id = assignment.record.id;
    let process = process::start(&place, &assignment).await.unwrap();
    let monitor = process.monitor.as_ref().unwrap();
    assert!(!monitor.kvm && !process.started.ran);
    monitor.qmp.run("cont", json!({})).await.unwrap();
    let drives = monitor.qmp.run("query-block", json!({})).await.unwrap();
    for node in ["disk0", "disk1", "seed", "medium", "variables", "firmware"] {
        let node = format!("\"node-name\":\"{node}\"");
        assert!(drives.to_string().contains(&node), "{node} in {drives}");
    }
    let less = json!({ "value": 100u64 << 20 });
    monitor.qmp.run("balloon", less).await.unwrap();
    settings::change_medium(&monitor.qmp, None).await.unwrap();
    assert!(link::exists(&VmRecord::tap(mac)));
    drop(process);
    let Found::Running(process) = process::find(&place, &assignment.record).await.unwrap() else {
        panic!("not found");
    };
    assert_eq!(process.started.spec, assignment.record.spec);
    assert!(!process.started.ran);
    // A second start comes after the first one's end.
    let again = process::start(&place, &assignment).await.unwrap();
    assert!(!process.pidfd.is_alive() && again.pidfd.is_alive());
    drop((process, again));
    // What it was started with can not be read: its guest may be at work.
    let started = place.runtime(id).join("started.json");
    std::fs::write(&started, "{").unwrap();
    let Found::Running(process) = process::find(&place, &assignment.record).await.unwrap() else {
        panic!("not found");
    };
    assert!(process.started.ran);
    assert_eq!(process.started.spec, assignment.record.spec);
    place.cgroup(id).unwrap().kill().unwrap();
    tokio::time::timeout(LONG, process.pidfd.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(!link::exists(&VmRecord::tap(mac)));
    let found = process::find(&place, &assignment.record).await.unwrap();
    assert!(matches!(found, Found::Ended(_)), "{found:?}");
    std::fs::remove_file(&started).unwrap();
    let found = process::find(&place, &assignment.record).await.unwrap();
    assert!(matches!(found, Found::Nothing), "{found:?}");
    place.erase(id).unwrap();
    place.groups().unwrap().remove().unwrap();
}

#[test]
fn every_device_of_a_machine_works() {
    let inside = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(start_with_everything());
    };
    std::thread::spawn(inside).join().unwrap();
}
