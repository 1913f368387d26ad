//! Virtual machines: what they are made of, and whether they are wanted to run.

use std::collections::BTreeSet;

use ashlar_api::image::ImageFormat;
use ashlar_api::vm::{RunPolicy, VmAction, VmDisk, VmSpec};
use ashlar_api::{BootId, VmId, VolumeId};

use super::link::Role;
use super::tables::{ApplyError, Tables};
use super::{Step, Stop, invalid, volume, wrong_state};
use crate::state::command::NewJob;
use crate::state::schema::{
    ImageRecord, NetworkRecord, Phase, Power, VmRecord, VolumeRecord, Want,
};

/// The first user id of a machine's process.
pub const FIRST_UID: u32 = 30_000;

/// Volumes to be made with a machine.
type NewVolumes = [(VolumeRecord, NewJob)];

/// Makes a machine with its new volumes.
pub fn create(t: &mut Tables<'_>, vm: &VmRecord, volumes: &NewVolumes) -> Step {
    let mut vm = VmRecord {
        deleting: false,
        delete_volumes: Vec::new(),
        ..vm.clone()
    };
    t.free_name(&vm)?;
    new_volumes(t, &vm.spec, volumes)?;
    whole(t, vm.id, &vm.spec)?;
    vm.uid = free_uid(t, vm.uid)?;
    vm.power.want = match vm.spec.run_policy {
        RunPolicy::Always => Want::On,
        RunPolicy::Manual => vm.power.want,
        RunPolicy::Stopped => Want::Off,
    };
    t.insert(vm)
}

/// Makes the volumes that come with a machine; each is a disk of it.
fn new_volumes(t: &mut Tables<'_>, spec: &VmSpec, volumes: &NewVolumes) -> Step {
    for (volume, job) in volumes {
        let disk = VmDisk::Volume { volume: volume.id };
        let Some(i) = spec.disks.iter().position(|other| *other == disk) else {
            let message = format!("the new volume `{}` is no disk of it", volume.spec.name);
            return Err(invalid("disks", message));
        };
        volume::create(t, volume, job, &format!("disks[{i}]."))?;
    }
    Ok(())
}

/// Checks everything that a machine names.
fn whole(t: &Tables<'_>, id: VmId, spec: &VmSpec) -> Step {
    let own = id.to_string();
    let mut seen = BTreeSet::new();
    for (i, disk) in spec.disks.iter().enumerate() {
        let VmDisk::Volume { volume } = disk else {
            let message = "a disk that is stored names its volume";
            return Err(invalid(format!("disks[{i}]"), message));
        };
        let field = format!("disks[{i}].volume");
        if !seen.insert(*volume) {
            return Err(invalid(field, "this volume is named twice"));
        }
        usable_volume(t, &own, *volume, field)?;
    }
    if let Some(image) = spec.cdrom {
        let Some(image) = t.get::<ImageRecord>(image)? else {
            return Err(invalid("cdrom", "there is no such image"));
        };
        if volume::ready(&image)?.format != ImageFormat::Iso {
            let message = format!(
                "`{}` is the image of a disk; choose a CD image (ISO)",
                image.spec.name
            );
            return Err(invalid("cdrom", message));
        }
    }
    let mut macs = BTreeSet::new();
    for (i, nic) in spec.nics.iter().enumerate() {
        match t.get::<NetworkRecord>(nic.network)? {
            Some(network) if !network.deleting => {}
            Some(network) => {
                return Err(wrong_state(
                    format!("the network `{}` is being deleted", network.spec.name),
                    "choose another network",
                ));
            }
            None => {
                let message = "there is no such network";
                return Err(invalid(format!("nics[{i}].network"), message));
            }
        }
        let field = format!("nics[{i}].mac");
        let Some(mac) = nic.mac else {
            let message = "an interface that is stored has a hardware address";
            return Err(invalid(field, message));
        };
        if !macs.insert(mac) {
            return Err(invalid(field, "this hardware address is named twice"));
        }
        if let Some(holder) = other(t.linked(Role::Mac, mac)?, &own) {
            let holder = t.called::<VmRecord>(&holder)?;
            return Err(invalid(
                field,
                format!("{holder} has this hardware address"),
            ));
        }
    }
    Ok(())
}

