//! Storage pools.

use ashlar_api::PoolId;

use super::link::Role;
use super::tables::{Tables, called_all, subject};
use super::{Step, invalid, job, wrong_state};
use crate::state::command::{NewJob, Outcome, Refusal};
use crate::state::schema::{ImageRecord, Phase, PoolRecord, VolumeRecord, library_pool};

/// Makes a pool of drives that no other pool has.
pub fn create(t: &mut Tables<'_>, pool: &PoolRecord, new: &NewJob) -> Step {
    let pool = PoolRecord {
        phase: Phase::Preparing,
        library: false,
        ..pool.clone()
    };
    t.free_name(&pool)?;
    for (i, drive) in pool.spec.drives.iter().enumerate() {
        if let Some(holder) = t.linked(Role::Drive, drive)?.first() {
            let holder = t.called::<PoolRecord>(holder)?;
            return Err(invalid(
                format!("drives[{i}]"),
                format!("the drive belongs to {holder}"),
            ));
        }
    }
    job::begin(t, new, subject(&pool))?;
    t.insert(pool)
}

/// A pool was made, or could not be. Either way nothing may be erased for it any more.
pub fn settle(t: &mut Tables<'_>, id: PoolId, outcome: &Outcome) -> Step {
    let mut pool: PoolRecord = t.need(id)?;
    if pool.phase == Phase::Preparing {
        pool.phase = settled(outcome);
        pool.erase.clear();
        pool.library =
            pool.phase == Phase::Ready && library_pool(&t.all::<PoolRecord>()?).is_none();
        t.put(pool)?;
        job::end_all(t, &id.to_string(), outcome)?;
    }
    Ok(())
}

/// The phase after an attempt to make something.
pub fn settled(outcome: &Outcome) -> Phase {
    match outcome {
        Outcome::Done => Phase::Ready,
        Outcome::Failed { message } => Phase::Failed {
            message: message.clone(),
        },
        Outcome::Cancelled => Phase::Failed {
            message: "it was cancelled".to_owned(),
        },
    }
}

/// Wants a pool gone.
pub fn delete(t: &mut Tables<'_>, id: PoolId, revision: Option<u64>, new: &NewJob) -> Step {
    let mut pool: PoolRecord = t.need_revision(id, revision)?;
    not_deleting(&pool.phase, "storage pool")?;
    let volumes = t.linked(Role::Pool, id)?;
    if !volumes.is_empty() {
        let by = called_all::<VolumeRecord>(t, &volumes)?;
        return Err(Refusal::InUse { by }.into());
    }
    if pool.library && t.any::<ImageRecord>()? {
        return Err(Refusal::InUse {
            by: "the images are kept in it".to_owned(),
        }
        .into());
    }
    job::end_all(t, &id.to_string(), &Outcome::Cancelled)?;
    job::begin(t, new, subject(&pool))?;
    pool.phase = Phase::Deleting;
    pool.erase.clear();
    if std::mem::take(&mut pool.library) {
        pass_library_on(t, id)?;
    }
    Ok(t.put(pool)?)
}

/// Has the oldest of the other pools keep images from now on.
fn pass_library_on(t: &mut Tables<'_>, from: PoolId) -> Step {
    let mut pools = t.all::<PoolRecord>()?;
    pools.retain(|pool| pool.id != from && pool.phase == Phase::Ready);
    if let Some(mut heir) = pools
        .into_iter()
        .min_by_key(|pool| (pool.created_at, pool.id))
    {
        heir.library = true;
        t.put(heir)?;
    }
    Ok(())
}

/// Refuses to delete twice: the second job would have nothing to wait for.
pub fn not_deleting(phase: &Phase, noun: &str) -> Step {
    if *phase == Phase::Deleting {
        return Err(wrong_state(
            format!("the {noun} is being deleted already"),
            "wait until it is gone",
        ));
    }
    Ok(())
}

/// A pool is gone.
pub fn forget(t: &mut Tables<'_>, id: PoolId) -> Step {
    let Some(pool) = t.get::<PoolRecord>(id)? else {
        return Ok(());
    };
    deleting(&pool.phase, "storage pool")?;
    job::end_all(t, &id.to_string(), &Outcome::Done)?;
    Ok(t.remove::<PoolRecord>(&id.to_string())?)
}

/// Only what is wanted gone can be forgotten.
pub fn deleting(phase: &Phase, noun: &str) -> Step {
    if *phase == Phase::Deleting {
        return Ok(());
    }
    Err(wrong_state(
        format!("the {noun} is wanted"),
        "delete it before it is forgotten",
    ))
}
