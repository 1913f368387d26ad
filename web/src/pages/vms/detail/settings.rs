//! The settings of a machine. What can be changed while it runs is changed at
//! once; the rest waits for the next start, and the page says so.

use ashlar_api::vm::{RunPolicy, Vm, VmSpec};
use ashlar_api::{Bytes, Name};
use leptos::prelude::*;

use super::edit::{barred, changed, follow, replace};
use super::first_start::FirstStart;
use crate::components::pick::Choice;
use crate::components::{
    AreaField, Button, Form, Look, Picks, Reader, TextField, Tick, Toasts, Trouble,
};
use crate::live::Live;
use crate::words;

/// The settings.
#[component]
pub fn Settings(vm: Memo<Vm>) -> impl IntoView {
    // Two forms, each with an owner of its own: a field belongs to the form that its owner provides.
    view! {
        <div class="stack">
            {move || view! { <General vm /> }}
            {move || view! { <FirstStart vm /> }}
        </div>
    }
}

// What the first form shows of a machine.
fn own(spec: &VmSpec) -> (Name, String, u16, Bytes, RunPolicy, bool) {
    (
        spec.name.clone(),
        spec.description.clone(),
        spec.cpus,
        spec.memory,
        spec.run_policy,
        spec.protected,
    )
}

#[component]
fn General(vm: Memo<Vm>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    // The machine as it was when the form opened; saving names that revision.
    let before = RwSignal::new(vm.get_untracked());
    let spec = before.with_untracked(|vm| vm.spec.clone());
    let name = RwSignal::new(spec.name.to_string());
    let note = RwSignal::new(spec.description);
    let cpus = RwSignal::new(spec.cpus.to_string());
    let memory = RwSignal::new(spec.memory.to_string());
    let policy = RwSignal::new(words::run_policy_key(spec.run_policy).to_owned());
    let protected = RwSignal::new(spec.protected);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let cpus: Option<u16> = reader.parse_or("cpus", &cpus.get(), "a whole number, such as 2");
        let memory: Option<Bytes> = reader.parse("memory", &memory.get());
        let spec = || {
            Some(VmSpec {
                name: name?,
                description: note.get().trim().to_owned(),
                cpus: cpus?,
                memory: memory?,
                run_policy: words::run_policy_of(&policy.get()),
                protected: protected.get(),
                ..before.with(|vm| vm.spec.clone())
            })
        };
        let spec = spec();
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let dirty = Memo::new(move |_| {
        built.with(|built| {
            built
                .as_ref()
                .map_or(true, |spec| before.with(|vm| *spec != vm.spec))
        })
    });
    follow(vm, before, dirty, own, move |spec| {
        name.set(spec.name.to_string());
        note.set(spec.description.clone());
        cpus.set(spec.cpus.to_string());
        memory.set(spec.memory.to_string());
        policy.set(words::run_policy_key(spec.run_policy).to_owned());
        protected.set(spec.protected);
    });
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            let vm = before.get_untracked();
            let sent = spec.clone();
            replace(vm, move |old| *old = spec).await?;
            Ok(Some(sent))
        };
        form.send(request, move |sent| {
            if let Some(sent) = sent {
                // Until the new revision is read: what was sent is what is there.
                before.update(|vm| vm.spec = sent);
                toasts.done("The settings are saved");
                changed(live, &vm.with_untracked(|vm| vm.id.to_string()));
            }
        });
    };
    let barred = barred(vm);
    let policies: Vec<Choice> = [RunPolicy::Always, RunPolicy::Manual, RunPolicy::Stopped]
        .into_iter()
        .map(|policy| {
            let (name, text) = words::run_policy(policy);
            Choice::new(words::run_policy_key(policy), name, text)
        })
        .collect();
    let nothing = Signal::derive(move || {
        let why = barred.get();
        if why.is_empty() && !dirty.get() {
            "Nothing was changed".to_owned()
        } else {
            why
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
            <TextField label="Name" value=name path="name" />
            <AreaField label="What it is for" value=note path="description" optional=true />
            <div class="fields">
                <TextField
                    label="Processors"
                    value=cpus
                    path="cpus"
                    inputmode="numeric"
                    hint=Signal::derive(move || {
                        live.node().map(|node| format!("The node has {}.", node.status.cpus)).unwrap_or_default()
                    })
                />
                <TextField
                    label="Memory"
                    value=memory
                    path="memory"
                    hint="Such as 4 GiB. A running machine gets it at its next start."
                />
            </div>
            <Picks label="It runs" value=policy choices=policies />
            <Tick
                label="Protect it from deletion"
                value=protected
                hint="Deleting is refused until this is taken back."
            />
            <div class="actions">
                <Button label="Save" look=Look::Primary submit=true busy=form.busy() barred=nothing />
                <span class="why">{nothing}</span>
            </div>
        </form>
    }
}
