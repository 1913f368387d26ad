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
//! The network and the local socket have servers of their own: a flood of
//! connections from outside must not keep the local screen from working. Each
//! number of connections, size of a body and time of a client is bounded.

pub mod assets;
pub mod auth;
pub mod certificate;
pub mod claim;
pub mod claim_code;
pub mod drive;
pub mod error;
pub mod events;
pub mod fault;
mod frame;
pub mod gate;
pub mod history;
pub mod image;
pub mod job;
pub mod limit;
pub mod link;
pub mod network;
pub mod node;
pub mod openapi;
pub mod password;
pub mod pool;
pub mod reply;
pub mod request;
mod routes;
pub mod rules;
pub mod service;
pub mod session;
pub mod site;
pub mod tls;
pub mod token;
pub mod user;
pub mod vm;
pub mod volume;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpServer, web};
use ashlar_api::event::Severity;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::{BootId, NodeId, Page, Timestamp};
use tokio::sync::watch;

use crate::health::seen::Seen;
use crate::health::{self, Health, NewEvent};
use crate::reconcile::progress::Board;
use crate::state::command::Command;
use crate::state::schema::Record;
use crate::state::{Store, query};
use auth::Caller;
use request::{ChangeQuery, ListQuery};
use tls::Certificate;

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
    /// The certificate.
    pub certificate: Certificate,
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
    /// What streams tell.
    pub feed: events::Feed,
    /// Changes with every start of the supervisor.
    pub instance: String,
    document: OnceLock<web::Bytes>,
}

