//! Storage pools.
//!
//! Whether a drive may be used is told by what is seen of it, so it is checked
//! here and not by the state: a drive that holds anything is refused unless it
//! is named once more to be erased. The storage domain looks again before it
//! writes.

use actix_web::{delete, get, post, web};
use ashlar_api::error::Code;
use ashlar_api::job::Verb;
use ashlar_api::pool::{Drive, DriveUsage, Pool, PoolCreate};
use ashlar_api::{Condition, JobId, Page, PoolId, Timestamp, endpoint};
use uuid::Uuid;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::{Command, NewJob};
use crate::state::schema::{Phase, PoolRecord};

fn view(shared: &Shared, record: PoolRecord) -> Pool {
    let seen = shared
        .app
        .seen
        .storage
        .borrow()
        .pools
        .get(&record.id)
        .cloned();
    let mut status = seen.unwrap_or_default();
    if status.volume_group.is_empty() {
        status.volume_group = record.volume_group();
    }
    let message = match &record.phase {
        Phase::Preparing => "being made",
        Phase::Ready => "",
        Phase::Failed { message } => message.as_str(),
        Phase::Deleting => "being deleted",
    };
    if !message.is_empty() && status.condition.message.is_empty() {
        status.condition = Condition {
            message: message.to_owned(),
            ..Condition::default()
        };
    }
    Pool {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: record.phase == Phase::Deleting,
        spec: record.spec,
        status,
    }
}

/// Refuses drives that cannot be used as they are.
fn usable(drives: &[Drive], new: &PoolCreate) -> Answer<()> {
    for (i, id) in new.spec.drives.iter().enumerate() {
        let field = format!("spec.drives[{i}]");
        let Some(drive) = drives.iter().find(|drive| drive.id == *id) else {
            return Err(Failure::invalid(
                field,
                format!("there is no drive `{id}`; GET /api/v1/drives lists them"),
            ));
        };
        let name = &drive.name;
        match &drive.usage {
            DriveUsage::Free => {}
            DriveUsage::Foreign | DriveUsage::ForeignPool { .. } if new.erase.contains(id) => {}
            DriveUsage::Foreign | DriveUsage::ForeignPool { .. } => {
                let content = if drive.content.is_empty() {
                    "data"
                } else {
                    drive.content.as_str()
                };
                return Err(Failure::new(
                    Code::DataPresent,
                    format!("the drive {name} holds {content}"),
                )
                .field(field, "holds data")
                .remedy("Name it in `erase` too, if what is on it may be lost."));
            }
            DriveUsage::System => {
                return Err(Failure::new(
                    Code::InUse,
                    format!("the node starts from the drive {name}"),
                )
                .field(field, "the node starts from it")
                .remedy("Choose another drive."));
            }
            DriveUsage::Pool { .. } => {
                return Err(Failure::new(
                    Code::InUse,
                    format!("the drive {name} is part of a pool"),
                )
                .field(field, "is part of a pool")
                .remedy("Choose another drive."));
            }
            DriveUsage::Unusable { reason } => {
                return Err(Failure::new(
                    Code::WrongState,
                    format!("the drive {name} cannot be used: {reason}"),
                )
                .field(field, reason.clone())
                .remedy("Choose another drive."));
            }
        }
    }
    Ok(())
}

/// The pools.
#[utoipa::path(responses((status = 200, body = Page<Pool>)))]
#[get("/pools")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    Ok(reply::ok(
        &shared.page::<PoolRecord, Pool>(&query, |pool| view(&shared, pool))?,
    ))
}

/// A pool.
#[utoipa::path(responses((status = 200, body = Pool)))]
#[get("/pools/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<PoolId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<PoolRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Makes a pool of drives
///
/// A drive that holds anything is refused unless it is named in `erase` too.
#[utoipa::path(request_body = PoolCreate, responses((status = 201, body = Pool)))]
#[post("/pools")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(new): Body<PoolCreate>,
) -> Answer {
    usable(&shared.app.seen.storage.borrow().drives, &new)?;
    let record = PoolRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        phase: Phase::Preparing,
        spec: new.spec,
        erase: new.erase,
        library: false,
    };
    let job = JobId::from(Uuid::now_v7());
    let command = Command::CreatePool {
        pool: Box::new(record.clone()),
        job: NewJob {
            id: job,
            verb: Verb::Create,
        },
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(&shared, record)));
    }
    let record = shared.need::<PoolRecord>(record.id)?;
    Ok(reply::created(
        endpoint::POOLS,
        record.id,
        record.revision,
        &[job],
        &view(&shared, record),
    ))
}

/// Removes a pool
///
/// Refused while it has volumes or holds the images.
#[utoipa::path(responses((status = 202, body = Pool)))]
#[delete("/pools/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<PoolId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let before = shared.need::<PoolRecord>(id)?;
    let job = JobId::from(Uuid::now_v7());
    let command = Command::DeletePool {
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
        .get::<PoolRecord>(id)?
        .unwrap_or(PoolRecord {
            phase: Phase::Deleting,
            ..before
        });
    Ok(reply::accepted(
        record.revision,
        &jobs,
        &view(&shared, record),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::Bytes;
    use ashlar_api::pool::{Media, PoolSpec};

    fn drive(id: &str, usage: DriveUsage) -> Drive {
        Drive {
            id: id.into(),
            name: format!("sd-{id}"),
            model: String::new(),
            serial: String::new(),
            bus: "virtio".into(),
            size: Bytes::gib(1),
            media: Media::Virtual,
            usage,
            content: String::new(),
        }
    }

    #[test]
    fn only_free_drives_or_those_to_be_erased() {
        let pool: PoolId = Uuid::now_v7().into();
        let drives = [
            drive("free", DriveUsage::Free),
            drive("data", DriveUsage::Foreign),
            drive(
                "other",
                DriveUsage::ForeignPool {
                    volume_group: "ashlar-1".into(),
                },
            ),
            drive("system", DriveUsage::System),
            drive("used", DriveUsage::Pool { pool }),
            drive(
                "bad",
                DriveUsage::Unusable {
                    reason: "too small".into(),
                },
            ),
        ];
        let code = |id: &str, erase: bool| {
            let new = PoolCreate {
                spec: PoolSpec {
                    name: "data".parse().unwrap(),
                    drives: vec![id.into()],
                },
                erase: if erase { vec![id.into()] } else { Vec::new() },
            };
            usable(&drives, &new)
                .err()
                .map(|failure| failure.problem().code)
        };
        assert_eq!(code("free", false), None);
        assert_eq!(code("data", false), Some(Code::DataPresent));
        assert_eq!(code("data", true), None);
        assert_eq!(code("other", false), Some(Code::DataPresent));
        assert_eq!(code("other", true), None);
        assert_eq!(code("system", true), Some(Code::InUse));
        assert_eq!(code("used", true), Some(Code::InUse));
        assert_eq!(code("bad", true), Some(Code::WrongState));
        assert_eq!(code("none", true), Some(Code::Invalid));
    }
}
