//! Headless Chromium, driven as a person would: by what is written on buttons and beside fields.
//!
//! Every step can leave a picture under `target/tests/<test>/`, numbered in order, so that a failed run shows how far
//! it came and a good one can be looked at.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, TimeoutConfiguration};
use fantoccini::{Client, ClientBuilder, Locator};

use crate::picture::Picture;
use crate::wait;

/// A browser with one window.
pub struct Browser {
    client: Client,
    driver: Child,
    pictures: PathBuf,
    taken: usize,
    _profile: tempfile::TempDir,
}

/// How long something on a page may take to appear: emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(240);

/// Scrolls an element to where nothing covers it.
const TO_THE_MIDDLE: &str = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";

impl Browser {
    /// Starts a browser whose pictures go to the folder of `test`.
    pub async fn start(test: &str, width: u32, height: u32) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .context("no free port")?
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run chromedriver: run `make setup`")?;
        let profile = tempfile::tempdir().context("no folder for the browser's profile")?;
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-quic".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--no-first-run".into(),
            "--ignore-certificate-errors".into(),
            "--force-prefers-reduced-motion".into(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut capabilities = Capabilities::new();
        capabilities.insert(
            "goog:chromeOptions".into(),
            serde_json::json!({ "args": arguments }),
        );
        capabilities.insert("acceptInsecureCerts".into(), true.into());
        let address = format!("http://127.0.0.1:{port}");
        let mut builder = ClientBuilder::rustls().context("no TLS for the driver's client")?;
        builder.capabilities(capabilities);
        let client = wait::until("chromedriver", Duration::from_secs(60), || async {
            builder.connect(&address).await.map(Some)
        })
        .await?;
        client
            .update_timeouts(TimeoutConfiguration::new(
                Some(PATIENCE),
                Some(PATIENCE),
                Some(Duration::ZERO),
            ))
            .await?;
        let pictures = crate::results(test)?;
        Ok(Browser {
            client,
            driver,
            pictures,
            taken: 0,
            _profile: profile,
        })
    }

