//! The hardware is checked by itself and on demand: what the machine of the tests is and lacks, a warning that is overridden
//! and outlives a new supervisor, the command line on the node without one, and the page of the console.
//!
//! Machines that lack more (memory, a network card, a data disk, virtualisation) are started in `faults.rs`, and their
//! hardware is looked at there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::event::{Event, Severity};
use ashlar_api::fault::Fault;
use ashlar_api::hardware::{Check, Outcome, OverrideRequest, Report};
use ashlar_api::node::Node as NodeObject;
use ashlar_image::qemu::RunOptions;
use ashlar_tests::api::{Api, PASSWORD, USER};
use ashlar_tests::browser::Browser;
use ashlar_tests::{Node, node, options, wait};
use reqwest::{Method, StatusCode};

const HARDWARE: &str = "/api/v1/hardware";
/// How long a command may take in the node.
const COMMAND: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_checked_and_a_warning_overridden() -> Result<()> {
    let mut node = Node::boot(RunOptions {
        shell: true,
        ..options("hardware")
    })
    .await?;
    node.claim().await?;
    at_the_start(node.api()).await.context("at the start")?;
    on_demand(node.api()).await.context("on demand")?;
    overridden(node.api()).await.context("overridden")?;
    after_a_new_supervisor(node.api())
        .await
        .context("after a new supervisor")?;
    without_a_supervisor(&mut node).context("without a supervisor")?;
    in_the_console(&node).await.context("in the console")
}

/// Nobody asked for it: it is checked once all drivers are there.
async fn at_the_start(api: &Api) -> Result<()> {
    let report: Report = wait::until("the first report", node::BOOT, || async {
        api.get(HARDWARE).await.map(Some)
    })
    .await?;
    let machine = &report.machine;
    ensure!(machine.vendor == "QEMU", "{machine:?}");
    ensure!(machine.is_virtual && machine.processors > 0, "{machine:?}");
    ensure!(machine.firmware_date.is_some(), "{machine:?}");
    ensure!(!machine.modules.is_empty(), "{machine:?}");
    let known = report.known.as_ref().context("it is in the catalogue")?;
    ensure!(!known.measured.is_empty(), "{known:?}");
    for id in [
        "cpu-virtualisation",
        "memory-size",
        "firmware-uefi",
        "data-drive",
        "network-card",
        "drive-controller",
        "network-driver",
    ] {
        let check = of(&report, id)?;
        ensure!(check.outcome == Outcome::Passed, "{check:?}");
    }
    // The machine has none of these, and each says what to do.
    for id in ["tpm", "secure-boot", "boot-drive-size"] {
        let check = of(&report, id)?;
        ensure!(check.can_be_overridden(), "{check:?}");
        ensure!(!check.remedy.is_empty(), "{check:?}");
    }
    ensure!(!report.blocks(), "{}", report.summary);
    ensure!(report.worst == Some(Severity::Warning), "{report:?}");
    let faults: Page<Fault> = api.get("/api/v1/faults").await?;
    let unfit = faults.items.iter().find(|f| f.code == "hardware-unfit");
    ensure!(unfit.is_none(), "{unfit:?}");
    Ok(())
}

async fn on_demand(api: &Api) -> Result<()> {
    let before: Report = api.get(HARDWARE).await?;
    let now: Report = api.post(&format!("{HARDWARE}/check"), &()).await?;
    ensure!(now.at > before.at, "{} {}", now.at, before.at);
    let since = |report: &Report| of(report, "tpm").map(|check| check.since);
    ensure!(since(&now)? == since(&before)?, "since when is kept");
    let kept: Report = api.get(HARDWARE).await?;
    ensure!(kept == now, "{kept:?}");
    Ok(())
}

