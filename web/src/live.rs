//! What the appliance is and does, kept fresh: every collection of objects, the
//! site, the newest load, and what happened lately.
//!
//! One event stream feeds it. When the stream breaks it is opened again, after a
//! wait that doubles up to half a minute; until then the top bar says so and all
//! that was read stays on the screen. Whatever changed meanwhile is read again
//! once the stream is back. A stream that stays silent for longer than the
//! appliance ever does is taken for broken: a pulled cable ends no connection.

use std::collections::VecDeque;

use ashlar_api::error::Problem;
use ashlar_api::event::{Change, Event};
use ashlar_api::fault::Fault;
use ashlar_api::hardware::Report;
use ashlar_api::image::Image;
use ashlar_api::job::{Job, Kind};
use ashlar_api::metrics::{Sample, Series};
use ashlar_api::network::{Link, Network};
use ashlar_api::node::Node;
use ashlar_api::pool::{Drive, Pool};
use ashlar_api::service::Service;
use ashlar_api::site::Site;
use ashlar_api::user::{Session, Token, User};
use ashlar_api::vm::Vm;
use ashlar_api::volume::Volume;
use ashlar_api::{Page, endpoint, update};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

use crate::client;
use crate::collection::Collection;
use crate::session::Sessions;
use crate::time::Clock;

/// How the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Being opened for the first time.
    Opening,
    /// Open.
    Open,
    /// Broken; being opened again.
    Broken,
}

const FIRST_WAIT_MS: u32 = 1000;
const LONGEST_WAIT_MS: u32 = 30_000;
/// The load arrives every few seconds; so long without a word means a dead stream.
const SILENCE_S: i64 = 45;
/// How much of the node's load is kept: an hour of samples five seconds apart.
const SAMPLES: usize = 720;
/// How many events are kept for the overview and the notifications.
const EVENTS: usize = 100;
/// How many events are read at first; fewer mean that there are no older ones.
pub const FIRST_EVENTS: usize = 50;

/// Everything that is kept fresh.
#[derive(Clone, Copy)]
pub struct Live {
    /// Virtual machines.
    pub vms: Collection<Vm>,
    /// Volumes.
    pub volumes: Collection<Volume>,
    /// Pools.
    pub pools: Collection<Pool>,
    /// Drives.
    pub drives: Collection<Drive>,
    /// Images.
    pub images: Collection<Image>,
    /// Networks.
    pub networks: Collection<Network>,
    /// Interfaces of the node.
    pub links: Collection<Link>,
    /// Nodes.
    pub nodes: Collection<Node>,
    /// Services of the node.
    pub services: Collection<Service>,
    /// Jobs.
    pub jobs: Collection<Job>,
    /// Faults.
    pub faults: Collection<Fault>,
    /// Users.
    pub users: Collection<User>,
    /// Tokens.
    pub tokens: Collection<Token>,
    /// Sessions.
    pub sessions: Collection<Session>,
    /// The site, once read.
    pub site: RwSignal<Option<Site>>,
    /// The releases of the node, once somebody wanted to see them.
    pub update: RwSignal<Option<update::Update>>,
    /// What was found when the hardware was checked last, or why that can not be read; absent until asked.
    pub hardware: RwSignal<Option<Result<Report, Problem>>>,
    /// The newest load of the node, oldest first.
    pub samples: RwSignal<VecDeque<Sample>>,
    /// What happened lately, newest first; absent until read.
    pub events: RwSignal<Option<Vec<Event>>>,
    /// How the stream is.
    pub stream: RwSignal<Stream>,
    /// Version of the appliance as the stream says; changes when it is updated.
    pub version: RwSignal<String>,
    /// Taken once: what the stream calls later runs outside of every component, where nothing can be asked for.
    clock: Clock,
    heard: StoredValue<i64>,
    instance: StoredValue<String>,
    source: StoredValue<Option<Source>, LocalStorage>,
    wait: StoredValue<u32>,
}

struct Source {
    source: EventSource,
    _heard: Closure<dyn FnMut(MessageEvent)>,
    _broken: Closure<dyn FnMut()>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.source.set_onerror(None);
        self.source.close();
    }
}

