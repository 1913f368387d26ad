//! What becomes of a node whose own programs fail: a supervisor that hangs is restarted, and process 1 ends the machine
//! in order when it fails itself.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ashlar_api::Page;
use ashlar_api::fault::Fault;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_image::qemu::{RunOptions, Shell};
use ashlar_tests::{Node, calm, node, options, vm, wait};
use tokio::sync::Mutex;

/// Of a shell in an emulated machine.
const SHELL: Duration = Duration::from_secs(60);
/// Less than what init has without being told, so that the test is short; a multiple of its looks.
const PATIENCE: u64 = 42;
/// The phases of an end, as init tells them, and what the supervisor says in the first.
const ORDER: [&str; 8] = [
    "end: Stopping virtual machines and services",
    "the machine ends",
    "end: Stopping virtual machines that are left",
    "end: Ending all programs",
    "end: Saving the time",
    "end: Unmounting file systems",
    "end: Releasing disks",
    "end: Writing what is left",
];
/// One machine at a time: the hosts of these tests have two processors.
static TURN: Mutex<()> = Mutex::const_new(());

/// A node with a shell, that says on its serial line what goes on.
fn told(name: &str, more: &[String]) -> Result<RunOptions> {
    let mut options = calm(options(name))?;
    let words = ["ashlar.log=kernel", "printk.devkmsg=on", "loglevel=7"];
    let words = words.into_iter().map(str::to_owned);
    options.kernel_arguments.extend(words.chain(more.to_vec()));
    options.shell = true;
    Ok(options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_hangs_is_restarted_and_machines_go_on() -> Result<()> {
    let _turn = TURN.lock().await;
    let patience = format!("ashlar.supervisor-patience={PATIENCE}");
    let mut node = Node::ready(told("process-hang", &[patience])?).await?;
    let pool: Page<ashlar_api::pool::Pool> = node.api().get("/api/v1/pools").await?;
    let pool = pool.items.first().context("no pool")?.id.to_string();
    let made: Vm = node
        .api()
        .post("/api/v1/vms", &vm::empty("goes-on", &pool, "always"))
        .await?;
    let path = made.id.to_string();
    let before = vm::phase(node.api(), &path, VmPhase::Running).await?;

    let mut shell = node.machine().shell()?;
    // By now it has been up for as long as the patience lasts, and one that is well is left alone.
    let up = shell.run("cut -d. -f1 /proc/uptime", SHELL)?;
    let up: u64 = up.trim().parse()?;
    tokio::time::sleep(Duration::from_secs((2 * PATIENCE).saturating_sub(up))).await;
    ensure!(
        !node.screen().contains("the supervisor ended"),
        "a healthy one was restarted"
    );
    let stuck = supervisor(&mut shell)?;
    shell.run(&format!("kill -STOP {stuck}"), SHELL)?;
    drop(shell);
    let limit = Duration::from_secs(3 * PATIENCE);
    let hangs = format!("the supervisor hangs: it gave no sign for {PATIENCE} s");
    says(&node, &hangs, limit).await?;
    says(
        &node,
        &format!("the supervisor ended: it gave no sign for {PATIENCE} s and was killed"),
        limit,
    )
    .await?;
    node.answers().await?;
    let next = supervisor(&mut node.machine().shell()?)?;
    ensure!(next != stuck, "it is the same process");
    let after = vm::phase(node.api(), &path, VmPhase::Running).await?;
    ensure!(
        after.status.pid == before.status.pid,
        "another process: {:?}, it was {:?}",
        after.status,
        before.status
    );
    let fault = fault(&node, "supervisor-hung").await?;
    ensure!(
        fault.detail.contains("been once") && fault.remedy.contains("system drive"),
        "{fault:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn process_1_ends_the_machine_in_order_when_it_fails() -> Result<()> {
    let _turn = TURN.lock().await;
    let mut node = Node::boot(told("process-panic", &[])?).await?;
    node.claim().await?;
    for (signal, why) in [
        // Heard where there is a debug shell, and answered by a panic.
        ("USR2", "somebody at the debug shell wants it"),
        // As if it had touched memory that is not there.
        ("SEGV", "a fault of its own, SIGSEGV"),
    ] {
        let from = node.screen().len();
        // The shell goes with the machine.
        let _ = node
            .machine()
            .shell()?
            .run(&format!("kill -{signal} 1"), Duration::from_secs(2));
        ends_in_order(&node, from, why)
            .await
            .with_context(|| format!("after SIG{signal}"))?;
        node.answers().await?;
        let screen = node.screen();
        ensure!(
            !screen.contains("Attempted to kill init"),
            "the kernel had to end it"
        );
        node.api_mut().sign_in().await?;
        let fault = fault(&node, "init-failed").await?;
        ensure!(fault.detail.contains(why), "{fault:?}");
        // What was mounted was unmounted: nothing was to be replayed.
        let mut shell = node.machine().shell()?;
        let said = shell.run("dmesg", SHELL)?;
        ensure!(
            !said.contains("recovery complete") && !said.contains("recovering journal"),
            "{said}"
        );
        let kept = shell.run("cat /var/lib/ashlar/crash/*-process-1", SHELL)?;
        ensure!(kept.contains(why), "{kept}");
    }
    Ok(())
}

/// The process that init started and watches.
fn supervisor(shell: &mut Shell) -> Result<u32> {
    // Its tools are in the same group.
    let list = "for p in $(cat /sys/fs/cgroup/supervisor/cgroup.procs); do \
                grep -q ashlar.supervisor /proc/$p/cmdline && echo $p; done; true";
    let said = shell.run(list, SHELL)?;
    let first = said.split_whitespace().next();
    first
        .and_then(|pid| pid.parse().ok())
        .with_context(|| format!("no supervisor: {said}"))
}

async fn says(node: &Node, text: &str, limit: Duration) -> Result<()> {
    wait::until(&format!("\"{text}\""), limit, || async {
        Ok::<_, std::convert::Infallible>(node.screen().contains(text).then_some(()))
    })
    .await
}

/// Waits until the machine has told every phase of its end, in order, after `from` on the screen, and starts again.
async fn ends_in_order(node: &Node, from: usize, why: &str) -> Result<()> {
    wait::until("the end of the machine", node::BOOT, || async {
        let screen = node.screen();
        let mut rest = screen.get(from..).unwrap_or_default();
        for text in [why]
            .iter()
            .chain(&ORDER)
            .chain(&["ready for the supervisor"])
        {
            match rest.split_once(text) {
                Some((_, after)) => rest = after,
                None => bail!("\"{text}\" is missing in the right place"),
            }
        }
        Ok(Some(()))
    })
    .await
}

async fn fault(node: &Node, code: &str) -> Result<Fault> {
    wait::until(&format!("the fault {code}"), node::BOOT, || async {
        let page: Page<Fault> = node.api().get("/api/v1/faults").await?;
        let mut faults = page.items.into_iter();
        Ok::<_, anyhow::Error>(faults.find(|fault| fault.code == code))
    })
    .await
}
