//! What is wanted of storage, as the database has it. Nothing is left to
//! choose here: which pool keeps the images is the state machine's choice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ashlar_api::job::JobState;
use ashlar_api::vm::VmDisk;
use ashlar_api::{JobId, PoolId, VmId, VolumeId};
use serde::{Deserialize, Serialize};

use crate::state::schema::{
    ImageRecord, JobRecord, LIBRARY, PoolRecord, VmRecord, VolumeRecord, library_pool, volume_group,
};

/// What is wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// The pools.
    pub pools: Vec<PoolRecord>,
    /// The volumes.
    pub volumes: Vec<VolumeRecord>,
    /// The images.
    pub images: Vec<ImageRecord>,
    /// The job at work on an object, by the object's id.
    pub jobs: BTreeMap<String, Job>,
    /// The machine that has a volume.
    pub owners: BTreeMap<VolumeId, VmId>,
}

/// A job that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// True when someone asked it to stop.
    pub cancel: bool,
}

impl Desired {
    /// Puts the records together; jobs are given newest first.
    pub fn new(
        pools: Vec<PoolRecord>,
        volumes: Vec<VolumeRecord>,
        images: Vec<ImageRecord>,
        vms: &[VmRecord],
        jobs: &[JobRecord],
    ) -> Desired {
        let mut desired = Desired {
            pools,
            volumes,
            images,
            ..Desired::default()
        };
        for job in jobs.iter().filter(|job| !job.state.is_over()) {
            let entry = desired.jobs.entry(job.subject.id.clone()).or_insert(Job {
                id: job.id,
                cancel: false,
            });
            entry.cancel |= job.state == JobState::Cancelling;
        }
        for vm in vms {
            for disk in &vm.spec.disks {
                if let VmDisk::Volume { volume } = disk {
                    desired.owners.insert(*volume, vm.id);
                }
            }
        }
        desired
    }

    /// A pool.
    pub fn pool(&self, id: PoolId) -> Option<&PoolRecord> {
        self.pools.iter().find(|pool| pool.id == id)
    }

    /// The pool that keeps the images.
    pub fn library(&self) -> Option<&PoolRecord> {
        self.pool(library_pool(&self.pools)?)
    }

    /// The device of the library.
    pub fn library_device(&self) -> Option<PathBuf> {
        let group = volume_group(self.library()?.id);
        Some(PathBuf::from("/dev").join(group).join(LIBRARY))
    }

    /// The job at work on an object.
    pub fn job(&self, subject: impl ToString) -> Option<Job> {
        self.jobs.get(&subject.to_string()).copied()
    }

    /// Whether someone asked to stop what is done to an object.
    pub fn is_cancelled(&self, subject: impl ToString) -> bool {
        self.job(subject).is_some_and(|job| job.cancel)
    }
}
