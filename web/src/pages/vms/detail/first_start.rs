//! What a guest with cloud-init is told at its first start. The appliance writes
//! it anew at each start of the machine, always under the machine's own id, by
//! which a guest knows that it has done all this before: the page says so,
//! because a change that seems to do nothing is worse than none.

use ashlar_api::vm::{Vm, VmSpec};
use leptos::prelude::*;

use super::edit::{barred, changed, follow, replace};
use crate::components::{Button, Form, Look, Reader, Tick, Toasts, Trouble};
use crate::live::Live;
use crate::pages::vms::cloud_init::{CloudFields, Texts, Typed};

fn stored(spec: &VmSpec) -> Texts {
    Texts::of(spec.cloud_init.as_ref())
}

/// The settings of the first start.
#[component]
pub fn FirstStart(vm: Memo<Vm>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    // The machine as it was when the form opened; saving names that revision.
    let before = RwSignal::new(vm.get_untracked());
    let typed = Typed::new(before.with_untracked(|vm| stored(&vm.spec)));
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let spec = VmSpec {
            cloud_init: typed.texts().read(),
            ..before.with(|vm| vm.spec.clone())
        };
        reader.check(&spec);
        reader.done(Some(spec))
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let dirty = Memo::new(move |_| {
        let texts = typed.texts();
        let was = before.with(|vm| stored(&vm.spec));
        // With the tick taken away the other fields mean nothing.
        texts.on != was.on || (texts.on && texts != was)
    });
    follow(vm, before, dirty, stored, move |spec| {
        typed.show(stored(spec));
    });
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            let vm = before.get_untracked();
            let mut sent = spec.clone();
            replace(vm, move |old| *old = spec).await?;
            if let Some(cloud_init) = &mut sent.cloud_init {
                cloud_init.password = None;
            }
            Ok(Some(sent))
        };
        form.send(request, move |sent| {
            if let Some(sent) = sent {
                // Until the new revision is read: what was sent is what is there.
                typed.show(stored(&sent));
                before.update(|vm| vm.spec = sent);
                toasts.done("The settings of the first start are saved");
                changed(live, &vm.with_untracked(|vm| vm.id.to_string()));
            }
        });
    };
    let barred = barred(vm);
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
            <h2>"First start"</h2>
            <Trouble problem=form.problem() />
            <p class="dim small">
                "The guest reads this from a small disk, which is written anew at each start of the machine. cloud-init does it once: a guest that has done it goes on as it is, until "
                <code>"cloud-init clean"</code>
                " is run inside and the machine is shut down and started again."
            </p>
            <Tick
                label="Set the guest up with cloud-init"
                value=typed.on
                hint="Without it the machine does not have that disk."
            />
            <Show when=move || typed.on.get()>
                <CloudFields
                    typed
                    password_hint="Never shown. When empty, the user keeps the one there is; another user begins without one."
                />
            </Show>
            <div class="actions">
                <Button label="Save" look=Look::Primary submit=true busy=form.busy() barred=nothing />
                <span class="why">{nothing}</span>
            </div>
        </form>
    }
}
