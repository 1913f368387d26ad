//! Steps three to five: network, drives, and what is there now.

use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::Frame;
use crate::components::{Bone, Button, Icon, LinkButton, Look};
use crate::format;
use crate::live::Live;
use crate::pages::networks::management::ManagementForm;
use crate::pages::storage::pool::PoolForm;

/// Step three: how the node is reached.
#[component]
pub fn Network() -> impl IntoView {
    let live = Live::get();
    live.links.want();
    let navigate = use_navigate();
    let next = Callback::new(move |()| navigate("/setup/drives", Default::default()));
    let node = Memo::new(move |_| live.node().map(|node| node.id));
    view! {
        <Frame now=2>
            <h1>"Network"</h1>
            <p class="lead">
                "How this machine is reached. One address is enough; machines can share its cable."
            </p>
            {move || match node.get() {
                Some(_) => {
                    view! { <ManagementForm send="Continue" on_done=next /> }.into_any()
                }
                None => view! { <Bone width="100%" height="180px" /> }.into_any(),
            }}
        </Frame>
    }
}

/// Step four: a pool of drives.
#[component]
pub fn Drives() -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    let navigate = use_navigate();
    let next = {
        let navigate = navigate.clone();
        Callback::new(move |()| navigate("/setup/start", Default::default()))
    };
    let back = Callback::new(move |()| navigate("/setup/network", Default::default()));
    let exists = Memo::new(move |_| live.pools.here() && live.pools.count() > 0);
    view! {
        <Frame now=3>
            <h1>"Which drives may Ashlar use?"</h1>
            {move || {
                if exists.get() {
                    let names: Vec<String> = live
                        .pools
                        .all_untracked()
                        .iter()
                        .map(|pool| pool.spec.name.to_string())
                        .collect();
                    view! {
                        <p class="lead">
                            {format!("There is a pool already: {}.", format::names(&names))}
                        </p>
                        <div class="actions">
                            <Button label="Back" on_press=back />
                            <Button label="Continue" look=Look::Primary on_press=next />
                        </div>
                    }
                        .into_any()
                } else {
                    view! {
                        <p class="lead">"Chosen drives are erased. They become one pool, from which disks of machines are cut."</p>
                        <PoolForm on_done=next>
                            <Button label="Back" on_press=back />
                            <LinkButton href="/setup/start" label="Later" look=Look::Quiet />
                        </PoolForm>
                    }
                        .into_any()
                }
            }}
        </Frame>
    }
}

/// Step five: what is there, and the way in.
#[component]
pub fn Start() -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    let fact = |done: bool, title: String, text: String| {
        let mark = if done {
            view! { <span class="t-ok">{Icon::Check.view()}</span> }.into_any()
        } else {
            view! { <span class="dimmer">{Icon::Clock.view()}</span> }.into_any()
        };
        view! {
            <li>
                {mark} <div>
                    <b>{title}</b>
                    <div class="dim">{text}</div>
                </div>
            </li>
        }
    };
    let facts = move || {
        let node = live.node()?;
        let addresses: Vec<String> = node
            .status
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let pools = live.pools.all();
        let storage = match pools.first() {
            Some(pool) if pool.status.condition.ready => fact(
                true,
                format!("{} for machines", format::bytes(pool.status.size)),
                format!("in pool {}", pool.spec.name),
            ),
            Some(pool) => fact(
                false,
                format!("Pool {} is being made", pool.spec.name),
                pool.status.condition.message.clone(),
            ),
            None => fact(
                false,
                "No drives yet".to_owned(),
                "Machines need a pool. Storage in the menu makes one.".to_owned(),
            ),
        };
        let kvm = if node.status.virtualisation {
            fact(
                true,
                "Virtual machines run at full speed".to_owned(),
                format!(
                    "{}, {}",
                    node.status.cpu_model,
                    format::count(node.status.cpus as usize, "processor", "processors")
                ),
            )
        } else {
            fact(false, "The processor's virtualisation can not be used".to_owned(), "Switch on VT-x or AMD-V (SVM) in the firmware settings; until then machines run slowly.".to_owned())
        };
        Some(view! {
            <ul class="ready-list">
                {fact(true, format!("{} answers", node.spec.name), format!("at {}", format::names(&addresses)))}
                {kvm}
                {storage}
            </ul>
        })
    };
    view! {
        <Frame now=4>
            <h1>"Ready to start"</h1>
            <p class="lead">"Next: add an image, then create the first virtual machine from it."</p>
            {facts}
            <div class="actions">
                <LinkButton href="/setup/drives" label="Back" />
                <LinkButton href="/images?do=add" label="Add an image" />
                <LinkButton href="/" label="Open the console" look=Look::Primary />
            </div>
        </Frame>
    }
}