impl Shared {
    /// Prepares what is shared.
    pub fn new(app: App) -> error::Answer<Self> {
        let instance = auth::random_hex()?.chars().take(16).collect::<String>();
        Ok(Shared {
            gate: gate::Gate::new()?,
            feed: events::Feed::new(&instance),
            instance,
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

/// What keeps the API from being served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be opened.
    #[error("listen on {place}")]
    Listen {
        /// Where.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("prepare the certificate")]
    Tls(#[from] tls::Error),
    /// Something that handlers share could not be made.
    #[error("prepare the API: {0}")]
    Prepare(error::Failure),
    /// A server ended.
    #[error("serve the API")]
    Serve(#[source] io::Error),
}

/// Where the API is served.
#[derive(Debug)]
pub struct Doors {
    /// With TLS.
    pub https: TcpListener,
    /// Without; only redirects.
    pub http: Option<TcpListener>,
    /// The local socket.
    pub local: Option<UnixListener>,
}

impl Doors {
    /// The ports 443 and 80 of every address, and `<run>/api.sock`. A
    /// supervisor that was just replaced may hold them a moment longer.
    pub async fn open(run: &Path) -> Result<Self, Error> {
        Ok(Doors {
            https: port(443).await?,
            http: match port(80).await {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!("no redirect to HTTPS: {}", crate::reconcile::chain(&error));
                    None
                }
            },
            local: Some(local_socket(&run.join("api.sock"))?),
        })
    }
}

/// How long a port that is taken is waited for.
const PORT_PATIENCE: Duration = Duration::from_secs(20);

async fn port(number: u16) -> Result<TcpListener, Error> {
    // One socket takes both families, unless the kernel has no IPv6.
    let any = [
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), number),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number),
    ];
    let start = tokio::time::Instant::now();
    loop {
        let error = match TcpListener::bind(any[0]) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
            Err(_) => match TcpListener::bind(any[1]) {
                Ok(listener) => return Ok(listener),
                Err(error) => error,
            },
        };
        if start.elapsed() > PORT_PATIENCE || error.kind() != io::ErrorKind::AddrInUse {
            return Err(Error::Listen {
                place: format!("port {number}"),
                source: error,
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A socket that only root can open, from the moment it has its name.
pub fn local_socket(path: &Path) -> Result<UnixListener, Error> {
    let open = || {
        let hidden = path.with_extension("new");
        for old in [&hidden, path] {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let listener = UnixListener::bind(&hidden)?;
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&hidden, path)?;
        Ok(listener)
    };
    open().map_err(|source| Error::Listen {
        place: path.display().to_string(),
        source,
    })
}

/// Connections that one worker holds at most. Streams and consoles hold one each.
const CONNECTIONS: usize = 512;
/// TLS handshakes under way in one worker at most.
const HANDSHAKES: usize = 64;

/// Serves until `stop` turns true.
pub async fn run(app: App, doors: Doors, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    let config = app.certificate.server_config()?;
    let run_directory = app.run.clone();
    match app.store.site() {
        Ok(Some(_)) => claim_code::forget(&run_directory).map_err(Error::Prepare)?,
        Ok(None) => {
            claim_code::ensure(&run_directory).map_err(Error::Prepare)?;
        }
        Err(error) => tracing::error!("{}", crate::reconcile::chain(&error)),
    }
    let shared = web::Data::new(Shared::new(app).map_err(Error::Prepare)?);
    let feed = tokio::spawn(events::feed(shared.clone().into_inner(), stop.clone()));

    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(2);
    let data = shared.clone();
    let mut network = HttpServer::new(move || service(data.clone(), Door::Network))
        .workers(workers)
        .max_connections(CONNECTIONS)
        .max_connection_rate(HANDSHAKES)
        .worker_max_blocking_threads(4)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(10))
        .client_disconnect_timeout(Duration::from_secs(2))
        .tls_handshake_timeout(Duration::from_secs(10))
        .shutdown_timeout(2)
        .disable_signals();
    let listen = |place: &'static str| {
        move |source| Error::Listen {
            place: place.to_owned(),
            source,
        }
    };
    network = network
        .listen_rustls_0_23(doors.https, config)
        .map_err(listen("HTTPS"))?;
    if let Some(http) = doors.http {
        network = network.listen(http).map_err(listen("HTTP"))?;
    }
    let network = network.run();
    let mut handles: Vec<ServerHandle> = vec![network.handle()];

    let local = doors.local.map(|listener| {
        let data = shared.clone();
        HttpServer::new(move || service(data.clone(), Door::Local))
            .workers(1)
            .max_connections(64)
            .worker_max_blocking_threads(2)
            .shutdown_timeout(2)
            .disable_signals()
            .listen_uds(listener)
            .map(HttpServer::run)
    });
    let local = local.transpose().map_err(listen("the local socket"))?;
    handles.extend(local.as_ref().map(|server| server.handle()));

    let ended = async {
        match local {
            Some(local) => tokio::try_join!(network, local).map(|_| ()),
            None => network.await,
        }
    };
    tokio::pin!(ended);
    // Both arms are cancel-safe: the servers are pinned and polled again, a watch keeps its value.
    let result = loop {
        tokio::select! {
            result = &mut ended => break result.map_err(Error::Serve),
            changed = stop.changed() => if changed.is_err() || *stop.borrow() {
                for handle in &handles {
                    // Streams never end by themselves, so nobody is waited for.
                    drop(handle.stop(false));
                }
                let grace = tokio::time::timeout(Duration::from_secs(5), &mut ended);
                break grace.await.unwrap_or(Ok(())).map_err(Error::Serve);
            },
        }
    };
    feed.abort();
    result
}

/// Which server an application is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Network,
    Local,
}

fn service(
    shared: web::Data<Shared>,
    door: Door,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let mut app = actix_web::App::new()
        .app_data(shared)
        .app_data(web::PathConfig::default().error_handler(error::path))
        .app_data(web::QueryConfig::default().error_handler(error::query));
    if door == Door::Local {
        app = app.app_data(Local);
    }
    // The last one is the outermost: it sees each request first and each answer last.
    app.service(web::scope(ashlar_api::endpoint::BASE).configure(routes::plain))
        .default_service(web::to(assets::serve))
        .wrap(from_fn(auth::guard))
        .wrap(Compress::default())
        .wrap(from_fn(frame::frame))
}
