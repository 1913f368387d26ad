//! What is told of machines: the newest status of each, and what is wrong.
//!
//! Every owner writes its own part the moment it changes; the domain adds how
//! its pass went and what is wrong with the node as a whole. A fault keeps the
//! time it began for as long as it stays the same fault.

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::vm::{VmPhase, VmStatus};
use ashlar_api::{Name, Timestamp, VmId};
use tokio::sync::watch;

use super::status::Status;
use crate::reconcile::Pass;

/// Where status is told.
#[derive(Debug)]
pub struct Board(watch::Sender<Status>);

/// What the node can do for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ability {
    /// Hardware virtualisation can be used, or is not wanted.
    pub kvm: bool,
    /// There is firmware.
    pub firmware: bool,
    /// There is QEMU.
    pub program: bool,
    /// Machines that run and that nobody knows.
    pub strangers: Vec<VmId>,
}

impl Board {
    /// Tells it here.
    pub fn new(status: watch::Sender<Status>) -> Board {
        Board(status)
    }

    /// Tells what is seen of a machine.
    pub fn show(&self, id: VmId, name: &Name, seen: VmStatus) {
        self.0.send_if_modified(|status| {
            if status.vms.get(&id) == Some(&seen) {
                return false;
            }
            let fault = fault_of(id, name, &seen);
            replace(&mut status.faults, fault, |fault| is_about(fault, id));
            status.vms.insert(id, seen);
            true
        });
    }

    /// A machine is no more.
    pub fn forget(&self, id: VmId) {
        self.0.send_if_modified(|status| {
            status.faults.retain(|fault| !is_about(fault, id));
            status.vms.remove(&id).is_some()
        });
    }

    /// Tells how a pass went and what the node can do.
    pub fn settle(&self, pass: &Pass, ability: &Ability, known: impl Fn(VmId) -> bool) {
        self.0.send_modify(|status| {
            // An owner that was let go may have told something after it was forgotten.
            status.vms.retain(|id, _| known(*id));
            let faults = faults_of_node(ability, &pass.failures);
            replace(&mut status.faults, faults, |fault| fault.subject.is_none());
            status.pass = Some(pass.clone());
        });
    }
}

fn is_about(fault: &Fault, id: VmId) -> bool {
    fault
        .subject
        .as_ref()
        .is_some_and(|subject| subject.id == id.to_string())
}

/// Replaces some faults by others; one that stays the same keeps its time.
fn replace(
    faults: &mut Vec<Fault>,
    new: impl IntoIterator<Item = Fault>,
    old: impl Fn(&Fault) -> bool,
) {
    let (gone, mut rest): (Vec<Fault>, Vec<Fault>) = faults.drain(..).partition(old);
    for mut fault in new {
        if let Some(before) = gone.iter().find(|before| before.code == fault.code) {
            fault.since = before.since;
        }
        rest.push(fault);
    }
    *faults = rest;
}

fn fault_of(id: VmId, name: &Name, seen: &VmStatus) -> Option<Fault> {
    let (code, severity, title) = match seen.phase {
        VmPhase::Failed => (
            "vm-failed",
            Severity::Critical,
            format!("The virtual machine {name} does not run as it should."),
        ),
        VmPhase::Stopped | VmPhase::Deleting => return None,
        // What somebody can do something about.
        _ if !seen.remedy.is_empty() => (
            "vm-needs-attention",
            Severity::Warning,
            format!("The virtual machine {name} needs attention."),
        ),
        _ => return None,
    };
    Some(Fault {
        code: code.to_owned(),
        severity,
        title,
        detail: seen.message.clone(),
        remedy: seen.remedy.clone(),
        subject: Some(Subject {
            kind: Kind::Vm,
            id: id.to_string(),
            name: name.to_string(),
        }),
        since: Timestamp::now(),
    })
}

fn faults_of_node(ability: &Ability, failures: &[String]) -> Vec<Fault> {
    let fault = |code: &str, severity, title: &str, detail: String, remedy: &str| Fault {
        code: code.to_owned(),
        severity,
        title: title.to_owned(),
        detail,
        remedy: remedy.to_owned(),
        subject: None,
        since: Timestamp::now(),
    };
    let mut faults = Vec::new();
    if !ability.kvm {
        faults.push(fault(
            "no-kvm",
            Severity::Warning,
            "The node has no hardware virtualisation.",
            "Virtual machines run by emulation: ten to a hundred times slower.".to_owned(),
            "Switch on virtualisation in the firmware setup of the node (Intel VT-x, AMD SVM), then restart it. If \
             the node is a virtual machine itself, switch on nested virtualisation for it.",
        ));
    }
    if !ability.program || !ability.firmware {
        let missing = match ability.program {
            true => "UEFI firmware for virtual machines",
            false => "QEMU",
        };
        faults.push(fault(
            "vm-software-missing",
            Severity::Critical,
            "No virtual machine can be started on this node.",
            format!("The image of the node is incomplete: it has no {missing}."),
            "Install the appliance again, or update it to a complete image.",
        ));
    }
    if !ability.strangers.is_empty() {
        let ids: Vec<String> = ability.strangers.iter().map(VmId::to_string).collect();
        faults.push(fault(
            "vm-unknown",
            Severity::Warning,
            "A virtual machine runs that is not in the configuration.",
            format!(
                "It was left alone, so that nothing is lost: {}.",
                ids.join(", ")
            ),
            "End it from inside its guest, or restart the node.",
        ));
    }
    if !failures.is_empty() {
        faults.push(fault(
            "vms-not-applied",
            Severity::Warning,
            "Some settings of virtual machines could not be applied.",
            failures.join("\n"),
            "It is tried again by itself. If this stays, restart the node; if it comes back, report it with this text.",
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_stays_and_goes_with_its_cause() {
        let (sender, seen) = watch::channel(Status::default());
        let board = Board::new(sender);
        let id = VmId(uuid::Uuid::from_u128(1));
        let name: Name = "web-01".parse().unwrap();
        let failed = VmStatus {
            phase: VmPhase::Failed,
            message: "It needs 4 GiB of memory; 1 GiB are free".to_owned(),
            remedy: "Stop another machine".to_owned(),
            ..VmStatus::default()
        };
        board.show(id, &name, failed.clone());
        let first = seen.borrow().faults.clone();
        assert_eq!(first[0].code, "vm-failed");
        assert_eq!(first[0].detail, failed.message);
        let later = VmStatus {
            message: "It needs 4 GiB of memory; 2 GiB are free".to_owned(),
            ..failed
        };
        board.show(id, &name, later);
        assert_eq!(seen.borrow().faults.len(), 1);
        assert_eq!(seen.borrow().faults[0].since, first[0].since);
        let pass = Pass {
            at: Timestamp::UNIX_EPOCH,
            done: 0,
            left: Vec::new(),
            failures: Vec::new(),
        };
        board.settle(&pass, &Ability::default(), |_| true);
        let codes: Vec<String> = seen
            .borrow()
            .faults
            .iter()
            .map(|f| f.code.clone())
            .collect();
        assert_eq!(codes, ["vm-failed", "no-kvm", "vm-software-missing"]);
        board.show(id, &name, VmStatus::default());
        let able = Ability {
            kvm: true,
            firmware: true,
            program: true,
            strangers: Vec::new(),
        };
        board.settle(&pass, &able, |_| true);
        assert!(seen.borrow().faults.is_empty());
        board.forget(id);
        assert!(seen.borrow().vms.is_empty());
    }
}
