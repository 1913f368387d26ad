//! `ashlar token`: credentials for programs.

use std::path::PathBuf;

use ashlar_api::user::{Token, TokenCreated, TokenSpec};
use ashlar_api::{Name, Timestamp, endpoint};
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use reqwest::Method;

use super::ask;
use super::error::{Error, Result};
use super::noun::{self, Cx, ListArgs, NameArgs, Noun};
use super::output::{self, Format, Look, word};
use super::user::RoleArg;
use crate::sys::fs::write_atomic;

/// What can be done with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// List tokens, without their secrets
    List(ListArgs),
    /// Show a token, without its secret
    Show(NameArgs),
    /// Make a token; its secret is shown this once
    Create(CreateArgs),
    /// Revoke a token
    Delete(RevokeArgs),
}

/// A new token.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// What it is for
    name: Name,
    /// What its holder may do; at most what you may
    #[arg(long)]
    role: RoleArg,
    /// For how many days it is good; for ever when absent
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: Option<u32>,
    /// Write the secret to this file, that only you can read, and do not show it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// What is revoked.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// Its name or id
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

impl Noun for Token {
    const WORD: &'static str = "token";
    const PATH: &'static str = endpoint::TOKENS;
    const COLUMNS: &'static [&'static str] = &["name", "role", "user", "created", "expires", "id"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            word(&self.spec.role),
            self.user.to_string(),
            look.time(self.created_at),
            self.spec
                .expires_at
                .map_or_else(|| "never".to_owned(), |at| look.time(at)),
            self.id.to_string(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        Self::COLUMNS.iter().copied().zip(self.row(look)).collect()
    }
}

impl TokenCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            TokenCommand::List(args) => noun::list::<Token>(cx, &args).await,
            TokenCommand::Show(args) => noun::show::<Token>(cx, &args).await,
            TokenCommand::Create(args) => create(cx, args).await,
            TokenCommand::Delete(args) => revoke::<Token>(cx, &args).await,
        }
    }
}

async fn create(cx: &Cx, args: CreateArgs) -> Result {
    let expires_at = args
        .days
        .map(|days| Timestamp::now().checked_add(SignedDuration::from_hours(i64::from(days) * 24)))
        .transpose()
        .map_err(|error| Error::usage(error.to_string(), "Give fewer days."))?;
    let spec = TokenSpec {
        name: args.name,
        role: args.role.into(),
        expires_at,
    };
    let answer = cx.client.post(endpoint::TOKENS, &spec).await?;
    let created: TokenCreated = answer.read()?;
    if let Some(path) = args.secret_file {
        let line = format!("{}\n", created.secret);
        if let Err(error) = write_atomic(&path, line.as_bytes(), 0o600) {
            // A secret that nobody has is of no use to anybody.
            let token = client_path(&created.token);
            let _ = cx
                .client
                .send(cx.client.request(Method::DELETE, &token))
                .await;
            return Err(Error::file("write the secret to", path, error));
        }
        let text = format!(
            "The secret of {} is in {}.",
            created.token.spec.name,
            path.display()
        );
        return match cx.look.format {
            Format::Json => output::json(
                &serde_json::to_vec(&created.token)
                    .map_err(|error| Error::Prepare("write JSON", error.into()))?,
            ),
            Format::Table => output::print(&format!("{text}\n")),
        };
    }
    cx.tell_details(&answer, |created: &TokenCreated| {
        let mut lines = created.token.details(&cx.look);
        lines.push(("secret", created.secret.clone()));
        lines
    })
}

fn client_path(token: &Token) -> String {
    super::client::at(endpoint::TOKENS, &token.id.to_string())
}

/// Ends a token or a session, after asking.
pub async fn revoke<N: Noun>(cx: &Cx, args: &RevokeArgs) -> Result {
    let id = noun::id_of::<N>(&cx.client, &args.name).await?;
    ask::unless_said(args.yes, &format!("End the {} {}?", N::WORD, args.name))?;
    let path = super::client::at(N::PATH, &id);
    let answer = cx
        .client
        .send(cx.client.request(Method::DELETE, &path))
        .await?;
    cx.tell(
        &answer,
        &format!("The {} {} has ended.", N::WORD, args.name),
    )
}
