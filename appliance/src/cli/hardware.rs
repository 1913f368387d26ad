//! `ashlar hardware`: what a node is made of, whether that will do, and what to
//! do where it does not.
//!
//! `check --local` looks at the machine that it runs on, by itself: no appliance,
//! no supervisor and no network has to be there. So a machine can be checked
//! before anything is installed on it: on any Linux but that of an appliance it
//! is looked at as one to install on, and what it has drivers for is what that
//! Linux has drivers for.

use ashlar_api::endpoint;
use ashlar_api::hardware::{Check, Outcome, OverrideRequest, Report};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::client::{Answer, at};
use super::error::{Error, Result};
use super::noun::Cx;
use super::output::{self, Format, Look, word};
use crate::hardware::{self, Purpose};
use crate::sys::release;

/// What can be done with the hardware.
#[derive(Subcommand, Debug)]
pub enum HardwareCommand {
    /// List the checks, as they ended last; what failed comes first
    List,
    /// Show the machine, or one check
    Show {
        /// The check, such as memory-ecc; the machine when absent
        check: Option<String>,
    },
    /// Check the hardware now; ends with 1 when it is not fit for a node
    Check(CheckArgs),
    /// Override a warning: it is told no more
    Override {
        /// The check, such as tpm
        check: String,
    },
    /// Take back that a warning was overridden
    Withdraw {
        /// The check, such as tpm
        check: String,
    },
}

/// What is checked.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Check the machine that this runs on; no appliance is asked
    #[arg(long)]
    local: bool,
}

const COLUMNS: &[&str] = &["check", "result", "severity", "about", "finding"];

/// How a check ended, in a word.
fn result(check: &Check) -> String {
    match check.overridden {
        Some(_) => "overridden".to_owned(),
        None => word(&check.outcome),
    }
}

fn row(check: &Check) -> Vec<String> {
    vec![
        check.id.clone(),
        result(check),
        word(&check.severity),
        check.target.clone(),
        check.finding.clone(),
    ]
}

fn table(report: &Report) -> String {
    let rows = report.in_order().into_iter().map(row).collect();
    output::table(COLUMNS, rows)
}

fn details(check: &Check, look: &Look) -> Vec<(&'static str, String)> {
    let overridden = check.overridden.as_ref();
    vec![
        ("check", check.id.clone()),
        ("title", check.title.clone()),
        ("part", word(&check.area)),
        ("result", result(check)),
        ("severity", word(&check.severity)),
        ("about", check.target.clone()),
        ("known by", check.identity.clone()),
        ("finding", check.finding.clone()),
        ("remedy", check.remedy.clone()),
        ("since", look.time(check.since)),
        (
            "overridden",
            overridden
                .map(|said| format!("by {}, {}", said.by, look.time(said.at)))
                .unwrap_or_default(),
        ),
    ]
}

fn machine(report: &Report, look: &Look) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let words = |parts: &[&str]| {
        let told = parts.iter().filter(|part| !part.is_empty());
        told.copied().collect::<Vec<_>>().join(" ")
    };
    let date = machine.firmware_date.map(|date| date.to_string());
    let modules = machine.modules.iter().map(|module| {
        let speed = module.speed.map(|speed| format!("{speed} MT/s"));
        let size = module.size.to_string();
        words(&[
            &module.slot,
            &size,
            &module.kind,
            speed.as_deref().unwrap_or_default(),
            &module.maker,
            &module.part,
            &module.serial,
        ])
    });
    let known = report.known.as_ref();
    let measured = known.into_iter().flat_map(|known| &known.measured);
    let measured = measured.map(|m| {
        format!(
            "{}: {} ({}; version {}, {})",
            m.what, m.result, m.how, m.version, m.when
        )
    });
    vec![
        ("hardware", report.summary.clone()),
        ("checked", look.time(report.at)),
        ("by version", report.version.clone()),
        ("model", words(&[&machine.vendor, &machine.model])),
        ("serial", machine.serial.clone()),
        (
            "firmware",
            words(&[
                &machine.firmware_vendor,
                &machine.firmware_version,
                date.as_deref().unwrap_or_default(),
            ]),
        ),
        (
            "processor",
            format!(
                "{} × {}, {} plugged in",
                machine.processors, machine.processor, machine.sockets
            ),
        ),
        ("memory", machine.memory.to_string()),
        ("modules", modules.collect::<Vec<_>>().join("\n")),
        ("virtual", output::yes(machine.is_virtual)),
        (
            "catalogue",
            known.map_or_else(
                || "this model is not in it".to_owned(),
                |known| words(&[&known.title, "-", &known.note]),
            ),
        ),
        ("measured", measured.collect::<Vec<_>>().join("\n")),
    ]
}

