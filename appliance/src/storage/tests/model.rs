//! A machine and a state in miniature: what each step makes of them, strict
//! about order where LVM and the state machine are.

use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use ashlar_api::image::{ImageFormat, ImageSource};

use crate::state::command::Outcome;
use crate::state::schema::{ImageContent, LIBRARY, Phase, volume_group};
use crate::storage::lvm::{Group, Logical, Thin};
use crate::storage::observe::{Content, ImageFile, Library, Observed, Work};
use crate::storage::plan::{Step, Subject};
use crate::storage::step::Disk;
use crate::storage::want::Desired;

/// The number of a disk with nothing on it that could be restored.
pub const HOPELESS: u64 = 13;

fn settled(outcome: Outcome) -> Phase {
    match outcome {
        Outcome::Done => Phase::Ready,
        Outcome::Failed { message } => Phase::Failed { message },
        Outcome::Cancelled => Phase::Failed {
            message: "it was cancelled".to_owned(),
        },
    }
}

fn thin() -> Thin {
    Thin {
        size: Bytes::gib(97),
        active: true,
        data_used: Some(0.0),
        metadata_used: Some(0.0),
        health: String::new(),
        needs_check: false,
    }
}

fn logical(name: &str, size: Bytes, preparing: bool) -> Logical {
    Logical {
        name: name.to_owned(),
        size,
        active: true,
        ours: true,
        preparing,
        used: Some(0.0),
    }
}

fn group<'a>(machine: &'a mut Observed, name: &str) -> &'a mut Group {
    let mut groups = machine.groups.iter_mut();
    let group = groups.find(|group| group.ours && group.name == name);
    group.expect("the group of the step")
}

fn whole<'a>(machine: &'a mut Observed, name: &str) -> &'a mut Group {
    let group = group(machine, name);
    assert!(group.is_whole(), "{name} can not be changed");
    group
}

fn add(machine: &mut Observed, name: &str, volume: Logical) {
    let group = whole(machine, name);
    let mut volumes = group.volumes.iter();
    assert!(volumes.all(|other| other.name != volume.name));
    group.volumes.push(volume);
}

fn remove(machine: &mut Observed, name: &str, volume: &str) {
    if name_of_library(machine).as_deref() == Some(name) {
        assert_ne!(volume, LIBRARY, "it is mounted");
    }
    whole(machine, name).volumes.retain(|v| v.name != volume);
    machine.without_file.remove(&format!("{name}/{volume}"));
}

fn name_of_library(machine: &Observed) -> Option<String> {
    let device = &machine.library.as_ref()?.device;
    let group = device.parent()?.file_name()?;
    Some(group.to_string_lossy().into_owned())
}

/// Whether a drive is one of some.
pub fn are(drives: &[Disk], path: &Path) -> bool {
    drives.iter().any(|disk| disk.path == path)
}

/// Something outside of the model keeps one of the drives.
fn is_busy(machine: &Observed, drives: &[Disk]) -> bool {
    let mut named = machine.drives.iter().filter(|d| are(drives, &d.path));
    named.any(|drive| !drive.holders.is_empty())
}

