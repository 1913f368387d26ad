//! News that concern every page: a change of the network that waits to be
//! confirmed, and a console that is older than its appliance.

use ashlar_api::endpoint;
use leptos::prelude::*;

use crate::client;
use crate::components::{Button, Icon, Look, Toasts, Work};
use crate::format;
use crate::live::Live;
use crate::time;

/// The strips under the top bar.
#[component]
pub fn Strips() -> impl IntoView {
    view! {
        <ConfirmNetwork />
        <Updated />
    }
}

#[component]
fn ConfirmNetwork() -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let waiting = Memo::new(move |_| {
        live.node()
            .and_then(|node| Some((node.id, node.status.confirm_until?)))
    });
    let left = RwSignal::new(0);
    let count = move || {
        if let Some((_, until)) = waiting.get_untracked() {
            left.set(-time::since(until));
        }
    };
    Effect::new(move |_| {
        waiting.track();
        count();
    });
    let timer = StoredValue::new_local(Some(gloo_timers::callback::Interval::new(1000, count)));
    on_cleanup(move || timer.update_value(|timer| *timer = None));
    move || {
        waiting.get().map(|(id, _)| {
            let keep = move |()| {
                let request = async move { client::verb(&format!("{}/{id}/confirm", endpoint::NODES)).await };
                work.run(request, move |()| toasts.done("The network settings are kept"));
            };
            view! {
                <div class="strip warn" role="alert">
                    {Icon::Network.view()}
                    <span>
                        "The management network was changed. This page still reaches the node. Without a word from you the old settings return in "
                        {move || format::duration(left.get())} "."
                    </span>
                    <Button label="Keep the new settings" look=Look::Primary small=true busy=work.busy() on_press=keep />
                </div>
            }
        })
    }
}

#[component]
fn Updated() -> impl IntoView {
    let live = Live::get();
    let first = StoredValue::new(String::new());
    let updated = Memo::new(move |_| {
        let now = live.version.get();
        let before = first.get_value();
        if before.is_empty() {
            first.set_value(now);
            false
        } else {
            before != now
        }
    });
    move || {
        updated.get().then(|| {
            view! {
                <div class="strip" role="status">
                    {Icon::Info.view()}
                    <span>"The appliance was updated. Load the console again to use what is new."</span>
                    <Button
                        label="Load again"
                        small=true
                        on_press=move |()| {
                            let _ = window().location().reload();
                        }
                    />
                </div>
            }
        })
    }
}
