//! One network: what it is, who is on it, and the addresses it gave.

use ashlar_api::endpoint;
use ashlar_api::network::{Lease, Network};
use ashlar_api::user::Role;
use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::{use_navigate, use_params_map};

use super::form::NetworkForm;
use super::{state, subnet};
use crate::address;
use crate::client;
use crate::components::notice::sentence;
use crate::components::{
    Button, Confirm, Copy, Dialog, Empty, Fact, Facts, Icon, Look, Notice, Pill, Toasts, Until,
    Work,
};
use crate::format;
use crate::live::Live;
use crate::pages::gone::Gone;
use crate::session::Sessions;
use crate::shell::Head;
use crate::words;

const ABOVE: Option<(&str, &str)> = Some(("/networks", "Networks"));

/// One network.
#[component]
pub fn NetworkPage() -> impl IntoView {
    let live = Live::get();
    live.vms.want();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let network = Memo::new(move |_| live.networks.one(&id.get()));
    let there = Memo::new(move |_| network.with(Option::is_some));
    view! {
        <Until collection=live.networks>
            {move || {
                if there.get() {
                    view! { <Found network /> }.into_any()
                } else {
                    view! { <Gone what="network" above=ABOVE /> }.into_any()
                }
            }}
        </Until>
    }
}

#[component]
fn Found(network: Memo<Option<Network>>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let navigate = use_navigate();
    let editing = address::flag("do", "edit");
    let deleting = address::flag("do", "delete");
    let work = Work::new();
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let name = Signal::derive(move || {
        network
            .with(|n| n.as_ref().map(|n| n.spec.name.to_string()))
            .unwrap_or_default()
    });
    let lead = Signal::derive(move || {
        network
            .with(|network| {
                network.as_ref().map(|network| {
                    let description = &network.spec.description;
                    sentence(&[description, words::network_mode(&network.spec.mode).1])
                })
            })
            .unwrap_or_default()
    });
    let pill = move || {
        network.get().map(|network| {
            let (tone, word, icon) = state(&network);
            view! { <Pill tone word icon=icon /> }
        })
    };
    let remove = move |()| {
        let Some(network) = network.get_untracked() else {
            return;
        };
        let navigate = navigate.clone();
        let request =
            async move { client::delete(&format!("{}/{}", endpoint::NETWORKS, network.id)).await };
        work.run(request, move |()| {
            toasts.begun(
                format!("Network {} is being deleted", network.spec.name),
                String::new(),
            );
            live.networks.touch(&network.id.to_string());
            navigate("/networks", Default::default());
        });
    };
    view! {
        <Head title=name lead above=ABOVE state=pill>
            {move || {
                may.get()
                    .then(|| {
                        view! {
                            <Button
                                label="Delete"
                                look=Look::Bad
                                icon=Icon::Trash
                                on_press=move |()| deleting.set(true)
                            />
                            <Button
                                label="Change"
                                icon=Icon::Edit
                                on_press=move |()| editing.set(true)
                            />
                        }
                    })
            }}
        </Head>
        {move || {
            network
                .get()
                .map(|network| network.status.condition)
                .filter(|condition| !condition.ready && !condition.message.is_empty())
                .map(|condition| {
                    view! {
                        <Notice
                            tone=crate::components::Tone::Warn
                            title=format::capital(&condition.message)
                            text=sentence(&[&condition.remedy])
                        />
                    }
                })
        }}
        <div class="grid g21">
            <div class="stack">
                <div class="card flush">
                    <h2>"Machines on it"</h2>
                    <Machines network />
                </div>
                <div class="card flush">
                    <h2>"Addresses given out"</h2>
                    {move || {
                        network.get().map(|network| view! { <Leases leases=network.status.leases /> })
                    }}
                </div>
            </div>
            <div class="card">
                <h2>"About"</h2>
                {move || {
                    network
                        .get()
                        .map(|network| {
                            let kind = words::network_mode(&network.spec.mode).0;
                            let addresses = subnet(&network.spec.mode);
                            let gateway = network.status.gateway.map_or_else(|| "–".to_owned(), |g| g.to_string());
                            view! {
                                <Facts>
                                    <Fact name="Kind">{kind}</Fact>
                                    <Fact name="Addresses">
                                        <span class="mono">{addresses}</span>
                                    </Fact>
                                    <Fact name="The node has">
                                        <span class="mono">{gateway}</span>
                                    </Fact>
                                    <Fact name="Bridge">
                                        <span class="mono">{network.status.bridge}</span>
                                    </Fact>
                                    <Fact name="Id">
                                        <span class="mono">{network.id.to_string()}</span>
                                        " "
                                        <Copy text=network.id.to_string() label="the id" />
                                    </Fact>
                                </Facts>
                            }
                        })
                }}
            </div>
        </div>
        <Dialog open=editing title=Signal::derive(move || format!("Change {}", name.get()))>
            <NetworkForm
                existing=network.get_untracked()
                on_done=Callback::new(move |_| editing.set(false))
                close=editing
            />
        </Dialog>
        <Confirm
            open=deleting
            title=Signal::derive(move || format!("Delete {}", name.get()))
            text="Machines can not be on it any more. A network with machines on it is not deleted: move them first."
            name
            verb="Delete the network"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        />
    }
}

#[component]
fn Machines(network: Memo<Option<Network>>) -> impl IntoView {
    let live = Live::get();
    let machines = Memo::new(move |_| {
        let id = network.with(|n| n.as_ref().map(|n| n.id));
        let mut vms = live.vms.all();
        vms.retain(|vm| vm.spec.nics.iter().any(|nic| Some(nic.network) == id));
        vms
    });
    move || {
        let vms = machines.get();
        if vms.is_empty() {
            return view! { <p class="table-end">"No machine is on it."</p> }.into_any();
        }
        let rows = vms
            .into_iter()
            .map(|vm| {
                let (tone, word, icon) = words::vm_phase(vm.status.phase);
                let addresses: Vec<String> = vm
                    .status
                    .addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                view! {
                    <tr>
                        <td>
                            <A href=format!("/vms/{}", vm.id) attr:class="name">
                                {vm.spec.name.to_string()}
                            </A>
                        </td>
                        <td>
                            <Pill tone word icon=icon />
                        </td>
                        <td class="mono dim">{addresses.join(", ")}</td>
                    </tr>
                }
            })
            .collect_view();
        view! {
            <div class="wide">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Name"</th>
                            <th scope="col">"State"</th>
                            <th scope="col">"Address"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    }
}

#[component]
fn Leases(leases: Vec<Lease>) -> impl IntoView {
    if leases.is_empty() {
        return view! {
            <Empty
                icon=Icon::Network
                title="None yet"
                text="A NAT network gives an address to each machine that asks. They are listed here with the name the machine gave."
            />
        }
        .into_any();
    }
    let rows = leases
        .into_iter()
        .map(|lease| {
            let name = if lease.hostname.is_empty() {
                "–".to_owned()
            } else {
                lease.hostname
            };
            view! {
                <tr>
                    <td class="mono">{lease.address.to_string()}</td>
                    <td>{name}</td>
                    <td class="mono dim">{lease.mac}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="wide">
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Address"</th>
                        <th scope="col">"Name"</th>
                        <th scope="col">"Hardware address"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
