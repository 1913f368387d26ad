//! `ashlar update`: the releases of the appliance, and changing between them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ashlar_api::endpoint;
use ashlar_api::node::Node;
use ashlar_api::update::{Attempt, Ended, Update, UpdateApply, UpdateFetch, UpdateRemove, Version};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use reqwest::{Body, Method};

use super::ask;
use super::client::Answer;
use super::error::{Error, Result};
use super::noun::Cx;
use super::output::{self, Format, word};
use super::wait;

/// How long a whole bundle may take on a slow line.
const PATIENCE: Duration = Duration::from_secs(3600);
/// What is read of the file at once.
const PIECE: usize = 1 << 20;
/// How often it is asked how far a fetch has come.
const PACE: Duration = Duration::from_secs(1);
const BAR: &str =
    "{prefix} {bar:30} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {msg}";

/// What can be done with releases.
#[derive(Subcommand, Debug)]
pub enum UpdateCommand {
    /// Show the releases on the disk, and how the newest change went
    Show,
    /// Send a bundle; what runs is not touched
    Send(SendArgs),
    /// Have the appliance fetch a bundle by itself; what runs is not touched
    Fetch(FetchArgs),
    /// Restart the node into a release; it comes back by itself if that does not pass its checks
    Start(StartArgs),
    /// Remove a release from the disk
    Remove {
        /// Which one
        version: Version,
    },
}

/// A bundle to be sent.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The bundle, a file whose name ends in .ashlar
    file: PathBuf,
    /// Take it even if it is older than what runs
    #[arg(long)]
    downgrade: bool,
}

/// A bundle to be fetched.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// Where it is
    url: String,
    /// Take it even if it is older than what runs
    #[arg(long)]
    downgrade: bool,
    /// Do not wait until it is there
    #[arg(long)]
    no_wait: bool,
}

/// A release to be started.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// Which one
    version: Version,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn change(attempt: &Attempt) -> String {
    let how = match &attempt.ended {
        None => "goes on".to_owned(),
        Some(Ended::Kept { .. }) => "was kept".to_owned(),
        Some(Ended::Returned { reason, .. }) => format!("came back: {reason}"),
    };
    format!("from {} to {}: {how}", attempt.from, attempt.to)
}

/// The last lines of the kernel, where it crashed.
fn kernel(attempt: &Attempt) -> String {
    match &attempt.ended {
        Some(Ended::Returned { kernel, .. }) => kernel.join("\n"),
        _ => String::new(),
    }
}