/// The first of them that is not this one.
fn other(holders: Vec<String>, own: &str) -> Option<String> {
    holders.into_iter().find(|holder| holder != own)
}

fn usable_volume(t: &Tables<'_>, own: &str, id: VolumeId, field: String) -> Step {
    let Some(volume) = t.get::<VolumeRecord>(id)? else {
        return Err(invalid(field, "there is no such volume"));
    };
    if let Some(holder) = other(t.linked(Role::Disk, id)?, own) {
        let holder = t.called::<VmRecord>(&holder)?;
        return Err(invalid(field, format!("the volume belongs to {holder}")));
    }
    let state = match volume.phase {
        Phase::Preparing | Phase::Ready => return Ok(()),
        // It may stay where it is, so that the rest of the machine can be changed.
        Phase::Failed { .. } if t.linked(Role::Disk, id)?.iter().any(|vm| vm == own) => {
            return Ok(());
        }
        Phase::Failed { .. } => "could not be made",
        Phase::Deleting => "is being deleted",
    };
    Err(wrong_state(
        format!("the volume `{}` {state}", volume.spec.name),
        "choose another volume",
    ))
}

/// The lowest user id that no machine has, unless one is asked for.
fn free_uid(t: &Tables<'_>, wanted: u32) -> Result<u32, Stop> {
    let taken: BTreeSet<u32> = t
        .targets(Role::Uid)?
        .iter()
        .filter_map(|(uid, _)| uid.parse().ok())
        .collect();
    if wanted == 0 {
        return (FIRST_UID..u32::MAX)
            .find(|uid| !taken.contains(uid))
            .ok_or_else(|| invalid("uid", "every user id is taken"));
    }
    if wanted < FIRST_UID || taken.contains(&wanted) {
        let message = format!("a free user id from {FIRST_UID} on, or 0 to have one chosen");
        return Err(invalid("uid", message));
    }
    Ok(wanted)
}

/// A machine that is not being deleted.
fn living(t: &Tables<'_>, id: VmId, revision: Option<u64>) -> Result<VmRecord, Stop> {
    let vm: VmRecord = t.need_revision(id, revision)?;
    if vm.deleting {
        return Err(wrong_state(
            "the virtual machine is being deleted",
            "make another virtual machine",
        ));
    }
    Ok(vm)
}

/// Changes a machine, perhaps with new volumes.
pub fn replace(
    t: &mut Tables<'_>,
    id: VmId,
    spec: &VmSpec,
    revision: Option<u64>,
    volumes: &NewVolumes,
    boot: Option<BootId>,
) -> Step {
    let mut vm = living(t, id, revision)?;
    if vm.spec == *spec && volumes.is_empty() {
        return Ok(());
    }
    let policy = vm.spec.run_policy;
    vm.spec = spec.clone();
    t.free_name(&vm)?;
    new_volumes(t, spec, volumes)?;
    whole(t, id, spec)?;
    follow_policy(&mut vm.power, policy, spec.run_policy, boot);
    Ok(t.put(vm)?)
}

/// What a new policy means for a machine that runs, or does not.
fn follow_policy(power: &mut Power, before: RunPolicy, now: RunPolicy, boot: Option<BootId>) {
    let runs = matches!(power.want, Want::On | Want::Paused);
    match (before, now) {
        _ if before == now => {}
        (_, RunPolicy::Always) if !runs => power.want = Want::On,
        (_, RunPolicy::Stopped) if runs => power.want = Want::Off,
        (RunPolicy::Always, RunPolicy::Manual) if runs => power.boot = boot.or(power.boot),
        _ => {}
    }
}

