//! Volumes.

use std::collections::HashMap;

use actix_web::{delete, get, post, put, web};
use ashlar_api::job::{Kind, Verb};
use ashlar_api::vm::VmDisk;
use ashlar_api::volume::{Volume, VolumePhase, VolumeSpec};
use ashlar_api::{Condition, JobId, Page, Timestamp, VmId, VolumeId, endpoint};
use uuid::Uuid;

use super::auth::Caller;
use super::error::Answer;
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::{Command, NewJob};
use crate::state::schema::{Phase, VmRecord, VolumeRecord};

/// Which machine each volume belongs to.
fn owners(shared: &Shared) -> Answer<HashMap<VolumeId, VmId>> {
    let mut owners = HashMap::new();
    for vm in shared.app.store.list::<VmRecord>()? {
        for disk in &vm.spec.disks {
            if let VmDisk::Volume { volume } = disk {
                owners.insert(*volume, vm.id);
            }
        }
    }
    Ok(owners)
}

fn view(shared: &Shared, record: VolumeRecord, owners: &HashMap<VolumeId, VmId>) -> Volume {
    let seen = shared
        .app
        .seen
        .storage
        .borrow()
        .volumes
        .get(&record.id)
        .cloned();
    let mut status = seen.unwrap_or_default();
    // Where its life stands is stored; the rest is seen.
    status.phase = match &record.phase {
        Phase::Preparing => VolumePhase::Preparing,
        Phase::Ready => VolumePhase::Ready,
        Phase::Failed { message } => {
            if status.condition.message.is_empty() {
                status.condition = Condition {
                    message: message.clone(),
                    ..Condition::default()
                };
            }
            VolumePhase::Failed
        }
        Phase::Deleting => VolumePhase::Deleting,
    };
    status.vm = owners.get(&record.id).copied();
    Volume {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: record.phase == Phase::Deleting,
        spec: record.spec,
        status,
    }
}

/// A new record and the job that makes it.
pub fn record(spec: VolumeSpec) -> (VolumeRecord, NewJob) {
    let verb = if spec.image.is_some() {
        Verb::Fill
    } else {
        Verb::Create
    };
    let record = VolumeRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        phase: Phase::Preparing,
        spec,
    };
    (
        record,
        NewJob {
            id: JobId::from(Uuid::now_v7()),
            verb,
        },
    )
}

/// The volumes.
#[utoipa::path(responses((status = 200, body = Page<Volume>)))]
#[get("/volumes")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let owners = owners(&shared)?;
    Ok(reply::ok(
        &shared.page::<VolumeRecord, Volume>(&query, |volume| view(&shared, volume, &owners))?,
    ))
}

/// A volume.
#[utoipa::path(responses((status = 200, body = Volume)))]
#[get("/volumes/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<VolumeId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<VolumeRecord>(id)?;
    Ok(reply::object(
        record.revision,
        &view(&shared, record, &owners(&shared)?),
    ))
}

/// Makes a volume, empty or filled from an image.
#[utoipa::path(request_body = VolumeSpec, responses((status = 201, body = Volume)))]
#[post("/volumes")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<VolumeSpec>,
) -> Answer {
    let (record, job) = record(spec);
    let jobs = [job.id];
    let command = Command::CreateVolume {
        volume: Box::new(record.clone()),
        job,
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(&shared, record, &HashMap::new())));
    }
    let record = shared.need::<VolumeRecord>(record.id)?;
    Ok(reply::created(
        endpoint::VOLUMES,
        record.id,
        record.revision,
        &jobs,
        &view(&shared, record, &HashMap::new()),
    ))
}

/// Changes a volume
///
/// Its size can grow, never shrink; its pool and image stay.
#[utoipa::path(request_body = VolumeSpec, responses((status = 200, body = Volume)))]
#[put("/volumes/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VolumeId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<VolumeSpec>,
) -> Answer {
    let command = Command::ReplaceVolume {
        id,
        spec: spec.clone(),
        revision,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<VolumeRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else {
        shared.note(&caller, Kind::Volume, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(
        record.revision,
        &view(&shared, record, &owners(&shared)?),
    ))
}

/// Removes a volume and what is on it
///
/// Refused while a machine has it.
#[utoipa::path(responses((status = 202, body = Volume)))]
#[delete("/volumes/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VolumeId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let before = shared.need::<VolumeRecord>(id)?;
    let job = JobId::from(Uuid::now_v7());
    let command = Command::DeleteVolume {
        id,
        revision,
        job: NewJob {
            id: job,
            verb: Verb::Delete,
        },
    };
    shared.propose(&caller, command, *change).await?;
    let jobs = if change.dry_run {
        Vec::new()
    } else {
        vec![job]
    };
    let record = shared
        .app
        .store
        .get::<VolumeRecord>(id)?
        .unwrap_or(VolumeRecord {
            phase: Phase::Deleting,
            ..before
        });
    Ok(reply::accepted(
        record.revision,
        &jobs,
        &view(&shared, record, &owners(&shared)?),
    ))
}
