//! How everything is, in one sentence first; then what is wrong, what is used,
//! how the load was, and what happened lately.

use ashlar_api::Bytes;
use ashlar_api::metrics::Sample;
use ashlar_api::node::Node;
use ashlar_api::user::Role;
use ashlar_api::vm::VmPhase;
use leptos::prelude::*;
use leptos_router::components::A;

use super::fault::FaultNotice;
use super::load::{Load, read_load};
use crate::components::{Icon, LinkButton, Look, Meter, Part};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::time::Clock;
use crate::words;

/// The overview.
#[component]
pub fn Overview() -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    live.images.want();
    read_load(live);
    let lead = Signal::derive(move || {
        if !live.vms.here() || !live.nodes.here() {
            return String::new();
        }
        let vms = live.vms.all();
        let running = vms
            .iter()
            .filter(|vm| vm.status.phase == VmPhase::Running)
            .count();
        let machines = match vms.len() {
            0 => "No virtual machines yet".to_owned(),
            n if n == running => format!(
                "{}, all running",
                format::count(n, "virtual machine", "virtual machines")
            ),
            n => format!(
                "{}, {running} running",
                format::count(n, "virtual machine", "virtual machines")
            ),
        };
        let headline = live
            .site
            .with(|site| site.as_ref().map(|site| site.status.headline.clone()));
        let health = match headline.filter(|text| !text.is_empty()) {
            Some(headline) => headline,
            None if live.faults.count() == 0 => "Nothing is wrong".to_owned(),
            None => format!(
                "{} below",
                format::count(
                    live.faults.count(),
                    "thing wants looking at,",
                    "things want looking at,"
                )
            ),
        };
        format!(
            "{machines}. {}",
            crate::components::notice::sentence(&[&health])
        )
    });
    let may = move || Sessions::get().may(Role::Administrator);
    view! {
        <Head title="Overview" lead>
            {move || {
                may()
                    .then(|| {
                        view! {
                            <LinkButton
                                href="/vms/new"
                                label="New virtual machine"
                                icon=Icon::Plus
                                look=Look::Primary
                            />
                        }
                    })
            }}
        </Head>
        <For
            each=move || live.faults.all()
            key=|fault| (fault.code.clone(), fault.subject.as_ref().map(|s| s.id.clone()), fault.detail.clone(), fault.title.clone())
            children=|fault| view! { <FaultNotice fault /> }
        />
        <div class="stack">
            <FirstSteps />
            <Numbers />
            <div class="grid g21">
                <Load />
                <Lately />
            </div>
        </div>
    }
}

/// What is left to do before the first machine runs.
#[component]
fn FirstSteps() -> impl IntoView {
    let live = Live::get();
    live.networks.want();
    let known = Memo::new(move |_| {
        live.pools.here() && live.networks.here() && live.images.here() && live.vms.here()
    });
    let done = Memo::new(move |_| {
        [
            live.pools.count() > 0,
            live.networks.count() > 0,
            live.images.count() > 0,
            live.vms.count() > 0,
        ]
    });
    let step = |done: bool,
                title: &'static str,
                text: &'static str,
                href: &'static str,
                label: &'static str,
                next: bool| {
        let mark = if done {
            view! { <span class="t-ok">{Icon::Check.view()}</span> }.into_any()
        } else {
            view! { <span class="dimmer">{Icon::Next.view()}</span> }.into_any()
        };
        view! {
            <li>
                {mark} <div>
                    <b>{title}</b>
                    <div class="dim small">{text}</div>
                </div>
                {(!done)
                    .then(|| {
                        let look = if next { Look::Primary } else { Look::Plain };
                        view! {
                            <span class="push">
                                <LinkButton href label look small=true />
                            </span>
                        }
                    })}
            </li>
        }
    };
    move || {
        let [pool, network, image, vm] = done.get();
        (known.get() && !(pool && vm)).then(|| {
            view! {
                <div class="card">
                    <h2>"First steps"</h2>
                    <ul class="ready-list first-steps">
                        {step(
                            pool,
                            "Give Ashlar its drives",
                            "Disks of machines and images live in a pool made of drives.",
                            "/storage?do=pool",
                            "New pool",
                            !pool,
                        )}
                        {step(
                            network,
                            "Make a network",
                            "Machines reach one another and the world through it.",
                            "/networks?do=new",
                            "New network",
                            pool && !network,
                        )}
                        {step(
                            image,
                            "Add an image",
                            "A ready disk or an installation CD that machines start from.",
                            "/images?do=add",
                            "Add an image",
                            pool && network && !image,
                        )}
                        {step(
                            vm,
                            "Create a virtual machine",
                            "It runs on this node, and its screen opens here in the browser.",
                            "/vms/new",
                            "New virtual machine",
                            pool && network && image,
                        )}
                    </ul>
                </div>
            }
        })
    }
}

