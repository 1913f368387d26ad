//! `ashlar claim`, `ashlar login`, `ashlar logout`: becoming the owner, and a
//! session on an appliance that is not this machine.
//!
//! Nothing secret is sent before the appliance is trusted: at the first meeting
//! its certificate is looked at, and unless an authority vouches for it the
//! reader compares its fingerprint with the one on the appliance's screen.

use std::path::PathBuf;

use ashlar_api::error::Code;
use ashlar_api::site::{ClaimCheck, ClaimRequest, SiteSpec};
use ashlar_api::user::{LoginRequest, Session};
use ashlar_api::{Name, endpoint};
use clap::Args;
use reqwest::Method;
use reqwest::header::SET_COOKIE;

use super::ask;
use super::client::{Answer, Client, Credentials};
use super::error::{Error, Result};
use super::noun::Cx;
use super::output::{self, Look};
use super::place::{Address, Place, PlaceArgs};
use super::saved::{Saved, SavedSession};
use super::trust::{Fingerprint, Trust};

/// The cookie of a session.
const COOKIE: &str = "__Host-ashlar";

/// Signing in.
#[derive(Args, Debug)]
pub struct LoginArgs {
    /// The name of the user; asked for when absent
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the password (`-` is the input); asked for when absent
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Signing out.
#[derive(Args, Debug)]
pub struct LogoutArgs {
    /// Also forget the appliance and its certificate
    #[arg(long)]
    forget: bool,
}

/// Becoming the owner. What is absent is asked for.
#[derive(Args, Debug)]
pub struct ClaimArgs {
    /// File with the code on the appliance's screen (`-` is the input)
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// What the site is to be called
    #[arg(long, value_name = "NAME")]
    site: Option<Name>,
    /// What this node is to be called
    #[arg(long, value_name = "NAME")]
    node: Option<Name>,
    /// Name of the first administrator
    #[arg(long, value_name = "NAME")]
    user: Option<Name>,
    /// File with the administrator's password (`-` is the input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Time zone, such as Europe/Berlin
    #[arg(
        long,
        value_name = "ZONE",
        default_value = "",
        hide_default_value = true
    )]
    time_zone: String,
}

/// A client that is nobody yet, and by what it trusts.
struct Stranger {
    client: Client,
    known: Option<(Address, Trust)>,
}

impl Stranger {
    /// Meets the appliance.
    async fn meet(place: &PlaceArgs) -> Result<Self> {
        let saved = Saved::load()?;
        let address = match place.place(&saved)? {
            Place::Local(socket) => {
                return Ok(Stranger {
                    client: Client::local(&socket)?,
                    known: None,
                });
            }
            Place::Remote(address) => address,
        };
        let trust = match place.trust(&saved, &address) {
            Some(trust) => trust,
            None => first_meeting(&address).await?,
        };
        Ok(Stranger {
            client: Client::remote(&address, trust.clone(), Credentials::None)?,
            known: Some((address, trust)),
        })
    }

    /// Keeps the session that an answer opened, and names the appliance by default from now on.
    fn keep(&self, answer: &Answer) -> Result<Session> {
        let session: Session = answer.read()?;
        let Some((address, trust)) = &self.known else {
            return Ok(session);
        };
        let cookie = answer
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next())
            .find(|pair| pair.split('=').next() == Some(COOKIE))
            .ok_or(Error::Foreign { status: 201 })?;
        let mut saved = Saved::load()?;
        let known = saved.appliances.entry(address.to_string()).or_default();
        known.set_trust(trust);
        known.session = Some(SavedSession {
            user: session.user.to_string(),
            cookie: cookie.to_owned(),
            csrf: session.csrf_token.clone(),
            expires_at: session.expires_at,
        });
        saved.default = Some(address.to_string());
        saved.store()?;
        Ok(session)
    }
}

/// Looks at an appliance that is not known, and asks.
async fn first_meeting(address: &Address) -> Result<Trust> {
    let met = Client::remote(address, Trust::System, Credentials::None)?
        .meet()
        .await?;
    if met.refused.is_none() {
        return Ok(Trust::System);
    }
    output::note(&format!(
        "{address} is not known yet. Its certificate has this SHA-256:"
    ));
    for line in two_lines(met.fingerprint) {
        output::note(&format!("  {line}"));
    }
    ask::sure(
        "Is it the fingerprint on the appliance's screen?",
        "Say beforehand which certificate to trust: --fingerprint SHA256, or --ca FILE.",
    )?;
    Ok(Trust::Pinned(met.fingerprint))
}

/// As the local screen writes it, so that it can be compared line by line.
fn two_lines(fingerprint: Fingerprint) -> [String; 2] {
    let text = fingerprint.to_string();
    let (first, second) = text.split_at(48);
    [first.trim_end_matches(':').to_owned(), second.to_owned()]
}

