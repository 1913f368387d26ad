//! A small world for a test: this thread in a network namespace of its own (the
//! node), and other namespaces at the other end of cables (the site's network,
//! guests). Everything in it is real: kernel, `udhcpc`, `dnsmasq`, `nft`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ashlar_api::network::{NetworkMode, NetworkSpec};
use ashlar_api::node::{Management, NodeSpec};
use ashlar_api::{NetworkId, NodeId, Timestamp};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;

use crate::network::{NetworkDomain, Places, Status};
use crate::reconcile::{Waker, drive};
use crate::state::Store;
use crate::state::command::Command as Wish;
use crate::state::schema::{NetworkRecord, NodeRecord};
use crate::sys::cgroup::Cgroup;

/// Runs a test on a thread of its own, which is the node.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let node = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(World::new().await).await });
    });
    if let Err(panic) = node.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a shell line here; its output, or a panic with it.
pub fn sh(line: &str) -> String {
    output(Command::new("sh").args(["-c", line]))
}

/// Whether a shell line succeeds here.
pub fn succeeds(line: &str) -> bool {
    let mut command = Command::new("sh");
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.args(["-c", line]).status().unwrap().success()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}

/// Another machine: a namespace that lives as long as this.
pub struct Machine {
    keeper: Child,
}

impl Machine {
    pub fn new() -> Machine {
        let mut keeper = Command::new("unshare");
        let keeper = keeper.args(["-n", "sh", "-c", "ip link set lo up; echo; exec sleep 600"]);
        let mut keeper = keeper.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(keeper.stdout.as_mut().unwrap(), &mut line).unwrap();
        Machine { keeper }
    }

    fn inside(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        let net = format!("--net=/proc/{}/ns/net", self.keeper.id());
        command.args([&net, "sh", "-c", line]);
        command
    }

    /// Runs a shell line there.
    pub fn sh(&self, line: &str) -> String {
        output(&mut self.inside(line))
    }

    /// Whether a shell line succeeds there.
    pub fn succeeds(&self, line: &str) -> bool {
        let mut command = self.inside(line);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().unwrap().success()
    }

    /// Starts a program there, which ends when the answer is dropped.
    pub fn start(&self, line: &str) -> Program {
        let mut command = self.inside(&format!("exec {line}"));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        Program(quiet.stderr(Stdio::null()).spawn().unwrap())
    }

    /// Lays a cable: `here` on the node, `there` on this machine, both switched on at its end only.
    pub fn cable(&self, here: &str, there: &str) {
        sh(&format!(
            "ip link add {here} type veth peer name {there} && ip link set {there} netns {}",
            self.keeper.id()
        ));
        self.sh(&format!("ip link set {there} up"));
    }