/// What a person reads after a check: the conclusion, then what failed as stories, then how many passed.
fn story(report: &Report) -> String {
    let mut text = format!("{}.\n", report.summary);
    for check in report.in_order().into_iter().filter(|c| c.is_open()) {
        text.push('\n');
        text.push_str(&output::details(&[
            (word(&check.severity).as_str(), check.title.clone()),
            ("check", check.id.clone()),
            ("about", check.target.clone()),
            ("finding", check.finding.clone()),
            ("remedy", check.remedy.clone()),
        ]));
    }
    let of = |outcome: Outcome| {
        let checks = report.checks.iter();
        checks.filter(|check| check.outcome == outcome).count()
    };
    let overridden = report.checks.iter().filter(|c| c.overridden.is_some());
    let overridden = match overridden.count() {
        0 => String::new(),
        n => format!(" (overridden: {n})"),
    };
    text.push_str(&format!(
        "\n{} checks passed, {} failed{overridden}, {} could not be told.\n",
        of(Outcome::Passed),
        of(Outcome::Failed),
        of(Outcome::Unknown)
    ));
    text
}

/// Shows a report as JSON, or as a person reads it.
fn tell(look: &Look, json: &[u8], report: &Report) -> Result {
    match look.format {
        Format::Json => output::json(json),
        Format::Table => output::print(&story(report)),
    }
}

/// Ends the program with a number that a script can go by.
fn verdict(report: &Report) -> Result {
    if !report.blocks() {
        return Ok(());
    }
    let failed = report.checks.iter().filter(|check| check.blocks());
    let failed: Vec<&str> = failed.map(|check| check.id.as_str()).collect();
    Err(Error::failed(
        format!("critical checks failed: {}", failed.join(", ")),
        "Do what they say; nothing overrides them.",
    ))
}

/// Checks this machine: as a node where it is one, else as one to install on.
pub fn check_local(look: &Look) -> Result {
    let purpose = match release::is_appliance() {
        true => Purpose::Node,
        false => Purpose::Install,
    };
    let report = hardware::report(purpose);
    let json =
        serde_json::to_vec(&report).map_err(|error| Error::Prepare("write JSON", error.into()))?;
    tell(look, &json, &report)?;
    if purpose == Purpose::Install && look.format == Format::Table {
        output::print(FOREIGN)?;
    }
    verdict(&report)
}

/// What is to be known of a check on another system.
const FOREIGN: &str = "Checked as a machine to install on, with the drivers of the system that runs now: the appliance may \
                       have others.\n";

async fn act(cx: &Cx, path: &str) -> Result<Answer> {
    let path = at(endpoint::HARDWARE, path);
    let request = cx.client.request(Method::POST, &path);
    cx.client.send(request).await
}

/// Overrides what the check says now: when that changes meanwhile, it is refused.
async fn override_check(cx: &Cx, check: &str) -> Result {
    let path = at(endpoint::HARDWARE, &format!("{}/override", plain(check)?));
    let report: Report = cx.client.get(endpoint::HARDWARE).await?.read()?;
    let found = report.check(check).ok_or_else(|| missing(check))?;
    let seen = OverrideRequest {
        identity: found.identity.clone(),
    };
    let answer = cx.client.post(&path, &seen).await?;
    told(cx, &answer, check)
}

async fn withdraw(cx: &Cx, check: &str) -> Result {
    let path = format!("{}/withdraw", plain(check)?);
    told(cx, &act(cx, &path).await?, check)
}

fn told(cx: &Cx, answer: &Answer, check: &str) -> Result {
    if cx.look.format == Format::Json {
        return output::json(&answer.body);
    }
    one(&answer.read()?, check, &cx.look)
}

/// The id of a check, as it can stand in an address.
fn plain(check: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !check.is_empty() && check.chars().all(fits) {
        true => Ok(check),
        false => Err(missing(check)),
    }
}

fn missing(check: &str) -> Error {
    Error::NotFound {
        what: "hardware check",
        name: check.to_owned(),
    }
}

fn one(report: &Report, check: &str, look: &Look) -> Result {
    let found = report.check(check).ok_or_else(|| missing(check))?;
    output::print(&output::details(&details(found, look)))
}

