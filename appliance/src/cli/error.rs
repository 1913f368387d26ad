//! What goes wrong on the command line, how it is told, and with which number
//! the program ends.
//!
//! ```text
//!   0 done    1 refused or failed    2 wrong usage    3 not reached    4 not found
//! ```
//!
//! A person reads what, which field and what to do, on the error output. A
//! program that asked for JSON gets the appliance's problem document there,
//! unchanged.

use std::path::PathBuf;
use std::process::ExitCode;

use ashlar_api::error::{Code, Problem};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The appliance refused.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// The appliance answered with an error that is none of its own.
    #[error("the answer was HTTP {status}, not one of an appliance's API")]
    Foreign {
        /// The HTTP status.
        status: u16,
    },
    /// The appliance answered something this version cannot read.
    #[error("the answer to {what} cannot be read")]
    Unreadable {
        /// Method and address.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// Nothing answered.
    #[error("{place} does not answer")]
    Unreachable {
        /// Where it was tried.
        place: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something answered that is not trusted.
    #[error("{place} is not trusted: {reason}")]
    Untrusted {
        /// Where.
        place: String,
        /// Why not.
        reason: String,
        /// SHA-256 of its certificate.
        fingerprint: String,
    },
    /// There is no object of that name.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Its noun.
        what: &'static str,
        /// The name or id that was given.
        name: String,
    },
    /// The command was not given as it must be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The work ended without success.
    #[error("{message}")]
    Failed {
        /// What failed, and why.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// A file could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The terminal could not be used.
    #[error("cannot use the terminal")]
    Terminal(#[source] std::io::Error),
    /// Whoever read the output has gone, as `head` does when it has enough.
    #[error("nobody reads the output")]
    Unheard,
    /// The program itself could not be set up.
    #[error("cannot {0}")]
    Prepare(
        &'static str,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
}

/// What a command gives.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Usage {
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Work that ended without success.
    pub fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Failed {
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Something about a file.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::File {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    /// The code of the appliance's refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// True if the object is not there, whoever found that out.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. }) || self.code() == Some(Code::NotFound)
    }

    /// True if trying again may help: nothing answered, or the part that could is not ready.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
            || matches!(self.code(), Some(Code::Unavailable | Code::TimedOut))
    }

    /// The number the program ends with.
    pub fn status(&self) -> u8 {
        match self {
            error if error.is_not_found() => 4,
            Error::Unreachable { .. } | Error::Untrusted { .. } => 3,
            Error::Usage { .. } => 2,
            Error::Unheard => 0,
            _ => 1,
        }
    }

    /// The same for the system.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    fn remedy(&self) -> String {
        match self {
            Error::Refused(problem) => match (problem.code, problem.remedy.as_str()) {
                (Code::Unauthenticated, _) => {
                    "Sign in with `ashlar login`, or give a token in ASHLAR_TOKEN or --token-file."
                        .to_owned()
                }
                (Code::Changed, _) => {
                    "Somebody else changed it in the meantime; run the command again.".to_owned()
                }
                (_, remedy) => remedy.to_owned(),
            },
            Error::Foreign { .. } => {
                "Check the address: is it the appliance's, and its HTTPS port?".to_owned()
            }
            Error::Unreadable { .. } => {
                "The appliance may be of another version: use its own `ashlar`, or see the answer with --output json."
                    .to_owned()
            }
            Error::Unreachable { .. } => {
                "Is it switched on, and is the address right? Its screen shows the address."
                    .to_owned()
            }
            Error::Untrusted { fingerprint, .. } => format!(
                "Compare this with the fingerprint on the appliance's screen, and if it is the same, \
                 run the command again with --fingerprint {fingerprint} (`ashlar login` keeps it)."
            ),
            Error::NotFound { .. } => "`list` shows those that there are.".to_owned(),
            Error::Usage { remedy, .. } | Error::Failed { remedy, .. } => remedy.clone(),
            Error::File { .. } | Error::Terminal(_) | Error::Unheard | Error::Prepare(..) => {
                String::new()
            },
        }
    }

    /// The whole story for a person: what, why, which fields, what to do.
    pub fn story(&self) -> String {
        let mut text = format!("ashlar: {self}");
        let causes: Vec<String> =
            std::iter::successors(std::error::Error::source(self), |error| error.source())
                .map(ToString::to_string)
                .collect();
        // Of what lies between a request and the network only the end of the chain tells anything.
        let skipped = match self {
            Error::Unreachable { .. } => causes.len().saturating_sub(1),
            _ => 0,
        };
        let mut last = self.to_string();
        for cause in causes.into_iter().skip(skipped) {
            // Some libraries repeat their cause in their own text.
            if !last.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            last = cause;
        }
        text.push('\n');
        if let Error::Refused(problem) = self {
            if !problem.detail.is_empty() {
                text.push_str(&format!("  {}\n", problem.detail));
            }
            for field in &problem.fields {
                let line = format!("{}: {}", field.field, field.message);
                if !problem.title.contains(&line) {
                    text.push_str(&format!("  {line}\n"));
                }
            }
        }
        let remedy = self.remedy();
        if !remedy.is_empty() {
            text.push_str(&format!("  → {remedy}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code) -> Error {
        Error::Refused(Box::new(Problem::new(code, "no")))
    }

    #[test]
    fn numbers_tell_what_happened() {
        assert_eq!(refused(Code::InUse).status(), 1);
        assert_eq!(refused(Code::NotFound).status(), 4);
        assert_eq!(Error::usage("x", "y").status(), 2);
        assert_eq!(Error::failed("x", "y").status(), 1);
        let lost = Error::Unreachable {
            place: "here".into(),
            source: "cut".into(),
        };
        assert_eq!(lost.status(), 3);
        assert!(lost.may_pass());
        assert!(!refused(Code::Forbidden).may_pass());
    }

    #[test]
    fn a_story_names_fields_and_remedy() {
        let problem = Problem::new(Code::DataPresent, "the drive sdb holds NTFS")
            .field("spec.drives[0]", "holds data")
            .remedy("Name it in `erase` too.");
        insta::assert_snapshot!(Error::Refused(Box::new(problem)).story(), @r"
        ashlar: the drive sdb holds NTFS
          spec.drives[0]: holds data
          → Name it in `erase` too.
        ");
        let lost = Error::Unreachable {
            place: "https://node-1".into(),
            source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
        };
        insta::assert_snapshot!(lost.story(), @r"
        ashlar: https://node-1 does not answer: connection refused
          → Is it switched on, and is the address right? Its screen shows the address.
        ");
    }
}
