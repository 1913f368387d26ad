//! Releases: received, refused, started, kept, and those that come back by themselves and say why. The power goes
//! meanwhile, and there is always a system that boots.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ashlar_api::Page;
use ashlar_api::fault::Fault;
use ashlar_api::pool::{Drive, DriveUsage, Pool};
use ashlar_api::update::{Ended, Outcome, Standing, Update};
use ashlar_image::qemu::RunOptions;
use ashlar_tests::api::{PASSWORD, USER};
use ashlar_tests::browser::Browser;
use ashlar_tests::chance::Chance;
use ashlar_tests::{Node, options, release, wait};
use reqwest::StatusCode;
use serde_json::json;

const GIB: u64 = 1 << 30;
const BUNDLE: &str = "/api/v1/update/bundle";
/// How often the power goes; 20 in a long run.
const PULLS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(300);

/// One node through its releases: a good one, the way back, one whose storage does not come up, one that does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_stays_when_it_works_and_goes_when_it_does_not() -> Result<()> {
    let good = release::make("0.1.1", &[])?;
    let weak = release::make("0.1.2", &["module_blacklist=dm_thin_pool"])?;
    let dead = release::dead("0.1.3")?;
    let mut node = Node::ready(options("update")).await?;
    first_release_is_kept(&node).await?;
    refused(&node, &good).await?;

    // A good one, as a person does it.
    let mut browser = Browser::start("update", 1440, 900).await?;
    by_the_console(&node, &mut browser, &good).await?;
    let update = release::ended(node.api()).await?;
    ensure!(update.version.to_string() == "0.1.1", "{update:?}");
    let attempt = update.attempt.context("no attempt")?;
    ensure!(
        matches!(attempt.ended, Some(Ended::Kept { .. })),
        "{attempt:?}"
    );
    ensure!(attempt.checks.len() == 7, "{attempt:?}");
    everything_is_there(&node).await?;

    // Its storage does not come up.
    change(&mut node, &weak, "0.1.2").await?;
    let reason = returned(&node, "0.1.1").await?;
    ensure!(
        reason.starts_with("Every pool is ready. This did not hold"),
        "{reason}"
    );
    everything_is_there(&node).await?;
    wait::until("the fault", PATIENCE, || async {
        let faults: Page<Fault> = node.api().get("/api/v1/faults").await?;
        let told = faults
            .items
            .into_iter()
            .find(|fault| fault.code == "update-returned");
        Ok::<_, anyhow::Error>(told)
    })
    .await?;

    // Its first program ends at once: so early that the kernel can keep nothing of it.
    change(&mut node, &dead, "0.1.3").await?;
    let reason = returned(&node, "0.1.1").await?;
    ensure!(reason.starts_with("It did not come so far"), "{reason}");
    browser.sees("Version 0.1.3 did not stay").await?;
    browser.sees("Did not work").await?;
    browser.sees("Remove").await?;
    browser.picture("returned").await?;
    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    browser.close().await?;
    for version in ["0.1.2", "0.1.3"] {
        let wish = json!({ "version": version });
        node.api()
            .post::<Update>("/api/v1/update/remove", &wish)
            .await?;
    }
    wait::until("no fault", PATIENCE, || async {
        let faults: Page<Fault> = node.api().get("/api/v1/faults").await?;
        ensure!(
            faults
                .items
                .iter()
                .all(|fault| fault.code != "update-returned"),
            "{faults:?}"
        );
        Ok::<_, anyhow::Error>(Some(()))
    })
    .await?;

    // And back to the first.
    start(&mut node, "0.1.0").await?;
    let update = release::ended(node.api()).await?;
    ensure!(update.version.to_string() == "0.1.0", "{update:?}");
    everything_is_there(&node).await
}

/// The release of a flashed disk has a counter as well, and loses it.
async fn first_release_is_kept(node: &Node) -> Result<()> {
    wait::until("the first release is kept", PATIENCE, || async {
        let update: Update = node.api().get("/api/v1/update").await?;
        let [first] = update.releases.as_slice() else {
            bail!("{update:?}");
        };
        ensure!(
            first.standing == Standing::Good && first.running && first.next,
            "{update:?}"
        );
        Ok(Some(()))
    })
    .await
}

