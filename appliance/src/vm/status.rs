//! What this domain tells of itself.

use std::collections::BTreeMap;

use ashlar_api::fault::Fault;
use ashlar_api::vm::{VmPhase, VmStatus};
use ashlar_api::{BootId, VmId};

use crate::reconcile::Pass;
use crate::state::schema::{VmRecord, Want};

/// What is seen of the machines, after every change.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The machines.
    pub vms: BTreeMap<VmId, VmStatus>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Status {
    /// What is told of a machine. Nobody has looked at any when the supervisor has just been started: those that shall run
    /// do so already or will in a moment, and are told as being started, never as stopped.
    pub fn of(&self, record: &VmRecord, boot: BootId) -> VmStatus {
        let wanted = matches!(record.wanted(boot), Want::On | Want::Paused);
        let unseen = || VmStatus {
            phase: match wanted {
                true => VmPhase::Starting,
                false => VmPhase::Stopped,
            },
            ..VmStatus::default()
        };
        let mut status = self.vms.get(&record.id).cloned().unwrap_or_else(unseen);
        status.wanted = wanted;
        if record.deleting {
            status.phase = VmPhase::Deleting;
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::arguments::tests::machine;

    #[test]
    fn what_nobody_has_looked_at_is_not_told_as_stopped() {
        let mut status = Status::default();
        let boot = BootId(uuid::Uuid::nil());
        let mut record = machine(0, 0, false);
        assert_eq!(status.of(&record, boot).phase, VmPhase::Starting);
        record.power.want = Want::Off;
        assert_eq!(status.of(&record, boot).phase, VmPhase::Stopped);
        record.deleting = true;
        assert_eq!(status.of(&record, boot).phase, VmPhase::Deleting);
        let seen = VmStatus {
            phase: VmPhase::Failed,
            ..VmStatus::default()
        };
        status.vms.insert(record.id, seen);
        (record.deleting, record.power.want) = (false, Want::On);
        let told = status.of(&record, boot);
        assert!(told.phase == VmPhase::Failed && told.wanted);
    }
}
