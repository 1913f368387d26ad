//! The network interfaces of a machine.

use ashlar_api::NetworkId;
use ashlar_api::vm::{Vm, VmNic};
use leptos::prelude::*;
use leptos_router::components::A;

use super::edit::{barred, changed, replace};
use crate::address;
use crate::components::{
    Button, Copy, Dialog, Empty, Form, Icon, Item, Look, Menu, Reader, SelectField, TextField,
    Toasts, Trouble, Work,
};
use crate::live::Live;
use crate::words;

/// The interfaces.
#[component]
pub fn Network(vm: Memo<Vm>) -> impl IntoView {
    let adding = address::flag("do", "interface");
    let editing: RwSignal<Option<usize>> = RwSignal::new(None);
    let edit_open = RwSignal::new(false);
    let barred = barred(vm);
    let nics = Memo::new(move |_| vm.with(|vm| vm.spec.nics.clone()));
    Effect::new(move |_| {
        if editing.get().is_some() {
            edit_open.set(true);
        }
    });
    Effect::new(move |_| {
        if !edit_open.get() {
            editing.set(None);
        }
    });
    view! {
        <div class="card flush">
            <div class="bar">
                <h2>"Network interfaces"</h2>
                <span class="push">
                    <Button
                        label="Add an interface"
                        small=true
                        icon=Icon::Plus
                        barred
                        on_press=move |()| adding.set(true)
                    />
                </span>
            </div>
            {move || {
                let nics = nics.get();
                if nics.is_empty() {
                    return view! {
                        <Empty
                            icon=Icon::Network
                            title="Not connected"
                            text="An interface connects the machine to a network of the site."
                        />
                    }
                        .into_any();
                }
                let rows = nics
                    .into_iter()
                    .enumerate()
                    .map(|(n, nic)| view! { <Row vm n nic editing barred /> })
                    .collect_view();
                view! {
                    <div class="wide">
                        <table>
                            <thead>
                                <tr>
                                    <th scope="col">"Network"</th>
                                    <th scope="col">"Address"</th>
                                    <th scope="col" class="opt2">"Hardware address"</th>
                                    <th scope="col"><span class="sr">"Acts"</span></th>
                                </tr>
                            </thead>
                            <tbody>{rows}</tbody>
                        </table>
                    </div>
                }
                    .into_any()
            }}
        </div>
        <Dialog open=adding title="Add an interface">
            <NicForm vm n=None close=adding />
        </Dialog>
        <Dialog open=edit_open title="Change the interface">
            {move || editing.get().map(|n| view! { <NicForm vm n=Some(n) close=edit_open /> })}
        </Dialog>
    }
}

#[component]
fn Row(
    vm: Memo<Vm>,
    n: usize,
    nic: VmNic,
    editing: RwSignal<Option<usize>>,
    barred: Signal<String>,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let id = nic.network.to_string();
    let network = Memo::new(move |_| live.networks.one(&id));
    let mac = nic.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let lease = {
        let mac = mac.clone();
        move || {
            network.with(|network| {
                let leases = &network.as_ref()?.status.leases;
                leases
                    .iter()
                    .find(|lease| lease.mac.eq_ignore_ascii_case(&mac))
                    .map(|lease| lease.address.to_string())
            })
        }
    };
    let remove = move |()| {
        let before = vm.get_untracked();
        let id = before.id.to_string();
        let request = replace(before, move |spec| {
            if n < spec.nics.len() {
                spec.nics.remove(n);
            }
        });
        work.run(request, move |()| {
            toasts.done("The interface is removed");
            changed(live, &id);
        });
    };
    Effect::new(move |_| {
        if let Some(problem) = work.problem().get() {
            toasts.bad(problem.title, problem.remedy);
        }
    });
    let copy = mac.clone();
    view! {
        <tr>
            <td>
                {move || match network.get() {
                    Some(network) => {
                        view! {
                            <A href=format!("/networks/{}", network.id) attr:class="name">
                                {network.spec.name.to_string()}
                            </A>
                            <div class="under">{words::network_mode(&network.spec.mode).0}</div>
                        }
                            .into_any()
                    }
                    None => "–".into_any(),
                }}
            </td>
            <td class="mono">
                {move || match lease() {
                    Some(address) => address,
                    None if n == 0 => vm.with(super::super::addresses).first().cloned().unwrap_or_else(|| "–".to_owned()),
                    None => "–".to_owned(),
                }}
            </td>
            <td class="mono dim opt2">
                {mac}
                {(!copy.is_empty()).then(|| view! { " " <Copy text=copy label="the hardware address" /> })}
            </td>
            <td class="num">
                <Menu label="Acts for this interface">
                    <Item
                        label="Change"
                        icon=Icon::Edit
                        barred
                        on_press=move |()| editing.set(Some(n))
                    />
                    <Item
                        label="Remove"
                        icon=Icon::Trash
                        bad=true
                        barred
                        on_press=Callback::new(remove)
                    />
                </Menu>
            </td>
        </tr>
    }
}

