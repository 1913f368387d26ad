//! The API and the console, over HTTPS and on a local socket.
//!
//! ```text
//!   :80   ──► redirect
//!   :443  ──► TLS ──► guard (who, may they) ──► /api/v1 handlers ──► Store::propose, status watches
//!                                          └──► the console's files
//!   /run/ashlar/api.sock ─────────────────────► the same, as the administrator `local`
//! ```
//!
//! Handlers only parse, read and propose: what a request asks for is written to
//! the state, and the domains see to it. So an answer never waits for the
//! machine, and a supervisor that dies in the middle of a request leaves either
//! a wish that is fulfilled later, or none.
//!
//! Each number of connections, size of a body and time of a client is bounded.
//!
//! # What the supervisor calls
//!
//! ```text
//!   let certificate = http::tls::Certificate::open(state/tls, name, addresses)?;
//!   let health = Health::open(state)?;
//!   let hardware = Hardware::open(state);
//!   tokio::spawn(health::run(health.clone(), health::Sources { certificate: certificate.watch(), .. }, stopped.clone()));
//!   let uploads = storage::Uploads::new(store, storage_status, storage_waker);
//!   let (vms, consoles) = vm::VmDomain::new(..);
//!   let api = http::serve(http::App { uploads, consoles, .. }, http::Ports::default(), stopped)?;
//!   ...                                     the screen: http::claim_code::read(run), none once there is an owner;
//!   api.ended().await;                      certificate.fingerprint(); health.faults(), health.watch_faults()
//! ```
//!
//! [`serve`] fails only when something is wrong that trying again cannot mend. A
//! port that is taken is a fault of the node, and is tried again until it is free.

pub mod assets;
pub mod auth;
mod calm;
pub mod certificate;
pub mod claim;
pub mod claim_code;
pub mod console;
pub mod content;
pub mod drive;
pub mod error;
pub mod events;
pub mod fault;
mod frame;
pub mod gate;
pub mod hardware;
pub mod history;
pub mod image;
pub mod job;
pub mod limit;
pub mod link;
pub mod metrics;
pub mod network;
pub mod node;
pub mod openapi;
pub mod password;
pub mod pool;
pub mod reply;
pub mod request;
mod routes;
pub mod rules;
mod server;
pub mod service;
pub mod session;
pub mod site;
pub mod sizing;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod token;
pub mod update;
pub mod user;
pub mod vm;
pub mod volume;

use std::path::PathBuf;
use std::sync::OnceLock;

use actix_web::web;
use ashlar_api::event::Severity;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::{BootId, NodeId, Page, Timestamp};

use crate::hardware::Hardware;
use crate::health::seen::Seen;
use crate::health::{self, Health, NewEvent};
use crate::reconcile::progress::Board;
use crate::state::command::Command;
use crate::state::schema::Record;
use crate::state::{Store, query};
use crate::storage::Uploads;
use crate::update::Updates;
use crate::vm::Consoles;
use auth::Caller;
use request::{ChangeQuery, ListQuery};
use tls::Certificate;

pub use server::{Ports, serve};

/// What the API stands on.
#[derive(Clone)]
pub struct App {
    /// What is wanted.
    pub store: Store,
    /// What the domains see.
    pub seen: Seen,
    /// How far jobs have come.
    pub board: Board,
    /// Load, faults and history.
    pub health: Health,
    /// The hardware.
    pub hardware: Hardware,
    /// Takes the bytes of images.
    pub uploads: Uploads,
    /// The releases of this node.
    pub updates: Updates,
    /// Screens and serial lines of machines.
    pub consoles: Consoles,
    /// The certificate.
    pub certificate: Certificate,
    /// The console's files.
    pub console: assets::Console,
    /// This node.
    pub node: NodeId,
    /// This start of the node.
    pub boot: BootId,
    /// When it was started.
    pub booted_at: Timestamp,
    /// Where sockets and the claim code are, such as `/run/ashlar`.
    pub run: PathBuf,
}

/// Marks the server of the local socket.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// What all handlers share.
pub struct Shared {
    /// What the API stands on.
    pub app: App,
    /// Passwords, and how often somebody may try.
    pub gate: gate::Gate,
    /// How many consoles may be open.
    pub places: console::Places,
    /// What streams tell.
    pub feed: events::Feed,
    document: OnceLock<web::Bytes>,
}

impl Shared {
    /// Prepares what is shared.
    pub fn new(app: App) -> error::Answer<Self> {
        let instance = auth::random_hex()?.chars().take(16).collect::<String>();
        Ok(Shared {
            gate: gate::Gate::new()?,
            places: console::Places::default(),
            feed: events::Feed::new(&instance),
            document: OnceLock::new(),
            app,
        })
    }

    /// Has a change checked, and made unless it is a trial.
    pub async fn propose(
        &self,
        caller: &Caller,
        command: Command,
        change: ChangeQuery,
    ) -> error::Answer<()> {
        if change.dry_run {
            return Ok(self.app.store.check(&caller.name, command).await?);
        }
        self.app.store.propose(&caller.name, command).await?;
        Ok(())
    }

    /// A record that must be there.
    pub fn need<R: Record>(&self, id: R::Id) -> error::Answer<R> {
        let found = self.app.store.get::<R>(id)?;
        found.ok_or_else(|| error::Failure::not_found(word(R::TABLE), id))
    }

    /// A page of a noun's records, each as the API shows it.
    pub fn page<R: Record, T>(
        &self,
        query: &ListQuery,
        view: impl FnMut(R) -> T,
    ) -> error::Answer<Page<T>> {
        let limit = request::limit(query.limit)?;
        let (after, name) = (query.after.as_deref(), query.name.as_deref());
        // One more than wanted, to know whether there is a next page.
        let (mut records, total) = self.app.store.page::<R>(after, limit + 1, name)?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(query::cursor);
        Ok(Page {
            items: records.into_iter().map(view).collect(),
            total,
            next,
        })
    }

    /// Writes down what somebody did.
    pub fn note(
        &self,
        caller: &Caller,
        kind: Kind,
        id: impl std::fmt::Display,
        name: impl std::fmt::Display,
        what: &str,
    ) {
        self.app.health.history.tell(NewEvent {
            severity: Severity::Info,
            message: format!("{} {name} {what}", health::noun(kind)),
            subject: Some(Subject {
                kind,
                id: id.to_string(),
                name: name.to_string(),
            }),
            by: Some(caller.name.clone()),
        });
    }

    /// The OpenAPI document; made when it is asked for first.
    pub fn document(&self) -> web::Bytes {
        self.document
            .get_or_init(|| openapi::document().into())
            .clone()
    }
}

/// What a table's records are called in a sentence.
fn word(table: &str) -> &str {
    match table {
        "vm" => "virtual machine",
        "token" => "API token",
        other => other,
    }
}
