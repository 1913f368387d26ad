//! `ashlar job`: long work, its progress, and stopping it.

use ashlar_api::endpoint;
use ashlar_api::job::{Job, JobState};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::error::{Error, Result};
use super::noun::{self, Cx, ListArgs, NameArgs, Noun};
use super::output::{Look, share, word};
use super::{client, wait};

/// What can be done with jobs.
#[derive(Subcommand, Debug)]
pub enum JobCommand {
    /// List jobs, newest first
    List(ListArgs),
    /// Show a job
    Show(NameArgs),
    /// Wait until jobs are over
    Wait {
        /// Their ids
        #[arg(required = true)]
        jobs: Vec<String>,
    },
    /// Ask a job to stop
    Cancel(CancelArgs),
}

/// Which job is stopped.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// Its id
    job: String,
    /// Do not wait until it has stopped
    #[arg(long)]
    no_wait: bool,
}

impl Noun for Job {
    const WORD: &'static str = "job";
    const PATH: &'static str = endpoint::JOBS;
    const COLUMNS: &'static [&'static str] =
        &["id", "verb", "subject", "state", "progress", "by", "since"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.id.to_string()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        vec![
            self.id.to_string(),
            word(&self.verb),
            format!("{} {}", word(&self.subject.kind), self.subject.name),
            word(&self.state),
            self.progress.map(share).unwrap_or_default(),
            self.by.clone(),
            look.time(self.created_at),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("verb", word(&self.verb)),
            (
                "subject",
                format!(
                    "{} {} ({})",
                    word(&self.subject.kind),
                    self.subject.name,
                    self.subject.id
                ),
            ),
            ("state", word(&self.state)),
            ("progress", self.progress.map(share).unwrap_or_default()),
            ("message", self.message.clone()),
            ("by", self.by.clone()),
            ("since", look.time(self.created_at)),
            ("finished", look.maybe_time(self.finished_at)),
        ]
    }
}

/// A job's id, as it is given.
fn id(text: &str) -> Result<ashlar_api::JobId> {
    text.parse().map_err(|error: ashlar_api::id::InvalidId| {
        Error::usage(error.to_string(), "`ashlar job list` shows the ids.")
    })
}

impl JobCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            JobCommand::List(args) => noun::list::<Job>(cx, &args).await,
            JobCommand::Show(args) => noun::show::<Job>(cx, &args).await,
            JobCommand::Wait { jobs } => {
                let ids = jobs.iter().map(|job| id(job)).collect::<Result<Vec<_>>>()?;
                wait::jobs(cx, &ids).await
            }
            JobCommand::Cancel(args) => {
                let id = id(&args.job)?;
                let path = client::job(id);
                let request = cx.client.request(Method::POST, &format!("{path}/cancel"));
                let mut answer = cx.client.send(request).await?;
                let mut looker = wait::Looker::default();
                while !args.no_wait && !answer.read::<Job>()?.state.is_over() {
                    looker.pause().await;
                    if let Some(found) = looker.bear(cx.client.get(&path).await)? {
                        answer = found;
                    }
                }
                let state = answer.read::<Job>()?.state;
                cx.show::<Job>(&answer).await?;
                match state {
                    JobState::Succeeded => Err(Error::failed(
                        "the job was done before it could be stopped",
                        "",
                    )),
                    _ => Ok(()),
                }
            }
        }
    }
}
