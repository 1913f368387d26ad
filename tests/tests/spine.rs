//! The whole way: claim in the browser, upload a real Debian guest, make a machine from it, log in on its serial line,
//! reach the node over the translated network, see its screen.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_tests::api::{PASSWORD, USER};
use ashlar_tests::browser::Browser;
use ashlar_tests::serial::Serial;
use ashlar_tests::{Node, guest, options, vm};
use serde_json::json;

/// The guest's first boot runs cloud-init on an emulated processor.
const FIRST_BOOT: Duration = Duration::from_secs(900);
const SHELL: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn from_power_on_to_a_guest_in_the_browser() -> Result<()> {
    let mut node = Node::boot(options("spine")).await?;
    let mut browser = Browser::start("spine", 1440, 900).await?;
    claim(&node, &mut browser).await.context("claim in the browser")?;
    node.api_mut().sign_in().await?;
    let pools: Page<ashlar_api::pool::Pool> = node.api().get("/api/v1/pools").await?;
    let pool = pools.items.first().context("the wizard made no pool")?.id.to_string();

    let content = std::fs::read(guest::debian()?).context("no guest image")?;
    let image = vm::upload(node.api(), "debian-13", &content).await.context("upload the guest")?;
    let network = vm::nat(node.api()).await?;
    let body = json!({
        "name": "web-01", "cpus": 1, "memory": 768u64 << 20, "run_policy": "manual",
        "disks": [{ "type": "new", "pool": pool, "size": 2u64 << 30, "image": image.id }],
        "nics": [{ "network": network.id }],
        "cloud_init": { "hostname": "web-01", "user": "ada", "password": "analytical engine" },
    });
    let made: Vm = node.api().post("/api/v1/vms", &body).await?;
    let id = made.id.to_string();
    ensure!(made.spec.cloud_init.as_ref().is_some_and(|c| c.password.is_none()), "a password was answered");
    vm::phase(node.api(), &id, VmPhase::Stopped).await.context("its disk is filled")?;
    node.api().act(&format!("/api/v1/vms/{id}/start")).await?;
    let running = vm::phase(node.api(), &id, VmPhase::Running).await?;
    ensure!(running.status.kvm == Some(true), "it does not run under KVM: {:?}", running.status);

    browser.open(&format!("{}/vms/{id}", node.url())).await?;
    browser.sees("web-01").await?;
    browser.picture("machine").await?;

    let mut serial = Serial::open(node.api(), &id).await?;
    serial.expect("login:", FIRST_BOOT).await?;
    serial.send("ada\n").await?;
    serial.expect("assword:", SHELL).await?;
    serial.send("analytical engine\n").await?;
    serial.expect("$ ", SHELL).await?;
    serial.send("ip -4 -br addr show scope global; echo end-of-$((40+2))\n").await?;
    let addresses = serial.expect("end-of-42", SHELL).await?;
    ensure!(addresses.contains("10.77.0."), "no address by DHCP: {addresses}");
    serial.send("curl -sk --max-time 20 https://10.77.0.1/api/v1/health; echo end-of-$((42+1))\n").await?;
    let health = serial.expect("end-of-43", SHELL).await?;
    ensure!(health.contains("\"version\""), "the node is not reached: {health}");

    let seen: Vm = node.api().get(&format!("/api/v1/vms/{id}")).await?;
    ensure!(seen.status.addresses.iter().any(|a| a.to_string().starts_with("10.77.0.")), "its address is not shown: {:?}", seen.status);
    browser.picture("machine-running").await?;
    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    browser.close().await
}

async fn claim(node: &Node, browser: &mut Browser) -> Result<()> {
    let code = node.claim_code().await?;
    browser.open(&node.url()).await?;
    browser.sees("Claim this machine").await?;
    browser.picture("claim").await?;
    browser.fill("Claim code", &code).await?;
    browser.click("Continue").await?;
    browser.sees("Name and administrator").await?;
    browser.fill("Site", "quarry").await?;
    browser.fill("This machine", "node-1").await?;
    browser.fill("Administrator", USER).await?;
    browser.fill("Password", PASSWORD).await?;
    browser.fill("Password again", PASSWORD).await?;
    browser.picture("administrator").await?;
    browser.click("Claim this machine").await?;
    browser.sees("Step 3").await?;
    browser.picture("network").await?;
    browser.click("Continue").await?;
    browser.sees("Which drives may Ashlar use?").await?;
    browser.picture("drives").await?;
    browser.press("the drive", "//section//label[.//input[@type='checkbox']]").await?;
    browser.press("the button that makes the pool", "//button[@type='submit' and not(@disabled)]").await?;
    browser.sees("Ready to start").await?;
    browser.picture("start").await?;
    browser.click("Open the console").await?;
    browser.sees("Overview").await?;
    browser.picture("overview").await.map(drop)
}
