//! Notifications: what is wrong now, and what happened lately. The dot shows
//! until the panel was opened after the newest warning.

use ashlar_api::event::Severity;
use leptos::prelude::*;

use crate::components::menu::PanelLink;
use crate::components::{Icon, Panel, Tone};
use crate::live::Live;
use crate::time::Clock;
use crate::words;

const SEEN_KEY: &str = "ashlar-seen";
/// How many events the panel shows.
const SHOWN: usize = 12;

/// The notifications in the top bar.
#[component]
pub fn Bell() -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let storage = || window().local_storage().ok().flatten();
    let seen = storage()
        .and_then(|storage| storage.get_item(SEEN_KEY).ok().flatten())
        .and_then(|text| text.parse::<u64>().ok());
    let seen = RwSignal::new(seen.unwrap_or(0));
    let worst = Memo::new(move |_| {
        let seen = seen.get();
        live.events.with(|events| {
            let events = events.as_deref().unwrap_or_default();
            events
                .iter()
                .filter(|e| e.id > seen)
                .map(|e| e.severity)
                .max()
        })
    });
    let dot = Signal::derive(move || match worst.get() {
        Some(Severity::Critical) => Some(Tone::Bad),
        Some(Severity::Warning) => Some(Tone::Warn),
        Some(Severity::Info) | None => None,
    });
    let open = move |()| {
        let newest = live.events.with_untracked(|events| {
            events
                .as_deref()
                .unwrap_or_default()
                .iter()
                .map(|e| e.id)
                .max()
        });
        if let Some(newest) = newest {
            seen.set(newest);
            if let Some(storage) = storage() {
                let _ = storage.set_item(SEEN_KEY, &newest.to_string());
            }
        }
    };
    view! {
        <Panel label="Notifications" icon=Icon::Bell dot on_open=Callback::new(open)>
            <div class="panel-head">
                "Notifications" <PanelLink href="/health" words="Health and history" />
            </div>
            {move || {
                live.faults
                    .all()
                    .into_iter()
                    .map(|fault| {
                        let tone = words::severity(fault.severity);
                        let class = if tone == Tone::Bad { "t-bad" } else { "t-warn" };
                        view! {
                            <div class="panel-item">
                                <div class="row">
                                    <span class=class>{Icon::Alert.view()}</span>
                                    <b class="break">{fault.title.clone()}</b>
                                </div>
                                <span class="dim">{fault.remedy.clone()}</span>
                            </div>
                        }
                    })
                    .collect_view()
            }}
            {move || {
                let events = live.events.get().unwrap_or_default();
                if events.is_empty() {
                    return view! {
                        <p class="panel-none">"What happens on the appliance shows here."</p>
                    }
                        .into_any();
                }
                events
                    .into_iter()
                    .take(SHOWN)
                    .map(|event| {
                        view! {
                            <div class="panel-item">
                                <div class="row">
                                    <span class="break">{event.message}</span>
                                    <time class="push dimmer nowrap">{move || clock.brief(event.at)}</time>
                                </div>
                            </div>
                        }
                    })
                    .collect_view()
                    .into_any()
            }}
        </Panel>
    }
}
