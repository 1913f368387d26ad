//! `ashlar session`: who is signed in.

use ashlar_api::endpoint;
use ashlar_api::user::Session;
use clap::Subcommand;

use super::error::Result;
use super::noun::{self, Cx, ListArgs, Noun};
use super::output::{Look, word};
use super::token::{self, RevokeArgs};

/// What can be done with sessions.
#[derive(Subcommand, Debug)]
pub enum SessionCommand {
    /// List sessions that are open
    List(ListArgs),
    /// Show your own session
    Show,
    /// End a session, by its id
    Delete(RevokeArgs),
}

impl Noun for Session {
    const WORD: &'static str = "session";
    const PATH: &'static str = endpoint::SESSIONS;
    const COLUMNS: &'static [&'static str] =
        &["user", "role", "from", "with", "since", "until", "id"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.id.to_string()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        let mine = if self.current { " (this one)" } else { "" };
        vec![
            format!("{}{mine}", self.user),
            word(&self.role),
            self.address.clone(),
            self.agent.clone(),
            look.time(self.created_at),
            look.time(self.expires_at),
            self.id.to_string(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.row(look)).collect()
    }
}

impl SessionCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            SessionCommand::List(args) => noun::list::<Session>(cx, &args).await,
            SessionCommand::Show => {
                let answer = cx.client.get(endpoint::SESSION).await?;
                cx.show::<Session>(&answer).await
            }
            SessionCommand::Delete(args) => token::revoke::<Session>(cx, &args).await,
        }
    }
}
