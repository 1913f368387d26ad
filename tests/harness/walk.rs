//! The first steps of an owner, in the console: claim, a network, an image.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use ashlar_api::Page;
use ashlar_api::image::{Image, ImagePhase};

use crate::api::{PASSWORD, USER};
use crate::browser::Browser;
use crate::{Node, wait};

/// An image of a few hundred megabytes, over the emulated network and through its checks.
const UPLOAD: Duration = Duration::from_secs(600);

/// Claims the node by the wizard, with a pool on its empty drive.
pub async fn claim(node: &Node, browser: &mut Browser) -> Result<()> {
    let code = node.claim_code().await?;
    browser.open(&node.url()).await?;
    browser.sees("Claim this machine").await?;
    browser.picture("claim").await?;
    browser.fill("Claim code", &code).await?;
    browser.click("Continue").await?;
    browser.field("Site").await?;
    browser.fill("Site", "quarry").await?;
    browser.fill("This machine", "node-1").await?;
    browser.fill("Administrator", USER).await?;
    browser.fill("Password", PASSWORD).await?;
    browser.fill("Password again", PASSWORD).await?;
    browser.picture("administrator").await?;
    browser.click("Claim this machine").await?;
    browser.sees("How this machine is reached").await?;
    browser.field("Interface").await?;
    browser.picture("network").await?;
    browser.click("Continue").await?;
    browser.sees("Which drives may Ashlar use?").await?;
    // The empty drive is chosen already; nothing else can be.
    let send = "//button[@type='submit'][starts-with(normalize-space(.), 'Use 1')]";
    browser.find("the choice of the empty drive", send).await?;
    browser.picture("drives").await?;
    browser
        .press("the button that makes the pool", send)
        .await?;
    browser.sees("Ready to start").await?;
    browser.picture("start").await?;
    browser.click("Open the console").await?;
    browser.sees("Overview").await?;
    browser.picture("overview").await.map(drop)
}

/// Makes the translated network `inside`, 10.77.0.0/24.
pub async fn make_network(node: &Node, browser: &mut Browser) -> Result<()> {
    browser.open(&format!("{}/networks", node.url())).await?;
    browser.sees("No network for machines yet").await?;
    browser.click("New network").await?;
    browser.fill("Name", "inside").await?;
    browser.pick("NAT").await?;
    browser.fill("Addresses", "10.77.0.0/24").await?;
    browser.picture("new-network").await?;
    browser.click("Make the network").await?;
    browser.sees("10.77.0.1").await?;
    browser.picture("network-made").await.map(drop)
}

/// Sends an image, named `debian-13`, and waits until it can be used.
pub async fn upload(node: &Node, browser: &mut Browser, file: &Path) -> Result<()> {
    browser.open(&format!("{}/images", node.url())).await?;
    browser.sees("No images yet").await?;
    browser.click("Add an image").await?;
    browser.attach("dialog input[type=file]", file).await?;
    browser.fill("Name", "debian-13").await?;
    browser.picture("add-image").await?;
    browser.click("Upload").await?;
    browser.sees("debian-13").await?;
    browser.picture("uploading").await?;
    let image = wait::until("the image to be ready", UPLOAD, || async {
        let images: Page<Image> = node.api().get("/api/v1/images").await?;
        Ok::<_, anyhow::Error>(
            images
                .items
                .into_iter()
                .find(|image| matches!(image.status.phase, ImagePhase::Ready | ImagePhase::Failed)),
        )
    })
    .await?;
    ensure!(
        image.status.phase == ImagePhase::Ready,
        "the image can not be used: {:?}",
        image.status.condition
    );
    browser.sees("Its checksum is that of the file").await?;
    browser.picture("uploaded").await.map(drop)
}