    /// Gives out addresses on a link: 192.0.2.100 and up, itself as router and name server.
    pub fn dhcp_server(&self, link: &str, directory: &Path) -> Program {
        let leases = directory.join(format!("far-leases-{}", self.keeper.id()));
        self.start(&format!(
            "dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --user=root --bind-interfaces \
             --interface={link} --except-interface=lo --dhcp-authoritative --no-ping --domain=site.example \
             --dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h --dhcp-leasefile={} --pid-file= \
             --address=/far.example/192.0.2.1 --local=/far.example/",
            leases.display()
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A program that ends with this.
pub struct Program(Child);

impl From<Child> for Program {
    fn from(child: Child) -> Program {
        Program(child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The node with its state and its network domain.
pub struct World {
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub node: NodeId,
    pub places: Places,
    running: Option<Running>,
}

struct Running {
    task: tokio::task::JoinHandle<()>,
    status: watch::Receiver<Status>,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn new() -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        // The DNS server drops its rights and must still reach its files.
        sh(&format!("chmod 755 {}", directory.path().display()));
        let node = NodeId(uuid::Uuid::from_u128(7));
        let store = Store::open(&directory.path().join("state"), node)
            .await
            .unwrap();
        let places = Places {
            run: directory.path().join("run"),
            state: directory.path().join("lib"),
            groups: PathBuf::from(format!(
                "ashlar-test-network-{}-{number}",
                std::process::id()
            )),
            hook: Some(hook(directory.path())),
        };
        std::fs::create_dir_all(&places.run).unwrap();
        std::fs::create_dir_all(&places.state).unwrap();
        let world = World {
            directory,
            store,
            node,
            places,
            running: None,
        };
        let spec = NodeSpec {
            name: "node1".parse().unwrap(),
            management: Management::default(),
        };
        world
            .wish(Wish::RegisterNode {
                node: Box::new(NodeRecord {
                    id: node,
                    revision: 0,
                    created_at: Timestamp::now(),
                    spec,
                    unconfirmed: None,
                }),
            })
            .await;
        world
    }

    /// Starts the domain.
    pub fn start(&mut self) {
        let (status_in, status) = watch::channel(Status::default());
        let (stop, stopped) = watch::channel(false);
        let waker = Waker::default();
        let domain = NetworkDomain::new(
            self.store.clone(),
            self.node,
            self.places.clone(),
            waker.clone(),
            status_in,
        );
        let task = tokio::spawn(drive(domain, waker, self.store.watch(), stopped));
        self.running = Some(Running {
            task,
            status,
            _stop: stop,
        });
    }

    /// Ends the domain as a kill of the supervisor does: in the middle of whatever it does.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            let _ = running.task.await;
        }
    }

    pub async fn wish(&self, command: Wish) {
        self.store.propose("test", command).await.unwrap();
    }

    pub async fn manage(&self, management: Management, confirm_until: Option<Timestamp>) {
        self.wish(Wish::ReplaceNode {
            id: self.node,
            spec: NodeSpec {
                name: "node1".parse().unwrap(),
                management,
            },
            revision: None,
            confirm_until,
        })
        .await;
    }

    /// Wants a network; its id and its bridge.
    pub async fn network(&self, name: &str, mode: NetworkMode) -> (NetworkId, String) {
        let record = NetworkRecord {
            id: NetworkId(uuid::Uuid::now_v7()),
            revision: 0,
            created_at: Timestamp::now(),
            deleting: false,
            spec: NetworkSpec {
                name: name.parse().unwrap(),
                description: String::new(),
                mode,
            },
        };
        let found = (record.id, record.bridge());
        self.wish(Wish::CreateNetwork {
            network: Box::new(record),
        })
        .await;
        found
    }

    pub fn status(&self) -> Status {
        self.running.as_ref().unwrap().status.borrow().clone()
    }

    /// Waits until the status is as wanted.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.running.as_ref().unwrap().status.clone();
        let limit = Duration::from_secs(60);
        let seen = tokio::time::timeout(limit, status.wait_for(|status| holds(status))).await;
        if let Ok(seen) = seen {
            return seen.unwrap().clone();
        }
        let last = self.status();
        panic!("{what} did not come about: {last:#?}\n{}", self.logs());
    }

    /// Waits until something holds on the machine.
    pub async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !holds() {
            let state = || sh("ip addr; ip route; nft list ruleset");
            assert!(
                Instant::now() < limit,
                "{what}: {}\n{}",
                state(),
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn logs(&self) -> String {
        sh(&format!(
            "cd {}/log 2>/dev/null && tail -n 20 *.log || true",
            self.places.run.display()
        ))
    }

    /// The processes of a child.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let group = Cgroup::named(self.places.groups.join(name)).unwrap();
        group.procs().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let groups = Cgroup::named(&self.places.groups).unwrap();
        let _ = groups.kill();
        let limit = Instant::now() + Duration::from_secs(5);
        while groups.remove().is_err() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The script of the DHCP client is this program in its hidden role; here that is the test `live::hook`.
fn hook(directory: &Path) -> PathBuf {
    let path = directory.join("hook");
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nASHLAR_TEST_EVENT=\"$1\" exec {} --quiet --ignored --exact network::tests::live::hook\n",
        program.display()
    );
    std::fs::write(&path, script).unwrap();
    sh(&format!("chmod 755 {}", path.display()));
    path
}
