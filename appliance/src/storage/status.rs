//! What this domain tells of itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ashlar_api::fault::Fault;
use ashlar_api::image::ImageStatus;
use ashlar_api::pool::{Drive, PoolStatus};
use ashlar_api::volume::VolumeStatus;
use ashlar_api::{ImageId, PoolId, VolumeId};

use crate::reconcile::Pass;

/// What storage sees, after every pass.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The drives of this node.
    pub drives: Vec<Drive>,
    /// The pools.
    pub pools: BTreeMap<PoolId, PoolStatus>,
    /// The volumes.
    pub volumes: BTreeMap<VolumeId, VolumeStatus>,
    /// The images.
    pub images: BTreeMap<ImageId, ImageStatus>,
    /// Where images are kept, once there is a pool for them.
    pub library: Option<PathBuf>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}
