//! The whole way: claim in the browser, upload a real Debian guest, make a machine from it, log in on its serial line,
//! reach the node over the NAT network, see its screen; power the node off with the guest running, and on again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::node::Node as NodeObject;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_image::qemu::RunOptions;
use ashlar_tests::browser::Browser;
use ashlar_tests::picture::Picture;
use ashlar_tests::serial::Serial;
use ashlar_tests::{Node, for_guests, guest, options, process, vm, wait, walk};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// The guest's first boot runs cloud-init on an emulated processor.
const FIRST_BOOT: Duration = Duration::from_secs(900);
const SHELL: Duration = Duration::from_secs(120);
/// An orderly end waits for guests and flushes; emulated ones slowly.
const OFF: Duration = Duration::from_secs(240);
/// The last words of a kernel that was told to switch off.
const POWERED_DOWN: &str = "reboot: Power down";
const GUEST_USER: &str = "ada";
const GUEST_PASSWORD: &str = "analytical engine";

#[tokio::test(flavor = "multi_thread")]
async fn from_power_on_to_a_guest_in_the_browser() -> Result<()> {
    let mut node = Node::boot(RunOptions {
        shell: true,
        ..for_guests(options("spine"))?
    })
    .await?;
    let mut browser = Browser::start("spine", 1440, 900).await?;
    walk::claim(&node, &mut browser)
        .await
        .context("claim in the browser")?;
    node.api_mut().sign_in().await?;
    walk::make_network(&node, &mut browser)
        .await
        .context("make a network in the browser")?;
    walk::upload(&node, &mut browser, &guest::debian()?)
        .await
        .context("upload the guest in the browser")?;
    let id = make_machine(&node, &mut browser)
        .await
        .context("make a machine in the browser")?;

    let running = vm::phase(node.api(), &id, VmPhase::Running).await?;
    ensure!(
        running.status.kvm == Some(true),
        "it does not run under KVM: {:?}",
        running.status
    );
    ensure!(
        running
            .spec
            .cloud_init
            .as_ref()
            .is_some_and(|c| c.password.is_none()),
        "a password was answered"
    );
    browser.sees("Running").await?;
    browser.picture("machine").await?;

    reach_the_node(&node, &id)
        .await
        .context("reach the node from the guest")?;
    process::is_confined_and_quick(&mut node, &running)
        .context("what QEMU is and uses on the node")?;
    let seen: Vm = node.api().get(&format!("/api/v1/vms/{id}")).await?;
    ensure!(
        seen.status
            .addresses
            .iter()
            .any(|a| a.to_string().starts_with("10.77.0.")),
        "its address is not shown: {:?}",
        seen.status
    );
    browser.sees("10.77.0.").await?;
    browser.picture("machine-running").await?;

    browser.click("Serial line").await?;
    browser
        .sees("The same on the command line: ashlar console web-01")
        .await?;
    browser
        .find(
            "the serial line in the page",
            "//ashlar-serial//*[contains(@class, 'xterm-screen')]",
        )
        .await?;
    browser.picture("serial").await?;
    look_at_its_screen(&node, &mut browser, &id)
        .await
        .context("see its screen in the browser")?;

    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    browser.close().await?;
    power_off(&mut node, &id)
        .await
        .context("power off with a guest")?;
    power_on(&mut node, &id)
        .await
        .context("power on with a guest")
}

/// Makes a machine by the wizard and gives its id.
async fn make_machine(node: &Node, browser: &mut Browser) -> Result<String> {
    browser.open(&format!("{}/vms", node.url())).await?;
    browser.sees("No virtual machines yet").await?;
    browser.picture("no-machines").await?;
    browser.click("New virtual machine").await?;
    browser.fill("Name", "web-01").await?;
    browser.choose("Image", "debian-13").await?;
    browser.picture("new-machine").await?;
    browser.click("Next").await?;
    browser.pick("Own size").await?;
    browser.fill("Processors", "1").await?;
    browser.fill("Memory", "768 MiB").await?;
    browser.fill("Disk", "2 GiB").await?;
    browser.picture("new-machine-size").await?;
    browser.click("Next").await?;
    browser.pick("inside").await?;
    browser.click("Next").await?;
    browser.fill("User", GUEST_USER).await?;
    browser.fill("Password", GUEST_PASSWORD).await?;
    browser.picture("new-machine-first-start").await?;
    browser.click("Next").await?;
    browser.sees("It fits").await?;
    browser.picture("new-machine-check").await?;
    browser.click("Create the machine").await?;
    browser.sees("About").await?;
    let machines: Page<Vm> = node.api().get("/api/v1/vms").await?;
    let machine = machines
        .items
        .into_iter()
        .find(|vm| vm.spec.name.as_str() == "web-01");
    Ok(machine.context("there is no such machine")?.id.to_string())
}