/// What is wrong with a bundle is told, and nothing of it stays.
async fn refused(node: &Node, good: &Path) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(120);
    let whole = std::fs::read(good)?;
    let mut changed = whole.clone();
    changed[700] ^= 1;
    let mut damaged = whole.clone();
    let last = damaged.len() - 100_000;
    damaged[last] ^= 1;
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("changed", changed, "not signed by a key"),
        ("damaged", damaged, "damaged"),
        (
            "cut short",
            whole[..whole.len() / 2].to_vec(),
            "ended before its end",
        ),
        ("nonsense", vec![7; 100_000], "not a bundle"),
    ];
    for (what, bytes, expected) in cases {
        let answer = node.api().send_bytes(BUNDLE, bytes, LIMIT).await?;
        ensure!(
            answer.status == StatusCode::UNPROCESSABLE_ENTITY,
            "{what}: {}",
            answer.status
        );
        let problem = answer.problem()?;
        ensure!(problem.title.contains(expected), "{what}: {problem:?}");
        ensure!(!problem.remedy.is_empty(), "{what}: {problem:?}");
        let update: Update = node.api().get("/api/v1/update").await?;
        ensure!(update.releases.len() == 1, "{what}: {update:?}");
    }
    Ok(())
}

/// Sends a bundle, starts what is in it and sees it kept, without a look at anything but the page.
async fn by_the_console(node: &Node, browser: &mut Browser, bundle: &Path) -> Result<()> {
    browser.open(&format!("{}/updates", node.url())).await?;
    browser.fill("Name", USER).await?;
    browser.fill("Password", PASSWORD).await?;
    browser.click("Sign in").await?;
    browser.sees("Version 0.1.0 runs").await?;
    browser.click("Receive a release").await?;
    browser.attach("dialog input[type=file]", bundle).await?;
    browser.picture("receive").await?;
    browser.click("Send").await?;
    browser.sees("0.1.1 is ready to be started").await?;
    browser.picture("ready").await?;
    browser.click("Start it").await?;
    browser.fill("Type node-1 to confirm", "node-1").await?;
    browser.picture("confirm").await?;
    browser.click("Restart into it").await?;
    browser
        .sees_within("Version 0.1.1 is on trial", PATIENCE)
        .await?;
    browser.picture("trial").await?;
    browser.sees_within("Version 0.1.1 runs", PATIENCE).await?;
    browser.sees("Kept").await?;
    browser.picture("kept").await.map(drop)
}

async fn change(node: &mut Node, bundle: &Path, version: &str) -> Result<()> {
    let update: Update = node.api().send_file(BUNDLE, bundle).await?.value()?;
    let found = update
        .releases
        .iter()
        .find(|release| release.version.to_string() == version);
    let found = found.with_context(|| format!("{version} is not there: {update:?}"))?;
    ensure!(
        found.standing == Standing::Ready && !found.next,
        "{update:?}"
    );
    ensure!(found.notes.contains(version), "{update:?}");
    start(node, version).await
}

/// Starts a release, and waits until the node answers again.
async fn start(node: &mut Node, version: &str) -> Result<()> {
    let before: Update = node.api().get("/api/v1/update").await?;
    let wish = json!({ "version": version, "confirm": "node-1" });
    // Right after a start it is refused: not everything was looked at yet.
    wait::until("the wish is taken", PATIENCE, || async {
        node.api()
            .post::<Update>("/api/v1/update/apply", &wish)
            .await
            .map(Some)
    })
    .await?;
    wait::until("the node went down", PATIENCE, || async {
        let now = node.api().get::<Update>("/api/v1/update").await;
        Ok::<_, anyhow::Error>(match now {
            Ok(now) if now.version == before.version && !now.on_trial => None,
            _ => Some(()),
        })
    })
    .await?;
    node.answers().await.map(drop)
}

/// Waits until a release is back, and gives why.
async fn returned(node: &Node, version: &str) -> Result<String> {
    let update = release::ended(node.api()).await?;
    ensure!(update.version.to_string() == version, "{update:?}");
    let attempt = update.attempt.context("no attempt")?;
    match attempt.ended {
        Some(Ended::Returned { reason, .. }) => Ok(reason),
        _ => bail!("it did not return: {attempt:?}"),
    }
}