/// Does a step; panics where it could not be done.
pub fn apply(step: Step, desired: &mut Desired, machine: &mut Observed) {
    match step {
        Step::StopWork(Subject::Volume(id)) => drop(machine.fills.remove(&id)),
        Step::StopWork(Subject::Image(id)) => drop(machine.images.remove(&id)),
        Step::SettlePool { id, outcome } => {
            let mut pools = desired.pools.iter_mut();
            let pool = pools.find(|pool| pool.id == id).expect("the pool");
            assert_eq!(pool.phase, Phase::Preparing);
            pool.phase = settled(outcome);
            let is_ready = pool.phase == Phase::Ready;
            if is_ready && desired.library().is_none() {
                let mut pools = desired.pools.iter_mut();
                pools.find(|pool| pool.id == id).expect("the pool").library = true;
            }
        }
        Step::SettleVolume { id, outcome } => {
            let mut volumes = desired.volumes.iter_mut();
            let volume = volumes.find(|v| v.id == id).expect("the volume");
            assert_eq!(volume.phase, Phase::Preparing);
            volume.phase = settled(outcome);
            desired.jobs.remove(&id.to_string());
        }
        Step::SettleImage {
            id,
            outcome,
            content,
        } => {
            let mut images = desired.images.iter_mut();
            let image = images.find(|i| i.id == id).expect("the image");
            assert_eq!(image.phase, Phase::Preparing);
            assert_eq!(outcome == Outcome::Done, content.is_some());
            image.phase = settled(outcome);
            image.content = content;
            desired.jobs.remove(&id.to_string());
        }
        Step::UnmountLibrary => machine.library = None,
        Step::RemoveFiles(id) => {
            let library = machine.library.as_mut().expect("a library");
            library.files.remove(&id);
        }
        Step::RemoveVolume { group, name } => remove(machine, &group, &name),
        Step::RemoveGroup {
            group: name,
            partial,
            drives,
        } => {
            assert_ne!(name_of_library(machine).as_ref(), Some(&name));
            let group = group(machine, &name);
            assert!(group.missing == 0 || partial);
            assert!(group.strangers.is_empty());
            let devices: Vec<PathBuf> = drives.into_iter().map(|disk| disk.path).collect();
            assert_eq!(devices, group.devices);
            machine.groups.retain(|g| !(g.ours && g.name == name));
            for drive in &mut machine.drives {
                if devices.contains(&drive.path) {
                    drive.content = Content::Blank;
                }
            }
        }
        Step::CreatePool { id, drives, .. } if is_busy(machine, &drives) => {
            let message = "busy".to_owned();
            let outcome = Outcome::Failed { message };
            apply(Step::SettlePool { id, outcome }, desired, machine);
        }
        // Nothing comes that it could wait for.
        Step::AwaitPool { id, message } => {
            let outcome = Outcome::Failed { message };
            apply(Step::SettlePool { id, outcome }, desired, machine);
        }
        Step::CreatePool {
            id,
            drives,
            erase,
            orphans,
        } => {
            machine.orphans.retain(|path| !are(&drives, path));
            let mut pools = desired.pools.iter();
            let pool = pools.find(|pool| pool.id == id).expect("the pool");
            for drive in &mut machine.drives {
                if !are(&drives, &drive.path) {
                    continue;
                }
                assert!(!drive.system && pool.spec.drives.contains(&drive.id));
                if drive.content != Content::Blank {
                    let is_confirmed =
                        erase.contains(&drive.path) && pool.erase.contains(&drive.id);
                    assert!(is_confirmed || orphans.contains(&drive.path));
                }
                drive.content = Content::Lvm;
            }
            // Another pool's groups lose nothing: their drives are never taken.
            for group in machine.groups.iter().filter(|group| group.ours) {
                let is_known = group.pool.is_some_and(|pool| desired.pool(pool).is_some());
                assert!(!is_known || !group.devices.iter().any(|d| are(&drives, d)));
            }
            machine
                .groups
                .retain(|group| !group.devices.iter().any(|d| are(&drives, d)));
            machine.groups.push(Group {
                name: volume_group(id),
                uuid: id.to_string(),
                ours: true,
                pool: Some(id),
                size: Bytes::gib(100),
                free: Bytes::gib(2),
                devices: drives.into_iter().map(|disk| disk.path).collect(),
                missing: 0,
                thin: Some(thin()),
                volumes: Vec::new(),
                strangers: Vec::new(),
            });
        }
        Step::CreateThin { id, .. } => {
            group(machine, &volume_group(id)).thin = Some(thin());
        }
        Step::RestoreGroup { id, drives } => {
            assert!(machine.settled && machine.groups_of(id).next().is_none());
            assert!(
                drives
                    .iter()
                    .all(|disk| machine.damaged.contains(&disk.path))
            );
            if is_busy(machine, &drives)
                || drives.iter().any(|disk| disk.sequence == Some(HOPELESS))
            {
                machine
                    .unrestorable
                    .insert(id, "no copy is left".to_owned());
                return;
            }
            let devices: Vec<PathBuf> = drives.into_iter().map(|disk| disk.path).collect();
            machine.damaged.retain(|path| !devices.contains(path));
            machine.flawed.extend(devices.iter().take(1).cloned());
            machine.restored.insert(id);
            let own = desired.volumes.iter().filter(|v| v.spec.pool == id);
            let there = own.filter(|v| matches!(v.phase, Phase::Ready | Phase::Deleting));
            machine.groups.push(Group {
                name: volume_group(id),
                uuid: id.to_string(),
                ours: true,
                pool: Some(id),
                size: Bytes::gib(100),
                free: Bytes::gib(2),
                devices,
                missing: 0,
                thin: Some(Thin {
                    active: false,
                    ..thin()
                }),
                volumes: there
                    .map(|v| Logical {
                        active: false,
                        ..logical(&v.logical_volume(), Bytes::gib(1), false)
                    })
                    .collect(),
                strangers: Vec::new(),
            });
        }
        Step::RenewMetadata(name) => {
            let devices = whole(machine, &name).devices.clone();
            machine.flawed.retain(|path| !devices.contains(path));
        }
        Step::ActivateGroup(name) => {
            let group = whole(machine, &name);
            for volume in &mut group.volumes {
                volume.active = true;
            }
            if let Some(thin) = &mut group.thin {
                thin.active = true;
            }
        }
        Step::MakeFiles(name) => {
            let own = format!("{name}/");
            machine.without_file.retain(|path| !path.starts_with(&own));
        }
        Step::CreateLibrary { group, size, again } => {
            if again {
                remove(machine, &group, LIBRARY);
            }
            add(machine, &group, logical(LIBRARY, size, false));
        }
        Step::MountLibrary { device } => {
            assert!(machine.library.is_none());
            machine.library = Some(Library {
                device,
                files: Default::default(),
                problem: None,
            });
        }
        Step::GrowLibrary { group, size } => grow(machine, &group, LIBRARY, size),
        Step::CreateVolume {
            group, name, size, ..
        } => add(machine, &group, logical(&name, size, false)),
        Step::FillVolume {
            id,
            group,
            name,
            size,
            image,
            again,
            ..
        } => {
            assert!(machine.library.is_some());
            if desired.images.iter().all(|i| i.id != image) {
                let mut volumes = desired.volumes.iter_mut();
                let volume = volumes.find(|v| v.id == id).expect("the volume");
                volume.phase = settled(Outcome::Failed {
                    message: "the image is not there any more".to_owned(),
                });
                return;
            }
            if again {
                remove(machine, &group, &name);
            }
            add(machine, &group, logical(&name, size, true));
            machine.fills.insert(id, Work::Done { content: None });
        }
        Step::CompleteVolume { group, name } => {
            let group = whole(machine, &group);
            let mut volumes = group.volumes.iter_mut();
            let volume = volumes.find(|v| v.name == name).expect("the volume");
            volume.preparing = false;
        }
        Step::GrowVolume { group, name, size } => grow(machine, &group, &name, size),
        Step::CheckImage { id, .. } | Step::FetchImage { id, .. } => {
            let library = machine.library.as_mut().expect("a library");
            let size = Bytes::mib(100);
            let file = ImageFile {
                partial: None,
                whole: Some(size),
            };
            library.files.insert(id, file);
            let content = ImageContent {
                format: ImageFormat::Raw,
                size,
                virtual_size: size,
                sha256: String::new(),
            };
            let content = Some(content);
            machine.images.insert(id, Work::Done { content });
        }
        Step::ForgetImage(id) => desired.images.retain(|image| image.id != id),
        Step::ForgetVolume(id) => desired.volumes.retain(|volume| volume.id != id),
        Step::ForgetPool(id) => {
            assert!(machine.groups_of(id).next().is_none());
            desired.pools.retain(|pool| pool.id != id);
        }
    }
}

