//! What can be done to a machine, from the list and from its page. Acts that
//! lose what the guest has not written ask first.

use ashlar_api::endpoint;
use ashlar_api::user::Role;
use ashlar_api::vm::{Vm, VmAction, VmPhase};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::{use_location, use_navigate};

use crate::client;
use crate::components::{Button, Confirm, Icon, Item, Look, Menu, Separator, Tick, Toasts, Work};
use crate::live::Live;
use crate::session::Sessions;
use crate::words;

/// Runs acts and says what came of them.
#[derive(Clone, Copy)]
pub struct Actions {
    live: Live,
    toasts: Toasts,
}

impl Actions {
    /// From any component of the shell.
    pub fn get() -> Self {
        Actions {
            live: Live::get(),
            toasts: Toasts::get(),
        }
    }

    /// Asks for an act.
    pub fn run(self, vm: &Vm, action: VmAction) {
        let path = format!("{}/{}/{}", endpoint::VMS, vm.id, action.verb());
        let (id, name) = (vm.id.to_string(), vm.spec.name.clone());
        spawn_local(async move {
            match client::verb(&path).await {
                Ok(()) => {
                    let (_, begun, _) = words::vm_action(action);
                    self.toasts.begun(format!("{begun} {name}"), String::new());
                    self.live.vms.touch(&id);
                }
                Err(failure) => self.toasts.failed(&failure),
            }
        });
    }
}

/// Why an act can not be done now; empty when it can.
fn barred(vm: Memo<Vm>, action: VmAction) -> Signal<String> {
    let sessions = Sessions::get();
    Signal::derive(move || {
        if !sessions.may(Role::Operator) {
            return "Your role does not allow it".to_owned();
        }
        let (phase, deleting) = vm.with(|vm| (vm.status.phase, vm.deleting));
        if deleting || !words::vm_allows(phase, action) {
            format!(
                "Not while it is {}",
                words::vm_phase(phase).1.to_lowercase()
            )
        } else {
            String::new()
        }
    })
}

/// True if the act loses what the guest has not written.
const fn loses(action: VmAction) -> bool {
    matches!(action, VmAction::Stop | VmAction::Reset)
}

#[component]
fn Act(vm: Memo<Vm>, action: VmAction, asking: RwSignal<Option<VmAction>>) -> impl IntoView {
    let actions = Actions::get();
    let (label, _, icon) = words::vm_action(action);
    let press = move |()| {
        if loses(action) {
            asking.set(Some(action));
        } else {
            actions.run(&vm.get_untracked(), action);
        }
    };
    view! { <Item label icon bad=loses(action) barred=barred(vm, action) on_press=press /> }
}

/// Every act for a machine, in a menu.
#[component]
pub fn VmMenu(
    /// The machine.
    vm: Memo<Vm>,
) -> impl IntoView {
    let navigate = use_navigate();
    let asking = RwSignal::new(None);
    let deleting = RwSignal::new(false);
    let sessions = Sessions::get();
    let may_delete = Signal::derive(move || {
        if !sessions.may(Role::Administrator) {
            "Your role does not allow it".to_owned()
        } else if vm.with(|vm| vm.spec.protected) {
            "It is protected: allow deleting in its settings first".to_owned()
        } else if vm.with(|vm| vm.deleting) {
            "It is being deleted".to_owned()
        } else {
            String::new()
        }
    });
    let go = StoredValue::new(move |tab: &str| {
        let id = vm.with_untracked(|vm| vm.id);
        navigate(&format!("/vms/{id}{tab}"), Default::default());
    });
    view! {
        <Menu label=Signal::derive(move || vm.with(|vm| format!("Acts for {}", vm.spec.name)))>
            <Act vm action=VmAction::Start asking />
            <Act vm action=VmAction::Shutdown asking />
            <Act vm action=VmAction::Restart asking />
            {move || {
                if vm.with(|vm| vm.status.phase == VmPhase::Paused) {
                    view! { <Act vm action=VmAction::Resume asking /> }.into_any()
                } else {
                    view! { <Act vm action=VmAction::Pause asking /> }.into_any()
                }
            }}
            <Separator />
            <Item
                label="Open its screen"
                icon=Icon::Vm
                on_press=move |()| go.with_value(|go| go("/console"))
            />
            <Item
                label="Open its serial line"
                icon=Icon::Terminal
                on_press=move |()| go.with_value(|go| go("/serial"))
            />
            <Separator />
            <Act vm action=VmAction::Reset asking />
            <Act vm action=VmAction::Stop asking />
            <Item
                label="Delete"
                icon=Icon::Trash
                bad=true
                barred=may_delete
                on_press=move |()| deleting.set(true)
            />
        </Menu>
        <AskLoss vm asking />
        <Delete vm open=deleting />
    }
}