/// Starts, stops … a machine.
pub fn act(t: &mut Tables<'_>, id: VmId, action: VmAction, boot: BootId) -> Step {
    let mut vm = living(t, id, None)?;
    let before = vm.power;
    match action {
        VmAction::Start | VmAction::Restart => {
            startable(t, &vm)?;
            vm.power.want = Want::On;
            vm.power.boot = Some(boot);
            if action == VmAction::Restart {
                vm.power.restarts += 1;
            }
        }
        // Cutting is the stronger wish of the two.
        VmAction::Shutdown if before.want == Want::Cut => {}
        VmAction::Shutdown => vm.power.want = Want::Off,
        VmAction::Stop => vm.power.want = Want::Cut,
        VmAction::Reset => {
            running(&vm, boot)?;
            vm.power.resets += 1;
        }
        VmAction::Pause => {
            running(&vm, boot)?;
            vm.power.want = Want::Paused;
        }
        VmAction::Resume => {
            running(&vm, boot)?;
            vm.power.want = Want::On;
        }
    }
    if vm.power != before {
        t.put(vm)?;
    }
    Ok(())
}

/// Refuses to start what can not run.
fn startable(t: &Tables<'_>, vm: &VmRecord) -> Step {
    if vm.spec.run_policy == RunPolicy::Stopped {
        return Err(wrong_state(
            "the run policy of the virtual machine is `stopped`",
            "set its run policy to `manual` or `always` first",
        ));
    }
    for disk in &vm.spec.disks {
        if let VmDisk::Volume { volume } = disk
            && let Some(volume) = t.get::<VolumeRecord>(*volume)?
            && let Phase::Failed { message } = &volume.phase
        {
            return Err(wrong_state(
                format!(
                    "its disk `{}` could not be made: {message}",
                    volume.spec.name
                ),
                "remove the disk from the virtual machine, or delete the machine and make it anew",
            ));
        }
    }
    Ok(())
}

/// Refuses what only makes sense while a machine is wanted to run.
fn running(vm: &VmRecord, boot: BootId) -> Step {
    if matches!(vm.wanted(boot), Want::On | Want::Paused) {
        return Ok(());
    }
    Err(wrong_state(
        "the virtual machine is not running",
        "start it first",
    ))
}

/// A guest ended by itself.
pub fn end(t: &mut Tables<'_>, id: VmId, boot: BootId) -> Step {
    let mut vm: VmRecord = t.need(id)?;
    let ended = vm.spec.run_policy == RunPolicy::Manual
        && matches!(vm.power.want, Want::On | Want::Paused)
        && vm.power.boot == Some(boot);
    if ended {
        vm.power.want = Want::Off;
        t.put(vm)?;
    }
    Ok(())
}

/// Wants a machine gone, and these of its volumes.
pub fn delete(t: &mut Tables<'_>, id: VmId, revision: Option<u64>, volumes: &[VolumeId]) -> Step {
    let mut vm: VmRecord = t.need_revision(id, revision)?;
    if vm.spec.protected && !vm.deleting {
        return Err(wrong_state(
            "the virtual machine is protected from being deleted",
            "take the protection off first",
        ));
    }
    let before = vm.clone();
    for (i, volume) in volumes.iter().enumerate() {
        if !vm.spec.disks.contains(&VmDisk::Volume { volume: *volume }) {
            let message = "this volume is no disk of the machine";
            return Err(invalid(format!("volumes[{i}]"), message));
        }
        if !vm.delete_volumes.contains(volume) {
            vm.delete_volumes.push(*volume);
        }
    }
    vm.deleting = true;
    vm.power.want = Want::Cut;
    if vm != before {
        t.put(vm)?;
    }
    Ok(())
}

/// A machine is gone; the volumes that were named go now.
pub fn forget(t: &mut Tables<'_>, id: VmId) -> Step {
    let Some(vm) = t.get::<VmRecord>(id)? else {
        return Ok(());
    };
    if !vm.deleting {
        return Err(wrong_state(
            "the virtual machine is wanted",
            "delete it before it is forgotten",
        ));
    }
    t.remove::<VmRecord>(&id.to_string())?;
    for volume in doomed(t, &vm)? {
        volume::doom(t, volume)?;
    }
    Ok(())
}

fn doomed(t: &Tables<'_>, vm: &VmRecord) -> Result<Vec<VolumeRecord>, ApplyError> {
    let mut volumes = Vec::new();
    for id in &vm.delete_volumes {
        if let Some(volume) = t.get::<VolumeRecord>(*id)?
            && volume.phase != Phase::Deleting
        {
            volumes.push(volume);
        }
    }
    Ok(volumes)
}
