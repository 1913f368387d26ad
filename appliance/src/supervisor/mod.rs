//! The composition root: builds each part once, connects them, and ends them in order.
//!
//! ```text
//!   identity ─► Store ─► domains (network, storage, vm, service), each in its own loop; the hardware's check
//!                 │         └── watch(Status) ──┐
//!                 ├─────────────────────────► http (API, console)      health (metrics, faults, history)
//!                 └─────────────────────────► screen (facts, intents)
//! ```
//!
//! It may be killed at any moment: nothing here is the only place of anything. Guests, services, links and volumes go
//! on without it, and the next one finds them by looking. Only when init says that the whole machine ends does it end
//! them, in order: guests, volumes, network.
//!
//! A state that can not be opened does not stop the machine from being seen: the screen says what is wrong and what to
//! do, and nothing on the disks is touched. Where the reason may pass, it is tried again.

mod alive;
mod ending;
mod facts;
mod hostname;
mod identity;
mod parts;
mod reopen;
mod settled;
mod trial;

use std::fs::File;
use std::io::LineWriter;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::node::{Management, NodeSpec};
use ashlar_api::{Bytes, Timestamp};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

use crate::hardware::Hardware;
use crate::health::seen::Seen;
use crate::health::{self, Health};
use crate::http::assets::Console;
use crate::http::tls::Certificate;
use crate::http::{self, App, claim_code};
use crate::reconcile::chain;
use crate::screen::{self, Facts, Intent};
use crate::state::command::Command;
use crate::state::schema::NodeRecord;
use crate::state::{StateError, Store};
use crate::sys;
use crate::sys::init_socket::{self, Request};
use crate::update::{self, Updates};

use ending::Ending;
use identity::Identity;
use parts::Parts;
use reopen::{Reopening, Waits};
use trial::Trial;

/// The state partition.
const STATE: &str = "/var/lib/ashlar";
/// What lasts until the machine is switched off.
const RUN: &str = "/run/ashlar";
/// Where init puts what this process says.
const LOG: &str = "/run/ashlar/log/supervisor.log";
/// The word of the kernel's command line that copies this process's log to the kernel's.
const LOG_TO_KERNEL: &str = "ashlar.log=kernel";
/// How often the screen's lines about load are made anew; the rest comes with events.
const SCREEN_PACE: Duration = Duration::from_secs(15);
/// How long changes are gathered before the screen is told.
const BURST: Duration = Duration::from_millis(100);
/// How long the log of the state may take to stop.
const LAST: Duration = Duration::from_secs(5);
/// Threads for asynchronous work: it waits far more than it works.
const THREADS: usize = 2;