fn told(update: &Update) -> String {
    let rows = update.releases.iter().map(|release| {
        let mut marks = Vec::new();
        if release.running {
            marks.push("runs");
        }
        if release.next && !release.running {
            marks.push("starts next");
        }
        vec![
            release.version.to_string(),
            word(&release.standing),
            marks.join(", "),
            release.size.to_string(),
            release.notes.lines().next().unwrap_or_default().to_owned(),
        ]
    });
    let columns = ["VERSION", "STANDING", "NOW", "SIZE", "NOTES"];
    let mut text = output::table(&columns, rows.collect());
    let attempt = update.attempt.as_ref();
    let checks = attempt.map(|attempt| {
        let lines = attempt.checks.iter().map(|check| {
            let finding = match check.finding.as_str() {
                "" => String::new(),
                finding => format!(" ({finding})"),
            };
            format!("{}: {}{finding}", check.name, word(&check.outcome))
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    text.push_str(&output::details(&[
        ("newest change", attempt.map(change).unwrap_or_default()),
        ("checks", checks.unwrap_or_default()),
        ("kernel", attempt.map(kernel).unwrap_or_default()),
        ("refused", update.refused.clone()),
        ("problem", update.problem.clone()),
    ]));
    text
}

fn show(cx: &Cx, answer: &Answer) -> Result {
    if cx.look.format == Format::Json {
        return output::json(&answer.body);
    }
    output::print(&told(&answer.read::<Update>()?))
}

/// A file as a body that moves a bar.
fn body(file: &Path, bar: ProgressBar) -> Result<(Body, u64)> {
    let failed = |error: std::io::Error| Error::file("read", file, error);
    let mut source = std::fs::File::open(file).map_err(failed)?;
    let size = source.metadata().map_err(failed)?.len();
    bar.set_length(size);
    let pieces = std::iter::from_fn(move || {
        let mut piece = vec![0; PIECE];
        match source.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                bar.inc(count as u64);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        }
    });
    Ok((Body::wrap_stream(futures_util::stream::iter(pieces)), size))
}

async fn send(cx: &Cx, args: SendArgs) -> Result {
    let bar = wait::bar(0, BAR).with_prefix("sending");
    let (body, size) = body(&args.file, bar.clone())?;
    let path = format!("{}/bundle", endpoint::UPDATE);
    let request = cx
        .client
        .request(Method::PUT, &path)
        .query(&[("downgrade", args.downgrade)])
        .header("content-type", "application/octet-stream")
        .header("content-length", size)
        .timeout(PATIENCE)
        .body(body);
    let answer = cx.client.send(request).await;
    bar.finish_and_clear();
    show(cx, &answer?)
}

async fn fetch(cx: &Cx, args: FetchArgs) -> Result {
    let wish = UpdateFetch {
        url: args.url,
        downgrade: args.downgrade,
    };
    let path = format!("{}/fetch", endpoint::UPDATE);
    let mut answer = cx.client.post(&path, &wish).await?;
    let bar = wait::bar(0, BAR).with_prefix("fetching");
    loop {
        let update: Update = answer.read()?;
        let Some(receiving) = update.receiving.filter(|_| !args.no_wait) else {
            break;
        };
        bar.set_length(receiving.size.map_or(0, |size| size.0));
        bar.set_position(receiving.received.0);
        tokio::time::sleep(PACE).await;
        answer = cx.client.get(endpoint::UPDATE).await?;
    }
    bar.finish_and_clear();
    show(cx, &answer)?;
    match answer.read::<Update>()?.refused.as_str() {
        "" => Ok(()),
        why => Err(Error::failed(why, "")),
    }
}

async fn start(cx: &Cx, args: StartArgs) -> Result {
    let nodes: Vec<Node> = cx.client.all(endpoint::NODES, &[]).await?;
    let Some(node) = nodes.first() else {
        return Err(Error::Foreign { status: 200 });
    };
    let name = &node.spec.name;
    let question = format!(
        "Restart {name} into version {}? Virtual machines on it are shut down first.",
        args.version
    );
    ask::unless_said(args.yes, &question)?;
    let wish = UpdateApply {
        version: args.version,
        confirm: name.to_string(),
    };
    let path = format!("{}/apply", endpoint::UPDATE);
    let answer = cx.client.post(&path, &wish).await?;
    output::note("The node restarts; `ashlar update show` says then how it went.");
    show(cx, &answer)
}

impl UpdateCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            UpdateCommand::Show => show(cx, &cx.client.get(endpoint::UPDATE).await?),
            UpdateCommand::Send(args) => send(cx, args).await,
            UpdateCommand::Fetch(args) => fetch(cx, args).await,
            UpdateCommand::Start(args) => start(cx, args).await,
            UpdateCommand::Remove { version } => {
                let path = format!("{}/remove", endpoint::UPDATE);
                show(cx, &cx.client.post(&path, &UpdateRemove { version }).await?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::update::{Outcome, Release, Standing, TrialCheck};
    use ashlar_api::{Bytes, Timestamp};

    #[test]
    fn releases_and_the_newest_change_are_told() {
        let release = |version: &str, standing, running| Release {
            version: version.parse().unwrap(),
            standing,
            tries_left: None,
            running,
            next: running,
            seen: true,
            size: Bytes(80 << 20),
            notes: String::new(),
        };
        let update = Update {
            version: "0.1.0".parse().unwrap(),
            on_trial: false,
            releases: vec![
                release("0.2.0", Standing::Aside, false),
                release("0.1.0", Standing::Good, true),
            ],
            free: Bytes(0),
            receiving: None,
            refused: String::new(),
            attempt: Some(Attempt {
                from: "0.1.0".parse().unwrap(),
                to: "0.2.0".parse().unwrap(),
                at: Timestamp::UNIX_EPOCH,
                by: "admin".to_owned(),
                checks: vec![TrialCheck {
                    name: "network".to_owned(),
                    title: "The node has an address.".to_owned(),
                    outcome: Outcome::Failed,
                    finding: "it has none".to_owned(),
                }],
                ended: Some(Ended::Returned {
                    at: Timestamp::UNIX_EPOCH,
                    reason: "The node has an address. This did not hold: it has none".to_owned(),
                    kernel: Vec::new(),
                }),
            }),
            problem: String::new(),
        };
        insta::assert_snapshot!(told(&update), @r"
        VERSION   STANDING   NOW    SIZE     NOTES
        0.2.0     aside      -      80 MiB   -
        0.1.0     good       runs   80 MiB   -
        newest change   from 0.1.0 to 0.2.0: came back: The node has an address. This did not hold: it has none
        checks          network: failed (it has none)
        ");
    }
}
