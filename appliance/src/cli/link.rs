//! `ashlar link`: network interfaces of the nodes, as they are seen.

use ashlar_api::endpoint;
use ashlar_api::network::Link;
use clap::Subcommand;

use super::error::Result;
use super::noun::{self, Cx, ListArgs, NameArgs, Noun};
use super::output::{Look, list, word, yes};

/// What can be done with interfaces.
#[derive(Subcommand, Debug)]
pub enum LinkCommand {
    /// List interfaces
    List(ListArgs),
    /// Show an interface
    Show(NameArgs),
}

fn state(link: &Link) -> &'static str {
    match (link.up, link.carrier) {
        (false, _) => "off",
        (true, false) => "no cable",
        (true, true) => "up",
    }
}

fn speed(link: &Link) -> String {
    link.speed
        .map(|speed| format!("{speed} Mbit/s"))
        .unwrap_or_default()
}

impl Noun for Link {
    const WORD: &'static str = "network interface";
    const PATH: &'static str = endpoint::LINKS;
    const COLUMNS: &'static [&'static str] =
        &["name", "kind", "state", "speed", "mac", "addresses"];

    fn id(&self) -> String {
        self.name.clone()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.name.clone(),
            word(&self.kind),
            state(self).to_owned(),
            speed(self),
            self.mac.clone(),
            list(&self.addresses),
        ]
    }
    fn details(&self, _: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("kind", word(&self.kind)),
            ("state", state(self).to_owned()),
            ("speed", speed(self)),
            ("mac", self.mac.clone()),
            ("driver", self.driver.clone()),
            ("mtu", self.mtu.to_string()),
            ("bridge", self.bridge.clone().unwrap_or_default()),
            ("addresses", list(&self.addresses)),
            ("management", yes(self.management)),
        ]
    }
}

impl LinkCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            LinkCommand::List(args) => noun::list::<Link>(cx, &args).await,
            LinkCommand::Show(args) => noun::show_seen::<Link>(cx, &args).await,
        }
    }
}