/// The role of the supervisor: runs until told to end.
pub fn main(console: Console) -> ExitCode {
    match run(console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain is printed here, once; init keeps it with the log and shows its end when this goes on.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(console: Console) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("ASHLAR_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false);
    match kernel_log() {
        Some(kernel) => log.with_writer(std::io::stderr.and(kernel)).init(),
        None => log.with_writer(std::io::stderr).init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(supervise(console))
}

/// The kernel's log, when the kernel was started with [`LOG_TO_KERNEL`]: then what goes on here can be read from a
/// serial line, in order with what the kernel says, though nobody has signed in and nothing is served.
fn kernel_log() -> Option<Mutex<LineWriter<File>>> {
    let asked = sys::proc::kernel_words()
        .iter()
        .any(|word| word == LOG_TO_KERNEL);
    let log = asked.then(|| File::options().append(true).open("/dev/kmsg"))?;
    // One write is one record.
    log.ok().map(|log| Mutex::new(LineWriter::new(log)))
}

async fn supervise(console: Console) -> anyhow::Result<()> {
    // In a task of its own: what is waited for here may take as long as a drive does.
    tokio::spawn(alive::tell(Path::new(init_socket::SOCKET), alive::PACE));
    let identity = identity::load(Path::new(STATE)).context("learn which node this is")?;
    tracing::info!(node = %identity.node, boot = %identity.boot, version = crate::sys::release::version(), "starting");
    let (first_name, state) = (identity.first_name.clone(), Path::new(STATE));
    // Neither needs the state, and both wait for the drive.
    let certificate = tokio::task::spawn_blocking(move || {
        Certificate::open(&state.join("tls"), first_name.as_str(), &[])
            .context("prepare the certificate")
    });
    let health =
        tokio::task::spawn_blocking(move || Health::open(state).context("open the history"));
    let settled = settled::watch();
    let drivers = settled.clone();
    let hardware = tokio::task::spawn_blocking(move || Hardware::open(state, drivers));
    let mut ending = Ending::listen().context("listen to signals")?;
    let store = match Store::open(Path::new(STATE), identity.node).await {
        Ok(store) => store,
        Err(error) => match without_state(&identity, error, &mut ending).await {
            Some(store) => store,
            None => return Ok(()),
        },
    };
    tracing::info!("the state is open");
    let first = NodeRecord {
        id: identity.node,
        revision: 0,
        created_at: Timestamp::now(),
        spec: NodeSpec {
            name: identity.first_name.clone(),
            management: Management::default(),
        },
        unconfirmed: None,
    };
    let register = Command::RegisterNode {
        node: Box::new(first),
    };
    if let Err(error) = store.propose("ashlar", register).await {
        // Where the drive is full the console must come up all the same, to say so.
        let known = store.get::<NodeRecord>(identity.node).ok().flatten();
        if known.is_none() {
            return Err(error).context("make this node known");
        }
        tracing::warn!("say that this node has started: {}", chain(&error));
    }

    tracing::info!("this node is known");

    let (stop, stopped) = watch::channel(false);
    let hardware = hardware
        .await
        .context("read what is kept of the hardware")?;
    let parts = Parts::start(&store, &identity, hardware, &settled, &stopped);
    let name = tokio::spawn(hostname::follow(store.clone(), identity.node));
    let certificate = certificate.await??;
    let health = health.await??;
    let sources = health::Sources {
        store: store.clone(),
        seen: parts.seen.clone(),
        certificate: certificate.watch(),
        boot: identity.boot,
        run: RUN.into(),
        state: STATE.into(),
    };
    let updates = Updates::new(update::Place::of(Path::new(STATE)), identity.boot);
    let app = App {
        store: store.clone(),
        seen: parts.seen.clone(),
        board: parts.board.clone(),
        updates: updates.clone(),
        consoles: parts.consoles.clone(),
        uploads: parts.uploads.clone(),
        health: health.clone(),
        hardware: parts.hardware.clone(),
        certificate: certificate.clone(),
        console,
        node: identity.node,
        boot: identity.boot,
        booted_at: Timestamp::now()
            .checked_sub(sys::proc::uptime())
            .unwrap_or(Timestamp::UNIX_EPOCH),
        run: RUN.into(),
    };
    let server =
        http::serve(app, http::Ports::default(), stopped.clone()).context("serve the API")?;
    tracing::info!("the API is served");
    let trial = Trial {
        updates,
        store: store.clone(),
        seen: parts.seen.clone(),
        health: health.clone(),
        boot: identity.boot,
        node: Subject {
            kind: Kind::Node,
            id: identity.node.to_string(),
            name: identity.first_name.to_string(),
        },
        settled: settled.clone(),
        run: RUN.into(),
    };
    let trial = tokio::spawn(trial.run());
    let watcher = tokio::spawn(health::run(health.clone(), sources, stopped));

    let (facts, facts_seen) = watch::channel(Facts::default());
    let (intents, mut wanted) = mpsc::channel(4);
    let screens = screen::start(&facts_seen, &intents);
    let view = View {
        identity: &identity,
        store: &store,
        health: &health,
        certificate: &certificate,
    };

    let mut seen = parts.seen.clone();
    let mut revision = store.watch();
    let mut faults = health.watch_faults();
    let mut served = false;
    let ends = loop {
        // Marked as seen before they are read: what changes while they are read wakes the loop again.
        seen.network.mark_unchanged();
        seen.storage.mark_unchanged();
        seen.vm.mark_unchanged();
        revision.mark_unchanged();
        faults.mark_unchanged();
        let now = view.gather(&seen);
        if !served && !now.urls.is_empty() {
            served = true;
            tokio::spawn(ask(Request::Served));
        }
        // A screen draws whenever it is told.
        facts.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
        // Every arm is cancel-safe: watches keep their newest value, a message that was not taken stays in its queue,
        // a signal that was not seen is kept.
        tokio::select! {
            ends = ending.asked() => break ends,
            Some(intent) = wanted.recv() => fulfil(intent, &store, &identity).await,
            _ = seen.network.changed() => {}
            _ = seen.storage.changed() => {}
            _ = seen.vm.changed() => {}
            _ = faults.changed() => {}
            _ = revision.changed() => {}
            () = tokio::time::sleep(SCREEN_PACE) => {}
        }
        // Changes come in bursts; one picture a burst is enough.
        tokio::time::sleep(BURST).await;
    };
    // Nobody listening any more is no failure here.
    let _ = stop.send(true);
    if ends {
        tracing::info!("the machine ends");
        parts.end().await;
    }
    server.ended().await;
    watcher.abort();
    trial.abort();
    name.abort();
    for screen in screens {
        screen.abort();
    }
    // What was agreed is on the drive already; a log that does not stop in time loses nothing.
    if tokio::time::timeout(LAST, store.close()).await.is_err() {
        tracing::warn!("the log of the state does not stop in time");
    }
    Ok(())
}

/// Serves the screen alone, to say why the state can not be opened and to have the damaged file set aside, until it can:
/// what may pass is tried again. None when the supervisor is to end first.
async fn without_state(
    identity: &Identity,
    error: StateError,
    ending: &mut Ending,
) -> Option<Store> {
    let name = identity.first_name.as_str();
    let state = Path::new(STATE);
    let mut opening = Reopening::after(&error, state, identity.node, Waits::default());
    let told = |text: &str, error: &StateError| {
        facts::stateless(name, text, &error.remedy(), error.aside())
    };
    let mut why = chain(&error);
    tracing::error!("the state can not be opened: {why}");
    let (facts, seen) = watch::channel(told(&why, &error));
    let mut aside = error.aside().map(Path::to_owned);
    let (intents, mut wanted) = mpsc::channel(4);
    let screens = screen::start(&seen, &intents);
    let store = loop {
        // Every arm is cancel-safe: signals and intents as above, an attempt goes on where it was.
        tokio::select! {
            _ = ending.asked() => break None,
            opened = opening.attempt() => match opened {
                Ok(store) => break Some(store),
                Err(error) => {
                    let text = chain(&error);
                    // Tried in vain once more, it is no news.
                    if text != why {
                        tracing::error!("the state can not be opened: {text}");
                        facts.send_replace(told(&text, &error));
                        aside = error.aside().map(Path::to_owned);
                        why = text;
                    }
                }
            },
            Some(intent) = wanted.recv() => match (intent, &aside) {
                (Intent::Restart, _) => ask(Request::Reboot).await,
                (Intent::PowerOff, _) => ask(Request::PowerOff).await,
                (Intent::SetAside, Some(file)) => {
                    match Store::set_aside(state, identity.node, file).await {
                        Ok(_) => {
                            tracing::info!("the state is opened again");
                            // Whatever is wrong now is told anew.
                            why.clear();
                            opening.now();
                        }
                        Err(error) => {
                            let text = chain(&error);
                            tracing::error!("set {} aside: {text}", file.display());
                            let told = facts::stateless(
                                name,
                                &format!("{} could not be set aside: {text}", file.display()),
                                &error.remedy(),
                                Some(file),
                            );
                            facts.send_replace(told);
                        }
                    }
                }
                (Intent::SetAside, None) => {}
                (Intent::SetManagement(_), _) => {
                    tracing::warn!("the address can not be changed while the state is not open");
                }
            },
        }
    };
    for screen in screens {
        screen.abort();
        // Its terminal must be free before the next screen takes it.
        let _ = screen.await;
    }
    store
}

async fn ask(request: Request) {
    if let Err(error) = init_socket::ask(Path::new(init_socket::SOCKET), request).await {
        tracing::error!("ask init for {request:?}: {}", chain(&error));
    }
}

/// Does what somebody at the screen wants.
async fn fulfil(intent: Intent, store: &Store, identity: &Identity) {
    match intent {
        Intent::Restart => ask(Request::Reboot).await,
        Intent::PowerOff => ask(Request::PowerOff).await,
        // Nothing is offered while the state is open.
        Intent::SetAside => {}
        Intent::SetManagement(management) => {
            let Ok(Some(node)) = store.get::<NodeRecord>(identity.node) else {
                return;
            };
            let spec = NodeSpec {
                management,
                ..node.spec
            };
            // Whoever stands in front of the machine can not cut themselves off: nothing to confirm.
            let command = Command::ReplaceNode {
                id: identity.node,
                spec,
                revision: None,
                confirm_until: None,
            };
            if let Err(error) = store.propose("local screen", command).await {
                tracing::error!("change the management address: {}", chain(&error));
            }
        }
    }
}

/// Where what the screen tells comes from.
struct View<'a> {
    identity: &'a Identity,
    store: &'a Store,
    health: &'a Health,
    certificate: &'a Certificate,
}

impl View<'_> {
    /// What the screen tells now.
    fn gather(&self, seen: &Seen) -> Facts {
        let node = self
            .store
            .get::<NodeRecord>(self.identity.node)
            .ok()
            .flatten();
        let management = node
            .as_ref()
            .map(|node| node.spec.management.clone())
            .unwrap_or_default();
        let (network, storage, vm) = (
            seen.network.borrow(),
            seen.storage.borrow(),
            seen.vm.borrow(),
        );
        let memory = sys::proc::Memory::read();
        let load = self.health.metrics.newest();
        Facts {
            version: crate::sys::release::version().to_owned(),
            node: node.map_or_else(
                || self.identity.first_name.to_string(),
                |node| node.spec.name.to_string(),
            ),
            urls: facts::urls(&network.addresses),
            fingerprint: self.certificate.fingerprint(),
            claim_code: claim_code::read(Path::new(RUN)),
            processor: facts::processor(load.as_ref(), sys::proc::processors()),
            memory: facts::memory(
                Bytes(memory.total.saturating_sub(memory.available)),
                Bytes(memory.total),
            ),
            storage: facts::storage(storage.pools.values()),
            network: facts::network(&network.links, &management.ipv4),
            machines: facts::machines(vm.vms.values()),
            starting: !self.health.has_looked(),
            faults: self.health.faults(),
            links: facts::links(&network.links),
            drives: facts::drives(&storage.drives),
            management,
            log: facts::log(20),
            stateless: false,
            aside: None,
        }
    }
}
