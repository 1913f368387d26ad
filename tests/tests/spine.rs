//! From power-on to an image in the browser: claim with the code on the screen, a pool, a network, the upload of a real
//! Debian guest and its checks. `guest.rs` goes on from here, to the guest's screen.

use anyhow::{Context, Result, ensure};
use ashlar_tests::browser::Browser;
use ashlar_tests::{Node, guest, options, walk};

#[tokio::test(flavor = "multi_thread")]
async fn from_power_on_to_an_image_in_the_browser() -> Result<()> {
    let guest = guest::debian()?;
    let mut node = Node::boot(options("spine")).await?;
    let mut browser = Browser::start("spine", 1440, 900).await?;
    walk::claim(&node, &mut browser)
        .await
        .context("claim in the browser")?;
    node.api_mut().sign_in().await?;
    walk::make_network(&node, &mut browser)
        .await
        .context("make a network in the browser")?;
    walk::upload(&node, &mut browser, &guest)
        .await
        .context("upload the guest in the browser")?;
    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    browser.close().await
}