#[component]
fn Numbers() -> impl IntoView {
    let live = Live::get();
    let node = Memo::new(move |_| live.node());
    let load = Memo::new(move |_| {
        live.samples
            .with(|samples| samples.back().copied())
            .or_else(|| node.with(|node| node.as_ref().and_then(|node| node.status.load)))
    });
    view! {
        <div class="grid g4">
            <Processor node load />
            <MemoryCard node load />
            <StorageCard />
            <Machines />
        </div>
    }
}

#[component]
fn Stat(
    label: &'static str,
    href: &'static str,
    #[prop(into)] value: Signal<String>,
    #[prop(into)] of: Signal<String>,
    #[prop(into)] parts: Signal<Vec<Part>>,
    #[prop(into)] note: Signal<String>,
) -> impl IntoView {
    let spoken = Signal::derive(move || format!("{label}: {}{}", value.get(), of.get()));
    view! {
        <A href=href attr:class="card stat">
            <div class="l">{label}</div>
            <div class="v">
                {value} <small>{of}</small>
            </div>
            <Meter parts label=spoken />
            <div class="l">{note}</div>
        </A>
    }
}

#[component]
fn Processor(node: Memo<Option<Node>>, load: Memo<Option<Sample>>) -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let share = move || load.get().map(|load| f64::from(load.cpu));
    let peak = move || {
        live.samples.with(|samples| {
            samples
                .iter()
                .max_by(|a, b| a.cpu.total_cmp(&b.cpu))
                .copied()
        })
    };
    view! {
        <Stat
            label="Processor"
            href="/nodes"
            value=Signal::derive(move || share().map_or_else(|| "–".to_owned(), format::percent_number))
            of=Signal::derive(move || {
                let of = node.with(|node| node.as_ref().map(|n| format::count(n.status.cpus as usize, "processor", "processors")));
                of.map(|of| format!(" % of {of}")).unwrap_or_default()
            })
            parts=Signal::derive(move || vec![Part::new(share().unwrap_or(0.0), "f1")])
            note=Signal::derive(move || {
                peak()
                    .map(|peak| {
                        format!("Peak of the last hour {} at {}", format::percent(f64::from(peak.cpu)), clock.time(peak.at))
                    })
                    .unwrap_or_default()
            })
        />
    }
}

#[component]
fn MemoryCard(node: Memo<Option<Node>>, load: Memo<Option<Sample>>) -> impl IntoView {
    let numbers = move || {
        let node = node.get()?.status;
        let used = load.get().map_or(Bytes(0), |load| load.memory_used);
        Some((used, node.memory, node.memory_vms))
    };
    view! {
        <Stat
            label="Memory"
            href="/nodes"
            value=Signal::derive(move || numbers().map_or_else(|| "–".to_owned(), |(used, all, _)| format::share_of(used, all).0))
            of=Signal::derive(move || numbers().map(|(used, all, _)| format!(" of {}", format::share_of(used, all).1)).unwrap_or_default())
            parts=Signal::derive(move || {
                let (used, all, promised) = numbers().unwrap_or_default();
                let used_share = format::ratio(used, all);
                // What is promised to machines and not taken yet.
                let kept = (format::ratio(promised, all) - used_share).max(0.0);
                vec![Part::new(used_share, "f1"), Part::new(kept, "f4 faded")]
            })
            note=Signal::derive(move || {
                numbers().map(|(_, _, promised)| match promised.0 {
                    0 => "None promised to machines".to_owned(),
                    _ => format!("{} promised to machines", format::bytes(promised)),
                }).unwrap_or_default()
            })
        />
    }
}