#[component]
fn NicForm(vm: Memo<Vm>, n: Option<usize>, close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let before = n.and_then(|n| vm.with_untracked(|vm| vm.spec.nics.get(n).cloned()));
    let at = n.unwrap_or_else(|| vm.with_untracked(|vm| vm.spec.nics.len()));
    let first = live
        .networks
        .all_untracked()
        .first()
        .map(|n| n.id.to_string())
        .unwrap_or_default();
    let network = RwSignal::new(before.as_ref().map_or(first, |nic| nic.network.to_string()));
    let mac = RwSignal::new(
        before
            .and_then(|nic| nic.mac)
            .map(|mac| mac.to_string())
            .unwrap_or_default(),
    );
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let network: Option<NetworkId> = reader.parse_or(
            &format!("nics[{at}].network"),
            &network.get(),
            "choose a network",
        );
        let text = mac.get();
        let mac = if text.trim().is_empty() {
            Some(None)
        } else {
            reader.parse(&format!("nics[{at}].mac"), &text).map(Some)
        };
        let nic = network
            .zip(mac)
            .map(|(network, mac)| VmNic { network, mac });
        if let Some(nic) = &nic {
            let mut spec = vm.with(|vm| vm.spec.clone());
            match spec.nics.get_mut(at) {
                Some(old) => *old = nic.clone(),
                None => spec.nics.push(nic.clone()),
            }
            reader.check(&spec);
        }
        reader.done(nic)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(nic) = built.get_untracked() else {
                return Ok(());
            };
            replace(vm.get_untracked(), move |spec| {
                match spec.nics.get_mut(at) {
                    Some(old) => *old = nic,
                    None => spec.nics.push(nic),
                }
            })
            .await
        };
        form.send(request, move |()| {
            close.set(false);
            toasts.done(if n.is_some() {
                "The interface is changed"
            } else {
                "The interface is added"
            });
            changed(live, &vm.with_untracked(|vm| vm.id.to_string()));
        });
    };
    let options = Signal::derive(move || {
        live.networks
            .all()
            .into_iter()
            .map(|network| {
                let mode = words::network_mode(&network.spec.mode).0;
                (
                    network.id.to_string(),
                    format!("{} · {mode}", network.spec.name),
                )
            })
            .collect::<Vec<_>>()
    });
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <SelectField label="Network" value=network path=format!("nics[{at}].network") options />
                <TextField
                    label="Hardware address"
                    value=mac
                    path=format!("nics[{at}].mac")
                    placeholder="52:54:00:12:34:56"
                    hint="Chosen by the appliance when empty."
                    optional=true
                    wide=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button
                    label=if n.is_some() { "Save" } else { "Add the interface" }
                    look=Look::Primary
                    submit=true
                    busy=form.busy()
                />
            </div>
        </form>
    }
}
