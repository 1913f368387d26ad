//! Networks: how the node is reached, the networks of virtual machines, and the
//! interfaces of the node.

pub mod detail;
mod form;
pub mod management;

use ashlar_api::network::{Link, LinkKind, Network, NetworkMode};
use ashlar_api::node::Addressing;
use ashlar_api::user::Role;
use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::use_navigate;

use crate::address;
use crate::components::{Button, Dialog, Empty, Fact, Facts, Icon, Look, Pill, Tone, Until};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::words;

/// The networks.
#[component]
pub fn Networks() -> impl IntoView {
    let live = Live::get();
    live.networks.want();
    live.links.want();
    let creating = address::flag("do", "new");
    let managing = address::flag("do", "management");
    let navigate = use_navigate();
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let lead = Signal::derive(move || {
        let Some(node) = live.node().filter(|_| live.networks.here()) else {
            return String::new();
        };
        let addresses: Vec<String> = node
            .status
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let reach = match addresses.as_slice() {
            [] => "The node has no address".to_owned(),
            all => format!("The node answers at {}", format::names(all)),
        };
        let networks = match live.networks.count() {
            0 => "no network for machines yet".to_owned(),
            n => format!("{} for machines", format::count(n, "network", "networks")),
        };
        format!("{reach}; {networks}.")
    });
    let created = Callback::new(move |network: Network| {
        creating.set(false);
        navigate(&format!("/networks/{}", network.id), Default::default());
    });
    view! {
        <Head title="Networks" lead>
            {move || {
                may.get()
                    .then(|| {
                        view! {
                            <Button
                                label="New network"
                                icon=Icon::Plus
                                look=Look::Primary
                                on_press=move |()| creating.set(true)
                            />
                        }
                    })
            }}
        </Head>
        <div class="stack">
            <div class="card flush">
                <Until collection=live.networks>
                    <VmNetworks creating may />
                </Until>
            </div>
            <div class="grid g21">
                <div class="card flush">
                    <h2>"Interfaces of the node"</h2>
                    <Until collection=live.links>
                        <Interfaces />
                    </Until>
                </div>
                <ManagementCard managing may />
            </div>
        </div>
        <Dialog open=creating title="New network">
            <form::NetworkForm existing=None on_done=created close=creating />
        </Dialog>
        <Dialog open=managing title="Management network" large=true>
            <div class="dialog-body">
                <management::ManagementForm
                    send="Close"
                    on_done=Callback::new(move |()| managing.set(false))
                />
            </div>
        </Dialog>
    }
}

#[component]
fn VmNetworks(creating: RwSignal<bool>, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    move || {
        if live.networks.count() == 0 {
            return view! {
                <Empty
                    icon=Icon::Network
                    title="No network for machines yet"
                    text="A bridged network puts machines on the same network as the node. A NAT network keeps them behind it, with addresses given by Ashlar. An isolated one connects machines with one another only."
                >
                    {may
                        .get()
                        .then(|| {
                            view! {
                                <Button
                                    label="New network"
                                    look=Look::Primary
                                    icon=Icon::Plus
                                    on_press=move |()| creating.set(true)
                                />
                            }
                        })}
                </Empty>
            }
            .into_any();
        }
        view! {
            <div class="wide">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Name"</th>
                            <th scope="col">"State"</th>
                            <th scope="col">"Kind"</th>
                            <th scope="col" class="opt2">"Addresses"</th>
                            <th scope="col" class="num">"Interfaces"</th>
                            <th scope="col" class="num opt2">"Given out"</th>
                        </tr>
                    </thead>
                    <tbody>
                        <For
                            each=move || live.networks.keys()
                            key=Clone::clone
                            children=|key| view! { <Row key /> }
                        />
                    </tbody>
                </table>
            </div>
        }
        .into_any()
    }
}

/// The addresses of a network.
pub fn subnet(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Nat { subnet } => subnet.to_string(),
        NetworkMode::Bridged {} => "from the node's network".to_owned(),
        NetworkMode::Isolated {} => "none given".to_owned(),
    }
}

/// A network's state.
pub fn state(network: &Network) -> (Tone, &'static str, Icon) {
    if network.deleting {
        (Tone::Info, "Deleting", Icon::Trash)
    } else if network.status.condition.ready {
        (Tone::Ok, "Ready", Icon::Check)
    } else {
        (Tone::Warn, "Not ready", Icon::Alert)
    }
}

