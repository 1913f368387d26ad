//! Who is signed in. Decides which of the console's faces is shown: the setup of
//! an appliance without owner, the sign-in page, or the shell.

use ashlar_api::endpoint;
use ashlar_api::error::{Code, Problem};
use ashlar_api::site::{Health, HealthState};
use ashlar_api::user::{LoginRequest, Role, Session};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::client::{self, Answer, Failure};

/// What the console may show.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Not known yet.
    Asking,
    /// The appliance did not answer, or with a problem.
    Unreachable(Option<Problem>),
    /// Nobody owns the appliance.
    Unclaimed,
    /// Somebody must sign in; true if a session was open before and ended.
    SignedOut {
        /// A session was open before and ended.
        ended: bool,
    },
    /// Somebody is signed in.
    SignedIn(Session),
}

/// The session of this browser.
#[derive(Clone, Copy)]
pub struct Sessions {
    access: RwSignal<Access>,
    version: RwSignal<String>,
}

impl Sessions {
    /// Asks the appliance who is signed in.
    pub fn start() -> Self {
        let sessions = Sessions {
            access: RwSignal::new(Access::Asking),
            version: RwSignal::new(String::new()),
        };
        client::on_signed_out(move || sessions.ended());
        spawn_local(sessions.ask());
        sessions
    }

    /// The session, from any component.
    pub fn get() -> Self {
        expect_context()
    }

    /// What may be shown.
    pub fn access(self) -> Access {
        self.access.get()
    }

    /// The open session.
    pub fn current(self) -> Option<Session> {
        self.access.with(|access| match access {
            Access::SignedIn(session) => Some(session.clone()),
            _ => None,
        })
    }

    /// True if the reader may do what `role` may.
    pub fn may(self, role: Role) -> bool {
        self.current().is_some_and(|session| session.role >= role)
    }

    /// Version of the appliance.
    pub fn version(self) -> String {
        self.version.get()
    }

    /// Asks again, after the appliance did not answer or the session may have ended.
    pub fn retry(self) {
        spawn_local(self.ask());
    }

    /// Looks whether the open session still holds; an appliance that does not
    /// answer changes nothing.
    pub fn check(self) {
        spawn_local(async move {
            // An answer that nobody is signed in ends the session by itself.
            let _ = client::get::<Session>(endpoint::SESSION).await;
        });
    }

    /// Keeps a session that was just opened.
    pub fn open(self, session: Session) {
        client::set_csrf(&session.csrf_token);
        self.access.set(Access::SignedIn(session));
    }

    /// Notes that the appliance does not know this session any more.
    pub fn ended(self) {
        client::set_csrf("");
        let open = self
            .access
            .with_untracked(|a| matches!(a, Access::SignedIn(_)));
        if open {
            self.access.set(Access::SignedOut { ended: true });
        }
    }

    /// Signs in.
    pub async fn sign_in(self, user: String, password: String) -> Answer<()> {
        let session: Session =
            client::post(endpoint::SESSION, &LoginRequest { user, password }).await?;
        self.open(session);
        Ok(())
    }

    /// Signs out.
    pub fn sign_out(self) {
        spawn_local(async move {
            let _ = client::delete(endpoint::SESSION).await;
            client::set_csrf("");
            self.access.set(Access::SignedOut { ended: false });
        });
    }

    async fn ask(self) {
        let health: Answer<Health> = client::get(endpoint::HEALTH).await;
        match health {
            Ok(health) => {
                self.version.set(health.version);
                if health.state == HealthState::Unclaimed {
                    self.access.set(Access::Unclaimed);
                    return;
                }
            }
            Err(failure) => {
                self.access.set(unreachable(failure));
                return;
            }
        }
        match client::get::<Session>(endpoint::SESSION).await {
            Ok(session) => self.open(session),
            Err(Failure::Refused(problem)) if problem.code == Code::Unauthenticated => {
                let ended = self
                    .access
                    .with_untracked(|a| matches!(a, Access::SignedIn(_)));
                self.access.set(Access::SignedOut { ended });
            }
            Err(failure) => self.access.set(unreachable(failure)),
        }
    }
}

fn unreachable(failure: Failure) -> Access {
    Access::Unreachable(match failure {
        Failure::Refused(problem) => Some(problem),
        Failure::Unreachable | Failure::Aborted => None,
    })
}
