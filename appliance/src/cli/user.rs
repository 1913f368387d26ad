//! `ashlar user`: who may sign in.

use std::path::PathBuf;

use ashlar_api::user::{PasswordChange, Role, Session, User, UserCreate, UserSpec};
use ashlar_api::{Name, endpoint};
use clap::{Args, Subcommand, ValueEnum};

use super::ask;
use super::error::Result;
use super::noun::{
    self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun,
};
use super::output::{Look, word};

/// What can be done with users.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// List users
    List(ListArgs),
    /// Show a user
    Show(NameArgs),
    /// Make a user
    Create(CreateArgs),
    /// Change a user
    Set(SetArgs),
    /// Replace all settings of a user
    Replace(ReplaceArgs),
    /// Set a user's password; one's own with the password so far
    Password(PasswordArgs),
    /// Delete a user, with the sessions and tokens
    Delete(DeleteArgs),
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Sees everything, changes nothing
    Viewer,
    /// Also starts, stops and opens the screens of virtual machines
    Operator,
    /// May do everything
    Administrator,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Role::Viewer,
            RoleArg::Operator => Role::Operator,
            RoleArg::Administrator => Role::Administrator,
        }
    }
}

/// A new user.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The name to sign in with
    name: Name,
    /// What the user may do
    #[arg(long)]
    role: RoleArg,
    /// The person's name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    full_name: String,
    /// File with the first password (`-` is the input); asked for when absent
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// What changes about a user.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The name or id
    user: String,
    /// The new name to sign in with
    #[arg(long)]
    name: Option<Name>,
    /// What the user may do
    #[arg(long)]
    role: Option<RoleArg>,
    /// The person's name
    #[arg(long, value_name = "NAME")]
    full_name: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// A new password.
#[derive(Args, Debug)]
pub struct PasswordArgs {
    /// The name or id
    user: String,
    /// File with the password so far, when it is one's own
    #[arg(long, value_name = "FILE")]
    current_file: Option<PathBuf>,
    /// File with the new password (`-` is the input); asked for when absent
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

object_noun!(User, UserSpec);

impl Noun for User {
    const WORD: &'static str = "user";
    const PATH: &'static str = endpoint::USERS;
    const COLUMNS: &'static [&'static str] = &["name", "role", "full name", "sessions", "created"];

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
            self.spec.full_name.clone(),
            self.status.sessions.to_string(),
            look.time(self.created_at),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        let mut lines = vec![("id", self.id.to_string())];
        lines.extend(Self::COLUMNS.iter().copied().zip(self.row(look)));
        lines.swap(0, 1);
        lines
    }
}

impl UserCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            UserCommand::List(args) => noun::list::<User>(cx, &args).await,
            UserCommand::Show(args) => noun::show::<User>(cx, &args).await,
            UserCommand::Create(args) => {
                let file = args.password_file.as_deref();
                let question = format!("Password for {}", args.name);
                let body = UserCreate {
                    spec: UserSpec {
                        name: args.name,
                        full_name: args.full_name,
                        role: args.role.into(),
                    },
                    password: ask::new_password(file, &question)?,
                };
                noun::create::<User>(cx, &body, args.change).await.map(drop)
            }
            UserCommand::Set(args) => {
                let (path, user) = noun::find::<User>(&cx.client, &args.user).await?;
                noun::set(cx, &path, user, args.change, |spec| {
                    spec.name = args.name.unwrap_or(spec.name.clone());
                    spec.role = args.role.map_or(spec.role, Role::from);
                    if let Some(full_name) = args.full_name {
                        spec.full_name = full_name;
                    }
                })
                .await
                .map(drop)
            }
            UserCommand::Replace(args) => noun::replace::<User>(cx, &args).await,
            UserCommand::Password(args) => password(cx, args).await,
            UserCommand::Delete(args) => noun::delete::<User>(cx, &args, "").await,
        }
    }
}

async fn password(cx: &Cx, args: PasswordArgs) -> Result {
    let (path, user) = noun::find::<User>(&cx.client, &args.user).await?;
    // Only a session says who asks; a token of the same user is asked for nothing.
    let session = cx.client.get(endpoint::SESSION).await;
    let own = session
        .and_then(|answer| answer.read::<Session>())
        .is_ok_and(|session| session.user_id == user.id);
    let current = match (own, args.current_file) {
        (_, Some(file)) => Some(ask::password(Some(&file), "")?),
        (true, None) => Some(ask::password(None, "Password so far")?),
        (false, None) => None,
    };
    let question = format!("New password for {}", user.spec.name);
    let body = PasswordChange {
        current,
        new: ask::new_password(args.password_file.as_deref(), &question)?,
    };
    let answer = cx.client.post(&format!("{path}/password"), &body).await?;
    cx.tell(
        &answer,
        &format!(
            "{} has a new password; other sessions have ended.",
            user.spec.name
        ),
    )
}
