//! A new machine, in five short steps. Everything has a good default: a name and
//! an image are enough. The last step says what will come of it, before it does.

mod draft;
mod steps;

use ashlar_api::endpoint;
use ashlar_api::vm::{Vm, VmAction};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use crate::address;
use crate::client;
use crate::components::{Button, Form, LinkButton, Look, Notice, Stepper, Toasts, Tone, Trouble};
use crate::live::Live;
use crate::pages::images::choice::usable;
use crate::shell::Head;
use draft::Draft;

const STEPS: [&str; 5] = ["What it runs", "Size", "Network", "First start", "Check"];

/// Makes a machine.
#[component]
pub fn CreateVm() -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let navigate = use_navigate();
    live.images.want();
    live.pools.want();
    live.networks.want();
    live.vms.want();
    let draft = Draft::new();
    choose_the_only_ones(live, draft);
    let step_query = address::query("step", false);
    let step = Memo::new(move |_| {
        let asked = step_query.with(|step| step.parse::<usize>().unwrap_or(1));
        asked.clamp(1, STEPS.len()) - 1
    });
    let go = move |to: usize| step_query.set((to + 1).to_string());
    let built = Memo::new(move |_| draft.build(live));
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    // Nobody begins in the middle: an address with a later step and nothing typed.
    Effect::new(move |before: Option<()>| {
        if before.is_none()
            && step.get_untracked() > 0
            && draft.name.with_untracked(String::is_empty)
        {
            go(0);
        }
    });
    // What the appliance refused may be on an earlier step: go where it is.
    Effect::new(move |_| {
        if let Some(first) = form.refusals().first() {
            let there = Draft::step_of(&first.field);
            if there < step.get_untracked() {
                go(there);
            }
        }
    });
    let send = move || {
        let navigate = navigate.clone();
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            let vm: Vm = client::post(endpoint::VMS, &spec).await?;
            if draft.starts_by_hand() {
                let path = format!("{}/{}/{}", endpoint::VMS, vm.id, VmAction::Start.verb());
                // It is made in any case; that it does not start yet shows on its page.
                let _ = client::verb(&path).await;
            }
            Ok(Some(vm))
        };
        form.send(request, move |vm| {
            if let Some(vm) = vm {
                toasts.begun(format!("{} is being made", vm.spec.name), String::new());
                let id = vm.id;
                live.vms.put(vm);
                navigate(&format!("/vms/{id}"), Default::default());
            }
        });
    };
    let next = move || {
        let now = step.get_untracked();
        match Draft::STEPS.get(now) {
            Some(prefixes) => {
                if form.look_at(prefixes) {
                    go(now + 1);
                }
            }
            None => send(),
        }
    };
    let missing = Memo::new(move |_| live.pools.here() && live.pools.count() == 0);
    view! {
        <Head title="New virtual machine" above=Some(("/vms", "Virtual machines")) />
        {move || {
            missing
                .get()
                .then(|| {
                    view! {
                        <Notice
                            tone=Tone::Warn
                            title="There is no pool yet"
                            text="The disks of machines are cut from a pool of drives. Make one first."
                        >
                            <LinkButton href="/storage?do=pool" label="New pool" small=true />
                        </Notice>
                    }
                })
        }}
        <div class="steps">
            <Stepper steps=STEPS.to_vec() now=step />
            <form
                class="form"
                on:submit=move |event| {
                    event.prevent_default();
                    next();
                }
            >
                <Trouble problem=form.problem() />
                {move || match step.get() {
                    0 => view! { <steps::What draft /> }.into_any(),
                    1 => view! { <steps::Size draft /> }.into_any(),
                    2 => view! { <steps::Network draft /> }.into_any(),
                    3 => view! { <steps::FirstStart draft /> }.into_any(),
                    _ => view! { <steps::Check draft /> }.into_any(),
                }}
                <div class="actions">
                    {move || match step.get() {
                        0 => view! { <LinkButton href="/vms" label="Cancel" /> }.into_any(),
                        now => view! { <Button label="Back" on_press=move |()| go(now - 1) /> }.into_any(),
                    }}
                    <Button
                        label=Signal::derive(move || {
                            if step.get() + 1 == STEPS.len() { "Create the machine" } else { "Next" }.to_owned()
                        })
                        look=Look::Primary
                        submit=true
                        busy=form.busy()
                    />
                </div>
            </form>
        </div>
    }
}

/// Where there is one choice, it is made.
fn choose_the_only_ones(live: Live, draft: Draft) {
    Effect::new(move |_| {
        if draft.pool.with_untracked(String::is_empty)
            && let Some(pool) = live.pools.all().first()
        {
            draft.pool.set(pool.id.to_string());
        }
    });
    Effect::new(move |done: Option<bool>| {
        if done == Some(true) {
            return true;
        }
        let networks = live.networks.all();
        if let Some(network) = networks.first() {
            draft.network.set(network.id.to_string());
        }
        !networks.is_empty()
    });
    Effect::new(move |done: Option<bool>| {
        if done == Some(true) || !live.images.here() {
            return done == Some(true);
        }
        let disks = usable(live, false);
        let cds = usable(live, true);
        match disks.as_slice() {
            [one] => draft.image.set(one.id.to_string()),
            [] if !cds.is_empty() => draft.origin.set("cd".to_owned()),
            _ => {}
        }
        if let [one] = cds.as_slice() {
            draft.cd.set(one.id.to_string());
        }
        true
    });
    // The disk follows the image until somebody types another size.
    Effect::new(move |before: Option<ashlar_api::Bytes>| {
        let proposed = Draft::proposed_disk(draft.least_disk(live));
        let untouched = draft
            .disk
            .with_untracked(|disk| before.is_none_or(|before| *disk == before.to_string()));
        if untouched {
            draft.disk.set(proposed.to_string());
        }
        proposed
    });
}
