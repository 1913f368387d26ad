//! The servers, one for each way in, and what happens when a way is blocked.
//!
//! ```text
//!   :443 ─ TLS ─┐ 2 threads    each opened by a task of its own, which tries
//!   :80  ───────┤ 1 thread     again for as long as the address is taken and
//!   api.sock ───┘ 1 thread     tells of it as a fault of the node
//! ```
//!
//! The local socket has a thread of its own: a flood of connections from
//! outside must not keep the local screen and the command line from working.
//! Nothing here ends the supervisor: without the network there is still the
//! screen, and machines run without any of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpServer, web};
use ashlar_api::Timestamp;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{
    App, Local, Shared, assets, auth, calm, claim_code, error, events, frame, routes, tls,
};
use crate::reconcile::chain;

/// What keeps the API from being served at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS could not be set up.
    #[error("prepare the certificate")]
    Tls(#[from] tls::Error),
    /// Something that handlers share could not be made.
    #[error("prepare the API: {0}")]
    Prepare(error::Failure),
}

/// Why one way in is blocked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Blocked {
    what: &'static str,
    source: io::Error,
}

fn blocked(what: &'static str) -> impl Fn(io::Error) -> Blocked {
    move |source| Blocked { what, source }
}

/// On which ports of every address the API is served.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// With TLS.
    pub https: u16,
    /// Without, which only redirects; none when absent.
    pub http: Option<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Ports {
            https: 443,
            http: Some(80),
        }
    }
}

/// The API as it is being served.
#[derive(Debug)]
pub struct Handle {
    tasks: Vec<JoinHandle<()>>,
}

