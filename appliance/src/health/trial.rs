//! What must hold of a node before a release on trial is kept: the same things are looked at before the change, and what
//! did not hold then is not asked of the new release, which may be there to mend it.
//!
//! What takes longer than a look, such as a virtual machine that is started on trial, is added by the supervisor.

use ashlar_api::BootId;
use ashlar_api::update::{Outcome, TrialCheck};
use ashlar_api::vm::VmPhase;

use super::seen::Seen;
use crate::reconcile::{Pass, chain};
use crate::state::schema::VmRecord;
use crate::state::{StateError, Store};
use crate::vm;

/// How a check came out: what is missing, none when all is well.
pub fn check(name: &str, title: &str, missing: Option<String>) -> TrialCheck {
    TrialCheck {
        name: name.to_owned(),
        title: title.to_owned(),
        outcome: match missing {
            None => Outcome::Passed,
            Some(_) => Outcome::Waiting,
        },
        finding: missing.unwrap_or_default(),
    }
}

/// Looks. Nothing is decided here for good: what does not hold yet is waited for. Until the machine has `settled`, nothing
/// is said to be missing, so what is said then proves nothing.
pub fn checks(
    seen: &Seen,
    store: &Store,
    boot: BootId,
    settled: bool,
) -> Result<Vec<TrialCheck>, StateError> {
    let whole = match (settled, seen.is_whole()) {
        (true, true) => None,
        (true, false) => Some("not everything was looked at yet".to_owned()),
        (false, _) => Some("drivers are still being loaded".to_owned()),
    };
    let vms = store.list::<VmRecord>()?;
    Ok(vec![
        check(
            "devices",
            "Every part of the node has been looked at.",
            whole,
        ),
        check("network", "The node has an address.", network(seen)),
        check("storage", "Every pool is ready.", storage(seen)),
        check("services", "Every service runs.", services(seen)),
        check(
            "machines",
            "Every virtual machine that is to run does.",
            machines(seen, &vms, boot),
        ),
    ])
}

/// All of it, as it is before a change. Takes seconds.
pub async fn before(
    seen: &Seen,
    store: &Store,
    boot: BootId,
) -> Result<Vec<TrialCheck>, StateError> {
    let mut checks = checks(seen, store, boot, true)?;
    checks.push(probe().await);
    Ok(checks)
}

/// Makes a virtual machine on trial. Takes seconds.
pub async fn probe() -> TrialCheck {
    let made = vm::probe(&vm::Place::default()).await;
    let missing = made.err().map(|error| chain(&error));
    check("probe", "A virtual machine made on trial works.", missing)
}

/// The same, before it was made.
pub fn no_probe() -> TrialCheck {
    let missing = Some("it was not made yet".to_owned());
    check("probe", "A virtual machine made on trial works.", missing)
}

/// What the domain could not do in its last pass.
fn failed(pass: Option<&Pass>) -> Option<String> {
    let failure = pass?.failures.first()?;
    Some(format!("a step fails: {failure}"))
}

fn network(seen: &Seen) -> Option<String> {
    let network = seen.network.borrow();
    if network.addresses.is_empty() {
        return Some("it has none".to_owned());
    }
    failed(network.pass.as_ref())
}

fn storage(seen: &Seen) -> Option<String> {
    let storage = seen.storage.borrow();
    if let Some(failed) = failed(storage.pass.as_ref()) {
        return Some(failed);
    }
    let bad = storage.pools.values().find(|pool| !pool.condition.ready)?;
    Some(format!(
        "one of the pools is not: {}",
        bad.condition.message
    ))
}

fn services(seen: &Seen) -> Option<String> {
    let service = seen.service.borrow();
    let Some(bad) = service.services.iter().find(|service| !service.running) else {
        return failed(service.pass.as_ref());
    };
    let message = Some(bad.message.as_str()).filter(|message| !message.is_empty());
    Some(format!(
        "{} does not: {}",
        bad.name,
        message.unwrap_or("it was not started yet")
    ))
}

fn machines(seen: &Seen, vms: &[VmRecord], boot: BootId) -> Option<String> {
    let status = seen.vm.borrow();
    let waits = vms.iter().find(|vm| {
        let status = status.of(vm, boot);
        status.wanted && !matches!(status.phase, VmPhase::Running | VmPhase::Paused)
    });
    let Some(waits) = waits else {
        return failed(status.pass.as_ref());
    };
    let message = status.of(waits, boot).message;
    let told = Some(message).filter(|message| !message.is_empty());
    Some(format!(
        "{} does not: {}",
        waits.spec.name,
        told.unwrap_or_else(|| "it was not started yet".to_owned())
    ))
}

/// What is asked of the release on trial, after what did not hold before it. With `last`, the time is over: what does not
/// hold has failed.
pub fn judge(mut now: Vec<TrialCheck>, before: &[TrialCheck], last: bool) -> Vec<TrialCheck> {
    for check in &mut now {
        let held = before
            .iter()
            .find(|other| other.name == check.name)
            .is_none_or(|other| other.outcome == Outcome::Passed);
        if check.outcome == Outcome::Waiting && !held {
            check.outcome = Outcome::Excused;
        } else if check.outcome == Outcome::Waiting && last {
            check.outcome = Outcome::Failed;
        }
    }
    now
}

/// Whether nothing more is waited for, and nothing has failed.
pub fn is_passed(checks: &[TrialCheck]) -> bool {
    let good = |check: &TrialCheck| matches!(check.outcome, Outcome::Passed | Outcome::Excused);
    checks.iter().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_hold_before_is_not_asked_for() {
        let missing = |what: &str| Some(what.to_owned());
        let before = vec![
            check("network", "", None),
            check("storage", "", missing("a pool is gone")),
        ];
        let now = vec![
            check("network", "", missing("it has none")),
            check("storage", "", missing("a pool is gone")),
            check("probe", "", None),
        ];
        let outcomes = |checks: &[TrialCheck]| -> Vec<Outcome> {
            checks.iter().map(|check| check.outcome).collect()
        };
        let judged = judge(now.clone(), &before, false);
        assert_eq!(
            outcomes(&judged),
            [Outcome::Waiting, Outcome::Excused, Outcome::Passed]
        );
        assert!(!is_passed(&judged));
        let judged = judge(now, &before, true);
        assert_eq!(
            outcomes(&judged),
            [Outcome::Failed, Outcome::Excused, Outcome::Passed]
        );
        let well = judge(vec![check("network", "", None)], &before, true);
        assert!(is_passed(&well));
    }
}
