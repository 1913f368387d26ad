//! The figures of the image, all from one run: `cargo image bench`.
//!
//! A list of measurements is gone through on one machine, each giving figures with the target they are held against. A
//! measurement that fails is a line in the table, and the others go on. The machine is the one that the comparisons were
//! measured on: 2 processors, 4 GiB. Where it is emulated, it is started again with one processor for what is measured with
//! a guest (see [`crate::qemu::emulation`]): both sides of that comparison run on the same.

mod reference;
mod rest;
mod start;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::Appliance;
use crate::boot::Watch;
use crate::build::Built;
use crate::disk;
use crate::place::Place;
use crate::progress::Step;
use crate::qemu::{DataDisk, Machine, RunOptions, accelerator, emulation};

/// The measurement that all others come after.
const BOOT_NAME: &str = "boot";
const BOOT: Duration = Duration::from_secs(300);
/// How long the machine is left alone before it counts as being at rest, and then watched.
const SETTLE: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(60);
const COMMAND: Duration = Duration::from_secs(30);
const DEFINITIONS: usize = 1000;
const LISTS: usize = 200;

/// One measured figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The figure, in `unit`.
    pub value: f64,
    /// MiB, s, ms, % or ×.
    pub unit: &'static str,
    /// What it should not exceed.
    pub target: Option<f64>,
}

/// What the measurements look at.
struct Subject {
    place: Place,
    built: Built,
    machine: Machine,
    watch: Watch,
    api: Appliance,
    /// From the kernel to the API at the first start.
    first_start: Option<Duration>,
}

type Measurement = (&'static str, fn(&mut Subject) -> Result<Vec<Figure>>);

/// In this order: the boot is going on already, and the later ones change the machine.
const MEASUREMENTS: [Measurement; 7] = [
    (BOOT_NAME, boot),
    ("reference", reference::reference),
    ("sizes", sizes),
    ("rest", rest),
    ("start", with_guests),
    ("boot again", boot_again),
    ("list", list),
];

/// The names of the measurements that may be chosen from.
pub fn names() -> impl Iterator<Item = &'static str> {
    MEASUREMENTS.into_iter().map(|(name, _)| name)
}

/// Measures what is named, or everything, and prints it; `json` for programs.
pub fn run(place: &Place, built: Built, only: &[String], json: bool) -> Result<()> {
    let options = RunOptions {
        name: "bench".to_owned(),
        data: vec![DataDisk::Empty(20 << 30)],
        shell: true,
        ..RunOptions::default()
    };
    let accelerator = accelerator(place)?;
    let mut machine = Machine::create(place, &built.disk, accelerator, options)?;
    machine.own(Some(std::process::id()))?;
    machine.start()?;
    let watch = Watch::new(&machine)?;
    let api = Appliance::new(machine.record().https_port)?;
    let mut subject = Subject {
        place: place.clone(),
        built,
        machine,
        watch,
        api,
        first_start: None,
    };
    let mut figures = Vec::new();
    let mut failures = Vec::new();
    // The first boot is the way to all others.
    let chosen =
        |name: &str| only.is_empty() || name == BOOT_NAME || only.iter().any(|one| one == name);
    for (name, measure) in MEASUREMENTS.into_iter().filter(|(name, _)| chosen(name)) {
        let step = Step::start(format!("Measuring: {name}"));
        match measure(&mut subject) {
            Ok(found) => figures.extend(found),
            Err(error) => failures.push((name, format!("{error:#}"))),
        }
        step.done("");
    }
    subject.machine.remove()?;
    if json {
        println!(
            "{}",
            serde_json::to_string(&figures).context("cannot write the figures")?
        );
    } else {
        print!("{}", table(&figures));
    }
    for (name, error) in &failures {
        eprintln!("not measured: {name}: {error}");
    }
    ensure!(
        failures.is_empty(),
        "{} of the measurements failed",
        failures.len()
    );
    Ok(())
}

fn figure(name: &str, value: f64, unit: &'static str, target: Option<f64>) -> Figure {
    Figure {
        name: name.to_owned(),
        value,
        unit,
        target,
    }
}

fn sizes(subject: &mut Subject) -> Result<Vec<Figure>> {
    let bundle = disk::compress(&subject.built.disk)?;
    let output = subject.place.output()?;
    Ok(vec![
        figure("compressed image", mebibytes(&bundle)?, "MiB", Some(250.0)),
        figure(
            "unified kernel image",
            mebibytes(&output.join("ashlar.efi"))?,
            "MiB",
            None,
        ),
        figure(
            "root image",
            mebibytes(&output.join("root.squashfs"))?,
            "MiB",
            None,
        ),
    ])
}

/// The first start, in which the node also makes its state partition, its database, its key and its certificate.
fn boot(subject: &mut Subject) -> Result<Vec<Figure>> {
    answers(subject)?;
    let figures = moments(subject, "first start")?;
    subject.first_start = subject.watch.moments.since_kernel();
    let code = subject.watch.facts.claim_code.clone();
    let code = code.context("the claim code was not seen on the serial line")?;
    subject.api.claim(&code)?;
    Ok(figures)
}

