//! The node: its name, how it is reached, and turning it off.

use ashlar_api::node::{Addressing, Node, NodeSpec};
use ashlar_api::user::Role;
use ashlar_api::{Name, endpoint};
use leptos::prelude::*;

use crate::client;
use crate::components::{
    Bone, Button, Form, Icon, LinkButton, Look, Reader, TextField, Toasts, Trouble,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;

/// The settings of the node.
#[component]
pub fn NodeSettings() -> impl IntoView {
    let live = Live::get();
    let known = Memo::new(move |_| live.node().map(|node| node.id));
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let reach = move || {
        let node = live.node()?;
        let addresses = node.status.addresses.iter().map(ToString::to_string);
        let addresses: Vec<String> = addresses.collect();
        let from = match node.spec.management.ipv4 {
            Addressing::Dhcp => "given by a DHCP server",
            Addressing::Static { .. } => "as written here",
        };
        Some(match addresses.as_slice() {
            [] => format!("At no address yet; it is to be {from}."),
            all => format!("At {}, {from}.", format::names(all)),
        })
    };
    move || {
        match known.get().and_then(|_| untrack(|| live.node())) {
        None => view! { <Bone width="100%" height="240px" /> }.into_any(),
        Some(_) if !may.get() => view! {
            <p class="card dim">
                "Your role does not allow changing the node. An administrator can change it."
            </p>
        }
        .into_any(),
        Some(node) => view! {
            <div class="stack">
                <HostName node />
                <div class="card form tight">
                    <h2>"How it is reached"</h2>
                    <p class="dim">{reach}</p>
                    <div class="actions">
                        <LinkButton
                            href="/networks?do=management"
                            label="Change it"
                            icon=Icon::Network
                        />
                    </div>
                </div>
                <div class="card form tight">
                    <h2>"Power"</h2>
                    <p class="dim small">
                        "Running machines are shut down first. A restart brings back those that run always. Restarting only the control plane touches no machine."
                    </p>
                    <div class="actions">
                        <LinkButton
                            href="/nodes?do=restart"
                            label="Restart the node"
                            icon=Icon::Restart
                        />
                        <LinkButton
                            href="/nodes?do=restart-supervisor"
                            label="Restart the control plane"
                            icon=Icon::Restart
                        />
                        <LinkButton
                            href="/nodes?do=power-off"
                            label="Power the node off"
                            icon=Icon::Power
                            look=Look::Bad
                        />
                    </div>
                </div>
            </div>
        }
        .into_any(),
    }
    }
}

#[component]
fn HostName(node: Node) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let id = node.id;
    let before = RwSignal::new(node.clone());
    let name = RwSignal::new(node.spec.name.to_string());
    // The revision follows other changes of the node; what is typed stays.
    Effect::new(move |_| {
        if let Some(now) = live.node() {
            before.set(now);
        }
    });
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let spec = name.map(|name| NodeSpec {
            name,
            ..before.with(|node| node.spec.clone())
        });
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(());
            };
            let revision = before.with_untracked(|node| node.revision);
            client::put(&format!("{}/{id}", endpoint::NODES), Some(revision), &spec).await
        };
        form.send(request, move |()| {
            toasts.done("The node has its new name");
            live.nodes.touch(&id.to_string());
        });
    };
    let barred = Signal::derive(move || {
        let same = before.with(|node| name.with(|name| node.spec.name.as_str() == name.trim()));
        if same {
            "Nothing was changed".to_owned()
        } else {
            String::new()
        }
    });
    view! {
        <form
            class="form card"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <Trouble problem=form.problem() />
            <TextField
                label="Host name"
                value=name
                path="name"
                hint="What this machine is called on the network and in this console."
            />
            <div class="actions">
                <Button label="Save" look=Look::Primary submit=true busy=form.busy() barred />
                <span class="why">{barred}</span>
            </div>
        </form>
    }
}
