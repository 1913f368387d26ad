//! Ending a node, and starting only its program again. The first shuts down what
//! runs on it and wants the node's name; the second touches no machine and asks once.

use ashlar_api::endpoint;
use ashlar_api::node::{Node, NodeEnd};
use ashlar_api::vm::VmPhase;
use leptos::prelude::*;

use crate::client;
use crate::components::{Confirm, Toasts, Work};
use crate::format;
use crate::live::Live;

/// Ends the node, once its name was typed.
#[component]
pub fn Turn(
    /// The node.
    node: Memo<Node>,
    /// True while it asks.
    open: RwSignal<bool>,
    /// The verb in the address.
    verb: &'static str,
    /// What the question begins with.
    title: &'static str,
    /// What the button says.
    does: &'static str,
    /// What comes after.
    after: &'static str,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let name = Signal::derive(move || node.with(|node| node.spec.name.to_string()));
    let text = Signal::derive(move || {
        let running = live
            .vms
            .all()
            .iter()
            .filter(|vm| vm.status.phase == VmPhase::Running)
            .count();
        let machines = match running {
            0 => "No machine is running.".to_owned(),
            n => format!(
                "{} shut down first.",
                format::count(n, "running machine is", "running machines are")
            ),
        };
        format!("{machines} {after}")
    });
    let go = move |()| {
        let path = format!(
            "{}/{}/{verb}",
            endpoint::NODES,
            node.with_untracked(|node| node.id)
        );
        // The node wants its name once more, so that nobody ends the wrong one.
        let end = NodeEnd {
            confirm: name.get_untracked(),
        };
        work.run(async move { client::act(&path, &end).await }, move |()| {
            open.set(false);
            toasts.begun(format!("{does}: begun"), String::new());
        });
    };
    view! {
        <Confirm
            open
            title=Signal::derive(move || format!("{title} {}", name.get()))
            text
            name
            verb=does
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(go)
        />
    }
}

/// Starts the program of the node again.
#[component]
pub fn StartAgain(
    /// The node.
    node: Memo<Node>,
    /// True while it asks.
    open: RwSignal<bool>,
) -> impl IntoView {
    let toasts = Toasts::get();
    let work = Work::new();
    let title = Signal::derive(move || {
        node.with(|node| format!("Restart the control plane of {}", node.spec.name))
    });
    let go = move |()| {
        let path = format!(
            "{}/{}/restart-supervisor",
            endpoint::NODES,
            node.with_untracked(|node| node.id)
        );
        work.run(async move { client::verb(&path).await }, move |()| {
            open.set(false);
            toasts.begun(
                "The control plane starts again",
                "The console reconnects by itself.",
            );
        });
    };
    view! {
        <Confirm
            open
            title
            text="Only the program that manages the node ends and starts again. Virtual machines, volumes and networks go on. The console and the API are away for a few seconds; the console reconnects by itself."
            verb="Restart the control plane"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(go)
        />
    }
}
