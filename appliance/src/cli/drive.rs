//! `ashlar drive`: drives of the nodes, as they are seen.

use ashlar_api::endpoint;
use ashlar_api::pool::{Drive, DriveUsage};
use clap::Subcommand;

use super::error::Result;
use super::noun::{self, Cx, ListArgs, NameArgs, Noun};
use super::output::{Look, word};

/// What can be done with drives.
#[derive(Subcommand, Debug)]
pub enum DriveCommand {
    /// List drives
    List(ListArgs),
    /// Show a drive
    Show(NameArgs),
}

/// What a drive is used for, for a person.
pub fn usage(drive: &Drive, look: &Look) -> String {
    match &drive.usage {
        DriveUsage::Free => "free".to_owned(),
        DriveUsage::System => "system".to_owned(),
        DriveUsage::Pool { pool } => format!("pool {}", look.name(pool)),
        DriveUsage::Foreign => "foreign data".to_owned(),
        DriveUsage::ForeignPool { volume_group } => format!("foreign pool {volume_group}"),
        DriveUsage::Unusable { reason } => format!("unusable: {reason}"),
    }
}

impl Noun for Drive {
    const WORD: &'static str = "drive";
    const PATH: &'static str = endpoint::DRIVES;
    const RELATED: &'static [&'static str] = &[endpoint::POOLS];
    const COLUMNS: &'static [&'static str] =
        &["name", "size", "media", "model", "usage", "content", "id"];

    fn id(&self) -> String {
        self.id.clone()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        vec![
            self.name.clone(),
            self.size.to_string(),
            word(&self.media),
            self.model.clone(),
            usage(self, look),
            self.content.clone(),
            self.id.clone(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("id", self.id.clone()),
            ("size", self.size.to_string()),
            ("media", word(&self.media)),
            ("model", self.model.clone()),
            ("serial", self.serial.clone()),
            ("bus", self.bus.clone()),
            ("usage", usage(self, look)),
            ("content", self.content.clone()),
        ]
    }
}

impl DriveCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            DriveCommand::List(args) => noun::list::<Drive>(cx, &args).await,
            DriveCommand::Show(args) => noun::show_seen::<Drive>(cx, &args).await,
        }
    }
}
