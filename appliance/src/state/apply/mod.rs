//! The state machine: what each command changes, and when it is refused.
//!
//! A pure function of the state and the proposal: no clock, no chance, no look
//! at the machine, so that every replica comes to the same state. A refused
//! command changes nothing: it runs inside a savepoint. A command that asks for
//! what is so already is in force without a new revision.
//!
//! Relations between records are rules here and nowhere else, because only here
//! is every record seen at once; rules of one value were checked by the
//! proposer.

mod image;
mod job;
mod link;
mod network;
mod node;
mod pool;
mod tables;
mod user;
mod vm;
mod volume;

use ashlar_api::job::Kind;
use rusqlite::Connection;

use super::command::{Command, Proposal, Refusal, Verdict};
use tables::Tables;

pub use tables::{ApplyError, revision};

/// Why a command did not come into force.
enum Stop {
    /// A rule forbids it.
    Refused(Refusal),
    /// The database failed.
    Failed(ApplyError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Stop::Failed(error)
    }
}

type Step<T = ()> = Result<T, Stop>;

/// Applies one command inside the open transaction of `db`. Returns what became
/// of it and which objects changed.
pub fn apply(
    db: &Connection,
    proposal: &Proposal,
) -> Result<(Verdict, Vec<(Kind, String)>), ApplyError> {
    tables::batch(db, "SAVEPOINT command")?;
    let mut tables = Tables::new(db, &proposal.by, proposal.at)?;
    match dispatch(&mut tables, &proposal.command) {
        Ok(()) => {
            let (revision, changed) = tables.finish()?;
            tables::batch(db, "RELEASE command")?;
            Ok((Verdict::Applied { revision }, changed))
        }
        Err(stop) => {
            tables::batch(db, "ROLLBACK TO command; RELEASE command")?;
            match stop {
                Stop::Refused(refusal) => Ok((Verdict::Refused { refusal }, Vec::new())),
                Stop::Failed(error) => Err(error),
            }
        }
    }
}

fn dispatch(t: &mut Tables<'_>, command: &Command) -> Step {
    match command {
        Command::Claim {
            site,
            node,
            node_spec,
            user,
        } => node::claim(t, site, *node, node_spec, user),
        Command::ReplaceSite { spec, revision } => node::replace_site(t, spec, *revision),
        Command::RegisterNode { node } => node::register(t, node),
        Command::ReplaceNode {
            id,
            spec,
            revision,
            confirm_until,
        } => node::replace(t, *id, spec, *revision, *confirm_until),
        Command::ConfirmNode { id } => node::confirm(t, *id),
        Command::RevertNode { id } => node::revert(t, *id),

        Command::CreateUser { user } => user::create(t, user),
        Command::ReplaceUser { id, spec, revision } => user::replace(t, *id, spec, *revision),
        Command::SetPassword {
            id,
            password_hash,
            keep,
        } => user::set_password(t, *id, password_hash, *keep),
        Command::DeleteUser { id, revision } => user::delete(t, *id, *revision),
        Command::CreateToken { token } => user::create_token(t, token),
        Command::DeleteToken { id } => user::delete_token(t, *id),
        Command::OpenSession { session } => user::open_session(t, session),
        Command::CloseSession { id } => user::close_session(t, *id),

        Command::CreateNetwork { network } => network::create(t, network),
        Command::ReplaceNetwork { id, spec, revision } => network::replace(t, *id, spec, *revision),
        Command::DeleteNetwork { id, revision } => network::delete(t, *id, *revision),
        Command::ForgetNetwork { id } => network::forget(t, *id),

        Command::CreatePool { pool, job } => pool::create(t, pool, job),
        Command::SettlePool { id, outcome } => pool::settle(t, *id, outcome),
        Command::DeletePool { id, revision, job } => pool::delete(t, *id, *revision, job),
        Command::ForgetPool { id } => pool::forget(t, *id),

        Command::CreateVolume { volume, job } => volume::create(t, volume, job, ""),
        Command::ReplaceVolume { id, spec, revision } => volume::replace(t, *id, spec, *revision),
        Command::SettleVolume { id, outcome } => volume::settle(t, *id, outcome),
        Command::DeleteVolume { id, revision, job } => volume::delete(t, *id, *revision, job),
        Command::ForgetVolume { id } => volume::forget(t, *id),

        Command::CreateImage { image, job } => image::create(t, image, job),
        Command::ReplaceImage { id, spec, revision } => image::replace(t, *id, spec, *revision),
        Command::SettleImage {
            id,
            outcome,
            content,
        } => image::settle(t, *id, outcome, content.as_ref()),
        Command::DeleteImage { id, revision } => image::delete(t, *id, *revision),
        Command::ForgetImage { id } => image::forget(t, *id),

        Command::CreateVm { vm, volumes } => vm::create(t, vm, volumes),
        Command::ReplaceVm {
            id,
            spec,
            revision,
            volumes,
            boot,
        } => vm::replace(t, *id, spec, *revision, volumes, *boot),
        Command::ActOnVm { id, action, boot } => vm::act(t, *id, *action, *boot),
        Command::EndVm { id, boot } => vm::end(t, *id, *boot),
        Command::DeleteVm {
            id,
            revision,
            volumes,
        } => vm::delete(t, *id, *revision, volumes),
        Command::ForgetVm { id } => vm::forget(t, *id),

        Command::CancelJob { id } => job::cancel(t, *id),
        Command::FinishJob { id, outcome } => job::finish(t, *id, outcome),
    }
}

/// A refusal for a state in which something can not be done.
fn wrong_state(message: impl Into<String>, remedy: impl Into<String>) -> Stop {
    Stop::Refused(Refusal::WrongState {
        message: message.into(),
        remedy: remedy.into(),
    })
}

/// A refusal for a value that does not fit the rest of the state.
fn invalid(field: impl Into<String>, message: impl Into<String>) -> Stop {
    Stop::Refused(Refusal::Invalid {
        field: field.into(),
        message: message.into(),
    })
}
