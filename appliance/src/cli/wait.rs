//! Waiting for work that goes on after an answer, with a bar at the terminal.
//!
//! The work belongs to the appliance: whoever stops waiting (Ctrl-C) stops
//! nothing. A wait ends when the work does, or when the appliance has not
//! answered for as long as its control plane may take to start anew.

use std::time::{Duration, Instant};

use ashlar_api::JobId;
use ashlar_api::job::{Job, JobState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::client;
use super::error::{Error, Result};
use super::noun::Cx;
use super::output::{plain, word};

/// Between two looks at first; later looks are rarer.
const PACE: Duration = Duration::from_millis(250);
/// Between two looks at most.
const SLOWEST: Duration = Duration::from_secs(2);
/// How long the appliance may be away.
const AWAY: Duration = Duration::from_secs(120);
/// How long something may take to be gone.
const GOING: Duration = Duration::from_secs(300);
/// The steps of a bar.
const STEPS: u64 = 1000;

/// Looks again and again, and bears with an appliance that is away for a while.
pub struct Looker {
    pace: Duration,
    answered: Instant,
}

impl Default for Looker {
    fn default() -> Self {
        Looker {
            pace: PACE,
            answered: Instant::now(),
        }
    }
}

impl Looker {
    /// What a look found; `None` if the appliance is away and may come back.
    pub fn bear<T>(&mut self, found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => {
                self.answered = Instant::now();
                Ok(Some(found))
            }
            Err(error) if error.may_pass() && self.answered.elapsed() < AWAY => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the next look.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.pace).await;
        self.pace = (self.pace * 5 / 4).min(SLOWEST);
    }
}

/// A bar for something with a known end.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▉▊▋▌▍▎▏░");
    ProgressBar::new(length).with_style(style)
}

/// A sign that something goes on.
pub fn spinner(text: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(text);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn title(job: &Job) -> String {
    plain(&format!(
        "{} {} {}",
        word(&job.verb),
        word(&job.subject.kind),
        job.subject.name
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a share is between 0 and 1, so the steps fit"
)]
fn steps(share: f32) -> u64 {
    (f64::from(share.clamp(0.0, 1.0)) * 1000.0) as u64
}

/// Waits until all jobs are over; the first that failed is the error.
pub async fn jobs(cx: &Cx, ids: &[JobId]) -> Result {
    let bars = MultiProgress::new();
    let mut failure = None;
    let mut looker = Looker::default();
    let mut open: Vec<(JobId, ProgressBar)> = ids
        .iter()
        .map(|id| {
            let template = "{prefix} {bar:30} {percent:>3} %  {wide_msg}";
            (*id, bars.add(bar(STEPS, template)))
        })
        .collect();
    while !open.is_empty() {
        let mut left = Vec::new();
        for (id, bar) in open {
            let answer = cx.client.get(&client::job(id)).await;
            let answer = answer.and_then(|answer| answer.read::<Job>());
            let Some(job) = looker.bear(answer)? else {
                bar.set_message("the appliance is away; waiting for it");
                left.push((id, bar));
                continue;
            };
            bar.set_prefix(title(&job));
            bar.set_message(plain(&job.message));
            bar.set_position(steps(job.progress.unwrap_or_default()));
            if job.state.is_over() {
                bar.finish();
                failure = failure.or(outcome(&job).err());
            } else {
                left.push((id, bar));
            }
        }
        open = left;
        if !open.is_empty() {
            looker.pause().await;
        }
    }
    failure.map_or(Ok(()), Err)
}

/// How a job that is over ended.
pub fn outcome(job: &Job) -> Result {
    match job.state {
        JobState::Succeeded | JobState::Running | JobState::Cancelling => Ok(()),
        JobState::Cancelled => Err(Error::failed(
            format!("{}: cancelled", title(job)),
            "Run the command again if it was not meant to be.",
        )),
        JobState::Failed => {
            let why = match job.message.as_str() {
                "" => "failed".to_owned(),
                message => plain(message),
            };
            Err(Error::failed(format!("{}: {why}", title(job)), ""))
        }
    }
}

/// Waits until an object is gone.
pub async fn gone(cx: &Cx, path: &str, name: &str) -> Result {
    let spinner = spinner(format!("deleting {}", plain(name)));
    let start = Instant::now();
    let mut looker = Looker::default();
    while start.elapsed() < GOING {
        match cx.client.get(path).await {
            Err(error) if error.is_not_found() => {
                spinner.finish_and_clear();
                return Ok(());
            }
            found => looker.bear(found)?,
        };
        looker.pause().await;
    }
    Err(Error::failed(
        format!("{name} is still there after {} s", GOING.as_secs()),
        "It goes on being deleted; `ashlar fault list` and `show` tell what is in the way.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::job::{Kind, Subject, Verb};
    use ashlar_api::{Timestamp, error::Code, error::Problem};

    #[test]
    fn shares_become_steps() {
        assert_eq!(steps(0.0), 0);
        assert_eq!(steps(0.5), 500);
        assert_eq!(steps(7.0), 1000);
        assert_eq!(steps(-1.0), 0);
        assert_eq!(steps(f32::NAN), 0);
    }

    #[test]
    fn a_failed_job_says_why() {
        let mut job = Job {
            id: uuid::Uuid::nil().into(),
            verb: Verb::Fill,
            subject: Subject {
                kind: Kind::Volume,
                id: String::new(),
                name: "web-1-disk0".into(),
            },
            state: JobState::Failed,
            progress: None,
            message: "no room in the pool".into(),
            by: "ann".into(),
            cancellable: false,
            created_at: Timestamp::UNIX_EPOCH,
            finished_at: None,
        };
        let error = outcome(&job).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fill volume web-1-disk0: no room in the pool"
        );
        assert_eq!(error.status(), 1);
        job.state = JobState::Succeeded;
        assert!(outcome(&job).is_ok());
    }

    #[test]
    fn a_short_absence_is_borne() {
        let mut looker = Looker::default();
        let away = || Error::Unreachable {
            place: "x".into(),
            source: "cut".into(),
        };
        assert!(looker.bear::<()>(Err(away())).unwrap().is_none());
        looker.answered = Instant::now().checked_sub(AWAY).unwrap();
        assert!(looker.bear::<()>(Err(away())).is_err());
        let refused = Error::Refused(Box::new(Problem::new(Code::Forbidden, "no")));
        assert!(Looker::default().bear::<()>(Err(refused)).is_err());
    }
}
