//! The whole way: claim in the browser, upload a real Debian guest, make a machine from it, log in on its serial line,
//! reach the node over the NAT network, see its screen.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_tests::browser::Browser;
use ashlar_tests::picture::Picture;
use ashlar_tests::serial::Serial;
use ashlar_tests::{Node, guest, options, vm, wait, walk};
use reqwest::Method;

/// The guest's first boot runs cloud-init on an emulated processor.
const FIRST_BOOT: Duration = Duration::from_secs(900);
const SHELL: Duration = Duration::from_secs(120);
const GUEST_USER: &str = "ada";
const GUEST_PASSWORD: &str = "analytical engine";

#[tokio::test(flavor = "multi_thread")]
async fn from_power_on_to_a_guest_in_the_browser() -> Result<()> {
    let mut node = Node::boot(options("spine")).await?;
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
            .is_some_and(|c| c.password.is_none()),
        "a password was answered"
    );
    browser.sees("Running").await?;
    browser.picture("machine").await?;

    log_in(&node, &id)
        .await
        .context("log in on the serial line")?;
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
    browser.close().await
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

async fn log_in(node: &Node, id: &str) -> Result<()> {
    let mut serial = Serial::open(node.api(), id).await?;
    serial.expect("login:", FIRST_BOOT).await?;
    serial.send(&format!("{GUEST_USER}\n")).await?;
    serial.expect("assword:", SHELL).await?;
    serial.send(&format!("{GUEST_PASSWORD}\n")).await?;
    serial.expect("$ ", SHELL).await?;
    serial
        .send("ip -4 -br addr show scope global; echo end-of-$((40+2))\n")
        .await?;
    let addresses = serial.expect("end-of-42", SHELL).await?;
    ensure!(
        addresses.contains("10.77.0."),
        "no address by DHCP: {addresses}"
    );
    serial
        .send("curl -sk --max-time 20 https://10.77.0.1/api/v1/health; echo end-of-$((42+1))\n")
        .await?;
    let health = serial.expect("end-of-43", SHELL).await?;
    ensure!(
        health.contains("\"version\""),
        "the node is not reached: {health}"
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
