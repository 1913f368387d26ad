//! What happened to a machine, of what the appliance remembers.

use ashlar_api::event::Event;
use ashlar_api::job::Kind;
use ashlar_api::vm::Vm;
use ashlar_api::{Page, endpoint};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::client;
use crate::components::{Empty, Icon};
use crate::live::Live;
use crate::pages::health::Days;

/// How many events are shown.
const MOST: &str = "200";

/// What happened to the machine.
#[component]
pub fn Events(vm: Memo<Vm>) -> impl IntoView {
    let live = Live::get();
    let id = vm.with_untracked(|vm| vm.id.to_string());
    let read: RwSignal<Vec<Event>> = RwSignal::default();
    let path = client::with_query(
        &client::with_query(endpoint::HISTORY, "limit", MOST),
        "subject",
        &id,
    );
    spawn_local(async move {
        if let Ok(page) = client::get::<Page<Event>>(&path).await {
            let _ = read.try_set(page.items);
        }
    });
    let events = Memo::new(move |_| {
        let mut all = live.events.get().unwrap_or_default();
        all.retain(|event| {
            event
                .subject
                .as_ref()
                .is_some_and(|s| s.kind == Kind::Vm && s.id == id)
        });
        // What the stream told is newer than what was read, or the same.
        let oldest = all.last().map_or(u64::MAX, |event| event.id);
        all.extend(read.with(|read| {
            read.iter()
                .filter(|event| event.id < oldest)
                .cloned()
                .collect::<Vec<_>>()
        }));
        all
    });
    view! {
        <div class="card flush">
            {move || {
                let events = events.get();
                if events.is_empty() {
                    view! {
                        <Empty
                            icon=Icon::Clock
                            title="Nothing yet"
                            text="Starts, stops, changes and failures of this machine are listed here."
                        />
                    }
                        .into_any()
                } else {
                    view! { <Days events /> }.into_any()
                }
            }}
        </div>
    }
}
