//! The process of a running machine, looked at from a shell in the node: what it may do, and what it uses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::vm::Vm;
use ashlar_image::qemu::Shell;

use crate::node::Node;

const COMMAND: Duration = Duration::from_secs(30);
/// A guest that has started from its disk has done more than this.
const SOME: u64 = 100;

/// Everything that is claimed of the process of a machine with a disk and an interface whose guest has used both. The
/// node must have its debug shell.
pub fn is_confined_and_quick(node: &mut Node, vm: &Vm) -> Result<()> {
    let pid = vm.status.pid.context("it has no process")?;
    let mut shell = node.machine().shell()?;
    threads_may_nothing(&mut shell, pid).context("what it may do")?;
    in_a_group_of_its_own(&mut shell, pid, vm).context("its control group")?;
    disks_by_io_uring(&mut shell, pid).context("how it reaches its disk")?;
    packets_by_the_kernel(&mut shell, pid).context("how it reaches its network")
}

/// One thread of it.
struct Thread {
    name: String,
    /// Of `/proc/<pid>/status`: name and value.
    status: Vec<(String, String)>,
}

impl Thread {
    fn value(&self, name: &str) -> Result<&str> {
        let found = self.status.iter().find(|(other, _)| other == name);
        let (_, value) = found.with_context(|| format!("{} has no {name}", self.name))?;
        Ok(value)
    }

    /// How often it waited for something to do.
    fn waited(&self) -> Result<u64> {
        Ok(self.value("voluntary_ctxt_switches")?.parse()?)
    }
}

fn threads(shell: &mut Shell, pid: u32) -> Result<Vec<Thread>> {
    let said = shell.run(&format!("cat /proc/{pid}/task/*/status"), COMMAND)?;
    let mut threads: Vec<Thread> = Vec::new();
    for line in said.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().to_owned();
        match (name, threads.last_mut()) {
            ("Name", _) => threads.push(Thread {
                name: value,
                status: Vec::new(),
            }),
            (_, Some(thread)) => thread.status.push((name.to_owned(), value)),
            (_, None) => {}
        }
    }
    Ok(threads)
}

/// It is nobody, can become nobody else, and may make few calls of the kernel.
fn threads_may_nothing(shell: &mut Shell, pid: u32) -> Result<()> {
    let threads = threads(shell, pid)?;
    ensure!(threads.len() > 2, "only {} threads", threads.len());
    for thread in &threads {
        let name = &thread.name;
        for ids in ["Uid", "Gid"] {
            let ids: Vec<&str> = thread.value(ids)?.split_whitespace().collect();
            let same = ids.len() == 4 && ids.iter().all(|id| *id == ids[0]);
            ensure!(same && ids[0] != "0", "{name} runs as {ids:?}");
        }
        let groups: Vec<&str> = thread.value("Groups")?.split_whitespace().collect();
        ensure!(
            groups.len() <= 1 && !groups.contains(&"0"),
            "{name} is in more groups than that of KVM: {groups:?}"
        );
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let set = u64::from_str_radix(thread.value(set)?, 16)?;
            ensure!(set == 0, "{name} has capabilities: {set:#x}");
        }
        ensure!(
            thread.value("NoNewPrivs")? == "1",
            "{name} can get new rights"
        );
        // The kernel's own part runs no code of QEMU.
        if !name.starts_with("vhost-") && !name.starts_with("iou-") {
            ensure!(
                thread.value("Seccomp")? == "2",
                "{name} may make any call of the kernel"
            );
        }
    }
    Ok(())
}

fn in_a_group_of_its_own(shell: &mut Shell, pid: u32, vm: &Vm) -> Result<()> {
    let group = format!("/vm/{}", vm.id);
    let said = shell.run(&format!("cat /proc/{pid}/cgroup"), COMMAND)?;
    ensure!(said.trim() == format!("0::{group}"), "it is in {said}");
    let mut attribute = |name: &str| -> Result<String> {
        let said = shell.run(&format!("cat /sys/fs/cgroup{group}/{name}"), COMMAND)?;
        Ok(said.trim().to_owned())
    };
    let inside = attribute("cgroup.procs")?;
    ensure!(inside == pid.to_string(), "beside {pid} there is {inside}");
    let most: u64 = attribute("memory.max")?.parse().context("no limit")?;
    ensure!(most > vm.spec.memory.0, "it may use {most} bytes only");
    Ok(())
}

fn disks_by_io_uring(shell: &mut Shell, pid: u32) -> Result<()> {
    let said = arguments(shell, pid)?;
    ensure!(
        said.contains(r#""aio":"io_uring""#) && said.contains("iothread=disks"),
        "not told to: {said}"
    );
    // QEMU makes a ring with the first request that goes through it, and takes threads when it can have none.
    let rings = format!(
        "cd /proc/{pid}/fd; for n in *; do case $(readlink $n) in *io_uring*) \
         sed -n 's/^SqTail://p' ../fdinfo/$n;; esac; done; cd /"
    );
    let said = shell.run(&rings, COMMAND)?;
    let requests: Vec<u64> = said
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    ensure!(
        requests.iter().any(|count| *count > SOME),
        "rings with so many requests: {requests:?}"
    );
    let threads = threads(shell, pid)?;
    let disks = threads.iter().find(|thread| thread.name == "IO disks");
    let waited = disks.context("no thread for disks")?.waited()?;
    ensure!(waited > SOME, "the thread for disks waited {waited} times");
    eprintln!("requests by io_uring: {requests:?}");
    Ok(())
}

fn packets_by_the_kernel(shell: &mut Shell, pid: u32) -> Result<()> {
    let said = arguments(shell, pid)?;
    ensure!(said.contains("vhost=on"), "not told to: {said}");
    let open = format!("cd /proc/{pid}/fd; for n in *; do readlink $n; done; cd /");
    let open = shell.run(&open, COMMAND)?;
    for file in ["/dev/vhost-net", "/dev/net/tun", "anon_inode:kvm-vcpu:0"] {
        ensure!(
            open.lines().any(|line| line.trim() == file),
            "{file} is not open: {open}"
        );
    }
    let threads = threads(shell, pid)?;
    let mover = threads
        .iter()
        .find(|thread| thread.name == format!("vhost-{pid}"));
    let waited = mover.context("no thread of the kernel")?.waited()?;
    ensure!(waited > 0, "no packet was moved");
    Ok(())
}

fn arguments(shell: &mut Shell, pid: u32) -> Result<String> {
    shell.run(&format!("tr '\\0' '\\n' < /proc/{pid}/cmdline"), COMMAND)
}
