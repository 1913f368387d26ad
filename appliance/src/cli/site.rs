//! `ashlar site`: the installation as a whole.

use ashlar_api::site::{Health, Site, SiteSpec};
use ashlar_api::{Name, endpoint};
use clap::Subcommand;
use reqwest::Method;

use super::error::Result;
use super::noun::{ChangeArgs, Cx, read_json, spec_from};
use super::output::{self, list, word, yes};

/// What can be done with the site.
#[derive(Subcommand, Debug)]
pub enum SiteCommand {
    /// Show the site
    Show,
    /// State and version; needs no credentials
    Health,
    /// Change the site
    Set {
        /// What it is called
        #[arg(long)]
        name: Option<Name>,
        /// Where and what it is
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Time zone, such as Europe/Berlin; empty for UTC
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
        /// Time server; repeat for several, empty for those that DHCP gives
        #[arg(long = "ntp-server", value_name = "HOST")]
        ntp_servers: Option<Vec<String>>,
        /// How
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Replace all settings of the site
    Replace {
        /// File with the settings, JSON; `-` is the input
        #[arg(short, long, value_name = "FILE")]
        file: std::path::PathBuf,
        /// How
        #[command(flatten)]
        change: ChangeArgs,
    },
}

fn lines(site: &Site) -> Vec<(&'static str, String)> {
    vec![
        ("name", site.spec.name.to_string()),
        ("description", site.spec.description.clone()),
        ("time zone", site.spec.time_zone.clone()),
        ("time servers", list(&site.spec.ntp_servers)),
        ("claimed", yes(site.status.claimed)),
        ("worst", site.status.headline.clone()),
        ("certificate", site.status.certificate_fingerprint.clone()),
    ]
}

impl SiteCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            SiteCommand::Show => {
                let answer = cx.client.get(endpoint::SITE).await?;
                cx.tell_details(&answer, lines)
            }
            SiteCommand::Health => {
                let answer = cx.client.get(endpoint::HEALTH).await?;
                cx.tell_details(&answer, |health: &Health| {
                    vec![
                        ("state", word(&health.state)),
                        ("version", health.version.clone()),
                    ]
                })
            }
            SiteCommand::Set {
                name,
                description,
                time_zone,
                ntp_servers,
                change,
            } => {
                let site: Site = cx.client.get(endpoint::SITE).await?.read()?;
                let before = site.spec;
                let spec = SiteSpec {
                    name: name.unwrap_or(before.name),
                    description: description.unwrap_or(before.description),
                    time_zone: time_zone.unwrap_or(before.time_zone),
                    ntp_servers: ntp_servers
                        .map(|servers| servers.into_iter().filter(|s| !s.is_empty()).collect())
                        .unwrap_or(before.ntp_servers),
                };
                put(cx, &spec, Some(site.revision), change).await
            }
            SiteCommand::Replace { file, change } => {
                let (spec, revision) = spec_from(read_json(&file)?);
                put(cx, &spec, revision, change).await
            }
        }
    }
}

async fn put(
    cx: &Cx,
    spec: &impl serde::Serialize,
    revision: Option<u64>,
    change: ChangeArgs,
) -> Result {
    let mut request = cx.client.request(Method::PUT, endpoint::SITE).json(spec);
    if let Some(revision) = revision {
        request = request.header("If-Match", format!("\"{revision}\""));
    }
    if change.dry_run {
        request = request.query(&[("dry_run", "true")]);
    }
    let answer = cx.client.send(request).await?;
    if change.dry_run {
        output::note("It would be accepted; nothing was changed.");
    }
    cx.tell_details(&answer, lines)
}