/// Any later start, of a claimed node.
fn boot_again(subject: &mut Subject) -> Result<Vec<Figure>> {
    start_again(subject, RunOptions::default().cpus)?;
    moments(subject, "later start")
}

/// What takes guests, on as many processors as they may have beside them.
fn with_guests(subject: &mut Subject) -> Result<Vec<Figure>> {
    let cpus = emulation::cpus_for_guests(accelerator(&subject.place)?);
    if cpus != subject.machine.record().options.cpus {
        start_again(subject, cpus)?;
    }
    start::start(subject)
}

fn start_again(subject: &mut Subject, cpus: u32) -> Result<()> {
    subject.machine.stop(BOOT)?;
    subject.machine.set_cpus(cpus)?;
    subject.machine.start()?;
    subject.watch = Watch::new(&subject.machine)?;
    answers(subject)
}

/// Waits for the console; it is never given up before its time.
fn answers(subject: &mut Subject) -> Result<()> {
    subject
        .watch
        .until_ready(&subject.machine, BOOT, |_| (), || false)
        .map(drop)
}

/// When it answered, counted from two beginnings.
fn moments(subject: &Subject, start: &str) -> Result<Vec<Figure>> {
    let moments = subject.watch.moments;
    let api = moments.api.context("the API was not seen to answer")?;
    let since_kernel = moments.since_kernel();
    let since_kernel = since_kernel.context("the kernel was not seen to start")?;
    Ok(vec![
        figure(
            &format!("power-on to API, {start}"),
            api.as_secs_f64(),
            "s",
            None,
        ),
        figure(
            &format!("kernel to API, {start}"),
            since_kernel.as_secs_f64(),
            "s",
            Some(6.0),
        ),
    ])
}

/// The claimed node, left alone: looked at from a shell in it, so that nobody asks its API meanwhile.
fn rest(subject: &mut Subject) -> Result<Vec<Figure>> {
    let mut shell = subject.machine.shell()?;
    std::thread::sleep(SETTLE);
    let mut look = |command: &str| shell.run(command, COMMAND);
    let before = look("head -n 1 /proc/stat")?;
    std::thread::sleep(REST);
    let after = look("head -n 1 /proc/stat")?;
    let memory = look("cat /proc/meminfo")?;
    let ours = look("cat $(grep -l '^ashlar$' /proc/[0-9]*/comm | sed 's/comm/smaps_rollup/')")?;
    Ok(rest::figures(&before, &after, &memory, &ours)?.into())
}

fn list(subject: &mut Subject) -> Result<Vec<Figure>> {
    for number in 0..DEFINITIONS {
        let vm = json!({ "name": format!("bench-{number}"), "cpus": 1, "memory": 256u64 << 20, "run_policy": "stopped" });
        subject.api.post("/vms", &vm)?;
    }
    let mut times = Vec::with_capacity(LISTS);
    for _ in 0..LISTS {
        let start = Instant::now();
        let listed = whole_list(&subject.api)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(listed >= DEFINITIONS, "the list has {listed} machines");
    }
    times.sort_by(f64::total_cmp);
    Ok(vec![
        figure(
            "list of 1000 machines, median",
            times[LISTS / 2],
            "ms",
            None,
        ),
        figure(
            "list of 1000 machines, 99th percentile",
            times[LISTS * 99 / 100],
            "ms",
            Some(200.0),
        ),
    ])
}

/// Reads all machines, on as few pages as there can be, and counts them.
fn whole_list(api: &Appliance) -> Result<usize> {
    let (mut count, mut path) = (0, "/vms?limit=500".to_owned());
    loop {
        let page: Page<Value> = api.get(&path)?;
        count += page.items.len();
        match page.next {
            Some(next) => path = format!("/vms?limit=500&after={next}"),
            None => return Ok(count),
        }
    }
}

fn mebibytes(path: &Path) -> Result<f64> {
    Ok(in_mebibytes(
        fs::metadata(path)
            .with_context(|| format!("cannot look at {}", path.display()))?
            .len(),
    ))
}

/// Whole kibibytes are exact enough, and fit.
fn in_mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let verdict = match figure.target {
            Some(target) if figure.value <= target => format!("within {target} {}", figure.unit),
            Some(target) => format!("OVER {target} {}", figure.unit),
            None => String::new(),
        };
        let line = format!(
            "{:<42} {:>9.2} {:<4} {verdict}",
            figure.name, figure.value, figure.unit
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_over() {
        let text = table(&[
            figure("a", 7.0, "s", Some(6.0)),
            figure("b", 1.0, "MiB", Some(2.0)),
            figure("c", 1.0, "s", None),
        ]);
        assert!(
            text.contains("OVER 6 s") && text.contains("within 2 MiB"),
            "{text}"
        );
    }
}
