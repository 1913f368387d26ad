//! Jobs: made with the wish that causes them, ended in the command that settles
//! it, so that none is lost or half done.

use ashlar_api::JobId;
use ashlar_api::job::{JobState, Subject};

use super::link::Role;
use super::tables::{ApplyError, Tables};
use super::{Step, invalid, wrong_state};
use crate::state::command::{NewJob, Outcome};
use crate::state::schema::JobRecord;

/// How many jobs that are over are kept.
pub const KEPT: usize = 500;

/// Writes a new job.
pub fn begin(t: &mut Tables<'_>, job: &NewJob, subject: Subject) -> Step {
    if t.get::<JobRecord>(job.id)?.is_some() {
        return Err(invalid("job.id", "there is a job with this id already"));
    }
    Ok(t.put(JobRecord {
        id: job.id,
        revision: 0,
        verb: job.verb,
        subject,
        state: JobState::Running,
        message: String::new(),
        by: t.by.to_owned(),
        created_at: t.at,
        finished_at: None,
    })?)
}

/// Ends every job that is at work on an object.
pub fn end_all(t: &mut Tables<'_>, subject: &str, outcome: &Outcome) -> Result<(), ApplyError> {
    for id in t.linked(Role::Running, subject)? {
        if let Some(job) = t.get_text::<JobRecord>(&id)? {
            end(t, job, outcome)?;
        }
    }
    Ok(())
}

/// Ends one job and forgets those that were over long before.
fn end(t: &mut Tables<'_>, mut job: JobRecord, outcome: &Outcome) -> Result<(), ApplyError> {
    (job.state, job.message) = match outcome {
        Outcome::Done => (JobState::Succeeded, String::new()),
        Outcome::Failed { message } => (JobState::Failed, message.clone()),
        Outcome::Cancelled => (JobState::Cancelled, String::new()),
    };
    job.finished_at = Some(t.at);
    t.put(job)?;
    let over = t.targets(Role::Over)?;
    for (_, id) in over.iter().take(over.len().saturating_sub(KEPT)) {
        t.remove::<JobRecord>(id)?;
    }
    Ok(())
}

/// Asks a job to stop.
pub fn cancel(t: &mut Tables<'_>, id: JobId) -> Step {
    let mut job: JobRecord = t.need(id)?;
    match job.state {
        JobState::Cancelling => Ok(()),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => Err(wrong_state(
            "the job is over already",
            "nothing is left to cancel; read the job to see how it ended",
        )),
        JobState::Running if !job.is_cancellable() => Err(wrong_state(
            "this job can not be cancelled",
            "wait for it to end",
        )),
        JobState::Running => {
            job.state = JobState::Cancelling;
            Ok(t.put(job)?)
        }
    }
}

/// Ends a job whose subject has nothing to settle.
pub fn finish(t: &mut Tables<'_>, id: JobId, outcome: &Outcome) -> Step {
    let job: JobRecord = t.need(id)?;
    if !job.state.is_over() {
        end(t, job, outcome)?;
    }
    Ok(())
}