#[component]
fn Row(key: String) -> impl IntoView {
    let live = Live::get();
    let row = live.networks.row(&key);
    move || {
        let network = row.as_ref()?.get();
        let (tone, word, icon) = state(&network);
        let message = network.status.condition.message.clone();
        Some(view! {
            <tr>
                <td>
                    <A href=format!("/networks/{}", network.id) attr:class="name">
                        {network.spec.name.to_string()}
                    </A>
                    {(!message.is_empty()).then(|| view! { <div class="under">{message}</div> })}
                </td>
                <td>
                    <Pill tone word icon=icon />
                </td>
                <td class="dim">{words::network_mode(&network.spec.mode).0}</td>
                <td class="opt2 mono dim">{subnet(&network.spec.mode)}</td>
                <td class="num">{network.status.interfaces}</td>
                <td class="num opt2">{network.status.leases.len()}</td>
            </tr>
        })
    }
}

#[component]
fn Interfaces() -> impl IntoView {
    let live = Live::get();
    let rows = move || {
        let mut links: Vec<Link> = live
            .links
            .all()
            .into_iter()
            .filter(|link| {
                matches!(
                    link.kind,
                    LinkKind::Physical | LinkKind::Bridge | LinkKind::Other
                )
            })
            .collect();
        links.sort_by_key(|link| (link.kind != LinkKind::Physical, link.name.clone()));
        links
            .into_iter()
            .map(|link| view! { <LinkRow link /> })
            .collect_view()
    };
    view! {
        <div class="wide">
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Name"</th>
                        <th scope="col">"State"</th>
                        <th scope="col">"Addresses"</th>
                        <th scope="col" class="opt2">"Hardware"</th>
                        <th scope="col" class="opt">"Part of"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

fn speed(mbit: u32) -> String {
    if mbit >= 1000 && mbit.is_multiple_of(1000) {
        format!("{}\u{a0}Gbit/s", mbit / 1000)
    } else {
        format!("{mbit}\u{a0}Mbit/s")
    }
}

#[component]
fn LinkRow(link: Link) -> impl IntoView {
    let physical = link.kind == LinkKind::Physical;
    let (tone, word) = match (link.up, link.carrier, link.speed) {
        (true, true, Some(mbit)) => (Tone::Ok, speed(mbit)),
        (true, true, None) => (Tone::Ok, "Connected".to_owned()),
        (true, false, _) if physical => (Tone::Off, "No cable".to_owned()),
        (true, false, _) => (Tone::Off, "No machine".to_owned()),
        (false, _, _) => (Tone::Off, "Off".to_owned()),
    };
    let addresses = if link.addresses.is_empty() {
        "–".to_owned()
    } else {
        link.addresses.join(", ")
    };
    view! {
        <tr>
            <td>
                <b>{link.name}</b>
                {link.management.then(|| view! { <div class="under">"management"</div> })}
            </td>
            <td>
                <Pill tone word />
            </td>
            <td class="mono dim fill">{addresses}</td>
            <td class="opt2">
                <span class="mono dim">{link.mac}</span>
                {(!link.driver.is_empty()).then(|| view! { <div class="under">{link.driver}</div> })}
            </td>
            <td class="opt dim">{link.bridge.unwrap_or_else(|| "–".to_owned())}</td>
        </tr>
    }
}

#[component]
fn ManagementCard(managing: RwSignal<bool>, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let list = |all: Vec<String>| {
        if all.is_empty() {
            "–".to_owned()
        } else {
            all.join(", ")
        }
    };
    view! {
        <div class="card">
            <div class="card-head">
                <h2>"Management network"</h2>
                {move || {
                    may.get()
                        .then(|| {
                            view! {
                                <span class="push">
                                    <Button
                                        label="Change"
                                        small=true
                                        icon=Icon::Edit
                                        on_press=move |()| managing.set(true)
                                    />
                                </span>
                            }
                        })
                }}
            </div>
            {move || {
                live.node()
                    .map(|node| {
                        let addresses = list(
                            node.status.addresses.iter().map(ToString::to_string).collect(),
                        );
                        let management = node.spec.management;
                        let interface = management
                            .interface
                            .unwrap_or_else(|| "the first one with a cable".to_owned());
                        let (from, more) = match management.ipv4 {
                            Addressing::Dhcp => ("a DHCP server", None),
                            Addressing::Static { gateway, dns, .. } => {
                                let gateway = gateway.map_or_else(|| "–".to_owned(), |g| g.to_string());
                                let dns = list(dns.iter().map(ToString::to_string).collect());
                                ("the settings", Some((gateway, dns)))
                            }
                        };
                        view! {
                            <Facts>
                                <Fact name="Answers at">
                                    <span class="mono">{addresses}</span>
                                </Fact>
                                <Fact name="Address from">{from}</Fact>
                                <Fact name="Interface">{interface}</Fact>
                                {more
                                    .map(|(gateway, dns)| {
                                        view! {
                                            <Fact name="Router">
                                                <span class="mono">{gateway}</span>
                                            </Fact>
                                            <Fact name="Name servers">
                                                <span class="mono">{dns}</span>
                                            </Fact>
                                        }
                                    })}
                            </Facts>
                        }
                    })
            }}
        </div>
    }
}