impl LoginArgs {
    /// Signs in.
    pub async fn run(self, place: &PlaceArgs, look: &Look) -> Result {
        let stranger = Stranger::meet(place).await?;
        if stranger.known.is_none() {
            return Err(Error::usage(
                "on the appliance itself root needs no login",
                "Run the command that you want; or name another appliance with --url.",
            ));
        }
        let user = match self.user {
            Some(user) => user,
            None => ask::line("User", "Give it with --user.")?,
        };
        let password = ask::password(self.password_file.as_deref(), "Password")?;
        let body = LoginRequest { user, password };
        let answer = stranger.client.post(endpoint::SESSION, &body).await;
        let answer = answer.map_err(wrong)?;
        let session = stranger.keep(&answer)?;
        signed_in(&stranger, &session, &answer, look)
    }
}

/// Whoever is signing in need not be told to sign in.
fn wrong(error: Error) -> Error {
    match error {
        Error::Refused(problem) if problem.code == Code::Unauthenticated => {
            Error::failed(problem.title, problem.remedy)
        }
        other => other,
    }
}

fn signed_in(stranger: &Stranger, session: &Session, answer: &Answer, look: &Look) -> Result {
    let place = stranger.client.place();
    let until = look.time(session.expires_at);
    let cx = Cx {
        client: stranger.client.clone(),
        look: look.clone(),
    };
    cx.tell(
        answer,
        &format!("Signed in to {place} as {} until {until}.", session.user),
    )
}

impl LogoutArgs {
    /// Signs out.
    pub async fn run(self, place: &PlaceArgs) -> Result {
        let saved = Saved::load()?;
        let Place::Remote(address) = place.place(&saved)? else {
            return Err(Error::usage(
                "on the appliance itself nobody is signed in",
                "Name the appliance with --url.",
            ));
        };
        let key = address.to_string();
        let session = saved
            .appliances
            .get(&key)
            .and_then(|known| known.session.clone());
        let Some(session) = session else {
            if self.forget {
                forget(&key, true)?;
            }
            return output::print(&format!("Nobody is signed in to {key}.\n"));
        };
        let trust = place.trust(&saved, &address).unwrap_or(Trust::System);
        let credentials = Credentials::Session {
            cookie: session.cookie,
            csrf: session.csrf,
        };
        let client = Client::remote(&address, trust, credentials)?;
        let ended = client
            .send(client.request(Method::DELETE, endpoint::SESSION))
            .await;
        forget(&key, self.forget)?;
        match ended {
            // It had ended by itself.
            Err(error) if error.code() == Some(Code::Unauthenticated) => Ok(()),
            Err(error) => {
                output::note("The login is forgotten here, but the appliance was not told:");
                Err(error)
            }
            Ok(_) => Ok(()),
        }?;
        output::print(&format!("Signed out of {key}.\n"))
    }
}

fn forget(address: &str, whole: bool) -> Result {
    let mut saved = Saved::load()?;
    if whole {
        saved.appliances.remove(address);
        if saved.default.as_deref() == Some(address) {
            saved.default = None;
        }
    } else if let Some(known) = saved.appliances.get_mut(address) {
        known.session = None;
    }
    saved.store()
}

fn asked<T: std::str::FromStr<Err: std::fmt::Display>>(
    given: Option<T>,
    question: &str,
    option: &str,
) -> Result<T> {
    if let Some(given) = given {
        return Ok(given);
    }
    let otherwise = format!("Give it with {option}.");
    ask::line(question, &otherwise)?
        .parse()
        .map_err(|error: T::Err| Error::usage(format!("{question}: {error}"), otherwise))
}

impl ClaimArgs {
    /// Claims.
    pub async fn run(self, place: &PlaceArgs, look: &Look) -> Result {
        let stranger = Stranger::meet(place).await?;
        let code = match &self.code_file {
            Some(file) => ask::from_file(file)?,
            None => ask::line(
                "Code on the appliance's screen",
                "Give it with --code-file FILE.",
            )?,
        };
        let code = code.trim().to_owned();
        // Nobody should fill in the rest for nothing.
        let check = ClaimCheck { code: code.clone() };
        let checked = format!("{}/check", endpoint::CLAIM);
        stranger.client.post(&checked, &check).await?;
        let body = ClaimRequest {
            code,
            site: SiteSpec {
                name: asked(self.site, "Name of the site", "--site NAME")?,
                description: String::new(),
                time_zone: self.time_zone,
                ntp_servers: Vec::new(),
            },
            node_name: asked(self.node, "Name of this node", "--node NAME")?,
            user: asked(self.user, "Name of the administrator", "--user NAME")?,
            password: ask::new_password(
                self.password_file.as_deref(),
                "Password, at least 10 characters",
            )?,
        };
        let answer = stranger.client.post(endpoint::CLAIM, &body).await?;
        let session = stranger.keep(&answer)?;
        output::note(&format!("{} is yours.", body.site.name));
        if stranger.known.is_none() {
            let cx = Cx {
                client: stranger.client,
                look: look.clone(),
            };
            return cx.tell(&answer, &format!("{} can sign in now.", session.user));
        }
        signed_in(&stranger, &session, &answer, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_two_lines_of_sixteen_pairs() {
        let [first, second] = two_lines(Fingerprint::of(b"x"));
        assert_eq!((first.len(), second.len()), (47, 47));
        assert!(!first.ends_with(':') && !second.starts_with(':'));
    }
}