fn grow(machine: &mut Observed, group: &str, name: &str, size: Bytes) {
    let group = whole(machine, group);
    let mut volumes = group.volumes.iter_mut();
    let volume = volumes.find(|v| v.name == name).expect("the volume");
    assert!(volume.size < size, "it never shrinks");
    volume.size = size;
}

/// Lets the world go on where nothing is left to do: work ends, clients send.
pub fn go_on(desired: &Desired, machine: &mut Observed) -> bool {
    let before = machine.clone();
    machine.settled = true;
    for drive in &mut machine.drives {
        drive.mute = false;
    }
    for work in machine.fills.values_mut() {
        if matches!(work, Work::Running { .. }) {
            *work = Work::Done { content: None };
        }
    }
    for (id, work) in &mut machine.images {
        if matches!(work, Work::Running { .. }) {
            let message = id.to_string();
            *work = Work::Failed { message };
        }
    }
    if let Some(library) = &mut machine.library {
        for image in desired
            .images
            .iter()
            .filter(|i| i.phase == Phase::Preparing)
        {
            if let ImageSource::Upload { size } = image.spec.source {
                let file = library.files.entry(image.id).or_default();
                file.partial = file.whole.is_none().then_some(size);
            }
        }
    }
    serde_json::to_value(&before).ok() != serde_json::to_value(&*machine).ok()
}

/// The device files that a step may name.
pub fn is_device(path: &Path) -> bool {
    path.parent() == Some(&PathBuf::from("/dev"))
}