#[component]
fn AskLoss(vm: Memo<Vm>, asking: RwSignal<Option<VmAction>>) -> impl IntoView {
    let actions = Actions::get();
    let open = RwSignal::new(false);
    let action = StoredValue::new(VmAction::Stop);
    Effect::new(move |_| {
        if let Some(asked) = asking.get() {
            action.set_value(asked);
            asking.set(None);
            open.set(true);
        }
    });
    let name = move || vm.with(|vm| vm.spec.name.to_string());
    let title = Signal::derive(move || {
        open.track();
        format!("{} {}", words::vm_action(action.get_value()).0, name())
    });
    view! {
        <Confirm
            open
            title
            text="What the guest has not written to its disks is lost, as when a power cord is pulled. Shutting down is gentler; use this when the guest does not react."
            verb="Do it"
            on_confirm=move |()| {
                open.set(false);
                actions.run(&vm.get_untracked(), action.get_value());
            }
        />
    }
}

/// Deletes a machine, and its disks unless the reader wants to keep them.
#[component]
pub fn Delete(
    /// The machine.
    vm: Memo<Vm>,
    /// True while it asks.
    open: RwSignal<bool>,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let navigate = use_navigate();
    let path = use_location().pathname;
    let keep = RwSignal::new(false);
    let work = Work::new();
    let name = Signal::derive(move || vm.with(|vm| vm.spec.name.to_string()));
    let text = Signal::derive(move || {
        let disks = vm.with(|vm| vm.spec.disks.len());
        let running = vm.with(|vm| matches!(vm.status.phase, VmPhase::Running | VmPhase::Paused));
        let off = if running {
            "It runs now and is switched off. "
        } else {
            ""
        };
        match (disks, keep.get()) {
            (0, _) => format!("{off}It has no disks."),
            (_, true) => format!("{off}Its disks stay as volumes without a machine."),
            (1, false) => format!("{off}Its disk is deleted with all data on it."),
            (n, false) => format!("{off}Its {n} disks are deleted with all data on them."),
        }
    });
    let remove = move |()| {
        let id = vm.with_untracked(|vm| vm.id.to_string());
        let mut address = format!("{}/{id}", endpoint::VMS);
        if !keep.get_untracked() {
            address = client::with_query(&address, "volumes", "all");
        }
        let navigate = navigate.clone();
        work.run(async move { client::delete(&address).await }, move |()| {
            open.set(false);
            toasts.begun(
                format!("{} is being deleted", name.get_untracked()),
                String::new(),
            );
            live.vms.touch(&id);
            if path.with_untracked(|path| path.contains(&id)) {
                navigate("/vms", Default::default());
            }
        });
    };
    view! {
        <Confirm
            open
            title=Signal::derive(move || format!("Delete {}", name.get()))
            text
            name
            verb="Delete the machine"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        >
            {move || {
                (!vm.with(|vm| vm.spec.disks.is_empty()))
                    .then(|| view! { <Tick label="Keep its disks" value=keep /> })
            }}
        </Confirm>
    }
}

/// The acts that stand at the top of a machine's page.
#[component]
pub fn VmButtons(
    /// The machine.
    vm: Memo<Vm>,
) -> impl IntoView {
    let actions = Actions::get();
    let phase = Memo::new(move |_| vm.with(|vm| vm.status.phase));
    let button = move |action: VmAction, look: Look| {
        let (label, _, icon) = words::vm_action(action);
        view! {
            <Button
                label
                icon
                look
                barred=barred(vm, action)
                on_press=move |()| actions.run(&vm.get_untracked(), action)
            />
        }
    };
    move || match phase.get() {
        VmPhase::Stopped | VmPhase::Failed => button(VmAction::Start, Look::Primary).into_any(),
        VmPhase::Paused => button(VmAction::Resume, Look::Primary).into_any(),
        VmPhase::Running => view! {
            {button(VmAction::Restart, Look::Plain)}
            {button(VmAction::Shutdown, Look::Plain)}
        }
        .into_any(),
        VmPhase::Preparing | VmPhase::Starting | VmPhase::Stopping | VmPhase::Deleting => {
            ().into_any()
        }
    }
}
