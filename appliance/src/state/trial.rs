//! Whether a change would be accepted, without making it.
//!
//! The rules are the state machine's own: the state is copied into memory, the
//! command applied to the copy, and the copy thrown away. A transaction that is
//! rolled back would need no copy, but it would hold up the writer, which has
//! the log behind it. The state is a few megabytes at most.

use ashlar_api::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::apply::{self, ApplyError};
use super::command::{Command, Proposal, Verdict};
use super::migrate::reader;
use super::{ProposeError, Store};

/// Why a trial could not be made.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("copy the state")]
    Copy(#[from] rusqlite::Error),
    #[error("copy the state: it is being replaced")]
    Busy,
    #[error("try the change")]
    Apply(#[from] ApplyError),
}

impl Store {
    /// Whether [`Store::propose`] would accept a command now.
    pub async fn check(&self, by: &str, command: Command) -> Result<(), ProposeError> {
        self.0.files.room_for(&command)?;
        let proposal = Proposal {
            by: by.to_owned(),
            at: Timestamp::now(),
            command,
        };
        let store = self.clone();
        let tried = tokio::task::spawn_blocking(move || store.attempt(&proposal)).await;
        let verdict = match tried {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => return Err(unavailable(&error)),
            Err(error) => return Err(unavailable(&error)),
        };
        match verdict {
            Verdict::Applied { .. } => Ok(()),
            Verdict::Refused { refusal } => Err(refusal.into()),
        }
    }

    fn attempt(&self, proposal: &Proposal) -> Result<Verdict, TrialError> {
        let mut copy = Connection::open_in_memory()?;
        let path = self.0.files.state();
        let source = reader(&path)?;
        {
            let backup = Backup::new(&source, &mut copy)?;
            if !matches!(backup.step(-1)?, StepResult::Done) {
                return Err(TrialError::Busy);
            }
        }
        let transaction = copy.transaction()?;
        let (verdict, _) = apply::apply(&transaction, proposal)?;
        Ok(verdict)
    }
}

fn unavailable(error: &dyn std::error::Error) -> ProposeError {
    let message = super::error::chain(error);
    tracing::error!("a change could not be tried: {message}");
    ProposeError::Unavailable {
        message,
        remedy: "try again in a few seconds".to_owned(),
    }
}