impl Live {
    /// Starts the stream; it ends with the owner (the shell of one session).
    pub fn start(sessions: Sessions) -> Self {
        let live = Live {
            vms: Collection::new(),
            volumes: Collection::new(),
            pools: Collection::new(),
            drives: Collection::new(),
            images: Collection::new(),
            networks: Collection::new(),
            links: Collection::new(),
            nodes: Collection::new(),
            services: Collection::new(),
            jobs: Collection::new(),
            faults: Collection::new(),
            users: Collection::new(),
            tokens: Collection::new(),
            sessions: Collection::new(),
            site: RwSignal::new(None),
            update: RwSignal::new(None),
            hardware: RwSignal::new(None),
            samples: RwSignal::default(),
            events: RwSignal::new(None),
            stream: RwSignal::new(Stream::Opening),
            version: RwSignal::default(),
            clock: Clock::get(),
            heard: StoredValue::new(crate::time::now().as_second()),
            instance: StoredValue::default(),
            source: StoredValue::new_local(None),
            wait: StoredValue::new(FIRST_WAIT_MS),
        };
        live.read_site();
        live.read_hardware();
        live.read_events();
        live.faults.want();
        live.jobs.want();
        live.nodes.want();
        live.open(sessions);
        let watch = gloo_timers::callback::Interval::new(5000, move || live.watch(sessions));
        let watch = StoredValue::new_local(Some(watch));
        on_cleanup(move || {
            watch.update_value(|watch| *watch = None);
            live.source.update_value(|source| *source = None);
        });
        live
    }

    /// What is live, from any component of the shell.
    pub fn get() -> Self {
        expect_context()
    }

    /// The one node of this console's appliance.
    pub fn node(self) -> Option<Node> {
        self.nodes.all().into_iter().next()
    }

    /// Reads the site again.
    pub fn read_site(self) {
        spawn_local(async move {
            if let Ok(site) = client::get::<Site>(endpoint::SITE).await {
                self.clock.set_zone(if site.spec.time_zone.is_empty() {
                    "UTC"
                } else {
                    &site.spec.time_zone
                });
                self.site.set(Some(site));
            }
        });
    }

    /// Reads the releases of the node; from then on they are kept fresh.
    pub fn read_update(self) {
        spawn_local(async move {
            if let Ok(update) = client::get::<update::Update>(endpoint::UPDATE).await {
                self.update.set(Some(update));
            }
        });
    }

    fn reread_update(self) {
        if self.update.with_untracked(Option::is_some) {
            self.read_update();
        }
    }

    /// Reads what was found when the hardware was checked last; a report that is there stays when that fails.
    pub fn read_hardware(self) {
        spawn_local(async move {
            let answer = client::get::<Report>(endpoint::HARDWARE).await;
            // The shell may be gone when the answer comes.
            let _ = self.hardware.try_maybe_update(|kept| {
                let newer = match answer {
                    Ok(report) => Some(Ok(report)),
                    Err(_) if matches!(kept, Some(Ok(_))) => return (false, ()),
                    Err(failure) => Some(Err(failure.problem())),
                };
                let differs = *kept != newer;
                *kept = newer;
                (differs, ())
            });
        });
    }

    /// Reads the load of the last hour.
    pub fn read_samples(self, node: &str) {
        let path = format!("{}/{node}/metrics", endpoint::NODES);
        spawn_local(async move {
            if let Ok(series) = client::get::<Series<Sample>>(&path).await {
                self.samples.update(|kept| {
                    let from = series.samples.last().map(|s| s.at);
                    let newer: Vec<Sample> =
                        kept.iter().copied().filter(|s| Some(s.at) > from).collect();
                    *kept = series.samples.into_iter().chain(newer).collect();
                });
            }
        });
    }

    fn read_events(self) {
        let path = client::with_query(endpoint::HISTORY, "limit", &FIRST_EVENTS.to_string());
        spawn_local(async move {
            if let Ok(page) = client::get::<Page<Event>>(&path).await {
                self.events.set(Some(page.items));
            }
        });
    }

