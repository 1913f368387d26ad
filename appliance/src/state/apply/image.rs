//! Images.

use ashlar_api::ImageId;
use ashlar_api::image::ImageSpec;

use super::link::Role;
use super::pool::{deleting, settled};
use super::tables::{Tables, called_all, subject};
use super::{Step, invalid, job, wrong_state};
use crate::state::command::{NewJob, Outcome, Refusal};
use crate::state::schema::{
    ImageContent, ImageRecord, Phase, PoolRecord, VmRecord, VolumeRecord, library_pool,
};

/// Makes an image, whose bytes will come.
pub fn create(t: &mut Tables<'_>, image: &ImageRecord, new: &NewJob) -> Step {
    let image = ImageRecord {
        phase: Phase::Preparing,
        content: None,
        ..image.clone()
    };
    t.free_name(&image)?;
    if library_pool(&t.all::<PoolRecord>()?).is_none() {
        return Err(wrong_state(
            "there is no storage pool to keep images in",
            "make a storage pool first",
        ));
    }
    job::begin(t, new, subject(&image))?;
    t.insert(image)
}

/// Changes name and description; an image has its bytes once and for all.
pub fn replace(t: &mut Tables<'_>, id: ImageId, spec: &ImageSpec, revision: Option<u64>) -> Step {
    let mut image: ImageRecord = t.need_revision(id, revision)?;
    if image.phase == Phase::Deleting {
        return Err(wrong_state(
            "the image is being deleted",
            "make another image",
        ));
    }
    if spec.source != image.spec.source {
        let message = "an image keeps its source; make another image";
        return Err(invalid("source", message));
    }
    if spec.sha256 != image.spec.sha256 {
        let message = "an image keeps its checksum; make another image";
        return Err(invalid("sha256", message));
    }
    if image.spec == *spec {
        return Ok(());
    }
    image.spec = spec.clone();
    t.free_name(&image)?;
    Ok(t.put(image)?)
}

/// An image is complete, or can not be used.
pub fn settle(
    t: &mut Tables<'_>,
    id: ImageId,
    outcome: &Outcome,
    content: Option<&ImageContent>,
) -> Step {
    let mut image: ImageRecord = t.need(id)?;
    if image.phase != Phase::Preparing {
        return Ok(());
    }
    if *outcome == Outcome::Done && content.is_none() {
        let message = "a complete image needs what was found in it";
        return Err(invalid("content", message));
    }
    image.phase = settled(outcome);
    image.content = content.cloned();
    t.put(image)?;
    Ok(job::end_all(t, &id.to_string(), outcome)?)
}

/// Wants an image gone.
pub fn delete(t: &mut Tables<'_>, id: ImageId, revision: Option<u64>) -> Step {
    let mut image: ImageRecord = t.need_revision(id, revision)?;
    if image.phase == Phase::Deleting {
        return Ok(());
    }
    let drives = t.linked(Role::Cdrom, id)?;
    if !drives.is_empty() {
        let machines = called_all::<VmRecord>(t, &drives)?;
        let by = format!("in the CD drive of {machines}");
        return Err(Refusal::InUse { by }.into());
    }
    let filled = t.linked(Role::Fill, id)?;
    if !filled.is_empty() {
        let by = format!("filling {}", called_all::<VolumeRecord>(t, &filled)?);
        return Err(Refusal::InUse { by }.into());
    }
    job::end_all(t, &id.to_string(), &Outcome::Cancelled)?;
    image.phase = Phase::Deleting;
    Ok(t.put(image)?)
}

/// An image is gone.
pub fn forget(t: &mut Tables<'_>, id: ImageId) -> Step {
    let Some(image) = t.get::<ImageRecord>(id)? else {
        return Ok(());
    };
    deleting(&image.phase, "image")?;
    job::end_all(t, &id.to_string(), &Outcome::Done)?;
    Ok(t.remove::<ImageRecord>(&id.to_string())?)
}