#[component]
fn StorageCard() -> impl IntoView {
    let live = Live::get();
    let numbers = move || {
        let pools = live.pools.all();
        let sum = |f: fn(&ashlar_api::pool::Pool) -> u64| Bytes(pools.iter().map(f).sum());
        (!pools.is_empty()).then(|| {
            (
                sum(|p| p.status.used.0),
                sum(|p| p.status.size.0),
                sum(|p| p.status.promised.0),
            )
        })
    };
    view! {
        <Stat
            label="Storage"
            href="/storage"
            value=Signal::derive(move || numbers().map_or_else(|| "–".to_owned(), |(used, all, _)| format::share_of(used, all).0))
            of=Signal::derive(move || numbers().map(|(used, all, _)| format!(" of {}", format::share_of(used, all).1)).unwrap_or_default())
            parts=Signal::derive(move || {
                let (used, all, _) = numbers().unwrap_or_default();
                let share = format::ratio(used, all);
                let class = match share {
                    0.9.. => "f-bad",
                    0.8.. => "f-warn",
                    _ => "f1",
                };
                vec![Part::new(share, class)]
            })
            note=Signal::derive(move || match numbers() {
                Some((_, _, promised)) => format!("{} promised to volumes", format::bytes(promised)),
                None if live.pools.here() => "No pool yet".to_owned(),
                None => String::new(),
            })
        />
    }
}

#[component]
fn Machines() -> impl IntoView {
    let live = Live::get();
    let count = move |f: fn(VmPhase) -> bool| {
        live.vms
            .all()
            .iter()
            .filter(|vm| f(vm.status.phase))
            .count()
    };
    let running = move || count(|phase| phase == VmPhase::Running);
    let failed = move || count(|phase| phase == VmPhase::Failed);
    let share = |n: usize, all: usize| if all == 0 { 0.0 } else { n as f64 / all as f64 };
    view! {
        <Stat
            label="Virtual machines"
            href="/vms"
            value=Signal::derive(move || running().to_string())
            of=Signal::derive(move || format!(" of {} running", live.vms.count()))
            parts=Signal::derive(move || {
                let all = live.vms.count();
                vec![Part::new(share(running(), all), "f-ok"), Part::new(share(failed(), all), "f-bad")]
            })
            note=Signal::derive(move || {
                let vcpus = live.node().map_or(0, |node| node.status.vcpus);
                match failed() {
                    0 => format!("{} promised", format::count(vcpus as usize, "virtual processor", "virtual processors")),
                    n => format!("{} can not run", format::count(n, "machine", "machines")),
                }
            })
        />
    }
}

#[component]
fn Lately() -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    view! {
        <div class="card">
            <h2>
                "Lately" <A href="/health" attr:class="r">
                    "All events"
                </A>
            </h2>
            {move || {
                let events = live.events.get().unwrap_or_default();
                if events.is_empty() {
                    return view! { <p class="dim small">"What happens shows here."</p> }.into_any();
                }
                let items = events
                    .into_iter()
                    .take(7)
                    .map(|event| {
                        let icon = match (&event.subject, event.severity) {
                            (_, ashlar_api::event::Severity::Critical | ashlar_api::event::Severity::Warning) => Icon::Alert,
                            (Some(subject), _) => words::kind_icon(subject.kind),
                            (None, _) => Icon::Info,
                        };
                        view! {
                            <li class=words::severity_class(event.severity)>
                                {icon.view()} <span>{event.message}</span>
                                <time title=move || clock.exact(event.at)>{move || clock.brief(event.at)}</time>
                            </li>
                        }
                    })
                    .collect_view();
                view! { <ul class="feed">{items}</ul> }.into_any()
            }}
        </div>
    }
}