async fn everything_is_there(node: &Node) -> Result<()> {
    wait::until("the pool", PATIENCE, || async {
        let pools: Page<Pool> = node.api().get("/api/v1/pools").await?;
        let pool = pools.items.first().context("the pool is gone")?;
        ensure!(pool.status.condition.ready, "{pool:?}");
        Ok::<_, anyhow::Error>(Some(()))
    })
    .await
}

/// The power goes at random moments from the first start of a flashed disk to the end of an update.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_always_a_system_that_boots() -> Result<()> {
    let pulls = std::env::var("ASHLAR_PULLS")
        .ok()
        .and_then(|text| text.parse().ok());
    let pulls: u64 = pulls.unwrap_or(PULLS);
    let good = release::make("0.1.4", &[])?;
    let mut chance = Chance::new(0xb007);
    // Its first start takes place within the first seconds.
    let mut node = Node::power_on(RunOptions {
        system: 40 * GIB,
        data: Vec::new(),
        ..options("update-power")
    })?;
    for _ in 0..pulls {
        tokio::time::sleep(Duration::from_millis(2000 + chance.below(7000))).await;
        node.pull_power()?;
        node.plug_power()?;
    }
    node.answers().await?;
    node.claim().await?;
    rest_of_the_drive_is_one(&node).await?;
    let mut versions = Vec::new();
    for round in 0..pulls {
        let going_on = go_on(&mut node, &good);
        let until = Duration::from_millis(chance.below(30_000));
        // Whatever it was at; what it waits for does not come any more.
        let _ = tokio::time::timeout(until, going_on).await;
        node.pull_power()?;
        node.plug_power()?;
        node.answers()
            .await
            .with_context(|| format!("after pull {round}"))?;
        let update = looked(&node)
            .await
            .with_context(|| format!("after pull {round}"))?;
        versions.push(update.version.to_string());
    }
    ensure!(
        versions
            .iter()
            .all(|version| ["0.1.0", "0.1.4"].contains(&version.as_str())),
        "{versions:?}"
    );
    go_on(&mut node, &good).await?;
    let update = release::ended(node.api()).await?;
    ensure!(update.version.to_string() == "0.1.4", "{update:?}");
    let checks = update
        .attempt
        .map(|attempt| attempt.checks)
        .unwrap_or_default();
    ensure!(
        checks.iter().all(|check| check.outcome != Outcome::Failed),
        "{checks:?}"
    );
    Ok(())
}

/// Waits until the node knows its releases.
async fn looked(node: &Node) -> Result<Update> {
    wait::until("the releases", PATIENCE, || async {
        let update: Update = node.api().get("/api/v1/update").await?;
        ensure!(update.problem.is_empty(), "{update:?}");
        Ok(Some(update))
    })
    .await
}

/// Does the next thing that leads to the new release, wherever the power ended the last.
async fn go_on(node: &mut Node, bundle: &Path) -> Result<()> {
    let update = looked(node).await?;
    if update.version.to_string() == "0.1.4" {
        return release::ended(node.api()).await.map(drop);
    }
    let there = update
        .releases
        .iter()
        .any(|release| release.version.to_string() == "0.1.4");
    if there {
        return start(node, "0.1.4").await;
    }
    change(node, bundle, "0.1.4").await
}

/// A machine with one disk has room for a pool.
async fn rest_of_the_drive_is_one(node: &Node) -> Result<()> {
    let rest = wait::until("the rest of the system drive", PATIENCE, || async {
        let drives: Page<Drive> = node.api().get("/api/v1/drives").await?;
        let free = drives
            .items
            .into_iter()
            .find(|drive| drive.usage == DriveUsage::Free);
        Ok::<_, anyhow::Error>(free)
    })
    .await?;
    ensure!(
        rest.id.ends_with(":data") && rest.size.0 > 30 * GIB,
        "{rest:?}"
    );
    let pool = node.pool("main").await?;
    node.pool_is_ready(&pool).await
}