/// Logs in on the serial line, which shows a prompt then.
async fn log_in(node: &Node, id: &str) -> Result<Serial> {
    let mut serial = Serial::open(node.api(), id).await?;
    serial
        .expect("login:", FIRST_BOOT)
        .await
        .with_context(|| node.condition())?;
    serial.send(&format!("{GUEST_USER}\n")).await?;
    serial.expect("assword:", SHELL).await?;
    serial.send(&format!("{GUEST_PASSWORD}\n")).await?;
    serial.expect("$ ", SHELL).await?;
    Ok(serial)
}

/// Runs a command in the guest and gives what it printed.
async fn run(serial: &mut Serial, command: &str) -> Result<String> {
    // An echo of the command is not taken for its end.
    serial
        .send(&format!("{command}; echo end-of-$((40+2))\n"))
        .await?;
    serial.expect("end-of-42", SHELL).await
}

async fn reach_the_node(node: &Node, id: &str) -> Result<()> {
    let mut serial = log_in(node, id).await?;
    let addresses = run(&mut serial, "ip -4 -br addr show scope global").await?;
    ensure!(
        addresses.contains("10.77.0."),
        "no address by DHCP: {addresses}"
    );
    let health = "curl -sk --max-time 20 https://10.77.0.1/api/v1/health";
    let health = run(&mut serial, health).await?;
    ensure!(
        health.contains("\"version\""),
        "the node is not reached: {health}"
    );
    Ok(())
}

/// Powers the node off by its API: the guest is asked and ends by itself, then the node does.
async fn power_off(node: &mut Node, id: &str) -> Result<()> {
    let nodes: Page<NodeObject> = node.api().get("/api/v1/nodes").await?;
    let own = nodes.items.first().context("no node")?;
    // Looked for from inside: the API is away while guests end, and with the node goes what they said.
    let mut shell = node.machine().shell()?;
    let wait = format!(
        "until grep -a '{POWERED_DOWN}' /run/ashlar/vm/{id}/serial.log; do sleep 0.1; done"
    );
    let guest = tokio::task::spawn_blocking(move || shell.run(&wait, OFF));
    let began = Instant::now();
    let path = format!("/api/v1/nodes/{}/power-off", own.id);
    let body = json!({ "confirm": own.spec.name });
    let answer = node.api().request(Method::POST, &path, Some(&body)).await?;
    ensure!(answer.status == StatusCode::ACCEPTED, "{}", answer.status);
    guest
        .await?
        .context("the guest did not end by itself before the node did")?;
    let guest = began.elapsed();
    ensure!(
        node.machine().wait_off(OFF),
        "the node is still on {} s after it was told to end",
        began.elapsed().as_secs()
    );
    eprintln!(
        "the guest was off after {} ms, the node after {} ms",
        guest.as_millis(),
        began.elapsed().as_millis()
    );
    Ok(())
}

/// Powers the node on: the guest runs again, and finds its file system as it left it.
async fn power_on(node: &mut Node, id: &str) -> Result<()> {
    node.plug_power()?;
    node.answers().await?;
    node.api_mut().sign_in().await?;
    vm::phase(node.api(), id, VmPhase::Running).await?;
    let mut serial = log_in(node, id).await?;
    // Its kernel mounts it unchecked, and says so when it has to bring the journal in first.
    let said = run(&mut serial, "sudo dmesg | grep EXT4-fs").await?;
    ensure!(
        said.contains("): mounted filesystem "),
        "its file system is not seen: {said}"
    );
    ensure!(
        !said.to_lowercase().contains("recover"),
        "its file system was not at rest: {said}"
    );
    Ok(())
}

/// What the browser paints must be what QEMU says its screen is.
async fn look_at_its_screen(node: &Node, browser: &mut Browser, id: &str) -> Result<()> {
    browser.click("Screen").await?;
    let path = format!("/api/v1/vms/{id}/screenshot");
    let same = wait::until("the same picture in the browser", SHELL, || async {
        let shown = browser.guest_screen().await?;
        let answer = node.api().request(Method::GET, &path, None::<&()>).await?;
        ensure!(answer.status.is_success(), "no picture: {}", answer.status);
        let real = Picture::png(&answer.body)?;
        ensure!(real.content() > 0.001, "the screen is empty");
        let same = shown.same_as(&real)?;
        // A cursor may blink between the two.
        ensure!(same > 0.99, "only {same:.3} of the screen is the same");
        Ok::<_, anyhow::Error>(Some(same))
    })
    .await;
    browser.picture("screen").await?;
    same.map(drop)
}
