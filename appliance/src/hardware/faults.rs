//! What is so wrong with the hardware that it is a fault of the node.

use ashlar_api::fault::Fault;
use ashlar_api::hardware::Report;
use ashlar_api::job::{Kind, Subject};

use super::checks::rule;

/// A fault for each check that is critical and failed, but for those of which another part of the program tells in its
/// own words. Since when is found out by who compares faults.
pub fn of(report: &Report) -> Vec<Fault> {
    let told = |id: &str| rule(id).is_some_and(|rule| rule.told_by.is_some());
    let failed = report
        .checks
        .iter()
        .filter(|check| check.blocks() && !told(&check.id));
    failed
        .map(|check| Fault {
            code: "hardware-unfit".to_owned(),
            severity: check.severity,
            title: format!(
                "The hardware is not fit for a node: {}",
                lower(&check.title)
            ),
            detail: check.finding.clone(),
            remedy: check.remedy.clone(),
            subject: Some(Subject {
                kind: Kind::Hardware,
                id: check.id.clone(),
                name: check.title.clone(),
            }),
            since: check.since,
        })
        .collect()
}

/// A title inside a sentence; what is all capitals stays so.
pub fn lower(title: &str) -> String {
    let mut letters = title.chars();
    let (first, second) = (letters.next(), letters.next());
    match (first, second) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(title.chars().skip(1)).collect()
        }
        _ => title.to_owned(),
    }
}
