//! The hardware of a node: what it is made of, and what was found when it was
//! checked. It is checked before the appliance is installed, at each start, each
//! day and on demand, always by the same rules.
//!
//! A failed check that is critical blocks an installation. One that is a warning
//! can be overridden: whoever does so knows of it and does not want to be told
//! again. What is only good to know needs neither.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::event::Severity;
use crate::{Bytes, Timestamp, validate};

/// What part of the machine a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Area {
    /// Processors and the IOMMU.
    Processor,
    /// Memory.
    Memory,
    /// The firmware and what it guards the start with.
    Firmware,
    /// Drives and their controllers.
    Drives,
    /// Network cards.
    Network,
    /// The clock of the main board.
    Clock,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// It could not be told.
    Unknown,
}

/// That somebody knows of a warning and does not want to be told again. It is kept on the node, also for versions that
/// know more or less of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Override {
    /// Who.
    pub by: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What the check was about then, as it was called.
    pub target: String,
    /// What that is known by. About something else, it is told anew.
    #[serde(default)]
    pub identity: String,
}

impl Override {
    /// It was said of what this check found.
    pub fn holds_for(&self, check: &Check) -> bool {
        check.outcome == Outcome::Failed
            && check.severity == Severity::Warning
            && check.identity == self.identity
    }
}

/// What whoever overrides a check has seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OverrideRequest {
    /// What it is about, as the report says. When it is about something else by now, nothing is overridden.
    pub identity: String,
}

impl validate::Check for OverrideRequest {
    fn check_into(&self, f: &mut validate::Findings) {
        f.require(
            !self.identity.is_empty(),
            "identity",
            "what the report says of the check",
        );
    }
}

/// One check, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// Stable, for programs: `memory-ecc`. One check of each id is in a report.
    pub id: String,
    /// What part of the machine it is about.
    pub area: Area,
    /// What is checked, in a few words.
    pub title: String,
    /// How much it matters: of a check that failed, what was found; of any other, the most it can matter.
    pub severity: Severity,
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about, such as `sda`.
    pub target: String,
    /// What that is known by, such as a drive's serial number: it stays when the kernel calls it otherwise.
    #[serde(default)]
    pub identity: String,
    /// What was found, in sentences.
    pub finding: String,
    /// What to do; never empty when the check failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Since when it ends so.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Who overrode it, while it is overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override>,
}

impl Check {
    /// It failed, and nobody has overridden it.
    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Failed && self.overridden.is_none()
    }

    /// A machine with this is not fit for a node.
    pub fn blocks(&self) -> bool {
        self.outcome == Outcome::Failed && self.severity == Severity::Critical
    }

    /// It can be overridden: a warning that failed.
    pub fn can_be_overridden(&self) -> bool {
        self.is_open() && self.severity == Severity::Warning
    }

    /// What is read first: what failed, the worst of it first, then what was overridden or can not be told.
    fn rank(&self) -> u8 {
        match (self.outcome, &self.overridden, self.severity) {
            (Outcome::Failed, None, Severity::Critical) => 0,
            (Outcome::Failed, None, Severity::Warning) => 1,
            (Outcome::Failed, None, Severity::Info) => 2,
            (Outcome::Failed, Some(_), _) => 3,
            (Outcome::Unknown, ..) => 4,
            (Outcome::Passed, ..) => 5,
        }
    }
}

/// A module of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Module {
    /// Where it sits, as printed on the main board.
    pub slot: String,
    /// Its size.
    pub size: Bytes,
    /// What it is, such as `DDR5`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How fast it runs, in megatransfers per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// Its maker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub maker: String,
    /// The maker's name for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// The number of this one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
}

/// The machine, as its firmware and its kernel tell. What neither tells is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Machine {
    /// Its maker.
    pub vendor: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Who made the firmware.
    pub firmware_vendor: String,
    /// The firmware's version.
    pub firmware_version: String,
    /// From when the firmware is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Date))]
    pub firmware_date: Option<Date>,
    /// Model of the processor.
    pub processor: String,
    /// How many processors are plugged in.
    pub sockets: u32,
    /// Logical processors.
    pub processors: u32,
    /// Memory that the kernel has.
    pub memory: Bytes,
    /// The modules it is made of.
    pub modules: Vec<Module>,
    /// The machine is a virtual one.
    pub is_virtual: bool,
}

/// Something that was measured on a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Measured {
    /// What.
    pub what: String,
    /// The result, with its unit.
    pub result: String,
    /// How it was measured.
    pub how: String,
    /// With which version of the appliance.
    pub version: String,
    /// In which month, such as `2026-11`.
    pub when: String,
}

/// A model that the catalogue knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnownModel {
    /// What it is called.
    pub title: String,
    /// What is to be known of it.
    pub note: String,
    /// What was measured on it.
    pub measured: Vec<Measured>,
}

