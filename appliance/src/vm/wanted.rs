//! What is wanted of a machine, with every name on the node that follows from it.
//!
//! Pure: records in, paths and names out. Whether a thing is there on the node
//! is looked at by the owner in the moment it needs it; what the records alone
//! tell to stand in the way of a start (a disk that is still being made) is
//! told here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use ashlar_api::vm::{Mac, VmDisk};
use ashlar_api::{BootId, ImageId, NetworkId, VolumeId};

use super::life::{Obstacle, Wish};
use super::place::Place;
use crate::state::schema::{ImageRecord, NetworkRecord, Phase, VmRecord, VolumeRecord, Want};

/// A machine and where its things are on the node.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The machine.
    pub record: VmRecord,
    /// Its disks' devices, in their order.
    pub disks: Vec<PathBuf>,
    /// Its interfaces, in their order.
    pub nics: Vec<Plug>,
    /// The medium in its CD drive.
    pub cdrom: Option<PathBuf>,
}

/// An interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plug {
    /// Its hardware address.
    pub mac: Mac,
    /// The node's end.
    pub tap: String,
    /// The bridge it is plugged into.
    pub bridge: String,
}

/// What is wanted of a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The machine.
    pub assignment: Assignment,
    /// What in the records stands in the way of a start.
    pub obstacle: Option<Obstacle>,
    /// What it is to do.
    pub want: Want,
}

/// The records that machines name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The volumes.
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// The images.
    pub images: BTreeMap<ImageId, ImageRecord>,
    /// The networks.
    pub networks: BTreeMap<NetworkId, NetworkRecord>,
}

fn passing(message: String) -> Obstacle {
    Obstacle {
        passing: true,
        message,
        remedy: String::new(),
    }
}

fn lasting(message: impl Into<String>, remedy: &str) -> Obstacle {
    Obstacle {
        passing: false,
        message: message.into(),
        remedy: remedy.to_owned(),
    }
}

impl Wanted {
    /// What is wanted of a machine in this start of the node.
    pub fn new(record: VmRecord, catalogue: &Catalogue, place: &Place, boot: BootId) -> Wanted {
        let mut obstacles = Vec::new();
        let mut disks = Vec::new();
        for disk in &record.spec.disks {
            let volume = match disk {
                VmDisk::Volume { volume } => catalogue.volumes.get(volume),
                VmDisk::New { .. } => None,
            };
            obstacles.extend(obstacle_of_disk(volume));
            disks.extend(volume.map(|volume| place.under(&volume.device())));
        }
        let mut nics = Vec::new();
        for nic in &record.spec.nics {
            match (catalogue.networks.get(&nic.network), nic.mac) {
                (Some(network), Some(mac)) => nics.push(Plug {
                    mac,
                    tap: VmRecord::tap(mac),
                    bridge: network.bridge(),
                }),
                _ => obstacles.push(lasting(
                    "One of its networks does not exist any more",
                    "Put its network interface on another network, or remove it",
                )),
            }
        }
        let mut cdrom = None;
        if let Some(id) = record.spec.cdrom {
            match catalogue.images.get(&id) {
                Some(image) if image.phase == Phase::Ready => {
                    cdrom = Some(place.under(&image.path()));
                }
                Some(image) if image.phase == Phase::Preparing => obstacles.push(passing(format!(
                    "The image `{}` in its CD drive is not complete yet",
                    image.spec.name
                ))),
                _ => obstacles.push(lasting(
                    "The image in its CD drive can not be used",
                    "Take it out of the drive",
                )),
            }
        }
        // What does not pass by itself is what somebody has to know.
        obstacles.sort_by_key(|obstacle| obstacle.passing);
        Wanted {
            want: record.wanted(boot),
            obstacle: obstacles.into_iter().next(),
            assignment: Assignment {
                record,
                disks,
                nics,
                cdrom,
            },
        }
    }

    /// The wish, as its life sees it.
    pub fn wish(&self, node_ends: Option<Instant>) -> Wish {
        let record = &self.assignment.record;
        Wish {
            want: self.want,
            policy: record.spec.run_policy,
            restarts: record.power.restarts,
            resets: record.power.resets,
            revision: record.revision,
            obstacle: self.obstacle.clone(),
            deleting: record.deleting,
            node_ends,
        }
    }
}

fn obstacle_of_disk(volume: Option<&VolumeRecord>) -> Option<Obstacle> {
    const REMEDY: &str = "Remove the disk from the machine, or delete the machine and make it anew";
    let Some(volume) = volume else {
        return Some(lasting("One of its disks does not exist any more", REMEDY));
    };
    let name = &volume.spec.name;
    match &volume.phase {
        Phase::Ready => None,
        Phase::Preparing => Some(passing(format!("Its disk `{name}` is being made"))),
        Phase::Failed { message } => Some(lasting(
            format!("Its disk `{name}` could not be made: {message}"),
            REMEDY,
        )),
        Phase::Deleting => Some(lasting(
            format!("Its disk `{name}` is being deleted"),
            REMEDY,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::arguments::tests::machine;
    use serde_json::json;

    fn volume(id: VolumeId, phase: Phase) -> VolumeRecord {
        let mut record: VolumeRecord = serde_json::from_value(json!({
            "id": id, "revision": 3, "created_at": "2026-11-22T08:04:52Z",
            "phase": {"phase": "ready"},
            "spec": {"name": "web-01-disk0", "pool": "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d", "size": 1u64 << 30},
        }))
        .unwrap();
        record.phase = phase;
        record
    }

    fn wanted(phases: &[Phase]) -> Wanted {
        let record = machine(phases.len(), 0, false);
        let volumes = crate::vm::arguments::volumes(&record);
        let catalogue = Catalogue {
            volumes: volumes
                .into_iter()
                .zip(phases)
                .map(|(id, phase)| (id, volume(id, phase.clone())))
                .collect(),
            ..Catalogue::default()
        };
        let place = Place {
            root: "/tmp/x".into(),
            ..Place::default()
        };
        Wanted::new(record, &catalogue, &place, BootId(uuid::Uuid::nil()))
    }

    #[test]
    fn a_machine_waits_for_its_disks() {
        let ready = wanted(&[Phase::Ready, Phase::Ready]);
        assert_eq!(ready.obstacle, None);
        assert_eq!(ready.want, Want::On);
        assert_eq!(
            ready.assignment.disks[0].to_string_lossy(),
            "/tmp/x/dev/ashlar-8a9b0c1d/vol-0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0100"
        );
        let obstacle = wanted(&[Phase::Ready, Phase::Preparing]).obstacle.unwrap();
        assert!(obstacle.passing);
        assert_eq!(obstacle.message, "Its disk `web-01-disk0` is being made");
        let failed = Phase::Failed {
            message: "the pool is full".to_owned(),
        };
        let obstacle = wanted(&[Phase::Preparing, failed]).obstacle.unwrap();
        assert!(!obstacle.passing && obstacle.message.ends_with("made: the pool is full"));
    }

    #[test]
    fn a_machine_that_names_what_is_gone_says_so() {
        let record = machine(1, 1, true);
        let place = Place::default();
        let boot = BootId(uuid::Uuid::nil());
        let wanted = Wanted::new(record, &Catalogue::default(), &place, boot);
        let obstacle = wanted.obstacle.unwrap();
        assert!(!obstacle.passing && !obstacle.remedy.is_empty());
        assert!(wanted.assignment.disks.is_empty() && wanted.assignment.nics.is_empty());
    }
}
