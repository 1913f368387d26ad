//! One machine: its state and load, its screen and serial line, its settings,
//! disks, network and what happened to it. Each part has its own address.

mod console;
mod disks;
mod edit;
mod events;
mod first_start;
mod network;
mod settings;
mod summary;

use ashlar_api::vm::{Vm, VmPhase};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use super::actions::{VmButtons, VmMenu};
use super::addresses;
use crate::components::notice::sentence;
use crate::components::{Copy, Notice, Pill, Tab, Tabs, Tone, Until};
use crate::format;
use crate::live::Live;
use crate::pages::gone::Gone;
use crate::shell::Head;
use crate::time::Clock;
use crate::words;

const ABOVE: Option<(&str, &str)> = Some(("/vms", "Virtual machines"));

/// One machine.
#[component]
pub fn VmPage() -> impl IntoView {
    let live = Live::get();
    live.volumes.want();
    live.networks.want();
    live.images.want();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let tab = Memo::new(move |_| params.with(|params| params.get("tab").unwrap_or_default()));
    // Another machine is another page.
    let there = Memo::new(move |_| {
        let id = id.get();
        live.vms.one(&id).map(|_| id)
    });
    view! {
        <Until collection=live.vms>
            {move || match there.get() {
                Some(id) => view! { <Found id tab /> }.into_any(),
                None => view! { <Gone what="virtual machine" above=ABOVE /> }.into_any(),
            }}
        </Until>
    }
}

#[component]
fn Found(id: String, tab: Memo<String>) -> impl IntoView {
    let live = Live::get();
    let Some(row) = live.vms.row(&id) else {
        return ().into_any();
    };
    let vm = Memo::new(move |_| row.get());
    let name = Signal::derive(move || vm.with(|vm| vm.spec.name.to_string()));
    let phase = Memo::new(move |_| {
        vm.with(|vm| {
            if vm.deleting {
                VmPhase::Deleting
            } else {
                vm.status.phase
            }
        })
    });
    let pill = move || {
        let (tone, word, icon) = words::vm_phase(phase.get());
        view! { <Pill tone word icon=icon /> }
    };
    let base = format!("/vms/{id}");
    let at = move |tab: &str| format!("{base}{tab}");
    let disks = Signal::derive(move || Some(vm.with(|vm| vm.spec.disks.len())));
    let nics = Signal::derive(move || Some(vm.with(|vm| vm.spec.nics.len())));
    view! {
        <Head title=name above=ABOVE state=pill under=move || view! { <Under vm /> }>
            <VmMenu vm />
            <VmButtons vm />
        </Head>
        <Story vm />
        <Tabs label="Parts of this machine">
            <Tab href=at("") label="Summary" />
            <Tab href=at("/console") label="Screen" />
            <Tab href=at("/serial") label="Serial line" />
            <Tab href=at("/settings") label="Settings" />
            <Tab href=at("/disks") label="Disks" count=disks />
            <Tab href=at("/network") label="Network" count=nics />
            <Tab href=at("/events") label="History" />
        </Tabs>
        {move || match tab.get().as_str() {
            "" => view! { <summary::Summary vm /> }.into_any(),
            "console" => view! { <console::Screen vm /> }.into_any(),
            "serial" => view! { <console::Serial vm /> }.into_any(),
            "settings" => view! { <settings::Settings vm /> }.into_any(),
            "disks" => view! { <disks::Disks vm /> }.into_any(),
            "network" => view! { <network::Network vm /> }.into_any(),
            "events" => view! { <events::Events vm /> }.into_any(),
            _ => view! { <Gone what="part of a machine" above=ABOVE /> }.into_any(),
        }}
    }
    .into_any()
}

/// The line under the title: since when, and where it answers.
#[component]
fn Under(vm: Memo<Vm>) -> impl IntoView {
    let clock = Clock::get();
    let since = move || {
        let (phase, since) = vm.with(|vm| (vm.status.phase, vm.status.since));
        let since = since.map(|since| format::duration(clock.since(since)));
        match (phase, since) {
            (VmPhase::Running, Some(time)) => format!("Up {time}"),
            (phase, Some(time)) => format!("{} for {time}", words::vm_phase(phase).1),
            (phase, None) => words::vm_phase(phase).1.to_owned(),
        }
    };
    let first = move || vm.with(addresses).into_iter().next();
    view! {
        {since}
        {move || {
            first()
                .map(|address| {
                    view! {
                        " · "
                        <span class="mono">{address.clone()}</span>
                        " "
                        <Copy text=address label="the address" />
                    }
                })
        }}
        {move || {
            let note = vm.with(|vm| vm.spec.description.clone());
            (!note.is_empty()).then(|| format!(" · {note}"))
        }}
    }
}

/// What is wrong with the machine, or waits.
#[component]
fn Story(vm: Memo<Vm>) -> impl IntoView {
    move || {
        let status = vm.with(|vm| vm.status.clone());
        let message = (!status.message.is_empty()).then(|| {
            let tone = match status.phase {
                VmPhase::Failed => Tone::Bad,
                VmPhase::Running => Tone::Warn,
                _ => Tone::Info,
            };
            view! {
                <Notice tone title=format::capital(&status.message) text=sentence(&[&status.remedy]) />
            }
        });
        let pending = (!status.pending.is_empty()).then(|| {
            let names = status
                .pending
                .iter()
                .map(|name| words::vm_setting(name).to_owned());
            let names: Vec<String> = names.collect();
            view! {
                <Notice
                    tone=Tone::Info
                    title=format!("Changed: {}", format::names(&names))
                    text="It counts from the next start: shut the machine down and start it again."
                />
            }
        });
        let slow = (status.kvm == Some(false)).then(|| {
            view! {
                <Notice
                    tone=Tone::Warn
                    title="It runs without the processor's virtualisation, and slowly"
                    text="Switch on VT-x or AMD-V (SVM) in the firmware settings of the node."
                />
            }
        });
        view! {
            {message}
            {pending}
            {slow}
        }
    }
}
