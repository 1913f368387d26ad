//! What this domain tells of itself.

use ashlar_api::fault::Fault;
use ashlar_api::service::Service;

use crate::reconcile::Pass;

/// What is seen of the services.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The services.
    pub services: Vec<Service>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}
