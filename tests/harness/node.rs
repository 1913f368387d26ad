//! A node: the image in QEMU, with what a test does to it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ashlar_api::site::{Health, HealthState};
use ashlar_image::build::{self, Program};
use ashlar_image::place::Place;
use ashlar_image::qemu::{self, DataDisk, Machine, Nic, RunOptions, emulation};

use crate::api::Api;
use crate::wait;

/// How long a boot may take before a test gives up; emulation on a busy machine is slow.
pub const BOOT: Duration = Duration::from_secs(240);
const GIB: u64 = 1 << 30;
/// What a kernel says before it ends.
const PANIC: &str = "Kernel panic - not syncing";

/// A machine with one data disk of 12 GiB and one network card, named after the test.
pub fn options(name: &str) -> RunOptions {
    RunOptions {
        name: format!("test-{name}"),
        data: vec![DataDisk::Empty(12 * GIB)],
        memory_mib: 3072,
        ..RunOptions::default()
    }
}

/// The same, for guests under KVM: with as many processors as an emulated node can have without being ended by them (see
/// `image/src/qemu/emulation.rs`).
pub fn for_guests(mut options: RunOptions) -> Result<RunOptions> {
    let accelerator = qemu::accelerator(&Place::find()?)?;
    options.cpus = emulation::cpus_for_guests(accelerator);
    Ok(options)
}

/// The same, for guests that run in their firmware all the time. Each tick of theirs is a chance for the emulator to end
/// the node, the more so the busier this machine is: one in five seconds is enough for a machine that does nothing.
pub fn calm(options: RunOptions) -> Result<RunOptions> {
    let mut options = for_guests(options)?;
    let slow = "kvm.min_timer_period_us=5000000";
    options.kernel_arguments.push(slow.to_owned());
    Ok(options)
}

/// A node under test. Its machine ends with the test.
pub struct Node {
    name: String,
    machine: Machine,
    api: Api,
}

impl Node {
    /// Powers a fresh node on and does not wait.
    pub fn power_on(options: RunOptions) -> Result<Self> {
        let place = Place::find()?;
        let name = options.name.clone();
        let image = disk(&place)?;
        let mut machine = Machine::create(&place, &image, qemu::accelerator(&place)?, options)?;
        machine.own(Some(std::process::id()))?;
        machine.start()?;
        let api = Api::new(&machine.record().console)?;
        Ok(Node { name, machine, api })
    }

    /// Powers a fresh node on and waits until its API answers.
    pub async fn boot(options: RunOptions) -> Result<Self> {
        let node = Self::power_on(options)?;
        node.answers().await?;
        Ok(node)
    }

    /// The same, claimed, with a pool called `main` on its first data disk.
    pub async fn ready(options: RunOptions) -> Result<Self> {
        let mut node = Self::boot(options).await?;
        node.claim().await?;
        node.pool("main").await?;
        Ok(node)
    }

    /// Waits until the API answers.
    pub async fn answers(&self) -> Result<Health> {
        let health = wait::until("the API", BOOT, || async {
            if !self.machine.running() {
                bail!("the machine went off");
            }
            self.api.get::<Health>("/api/v1/health").await.map(Some)
        });
        health.await.with_context(|| self.condition())
    }

    /// Claims it with the code on its screen.
    pub async fn claim(&mut self) -> Result<()> {
        let code = self.claim_code().await?;
        self.api.claim(&code, "test-site", "node-1").await
    }

    /// The claim code on its screen.
    pub async fn claim_code(&self) -> Result<String> {
        self.on_screen("Claim code: ").await
    }

    /// Waits for the newest line on the serial screen that begins with `prefix`; gives the rest of it.
    pub async fn on_screen(&self, prefix: &str) -> Result<String> {
        wait::until(&format!("\"{prefix}\" on the screen"), BOOT, || async {
            let text = self.screen();
            let line = text
                .lines()
                .rev()
                .find_map(|line| line.trim().strip_prefix(prefix));
            Ok::<_, std::convert::Infallible>(line.map(|rest| rest.trim().to_owned()))
        })
        .await
        .with_context(|| self.condition())
    }

