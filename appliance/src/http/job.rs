//! Jobs: long work, its progress, and stopping it.

use actix_web::{get, post, web};
use ashlar_api::job::{Job, JobState};
use ashlar_api::{JobId, Page};

use super::auth::Caller;
use super::error::Answer;
use super::request::{Id, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::reconcile::progress::Board;
use crate::state::command::Command;
use crate::state::schema::JobRecord;

/// A job as the API shows it: what is stored, and how far it has come.
pub fn view(board: &Board, record: JobRecord) -> Job {
    let progress = match record.state {
        JobState::Running | JobState::Cancelling => board.get(record.id),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => None,
    };
    let progress = progress.unwrap_or_default();
    let cancellable = record.is_cancellable();
    Job {
        id: record.id,
        verb: record.verb,
        subject: record.subject,
        state: record.state,
        progress: match record.state {
            JobState::Succeeded => Some(1.0),
            _ => progress.share,
        },
        message: if record.message.is_empty() {
            progress.message
        } else {
            record.message
        },
        by: record.by,
        cancellable,
        created_at: record.created_at,
        finished_at: record.finished_at,
    }
}

/// The jobs, newest first.
#[utoipa::path(responses((status = 200, body = Page<Job>)))]
#[get("/jobs")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    Ok(reply::ok(
        &shared.page::<JobRecord, Job>(&query, |job| view(&shared.app.board, job))?,
    ))
}

/// A job.
#[utoipa::path(responses((status = 200, body = Job)))]
#[get("/jobs/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<JobId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<JobRecord>(id)?;
    Ok(reply::ok(&view(&shared.app.board, record)))
}

/// Asks a job to stop
///
/// What it was making is removed or ends as failed.
#[utoipa::path(responses((status = 202, body = Job)))]
#[post("/jobs/{id}/cancel")]
pub async fn cancel(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<JobId>,
    _: web::Query<NoQuery>,
) -> Answer {
    shared
        .app
        .store
        .propose(&caller.name, Command::CancelJob { id })
        .await?;
    let record = shared.need::<JobRecord>(id)?;
    Ok(reply::accepted(
        record.revision,
        &[id],
        &view(&shared.app.board, record),
    ))
}