    /// The driver's client, for what is not here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.client
            .goto(url)
            .await
            .with_context(|| format!("cannot open {url}"))
    }

    /// Waits for an element.
    pub async fn find(&self, what: &str, xpath: &str) -> Result<Element> {
        wait::until(what, PATIENCE, || async {
            for element in self.client.find_all(Locator::XPath(xpath)).await? {
                if element.is_displayed().await.unwrap_or(false) {
                    return Ok(Some(element));
                }
            }
            Ok::<_, fantoccini::error::CmdError>(None)
        })
        .await
    }

    /// Waits until a text is on the page.
    pub async fn sees(&self, text: &str) -> Result<()> {
        self.sees_within(text, PATIENCE).await
    }

    /// Waits at most `limit` until a text is on the page.
    pub async fn sees_within(&self, text: &str, limit: Duration) -> Result<()> {
        let seen = wait::until(&format!("the text \"{text}\""), limit, || async {
            Ok::<_, fantoccini::error::CmdError>(self.text().await?.contains(text).then_some(()))
        })
        .await;
        match seen {
            Ok(()) => Ok(()),
            Err(error) => {
                let page = self.text().await.unwrap_or_default();
                Err(error.context(format!("the page says: {page}")))
            }
        }
    }

    /// All that is to be read on the page.
    async fn text(&self) -> Result<String, fantoccini::error::CmdError> {
        self.client.find(Locator::Css("body")).await?.text().await
    }

    /// Clicks the button or link with this text.
    pub async fn click(&self, text: &str) -> Result<()> {
        let quoted = quote(text);
        let xpath = format!(
            "//*[self::button or self::a or @role='button' or @role='tab' or @role='menuitem' or @role='radio'][normalize-space(.)={quoted} or @aria-label={quoted}][not(@disabled)]"
        );
        self.press(&format!("the button \"{text}\""), &xpath).await
    }

    /// Clicks the first element that the path leads to.
    pub async fn press(&self, what: &str, xpath: &str) -> Result<()> {
        wait::until(what, PATIENCE, || async {
            for element in self.client.find_all(Locator::XPath(xpath)).await? {
                if element.is_displayed().await? && element.is_enabled().await? {
                    // As a person would: what the bar at the top covers can not be pressed.
                    let place = serde_json::to_value(&element).unwrap_or_default();
                    self.client.execute(TO_THE_MIDDLE, vec![place]).await?;
                    element.click().await?;
                    return Ok(Some(()));
                }
            }
            Ok::<_, fantoccini::error::CmdError>(None)
        })
        .await
    }

    /// The input that belongs to a label.
    pub async fn field(&self, label: &str) -> Result<Element> {
        let quoted = quote(label);
        let xpath = format!(
            "//*[self::input or self::textarea or self::select][@aria-label={quoted} or @id=//label[normalize-space(.)={quoted} or normalize-space(text())={quoted}]/@for or ancestor::label[contains(normalize-space(.), {quoted})]]"
        );
        self.find(&format!("the field \"{label}\""), &xpath).await
    }

    /// Types into the field with this label, in place of what is there.
    pub async fn fill(&self, label: &str, value: &str) -> Result<()> {
        let field = self.field(label).await?;
        field
            .clear()
            .await
            .with_context(|| format!("cannot clear \"{label}\""))?;
        field
            .send_keys(value)
            .await
            .with_context(|| format!("cannot type into \"{label}\""))
    }

    /// Chooses an option by its text, or by its beginning.
    pub async fn choose(&self, label: &str, option: &str) -> Result<()> {
        let what = format!("the option \"{option}\" of \"{label}\"");
        wait::until(&what, PATIENCE, || async {
            // Found anew each time: what the field offers may still be on its way from the node.
            let field = self.field(label).await?;
            for candidate in field.find_all(Locator::Css("option")).await? {
                if candidate.text().await?.trim().starts_with(option) {
                    candidate.click().await?;
                    return Ok(Some(()));
                }
            }
            Ok::<_, anyhow::Error>(None)
        })
        .await
    }

    /// Hands a file to a file input, even one that is hidden behind a button.
    pub async fn attach(&self, css: &str, file: &Path) -> Result<()> {
        let input = wait::until("the file input", PATIENCE, || async {
            Ok::<_, fantoccini::error::CmdError>(
                self.client
                    .find_all(Locator::Css(css))
                    .await?
                    .into_iter()
                    .next(),
            )
        })
        .await?;
        input
            .send_keys(&file.display().to_string())
            .await
            .context("cannot hand over the file")
    }

    /// Chooses one of several that are all in sight, by the beginning of its words.
    pub async fn pick(&self, words: &str) -> Result<()> {
        let quoted = quote(words);
        self.press(&format!("the choice \"{words}\""), &format!("//label[.//input[@type='radio' or @type='checkbox']][starts-with(normalize-space(.), {quoted})]"))
            .await
    }

    /// What a machine's screen in the page shows, in the size that the machine has.
    pub async fn guest_screen(&self) -> Result<Picture> {
        const READ: &str = "const canvas = document.querySelector('ashlar-vnc canvas'); return canvas && canvas.width ? canvas.toDataURL('image/png') : null";
        let address: String = wait::until("a screen in the page", PATIENCE, || async {
            let value = self.client.execute(READ, Vec::new()).await?;
            Ok::<_, fantoccini::error::CmdError>(value.as_str().map(str::to_owned))
        })
        .await?;
        let (_, encoded) = address
            .split_once(',')
            .context("the page gave no picture")?;
        Picture::png(
            &STANDARD
                .decode(encoded)
                .context("the page gave no base64")?,
        )
    }

    /// Keeps a picture of the window.
    pub async fn picture(&mut self, name: &str) -> Result<PathBuf> {
        let png = self
            .client
            .screenshot()
            .await
            .context("no picture of the window")?;
        self.taken += 1;
        let path = self.pictures.join(format!("{:02}-{name}.png", self.taken));
        std::fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Errors that the page's scripts wrote or threw, since the last time.
    pub async fn script_errors(&self) -> Result<Vec<String>> {
        let value = self
            .client
            .execute("return (window.ashlarErrors || []).map(String)", Vec::new())
            .await?;
        Ok(serde_json::from_value(value)?)
    }

    /// Ends the browser.
    pub async fn close(mut self) -> Result<()> {
        let closed = self
            .client
            .clone()
            .close()
            .await
            .context("the browser did not end");
        self.end_driver();
        closed
    }

    /// Ends the driver and its browser, which would outlive it and keep a processor busy.
    fn end_driver(&mut self) {
        let browsers = children(self.driver.id());
        let _ = self.driver.kill();
        for browser in browsers {
            let _ = Command::new("kill").args(["-KILL", &browser]).status();
        }
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.end_driver();
    }
}

/// The processes that a process started.
fn children(parent: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
            // The name, in parentheses, may have anything in it; then come the state and the parent.
            let (_, rest) = stat.rsplit_once(')')?;
            let is_child = rest.split_whitespace().nth(1)?.parse() == Ok(parent);
            is_child.then(|| process.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// A text as an XPath literal; XPath 1.0 has no escapes.
fn quote(text: &str) -> String {
    if text.contains('\'') {
        format!("\"{text}\"")
    } else {
        format!("'{text}'")
    }
}