    /// Everything the serial line said since power-on.
    pub fn screen(&self) -> String {
        std::fs::read(&self.machine.record().serial_log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the screen tells of a fault with this title, with all these words; gives what it says of it.
    pub async fn tells(&self, title: &str, words: &[&str]) -> Result<String> {
        wait::until(&format!("\"{title}\" on the screen"), BOOT, || async {
            let Some(story) = story(&self.screen(), title) else {
                bail!("it does not say so");
            };
            match words.iter().find(|word| !story.contains(**word)) {
                None => Ok(Some(story)),
                Some(word) => bail!("\"{word}\" is missing in:\n{story}"),
            }
        })
        .await
        .with_context(|| self.condition())
    }

    /// Plugs a card with DHCP into a free slot, and leads the port of the API through it.
    pub fn plug_network(&mut self, slot: usize) -> Result<()> {
        let card = self.machine.plug_nic(slot, Nic::User)?;
        let port = self.machine.record().https_port;
        let line = format!("hostfwd_add {card} tcp:127.0.0.1:{port}-:443");
        let said = self.machine.qmp()?.execute(
            "human-monitor-command",
            serde_json::json!({ "command-line": line }),
        )?;
        match said.as_str() {
            Some("") => Ok(()),
            _ => bail!("QEMU says to `{line}`: {said}"),
        }
    }

    /// Presses keys on the serial line.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let mut line = self.machine.serial()?;
        line.write_all(keys.as_bytes())
            .context("cannot type on the serial line")?;
        // QEMU takes what was typed as fast as the machine reads it, and forgets it when the line is hung up.
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }

    /// Waits until the full screen on the serial line shows a text. Only what differs is drawn, so that blanks may have
    /// been left out.
    pub async fn shows(&self, text: &str) -> Result<()> {
        let dense =
            |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace()).collect() };
        let wanted = dense(text);
        wait::until(&format!("\"{text}\" on the full screen"), BOOT, || async {
            let shown = dense(&plain(&self.screen()));
            Ok::<_, std::convert::Infallible>(shown.contains(&wanted).then_some(()))
        })
        .await
        .with_context(|| self.condition())
    }

    /// For a failure: what it last said, and what its processors do. One that sleeps (`HLT=1`) with interrupts allowed
    /// (`IF`) while some wait (`IRR`) was not woken by the emulator.
    pub fn condition(&self) -> String {
        let text = self.screen();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        let processors = self
            .processors()
            .unwrap_or_else(|error| format!("not known: {error:#}"));
        format!("its processors:\n{processors}\nthe end of its serial log:\n{end}")
    }

    /// A line for each processor: what it executes and which interrupts are in service (ISR) and wait (IRR).
    fn processors(&self) -> Result<String> {
        let mut qmp = self.machine.qmp()?;
        let mut monitor = |line: &str| -> Result<String> {
            let said = qmp.execute(
                "human-monitor-command",
                serde_json::json!({ "command-line": line }),
            )?;
            let said = said.as_str().context("QEMU's monitor says no text")?;
            Ok(said.to_owned())
        };
        let registers = monitor("info registers -a")?;
        let mut processors = Vec::new();
        for (number, registers) in registers.split("CPU#").skip(1).enumerate() {
            let lapic = monitor(&format!("info lapic {number}"))?;
            let told: Vec<_> = registers
                .lines()
                .filter(|line| line.starts_with("RIP=") || line.starts_with("EIP="))
                .chain(lapic.lines().filter(|line| {
                    line.starts_with("ISR") || line.starts_with("IRR") || line.starts_with("LVTT\t")
                }))
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            processors.push(format!("{number}: {}", told.join("; ")));
        }
        Ok(processors.join("\n"))
    }

    /// Makes a pool on the first data disk and waits until it is ready.
    pub async fn pool(&self, name: &str) -> Result<String> {
        let drives: ashlar_api::Page<ashlar_api::pool::Drive> =
            wait::until("a free drive", BOOT, || async {
                let page: ashlar_api::Page<ashlar_api::pool::Drive> =
                    self.api.get("/api/v1/drives").await?;
                Ok::<_, anyhow::Error>(
                    page.items
                        .iter()
                        .any(|d| d.usage == ashlar_api::pool::DriveUsage::Free)
                        .then_some(page),
                )
            })
            .await?;
        let drive = drives
            .items
            .iter()
            .find(|d| d.usage == ashlar_api::pool::DriveUsage::Free)
            .context("no free drive")?;
        let body = serde_json::json!({ "spec": { "name": name, "drives": [drive.id] } });
        let pool: ashlar_api::pool::Pool = self.api.post("/api/v1/pools", &body).await?;
        let id = pool.id.to_string();
        self.pool_is_ready(&id).await?;
        Ok(id)
    }

    /// Waits until a pool is made.
    pub async fn pool_is_ready(&self, id: &str) -> Result<()> {
        let path = format!("/api/v1/pools/{id}");
        wait::until("the pool", BOOT, || async {
            let pool: ashlar_api::pool::Pool = self.api.get(&path).await?;
            let condition = pool.status.condition;
            anyhow::ensure!(condition.ready, "{condition:?}");
            Ok::<_, anyhow::Error>(Some(()))
        })
        .await
    }

    /// Pulls the power cord.
    pub fn pull_power(&mut self) -> Result<()> {
        self.keep_log()?;
        self.machine.kill()
    }

    /// Plugs the power cord in again.
    pub fn plug_power(&mut self) -> Result<()> {
        self.machine.start()
    }

    /// Its machine, for what is not here.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Its API, to sign in anew.
    pub fn api_mut(&mut self) -> &mut Api {
        &mut self.api
    }

    /// Where its console is.
    pub fn url(&self) -> String {
        self.machine
            .record()
            .console
            .trim_end_matches('/')
            .to_owned()
    }

    /// How it says it is.
    pub async fn health(&self) -> Result<HealthState> {
        Ok(self.api.get::<Health>("/api/v1/health").await?.state)
    }

    fn keep_log(&self) -> Result<PathBuf> {
        let path = crate::results(&self.name)?.join("serial.log");
        let old = std::fs::read(&path).unwrap_or_default();
        let new = std::fs::read(&self.machine.record().serial_log).unwrap_or_default();
        std::fs::write(&path, [old, new].concat())
            .with_context(|| format!("cannot keep {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.keep_log();
        if !self.machine.running() {
            let said = self.machine.emulator_log();
            eprintln!(
                "the machine {} went off by itself; QEMU said: {said}",
                self.name
            );
        }
        // It starts again by itself, and what a test then misses says nothing of why.
        let screen = self.screen();
        for line in screen.lines().filter(|line| line.contains(PANIC)) {
            eprintln!("the kernel of {} ended: {line}", self.name);
        }
        let _ = self.machine.kill();
    }
}

/// What the newest lines about a fault say: its title and the indented lines behind it.
fn story(screen: &str, title: &str) -> Option<String> {
    let start = screen.rfind(&format!("! {title}"))?;
    let mut lines = screen[start..].lines();
    let first = lines.next().into_iter();
    // The kernel writes to the same line: what it says begins with a time in brackets.
    let more = lines
        .filter(|line| !line.starts_with('['))
        .take_while(|line| line.starts_with("  "));
    Some(first.chain(more).collect::<Vec<_>>().join("\n"))
}

/// A text without the sequences that move a terminal's cursor and set its colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        if rest.next() == Some('[') {
            // Parameters, then one letter.
            let _ = rest.find(|c| ('@'..='~').contains(c));
        }
    }
    plain
}

/// The image under test: that of `ASHLAR_IMAGE` if set, else the one that the sources make now.
fn disk(place: &Place) -> Result<PathBuf> {
    match std::env::var_os("ASHLAR_IMAGE") {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(build::build(place, &Program::Ashlar)?.disk),
    }
}
