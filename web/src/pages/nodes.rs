//! The node: what it is made of, how loaded it is, the programs it runs, its
//! log, and turning it off.

mod log;
mod power;

use ashlar_api::Bytes;
use ashlar_api::node::Node;
use ashlar_api::service::Service;
use ashlar_api::user::Role;
use leptos::prelude::*;
use leptos_router::components::A;

use self::log::Log;
use self::power::{StartAgain, Turn};
use super::load::{Load, read_load};
use crate::address;
use crate::components::{Copy, Fact, Facts, Icon, Item, Menu, Meter, Part, Pill, Tone, Until};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::time::Clock;

/// The node.
#[component]
pub fn Nodes() -> impl IntoView {
    let live = Live::get();
    live.services.want();
    read_load(live);
    view! {
        <Until collection=live.nodes>
            {move || {
                // Built once a node is known; its values change inside.
                live.nodes
                    .keys()
                    .into_iter()
                    .filter_map(|key| live.nodes.row(&key))
                    .map(|row| {
                        let node = Memo::new(move |_| row.get());
                        view! { <One node /> }
                    })
                    .collect_view()
            }}
        </Until>
    }
}

#[component]
fn One(node: Memo<Node>) -> impl IntoView {
    let clock = Clock::get();
    let restarting = address::flag("do", "restart");
    let starting_again = address::flag("do", "restart-supervisor");
    let powering_off = address::flag("do", "power-off");
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let name = Signal::derive(move || node.with(|node| node.spec.name.to_string()));
    let lead = Signal::derive(move || {
        node.with(|node| {
            let up = format::duration(clock.since(node.status.booted_at));
            let model = if node.status.model.is_empty() {
                String::new()
            } else {
                format!("{}, ", node.status.model)
            };
            format!("{model}up {up}")
        })
    });
    let state = move || {
        use ashlar_api::event::Severity;
        let (tone, word) = match node.with(|node| node.status.severity) {
            Some(Severity::Critical) => (Tone::Bad, "Does not work"),
            Some(Severity::Warning) => (Tone::Warn, "Wants looking at"),
            Some(Severity::Info) | None => (Tone::Ok, "Healthy"),
        };
        view! { <Pill tone word /> }
    };
    view! {
        <Head title=name lead state>
            {move || {
                may.get()
                    .then(|| {
                        view! {
                            <Menu label="Restart the node or turn it off" words="Power">
                                <Item
                                    label="Restart"
                                    icon=Icon::Restart
                                    on_press=move |()| restarting.set(true)
                                />
                                <Item
                                    label="Restart the control plane"
                                    icon=Icon::Restart
                                    on_press=move |()| starting_again.set(true)
                                />
                                <Item
                                    label="Power off"
                                    icon=Icon::Power
                                    bad=true
                                    on_press=move |()| powering_off.set(true)
                                />
                            </Menu>
                        }
                    })
            }}
        </Head>
        <div class="stack">
            <div class="grid g21">
                <Load />
                <Hardware node />
            </div>
            <Memory node />
            <Services />
            <Log node />
        </div>
        <Turn
            node
            open=restarting
            verb="restart"
            title="Restart"
            does="Restart the node"
            after="It starts again by itself; the console reconnects."
        />
        <Turn
            node
            open=powering_off
            verb="power-off"
            title="Power off"
            does="Power the node off"
            after="It stays off until somebody presses its power button."
        />
        <StartAgain node open=starting_again />
    }
}

#[component]
fn Hardware(node: Memo<Node>) -> impl IntoView {
    view! {
        <div class="card">
            <h2>
                "Hardware"
                <span class="r">
                    <A href="/hardware" attr:class="link">
                        "All checks"
                    </A>
                </span>
            </h2>
            {move || {
                let node = node.get();
                let status = node.status;
                let dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
                let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
                view! {
                    <Facts>
                        <Fact name="Model">{dash(status.model)}</Fact>
                        <Fact name="Processor">{dash(status.cpu_model)}</Fact>
                        <Fact name="Processors">
                            {format!("{}, {} promised to machines", status.cpus, status.vcpus)}
                        </Fact>
                        <Fact name="Virtualisation">
                            {if status.virtualisation { "works" } else { "can not be used" }}
                        </Fact>
                        <Fact name="Memory">{format::bytes(status.memory)}</Fact>
                        <Fact name="Answers at">
                            <span class="mono">{dash(addresses.join(", "))}</span>
                        </Fact>
                        <Fact name="Ashlar">{status.version}</Fact>
                        <Fact name="Linux">{status.kernel}</Fact>
                        <Fact name="Id">
                            <span class="mono">{node.id.to_string()}</span>
                            " "
                            <Copy text=node.id.to_string() label="the id" />
                        </Fact>
                    </Facts>
                }
            }}
        </div>
    }
}

#[component]
fn Memory(node: Memo<Node>) -> impl IntoView {
    let numbers = move || {
        node.with(|node| {
            let status = &node.status;
            let free = status
                .memory
                .0
                .saturating_sub(status.memory_system.0 + status.memory_vms.0);
            (
                status.memory,
                status.memory_system,
                status.memory_vms,
                Bytes(free),
            )
        })
    };
    let parts = Signal::derive(move || {
        let (all, system, vms, _) = numbers();
        vec![
            Part::new(format::ratio(vms, all), "f1"),
            Part::new(format::ratio(system, all), "f4"),
        ]
    });
    view! {
        <div class="card">
            <h2>
                "Memory" <span class="r">{move || format::bytes(numbers().0)}</span>
            </h2>
            <Meter parts label="What memory is promised to" large=true />
            <div class="legend">
                <span>
                    <i class="f1"></i>
                    {move || format!("Machines {}", format::bytes(numbers().2))}
                </span>
                <span>
                    <i class="f4"></i>
                    {move || format!("Ashlar itself {}", format::bytes(numbers().1))}
                </span>
                <span>
                    <i class="free"></i>
                    {move || format!("Free for machines {}", format::bytes(numbers().3))}
                </span>
            </div>
        </div>
    }
}

#[component]
fn Services() -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let row = move |service: Service| {
        let (tone, word) = if service.running {
            (Tone::Ok, "Runs")
        } else {
            (Tone::Bad, "Does not run")
        };
        view! {
            <tr>
                <td>
                    <b>{service.name}</b>
                </td>
                <td>
                    <Pill tone word />
                </td>
                <td class="dim">
                    <time title=move || clock.exact(service.since)>{move || format::duration(clock.since(service.since))}</time>
                </td>
                <td class="num">{service.restarts}</td>
                <td class="fill dim opt2">{service.message}</td>
            </tr>
        }
    };
    view! {
        <div class="card flush">
            <h2>
                "Services" <span class="r">"programs that the node keeps running"</span>
            </h2>
            <Until collection=live.services>
                <div class="wide">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"Name"</th>
                                <th scope="col">"State"</th>
                                <th scope="col">"For"</th>
                                <th scope="col" class="num">"Started again"</th>
                                <th scope="col" class="opt2">"Last word"</th>
                            </tr>
                        </thead>
                        <tbody>{move || live.services.all().into_iter().map(row).collect_view()}</tbody>
                    </table>
                </div>
            </Until>
        </div>
    }
}
