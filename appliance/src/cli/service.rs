//! `ashlar service`: the programs that the supervisor runs.

use ashlar_api::endpoint;
use ashlar_api::service::Service;
use clap::Subcommand;

use super::error::Result;
use super::noun::{self, Cx, ListArgs, NameArgs, Noun};
use super::output::Look;

/// What can be done with services.
#[derive(Subcommand, Debug)]
pub enum ServiceCommand {
    /// List services
    List(ListArgs),
    /// Show a service
    Show(NameArgs),
}

fn state(service: &Service) -> String {
    if service.running {
        "running"
    } else {
        "not running"
    }
    .to_owned()
}

impl Noun for Service {
    const WORD: &'static str = "service";
    const PATH: &'static str = endpoint::SERVICES;
    const COLUMNS: &'static [&'static str] = &["name", "state", "since", "restarts", "message"];

    fn id(&self) -> String {
        self.name.clone()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        self.details(look)
            .into_iter()
            .map(|(_, value)| value)
            .collect()
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("state", state(self)),
            ("since", look.time(self.since)),
            ("restarts", self.restarts.to_string()),
            ("message", self.message.clone()),
        ]
    }
}

impl ServiceCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            ServiceCommand::List(args) => noun::list::<Service>(cx, &args).await,
            ServiceCommand::Show(args) => noun::show_seen::<Service>(cx, &args).await,
        }
    }
}