    fn open(self, sessions: Sessions) {
        let Ok(source) = EventSource::new(endpoint::EVENTS) else {
            self.stream.set(Stream::Broken);
            return;
        };
        self.heard.set_value(crate::time::now().as_second());
        let heard = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            self.heard.set_value(crate::time::now().as_second());
            let change = message
                .data()
                .as_string()
                .and_then(|text| serde_json::from_str::<Change>(&text).ok());
            // A newer appliance may send what this console does not know.
            if let Some(change) = change {
                self.apply(change);
            }
        });
        let broken = Closure::<dyn FnMut()>::new(move || self.broke(sessions));
        for name in ["hello", "object", "job", "event", "metrics"] {
            // Adding a listener for a plain event can not fail.
            let _ = source.add_event_listener_with_callback(name, heard.as_ref().unchecked_ref());
        }
        source.set_onerror(Some(broken.as_ref().unchecked_ref()));
        let source = Source {
            source,
            _heard: heard,
            _broken: broken,
        };
        self.source.update_value(|kept| *kept = Some(source));
    }

    fn broke(self, sessions: Sessions) {
        self.stream.set(Stream::Broken);
        // The closure that runs now belongs to the source: let it end first.
        let wait = self.wait.get_value();
        self.wait.set_value((wait * 2).min(LONGEST_WAIT_MS));
        // Spread consoles that lost the appliance at the same moment.
        let spread = (js_sys::Math::random() * f64::from(wait) / 2.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most half a minute of milliseconds"
        )]
        let wait = wait + spread as u32;
        gloo_timers::callback::Timeout::new(0, move || {
            // Gone with the shell when somebody signed out meanwhile.
            let _ = self.source.try_update_value(|source| *source = None);
        })
        .forget();
        gloo_timers::callback::Timeout::new(wait, move || {
            let Some(idle) = self.source.try_with_value(Option::is_none) else {
                return;
            };
            if idle {
                // A stream can not tell a lost session from a lost appliance; this can.
                sessions.check();
                self.open(sessions);
            }
        })
        .forget();
    }

    fn watch(self, sessions: Sessions) {
        let silent = crate::time::now().as_second() - self.heard.get_value() > SILENCE_S;
        let open = self.source.with_value(Option::is_some);
        if silent && open {
            self.heard.set_value(crate::time::now().as_second());
            self.broke(sessions);
        }
    }

    fn apply(self, change: Change) {
        match change {
            Change::Hello { instance, version } => {
                let before = self.instance.get_value();
                let returned = self.stream.get_untracked() == Stream::Broken;
                self.wait.set_value(FIRST_WAIT_MS);
                self.stream.set(Stream::Open);
                if returned || (!before.is_empty() && before != instance) {
                    self.read_all();
                }
                self.instance.set_value(instance);
                if self.version.with_untracked(|old| *old != version) {
                    self.version.set(version);
                }
            }
            Change::Object { kind, id } => self.touch(kind, &id),
            Change::Job { job } => self.jobs.put(job),
            Change::Event { event } => self.events.update(|events| {
                if let Some(events) = events
                    && events.first().is_none_or(|newest| newest.id < event.id)
                {
                    events.insert(0, event);
                    events.truncate(EVENTS);
                }
            }),
            Change::Metrics { sample } => self.samples.update(|samples| {
                samples.push_back(sample);
                while samples.len() > SAMPLES {
                    samples.pop_front();
                }
            }),
        }
    }

    fn touch(self, kind: Kind, id: &str) {
        match kind {
            Kind::Site => self.read_site(),
            Kind::Node => self.nodes.touch(id),
            Kind::Vm => self.vms.touch(id),
            Kind::Volume => self.volumes.touch(id),
            Kind::Pool => self.pools.touch(id),
            Kind::Drive => self.drives.touch(id),
            Kind::Image => self.images.touch(id),
            Kind::Network => self.networks.touch(id),
            Kind::Link => self.links.touch(id),
            Kind::User => self.users.touch(id),
            Kind::Token => self.tokens.touch(id),
            Kind::Session => self.sessions.touch(id),
            Kind::Job => self.jobs.touch(id),
            Kind::Fault => self.faults.touch(id),
            Kind::Service => self.services.touch(id),
            Kind::Update => self.reread_update(),
            Kind::Hardware => self.read_hardware(),
        }
    }

    fn read_all(self) {
        self.read_site();
        self.read_events();
        for kind in [
            Kind::Node,
            Kind::Vm,
            Kind::Volume,
            Kind::Pool,
            Kind::Drive,
            Kind::Image,
            Kind::Network,
            Kind::Link,
            Kind::User,
            Kind::Token,
            Kind::Session,
            Kind::Job,
            Kind::Fault,
            Kind::Service,
            Kind::Update,
            Kind::Hardware,
        ] {
            self.touch(kind, "*");
        }
    }
}
