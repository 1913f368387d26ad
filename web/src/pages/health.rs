//! What is wrong now, and what happened: faults as stories, then the history by
//! day, newest first.

use ashlar_api::event::{Event, Severity};
use ashlar_api::{Page, endpoint};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::components::A;

use super::fault::FaultNotice;
use crate::address;
use crate::client;
use crate::components::table::matches;
use crate::components::{Button, Empty, Filter, Icon, Notice, Tone};
use crate::format;
use crate::live::{FIRST_EVENTS, Live};
use crate::shell::Head;
use crate::time::Clock;
use crate::words;

/// Health and history.
#[component]
pub fn Health() -> impl IntoView {
    let live = Live::get();
    let lead = Signal::derive(move || match live.faults.count() {
        _ if !live.faults.here() => String::new(),
        0 => "Nothing is wrong".to_owned(),
        1 => "One thing wants looking at".to_owned(),
        n => format!("{n} things want looking at"),
    });
    view! {
        <Head title="Health and history" lead />
        {move || {
            (live.faults.here() && live.faults.count() == 0)
                .then(|| {
                    view! {
                        <Notice
                            tone=Tone::Ok
                            title="All is well"
                            text="The node looks at itself all the time. Whatever goes wrong appears here with what to do, and goes away by itself once it is over."
                        />
                    }
                })
        }}
        <For
            each=move || live.faults.all()
            key=|fault| (fault.code.clone(), fault.subject.as_ref().map(|s| s.id.clone()), fault.detail.clone(), fault.title.clone())
            children=|fault| view! { <FaultNotice fault /> }
        />
        <History />
    }
}

/// Events beyond those that the stream keeps fresh.
#[derive(Clone, Copy)]
struct Older {
    events: RwSignal<Vec<Event>>,
    next: RwSignal<Option<String>>,
    busy: RwSignal<bool>,
}

impl Older {
    fn read(self, after: String) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        let path = client::with_query(
            &client::with_query(endpoint::HISTORY, "limit", "100"),
            "after",
            &after,
        );
        spawn_local(async move {
            let answer = client::get::<Page<Event>>(&path).await;
            if self.busy.try_set(false).is_some() {
                return;
            }
            if let Ok(page) = answer {
                self.next.set(page.next);
                self.events.update(|events| events.extend(page.items));
            }
        });
    }
}

#[component]
fn History() -> impl IntoView {
    let live = Live::get();
    let filter = address::query("filter", true);
    let severity = address::query("show", true);
    let older = Older {
        events: RwSignal::default(),
        next: RwSignal::new(None),
        busy: RwSignal::new(false),
    };
    // Where the list that the stream keeps fresh ends.
    Effect::new(move |read: Option<bool>| {
        if read == Some(true) {
            return true;
        }
        let last = live.events.with(|events| {
            events.as_ref().map(|events| {
                let oldest = events.last().filter(|_| events.len() >= FIRST_EVENTS);
                oldest.map(|event| event.id.to_string())
            })
        });
        if let Some(last) = last {
            older.next.set(last);
            return true;
        }
        false
    });
    let shown = Memo::new(move |_| {
        let mut all = live.events.get().unwrap_or_default();
        let last = all.last().map_or(u64::MAX, |event| event.id);
        older
            .events
            .with(|older| all.extend(older.iter().filter(|event| event.id < last).cloned()));
        let filter = filter.get();
        let least = match severity.get().as_str() {
            "warnings" => Severity::Warning,
            "critical" => Severity::Critical,
            _ => Severity::Info,
        };
        all.retain(|event| {
            let name = event
                .subject
                .as_ref()
                .map(|s| s.name.as_str())
                .unwrap_or_default();
            let by = event.by.as_deref().unwrap_or_default();
            event.severity >= least && matches(&filter, &[&event.message, name, by])
        });
        all
    });
    let chip = move |key: &'static str, words: &'static str| {
        view! {
            <button
                type="button"
                class="chip"
                aria-pressed=move || severity.with(|now| now == key).to_string()
                on:click=move |_| severity.set(key.to_owned())
            >
                {words}
            </button>
        }
    };
    view! {
        <div class="card flush">
            <div class="bar">
                {chip("", "All events")} {chip("warnings", "Warnings")} {chip("critical", "Failures")}
                <Filter value=filter label="Filter by words, name or person" />
            </div>
            {move || {
                let events = shown.get();
                if events.is_empty() {
                    return view! {
                        <Empty
                            icon=Icon::Clock
                            title="No such events"
                            text="Everything that somebody or the appliance does is kept here: machines started, drives found, settings changed."
                        />
                    }
                        .into_any();
                }
                view! { <Days events /> }.into_any()
            }}
            {move || {
                older
                    .next
                    .get()
                    .map(|next| {
                        view! {
                            <div class="table-end">
                                <Button
                                    label="Older events"
                                    small=true
                                    busy=older.busy
                                    on_press=move |()| older.read(next.clone())
                                />
                            </div>
                        }
                    })
            }}
        </div>
    }
}

/// Events by day.
#[component]
pub fn Days(
    /// The events, newest first.
    events: Vec<Event>,
) -> impl IntoView {
    let clock = Clock::get();
    // Which day it was depends on the zone, which may become known later.
    move || {
        let mut days: Vec<(String, Vec<Event>)> = Vec::new();
        for event in &events {
            let day = clock.day(event.at);
            match days.last_mut() {
                Some((last, events)) if *last == day => events.push(event.clone()),
                _ => days.push((day, vec![event.clone()])),
            }
        }
        days.into_iter()
            .map(|(day, events)| {
                view! {
                    <h2 class="day">{day}</h2>
                    <ul class="history">
                        {events.into_iter().map(|event| view! { <Line event /> }).collect_view()}
                    </ul>
                }
            })
            .collect_view()
    }
}

#[component]
fn Line(event: Event) -> impl IntoView {
    let clock = Clock::get();
    let icon = match (event.severity, &event.subject) {
        (Severity::Warning | Severity::Critical, _) => Icon::Alert,
        (Severity::Info, Some(subject)) => words::kind_icon(subject.kind),
        (Severity::Info, None) => Icon::Info,
    };
    let by = event.by.map(|by| format!("by {by}")).unwrap_or_default();
    let link = event.subject.map(|subject| {
        let name = format::capital(words::kind_word(subject.kind));
        view! {
            " "
            <A href=words::address(&subject) attr:class="link dimmer small">
                {format!("{name} {}", subject.name)}
            </A>
        }
    });
    view! {
        <li class=words::severity_class(event.severity)>
            {icon.view()} <time title=move || clock.exact(event.at)>{move || clock.time(event.at)}</time>
            <span class="break">{event.message} {link}</span> <span class="by">{by}</span>
        </li>
    }
}