/// What was found when the hardware was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// By which version of the appliance.
    pub version: String,
    /// How the hardware is, in a sentence.
    pub summary: String,
    /// The worst of what failed and was not overridden; absent when nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Severity>,
    /// The machine.
    pub machine: Machine,
    /// What the catalogue knows of the model; absent when it does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownModel>,
    /// The checks, in a steady order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Puts a report together.
    pub fn new(
        at: Timestamp,
        version: impl Into<String>,
        machine: Machine,
        known: Option<KnownModel>,
        checks: Vec<Check>,
    ) -> Self {
        let mut report = Report {
            at,
            version: version.into(),
            summary: String::new(),
            worst: None,
            machine,
            known,
            checks,
        };
        report.conclude();
        report
    }

    /// Draws the conclusions from the checks anew, after one was overridden or is no more.
    pub fn conclude(&mut self) {
        self.worst = self.open().map(|check| check.severity).max();
        self.summary = self.sentence();
    }

    /// A check by its id.
    pub fn check(&self, id: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// True if the machine is not fit for a node. Nothing overrides that.
    pub fn blocks(&self) -> bool {
        self.checks.iter().any(Check::blocks)
    }

    /// What failed and was not overridden, in the order of the checks.
    pub fn open(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.is_open())
    }

    /// How many checks failed with this severity and were not overridden.
    pub fn count(&self, severity: Severity) -> usize {
        self.open()
            .filter(|check| check.severity == severity)
            .count()
    }

    /// The checks as a person reads them: what failed first.
    pub fn in_order(&self) -> Vec<&Check> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.sort_by_key(|check| check.rank());
        checks
    }

    fn sentence(&self) -> String {
        let overridden = self
            .checks
            .iter()
            .filter(|check| check.overridden.is_some())
            .count();
        match (
            self.count(Severity::Critical),
            self.count(Severity::Warning),
            overridden,
        ) {
            (0, 0, 0) => "The hardware is as it should be".to_owned(),
            (0, 0, 1) => "The hardware is as it should be, but for one warning that was overridden"
                .to_owned(),
            (0, 0, n) => {
                format!(
                    "The hardware is as it should be, but for {n} warnings that were overridden"
                )
            }
            (0, 1, _) => "One thing about the hardware wants looking at".to_owned(),
            (0, n, _) => format!("{n} things about the hardware want looking at"),
            (1, ..) => {
                "The hardware is not fit for a node; one thing has to change first".to_owned()
            }
            (n, ..) => {
                format!("The hardware is not fit for a node; {n} things have to change first")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, severity: Severity, outcome: Outcome) -> Check {
        Check {
            id: id.to_owned(),
            area: Area::Memory,
            title: id.to_owned(),
            severity,
            outcome,
            target: "memory".to_owned(),
            identity: "memory".to_owned(),
            finding: "Found.".to_owned(),
            remedy: "Do.".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            overridden: None,
        }
    }

    fn report(checks: Vec<Check>) -> Report {
        Report::new(Timestamp::UNIX_EPOCH, "1", Machine::default(), None, checks)
    }

    #[test]
    fn only_what_is_critical_blocks() {
        let fit = report(vec![
            check("a", Severity::Critical, Outcome::Passed),
            check("b", Severity::Critical, Outcome::Unknown),
            check("c", Severity::Warning, Outcome::Failed),
        ]);
        assert!(!fit.blocks());
        assert_eq!(fit.worst, Some(Severity::Warning));
        let unfit = report(vec![check("a", Severity::Critical, Outcome::Failed)]);
        assert!(unfit.blocks());
        assert!(!unfit.checks[0].can_be_overridden());
        assert_eq!(
            unfit.summary,
            "The hardware is not fit for a node; one thing has to change first"
        );
    }

    #[test]
    fn what_was_overridden_is_told_no_more() {
        let mut told = report(vec![
            check("a", Severity::Warning, Outcome::Failed),
            check("b", Severity::Warning, Outcome::Failed),
        ]);
        assert_eq!(told.summary, "2 things about the hardware want looking at");
        for check in &mut told.checks {
            check.overridden = Some(Override {
                by: "ann".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                target: check.target.clone(),
                identity: check.identity.clone(),
            });
        }
        told.conclude();
        assert_eq!(told.worst, None);
        assert!(
            told.summary.ends_with("2 warnings that were overridden"),
            "{}",
            told.summary
        );
    }

    #[test]
    fn what_failed_is_read_first() {
        let all = report(vec![
            check("passed", Severity::Critical, Outcome::Passed),
            check("unknown", Severity::Critical, Outcome::Unknown),
            check("info", Severity::Info, Outcome::Failed),
            check("warning", Severity::Warning, Outcome::Failed),
            check("critical", Severity::Critical, Outcome::Failed),
        ]);
        let order: Vec<&str> = all.in_order().iter().map(|c| c.id.as_str()).collect();
        assert_eq!(order, ["critical", "warning", "info", "unknown", "passed"]);
    }
}
