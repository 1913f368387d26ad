//! `ashlar event`: what happened, and what happens now.

use std::time::Duration;

use ashlar_api::endpoint;
use ashlar_api::event::{Change, Event, Severity};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;

use super::error::{Error, Result};
use super::noun::{self, Cx, Noun};
use super::output::{self, Format, Look, word};

/// The stream has a heartbeat every 20 s; after this long without one it is dead.
const SILENCE: Duration = Duration::from_secs(70);
/// How long a stream is waited for that broke.
const AGAIN: Duration = Duration::from_secs(2);
/// How often in a row a stream is opened again in vain.
const TRIES: u32 = 30;
/// The longest message of a stream.
const LONGEST: usize = 1 << 20;

/// What can be done with events.
#[derive(Subcommand, Debug)]
pub enum EventCommand {
    /// List what happened, newest first
    List(HistoryArgs),
    /// Follow what happens, until Ctrl-C
    Follow {
        /// Also jobs, and which objects changed
        #[arg(long)]
        all: bool,
    },
}

/// Which events are listed.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only those with this text in them
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that matter at least so much
    #[arg(long)]
    severity: Option<Least>,
    /// Only those about the object with this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
}

/// How much an event matters at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Least {
    /// Everything
    Info,
    /// What wants looking at
    Warning,
    /// What does not work
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Info => Severity::Info,
            Least::Warning => Severity::Warning,
            Least::Critical => Severity::Critical,
        }
    }
}

impl Noun for Event {
    const WORD: &'static str = "event";
    const PATH: &'static str = endpoint::HISTORY;
    const COLUMNS: &'static [&'static str] = &["time", "severity", "by", "what"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.id.to_string()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        vec![
            look.time(self.at),
            word(&self.severity),
            self.by.clone().unwrap_or_default(),
            self.message.clone(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.row(look)).collect()
    }
}

impl EventCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            EventCommand::List(args) => list(cx, args).await,
            EventCommand::Follow { all } => follow(cx, all).await,
        }
    }
}

async fn list(cx: &Cx, args: HistoryArgs) -> Result {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.name.map(|name| ("name", name)));
    query.extend(args.subject.map(|subject| ("subject", subject)));
    let severity = args.severity.map(Severity::from);
    query.extend(severity.map(|severity| ("severity", word(&severity))));
    let request = cx.client.request(Method::GET, Event::PATH).query(&query);
    let answer = cx.client.send(request).await?;
    noun::print_pages::<Event>(cx, &[answer]).await
}

async fn follow(cx: &Cx, all: bool) -> Result {
    let mut vain = 0;
    loop {
        match stream(cx, all, &mut vain).await {
            Err(error) if error.may_pass() && vain < TRIES => {
                vain += 1;
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
}

/// Shows one stream until it breaks.
async fn stream(cx: &Cx, all: bool, vain: &mut u32) -> Result {
    let cut = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unreachable {
        place: cx.client.place().to_string(),
        source,
    };
    // A stream has no end in time; silence ends it.
    let request = cx
        .client
        .request(Method::GET, endpoint::EVENTS)
        .header("Accept", "text/event-stream")
        .timeout(Duration::from_secs(365 * 24 * 3600));
    let (mut response, _) = cx.client.begin(request).await?;
    let mut lines = Lines::default();
    loop {
        let chunk = tokio::time::timeout(SILENCE, response.chunk())
            .await
            .map_err(|_| cut("the stream of events fell silent".into()))?
            .map_err(|error| cut(error.without_url().into()))?;
        let Some(chunk) = chunk else {
            return Err(cut("the stream of events ended".into()));
        };
        *vain = 0;
        for data in lines.push(&chunk) {
            tell(cx, all, &data)?;
        }
    }
}

fn tell(cx: &Cx, all: bool, data: &str) -> Result {
    // What a newer appliance tells beyond this is left out.
    let Ok(change) = serde_json::from_str::<Change>(data) else {
        return Ok(());
    };
    let line = match &change {
        Change::Event { event } => event.row(&cx.look).join("  "),
        Change::Job { job } if all => format!("job {}", job.row(&cx.look).join("  ")),
        Change::Object { kind, id } if all => format!("changed {} {id}", word(kind)),
        Change::Hello { version, .. } if all => format!("connected to version {version}"),
        Change::Metrics { .. }
        | Change::Hello { .. }
        | Change::Job { .. }
        | Change::Object { .. } => {
            return Ok(());
        }
    };
    match cx.look.format {
        Format::Json => output::json(data.as_bytes()),
        Format::Table => output::print(&format!("{}\n", output::plain(&line))),
    }
}

/// Cuts a stream of server-sent events into the data of its messages.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let mut data = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(text) = line.trim_end().strip_prefix("data:") {
                data.push(text.trim_start().to_owned());
            }
        }
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_wherever_the_network_cuts() {
        let stream = b": heartbeat\n\nevent: object\ndata: {\"type\":\"object\"}\n\nevent: x\r\ndata:{}\r\n\r\n";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let mut data = lines.push(&stream[..cut]);
            data.extend(lines.push(&stream[cut..]));
            assert_eq!(data, ["{\"type\":\"object\"}", "{}"], "cut at {cut}");
        }
    }
}
