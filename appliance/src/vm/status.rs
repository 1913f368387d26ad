//! What this domain tells of itself.

use std::collections::BTreeMap;

use ashlar_api::VmId;
use ashlar_api::fault::Fault;
use ashlar_api::vm::VmStatus;

use crate::reconcile::Pass;

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