impl HardwareCommand {
    /// Whether it needs no appliance.
    pub fn is_local(&self) -> bool {
        matches!(self, HardwareCommand::Check(CheckArgs { local: true }))
    }

    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            HardwareCommand::List => {
                let answer = cx.client.get(endpoint::HARDWARE).await?;
                match cx.look.format {
                    Format::Json => output::json(&answer.body),
                    Format::Table => output::print(&table(&answer.read()?)),
                }
            }
            HardwareCommand::Show { check } => {
                let answer = cx.client.get(endpoint::HARDWARE).await?;
                let report: Report = answer.read()?;
                match (&check, cx.look.format) {
                    (None, Format::Json) => output::json(&answer.body),
                    (None, Format::Table) => {
                        output::print(&output::details(&machine(&report, &cx.look)))
                    }
                    (Some(id), Format::Json) => {
                        let found = report.check(id).ok_or_else(|| missing(id))?;
                        let json = serde_json::to_vec(found)
                            .map_err(|error| Error::Prepare("write JSON", error.into()))?;
                        output::json(&json)
                    }
                    (Some(id), Format::Table) => one(&report, id, &cx.look),
                }
            }
            HardwareCommand::Check(_) => {
                let answer = act(cx, "check").await?;
                let report: Report = answer.read()?;
                tell(&cx.look, &answer.body, &report)?;
                verdict(&report)
            }
            HardwareCommand::Override { check } => override_check(cx, &check).await,
            HardwareCommand::Withdraw { check } => withdraw(cx, &check).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Observed, conclude};

    fn look() -> Look {
        Look {
            zone: jiff::tz::TimeZone::UTC,
            ..Look::new(Format::Table)
        }
    }

    fn report(case: &str) -> Report {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/hardware/testdata")
            .join(case)
            .join("observed.json");
        let seen: Observed = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Report {
            version: "1".to_owned(),
            ..conclude(&seen)
        }
    }

    #[test]
    fn a_report_is_told_worst_first() {
        insta::assert_snapshot!(story(&report("memory-errors")), @r"
        The hardware is not fit for a node; one thing has to change first.

        critical   Errors in memory
        check      memory-errors
        about      DIMM_B1
        finding    Since the start memory had 1 error that could not be corrected, in DIMM_B1; what was there is lost.
        remedy     Switch the machine off and replace the module. Until then use it for nothing that matters.

        22 checks passed, 1 failed, 0 could not be told.
        ");
        let bare = story(&report("bare"));
        let place = |word: &str| bare.find(&format!("\n{word}")).unwrap();
        assert!(place("critical") < place("warning") && place("warning") < place("info"));
    }

    #[test]
    fn a_machine_is_told_with_what_is_known_of_it() {
        insta::assert_snapshot!(output::details(&machine(&report("sound"), &look())), @r"
        hardware     The hardware is as it should be
        checked      2026-11-22 08:00:00
        by version   1
        model        Example Server 1
        serial       4711
        firmware     Example 2.4.1 2024-05-20
        processor    12 × Intel(R) Xeon(R) E-2336 CPU @ 2.90GHz, 1 plugged in
        memory       63 GiB
        modules      DIMM_A1 32 GiB DDR4 3200 MT/s Micron MTA18ASF4G72AZ-3G2 1A2B3C4D
                     DIMM_B1 32 GiB DDR4 3200 MT/s Micron MTA18ASF4G72AZ-3G2 1A2B3C4E
        virtual      no
        catalogue    this model is not in it
        ");
        let emulated = output::details(&machine(&report("emulated"), &look()));
        assert!(emulated.contains("QEMU virtual machine, Q35"), "{emulated}");
    }

    #[test]
    fn what_is_critical_ends_with_a_number() {
        assert!(verdict(&report("sound")).is_ok());
        let error = verdict(&report("bare")).unwrap_err();
        assert_eq!(error.status(), 1);
        assert!(error.story().contains("network-card"), "{}", error.story());
    }

    #[test]
    fn an_id_can_stand_in_an_address() {
        assert!(plain("memory-ecc").is_ok());
        for bad in ["", "../vms", "a b", "a/b", "ä"] {
            assert_eq!(plain(bad).unwrap_err().status(), 4, "{bad}");
        }
    }

    #[test]
    fn this_machine_can_be_checked_without_an_appliance() {
        let report = hardware::report(Purpose::Node);
        assert!(!story(&report).is_empty() && !table(&report).is_empty());
    }
}
