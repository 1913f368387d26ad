//! Volumes.

use ashlar_api::VolumeId;
use ashlar_api::image::ImageFormat;
use ashlar_api::volume::{BLOCK, VolumeSpec};

use super::link::Role;
use super::pool::{deleting, not_deleting, settled};
use super::tables::{Tables, called_all, subject};
use super::{Step, Stop, invalid, job, wrong_state};
use crate::state::command::{NewJob, Outcome, Refusal};
use crate::state::schema::{ImageRecord, Phase, PoolRecord, VmRecord, VolumeRecord};

/// Makes a volume. `prefix` says where in the request it stands, such as `disks[0].`.
pub fn create(t: &mut Tables<'_>, volume: &VolumeRecord, new: &NewJob, prefix: &str) -> Step {
    let mut volume = VolumeRecord {
        phase: Phase::Preparing,
        ..volume.clone()
    };
    volume.spec.size = volume.spec.size.round_up(BLOCK);
    t.free_name(&volume)?;
    usable_pool(t, &volume.spec, prefix)?;
    usable_image(t, &volume.spec, prefix)?;
    job::begin(t, new, subject(&volume))?;
    t.insert(volume)
}

fn usable_pool(t: &Tables<'_>, spec: &VolumeSpec, prefix: &str) -> Step {
    let Some(pool) = t.get::<PoolRecord>(spec.pool)? else {
        return Err(invalid(
            format!("{prefix}pool"),
            "there is no such storage pool",
        ));
    };
    let (state, remedy) = match &pool.phase {
        Phase::Ready => return Ok(()),
        Phase::Preparing => ("is being made", "wait until it is ready"),
        Phase::Failed { .. } => ("could not be made", "choose another pool"),
        Phase::Deleting => ("is being deleted", "choose another pool"),
    };
    let name = &pool.spec.name;
    Err(wrong_state(
        format!("the storage pool `{name}` {state}"),
        remedy,
    ))
}

fn usable_image(t: &Tables<'_>, spec: &VolumeSpec, prefix: &str) -> Step {
    let Some(image) = spec.image else {
        return Ok(());
    };
    let field = format!("{prefix}image");
    let Some(image) = t.get::<ImageRecord>(image)? else {
        return Err(invalid(field, "there is no such image"));
    };
    let content = ready(&image)?;
    if content.format == ImageFormat::Iso {
        let message = format!(
            "`{}` is a CD image; put it in the CD drive of a machine",
            image.spec.name
        );
        return Err(invalid(field, message));
    }
    if content.virtual_size > spec.size {
        return Err(invalid(
            format!("{prefix}size"),
            format!(
                "at least {}, the size of the image `{}`",
                content.virtual_size, image.spec.name
            ),
        ));
    }
    Ok(())
}

/// The content of an image that can be used.
pub fn ready(image: &ImageRecord) -> Result<&crate::state::schema::ImageContent, Stop> {
    let name = &image.spec.name;
    let (state, remedy) = match (&image.phase, &image.content) {
        (Phase::Ready, Some(content)) => return Ok(content),
        (Phase::Preparing, _) => ("is not complete yet", "wait until it is ready"),
        (Phase::Deleting, _) => ("is being deleted", "choose another image"),
        (Phase::Failed { .. } | Phase::Ready, _) => ("can not be used", "choose another image"),
    };
    Err(wrong_state(format!("the image `{name}` {state}"), remedy))
}

/// Changes a volume. Its size can grow; its pool and image stay.
pub fn replace(t: &mut Tables<'_>, id: VolumeId, spec: &VolumeSpec, revision: Option<u64>) -> Step {
    let mut volume: VolumeRecord = t.need_revision(id, revision)?;
    let mut spec = spec.clone();
    spec.size = spec.size.round_up(BLOCK);
    if volume.phase == Phase::Deleting {
        return Err(wrong_state(
            "the volume is being deleted",
            "make another volume",
        ));
    }
    if spec.pool != volume.spec.pool {
        return Err(invalid("pool", "a volume stays in its pool"));
    }
    if spec.image != volume.spec.image {
        let message = "a volume is filled once, when it is made";
        return Err(invalid("image", message));
    }
    if spec.size < volume.spec.size {
        return Err(invalid(
            "size",
            format!("a volume never shrinks; it has {}", volume.spec.size),
        ));
    }
    if spec.size > volume.spec.size && volume.phase != Phase::Ready {
        return Err(wrong_state(
            "the volume is not ready",
            "wait until it is ready, then let it grow",
        ));
    }
    if volume.spec == spec {
        return Ok(());
    }
    volume.spec = spec;
    t.free_name(&volume)?;
    Ok(t.put(volume)?)
}

/// A volume was made, or could not be.
pub fn settle(t: &mut Tables<'_>, id: VolumeId, outcome: &Outcome) -> Step {
    let mut volume: VolumeRecord = t.need(id)?;
    if volume.phase == Phase::Preparing {
        volume.phase = settled(outcome);
        t.put(volume)?;
        job::end_all(t, &id.to_string(), outcome)?;
    }
    Ok(())
}

/// Wants a volume gone.
pub fn delete(t: &mut Tables<'_>, id: VolumeId, revision: Option<u64>, new: &NewJob) -> Step {
    let volume: VolumeRecord = t.need_revision(id, revision)?;
    not_deleting(&volume.phase, "volume")?;
    let owners = t.linked(Role::Disk, id)?;
    if !owners.is_empty() {
        let by = called_all::<VmRecord>(t, &owners)?;
        return Err(Refusal::InUse { by }.into());
    }
    let subject = subject(&volume);
    doom(t, volume)?;
    job::begin(t, new, subject)
}

/// Marks a volume as wanted gone and ends what was being done to it.
pub fn doom(t: &mut Tables<'_>, mut volume: VolumeRecord) -> Step {
    job::end_all(t, &volume.id.to_string(), &Outcome::Cancelled)?;
    volume.phase = Phase::Deleting;
    Ok(t.put(volume)?)
}

/// A volume is gone.
pub fn forget(t: &mut Tables<'_>, id: VolumeId) -> Step {
    let Some(volume) = t.get::<VolumeRecord>(id)? else {
        return Ok(());
    };
    deleting(&volume.phase, "volume")?;
    job::end_all(t, &id.to_string(), &Outcome::Done)?;
    Ok(t.remove::<VolumeRecord>(&id.to_string())?)
}