impl Handle {
    /// Waits until it is served no more, after `stop` turned true; at most
    /// [`END`], then what is left is broken off.
    pub async fn ended(self) {
        let end = tokio::time::Instant::now() + END;
        for mut task in self.tasks {
            if tokio::time::timeout_at(end, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// How long an orderly end may take.
const END: Duration = Duration::from_secs(5);
/// How long a client may take for its handshake, and for the head of a request. It begins when the connection is there,
/// so it also counts while a busy node gets round to it: with 10 s a starting node refused calls that were in time.
const HEAD: Duration = Duration::from_secs(30);
/// Connections that one thread holds at most. Streams and consoles hold one each.
const CONNECTIONS: usize = 512;
/// TLS handshakes under way in one thread at most.
const HANDSHAKES: usize = 64;
/// How long a client may go on sending what has been answered already, an upload that was refused at once, say. Closed
/// earlier, the connection breaks under it, and the answer that told why is lost.
const LINGER: Duration = Duration::from_secs(10);
/// The end of an answer does not wait for the acknowledgement of its beginning, which takes the other side 40 ms (tcp(7)).
const NO_DELAY: bool = true;
/// Waits between attempts to open a way in: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// A port that was taken no longer than this is no news: a supervisor that was
/// just replaced may hold it a moment longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 10 });

/// Serves on the ports and on `<run>/api.sock` until `stop` turns true. Needs a
/// runtime of tokio; returns at once.
pub fn serve(app: App, ports: Ports, stop: watch::Receiver<bool>) -> Result<Handle, Error> {
    tls::install_provider();
    let config = app.certificate.server_config()?;
    settle_claim_code(&app);
    let shared = web::Data::new(Shared::new(app).map_err(Error::Prepare)?);
    let mut ways = vec![Way::Https(ports.https, Box::new(config)), Way::Local];
    ways.extend(ports.http.map(Way::Http));
    let feed = events::feed(shared.clone().into_inner(), stop.clone());
    let mut tasks = vec![tokio::spawn(feed)];
    tasks.extend(
        ways.into_iter()
            .map(|way| tokio::spawn(keep(way, shared.clone(), stop.clone()))),
    );
    Ok(Handle { tasks })
}

/// There is a code while there is no owner, and none afterwards.
fn settle_claim_code(app: &App) {
    let settled = match app.store.site() {
        Ok(Some(_)) => claim_code::forget(&app.run),
        Ok(None) => claim_code::ensure(&app.run).map(drop),
        Err(error) => {
            tracing::error!("read the site: {}", chain(&error));
            return;
        }
    };
    // Claiming makes a code when it finds none, so this is no reason not to serve.
    if let Err(failure) = settled {
        tracing::error!("the code for claiming: {failure}");
    }
}

/// A way in.
enum Way {
    Https(u16, Box<rustls::ServerConfig>),
    Http(u16),
    Local,
}

impl Way {
    /// What the fault of this way is called.
    fn code(&self) -> &'static str {
        match self {
            Way::Https(..) => "api-unreachable",
            Way::Http(_) => "redirect-unreachable",
            Way::Local => "local-socket-unusable",
        }
    }

    fn fault(&self, error: &Blocked) -> Fault {
        let (severity, title, remedy) = match self {
            Way::Https(port, _) => (
                Severity::Critical,
                format!("The console and the API can not be reached on port {port}"),
                "It is tried again until it works. If something else holds the port, restart the node.",
            ),
            Way::Http(port) => (
                Severity::Warning,
                format!("Port {port} does not lead to the console"),
                "Open the console with https:// in front of its address. It is tried again until it works.",
            ),
            Way::Local => (
                Severity::Warning,
                "The command line does not work on the node itself".to_owned(),
                "Use the console, or the command line from another computer. It is tried again until it works.",
            ),
        };
        Fault {
            code: self.code().to_owned(),
            severity,
            title,
            detail: chain(error),
            remedy: remedy.to_owned(),
            subject: None,
            since: Timestamp::now(),
        }
    }

    fn open(&self, shared: &web::Data<Shared>) -> Result<Server, Blocked> {
        let data = shared.clone();
        match self {
            Way::Https(number, config) => {
                let listener = port(*number).map_err(blocked("listen for the console"))?;
                let workers = std::thread::available_parallelism().map_or(1, usize::from);
                let server = HttpServer::new(move || service(data.clone(), Entry::Network))
                    .workers(workers.min(2))
                    .max_connections(CONNECTIONS)
                    .max_connection_rate(HANDSHAKES)
                    .worker_max_blocking_threads(4)
                    .tcp_nodelay(NO_DELAY)
                    .keep_alive(Duration::from_secs(75))
                    .client_request_timeout(HEAD)
                    .client_disconnect_timeout(LINGER)
                    .tls_handshake_timeout(HEAD)
                    .shutdown_timeout(2)
                    .disable_signals()
                    .listen_rustls_0_23(listener, (**config).clone())
                    .map_err(blocked("serve the console"))?;
                Ok(server.run())
            }
            Way::Http(number) => {
                let listener = port(*number).map_err(blocked("listen for plain HTTP"))?;
                let server = HttpServer::new(move || service(data.clone(), Entry::Network))
                    .workers(1)
                    .max_connections(CONNECTIONS)
                    .worker_max_blocking_threads(1)
                    .tcp_nodelay(NO_DELAY)
                    .keep_alive(Duration::from_secs(5))
                    .client_request_timeout(HEAD)
                    .shutdown_timeout(1)
                    .disable_signals()
                    .listen(listener)
                    .map_err(blocked("serve plain HTTP"))?;
                Ok(server.run())
            }
            Way::Local => {
                let path = shared.app.run.join("api.sock");
                let listener =
                    local_socket(&path).map_err(blocked("listen on the local socket"))?;
                let server = HttpServer::new(move || service(data.clone(), Entry::Socket))
                    .workers(1)
                    .max_connections(64)
                    .client_request_timeout(HEAD)
                    .worker_max_blocking_threads(2)
                    .shutdown_timeout(2)
                    .disable_signals()
                    .listen_uds(listener)
                    .map_err(blocked("serve the local socket"))?;
                Ok(server.run())
            }
        }
    }
}

/// Keeps one way in open until `stop` turns true.
async fn keep(way: Way, shared: web::Data<Shared>, mut stop: watch::Receiver<bool>) {
    let health = shared.app.health.clone();
    let mut pause = AGAIN.0;
    let mut since: Option<tokio::time::Instant> = None;
    while !*stop.borrow_and_update() {
        let error = match way.open(&shared) {
            Ok(mut server) => {
                health.report(way.code(), None);
                (since, pause) = (None, AGAIN.0);
                let handle = server.handle();
                // Both arms are cancel-safe: the server is polled again, a watch keeps its value.
                let ended = tokio::select! {
                    ended = &mut server => Some(ended),
                    () = stopped(&mut stop) => None,
                };
                match ended {
                    Some(Err(error)) => blocked("go on serving")(error),
                    Some(Ok(())) => blocked("go on serving")(io::ErrorKind::BrokenPipe.into()),
                    None => {
                        // Streams never end by themselves, so nobody is waited for.
                        drop(handle.stop(false));
                        if let Ok(Err(error)) = tokio::time::timeout(END, server).await {
                            tracing::warn!("end a server: {}", chain(&error));
                        }
                        return;
                    }
                }
            }
            Err(error) => error,
        };
        let first = *since.get_or_insert_with(tokio::time::Instant::now);
        if first.elapsed() >= PATIENCE || way.is_own() {
            tracing::error!("{}", chain(&error));
            health.report(way.code(), Some(way.fault(&error)));
        } else {
            tracing::info!("{}; trying again", chain(&error));
        }
        // Both arms are cancel-safe: a sleep that is dropped is of no use any more.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => return,
        }
        pause = (pause * 2).min(AGAIN.1);
    }
}

impl Way {
    /// Whether nobody else could rightly hold it.
    fn is_own(&self) -> bool {
        matches!(self, Way::Local)
    }
}

/// Ends when `stop` turns true, or when nobody can turn it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A port of every address. One socket takes both families, unless the kernel has no IPv6.
fn port(number: u16) -> io::Result<TcpListener> {
    let all = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), number);
    match TcpListener::bind(all) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number))
        }
        bound => bound,
    }
}

/// A socket that only root can open, from the moment it has its name.
fn local_socket(path: &Path) -> io::Result<UnixListener> {
    let hidden = path.with_extension("new");
    match std::fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    // In place of one that an earlier supervisor left.
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}

/// From where an application is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Network,
    Socket,
}

/// The application: the same for all ways in, but for who the caller is.
pub(super) fn service(
    shared: web::Data<Shared>,
    entry: Entry,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    // Made in the thread that will serve it.
    calm::calm();
    let mut app = actix_web::App::new()
        .app_data(shared)
        .app_data(web::PathConfig::default().error_handler(error::path))
        .app_data(web::QueryConfig::default().error_handler(error::query));
    if entry == Entry::Socket {
        app = app.app_data(Local);
    }
    // The last one is the outermost: it sees each request first and each answer last.
    app.service(web::scope(ashlar_api::endpoint::BASE).configure(routes::plain))
        .default_service(web::to(assets::serve))
        .wrap(from_fn(auth::guard))
        .wrap(Compress::default())
        .wrap(from_fn(frame::frame))
}