async fn overridden(api: &Api) -> Result<()> {
    let open: Report = api.get(HARDWARE).await?;
    let seen = OverrideRequest {
        identity: of(&open, "tpm")?.identity.clone(),
    };
    let path = format!("{HARDWARE}/tpm/override");
    let report: Report = api.post(&path, &seen).await?;
    ensure!(
        report.count(Severity::Warning) + 1 == open.count(Severity::Warning),
        "{}",
        report.summary
    );
    let said = of(&report, "tpm")?.overridden.clone().context("no trace")?;
    ensure!(said.by == USER, "{said:?}");
    wait::until("a trace in the history", node::BOOT, || async {
        let events: Page<Event> = api.get("/api/v1/history?name=overridden").await?;
        let told = events.items.iter().any(|e| e.by.as_deref() == Some(USER));
        Ok::<_, anyhow::Error>(told.then_some(()))
    })
    .await?;
    for (id, status) in [
        ("firmware-uefi", StatusCode::CONFLICT),
        ("nonsense", StatusCode::NOT_FOUND),
    ] {
        let path = format!("{HARDWARE}/{id}/override");
        let answer = api.request(Method::POST, &path, Some(&seen)).await?;
        ensure!(answer.status == status, "{id}: {}", answer.status);
        let problem = answer.problem()?;
        ensure!(!problem.remedy.is_empty(), "{problem:?}");
    }
    Ok(())
}

/// Reports and overrides are on the drive, and the next supervisor looks for itself.
async fn after_a_new_supervisor(api: &Api) -> Result<()> {
    let before: Report = api.get(HARDWARE).await?;
    let nodes: Page<NodeObject> = api.get("/api/v1/nodes").await?;
    let id = nodes.items.first().context("no node")?.id;
    let (events, instance) = api.events().await?;
    let path = format!("/api/v1/nodes/{id}/restart-supervisor");
    api.act(&path).await?;
    tokio::time::timeout(node::BOOT, events.over())
        .await
        .context("the supervisor does not end")?;
    wait::until("the next supervisor", node::BOOT, || async {
        let (_, now) = api.events().await?;
        Ok::<_, anyhow::Error>((now != instance).then_some(()))
    })
    .await?;
    wait::until("a look of the next supervisor", node::BOOT, || async {
        let now: Report = api.get(HARDWARE).await?;
        ensure!(of(&now, "tpm")?.overridden.is_some(), "{now:?}");
        Ok((now.at > before.at).then_some(()))
    })
    .await
}

/// The same checks by the command line alone, as on a machine on which nothing is installed yet.
fn without_a_supervisor(node: &mut Node) -> Result<()> {
    let mut shell = node.machine().shell()?;
    let said = shell.run("/usr/bin/ashlar hardware check --local", COMMAND)?;
    ensure!(said.contains("TPM 2.0"), "{said}");
    ensure!(said.contains("checks passed"), "{said}");
    // Nothing but the override is missing in it: that belongs to the node, not to the machine.
    let said = shell.run("/usr/bin/ashlar hardware check --local --json", COMMAND)?;
    let start = said.find('{').context("no JSON")?;
    let report: Report = serde_json::from_str(said[start..].trim())?;
    ensure!(report.machine.vendor == "QEMU", "{report:?}");
    ensure!(of(&report, "tpm")?.overridden.is_none(), "{report:?}");
    let said = shell.run("/usr/bin/ashlar hardware list", COMMAND)?;
    ensure!(said.contains("overridden"), "{said}");
    Ok(())
}

async fn in_the_console(node: &Node) -> Result<()> {
    let mut browser = Browser::start("hardware", 1440, 900).await?;
    browser.open(&format!("{}/hardware", node.url())).await?;
    browser.fill("Name", USER).await?;
    browser.fill("Password", PASSWORD).await?;
    browser.click("Sign in").await?;
    browser.sees("Secure Boot").await?;
    browser.sees("Standard PC (Q35").await?;
    browser.sees("Overridden by").await?;
    browser.picture("page").await?;
    browser.click("Show again: TPM 2.0").await?;
    browser
        .sees("The warning about TPM 2.0 is shown again")
        .await?;
    browser.click("Check now").await?;
    let override_tpm =
        "//*[contains(@class, 'notice')][.//b[normalize-space(.)='TPM 2.0']]//button";
    browser
        .press("the button that overrides", override_tpm)
        .await?;
    browser.sees("You know of it and live with it").await?;
    browser.picture("asked").await?;
    browser
        .press(
            "the button that confirms",
            "//dialog//button[@type='submit']",
        )
        .await?;
    browser.sees("The warning about TPM 2.0 is hidden").await?;
    browser.picture("overridden").await?;
    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    browser.close().await
}

fn of<'a>(report: &'a Report, id: &str) -> Result<&'a Check> {
    report
        .check(id)
        .with_context(|| format!("there is no check {id} in {report:?}"))
}
