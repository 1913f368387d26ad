//! States of the console as addresses: open dialogs, chosen filters and tabs are
//! in the query, so that back closes, a reload keeps, and a link leads there.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};

/// A signal that is the value of `name` in the query; empty when absent.
/// Setting it is a step that "back" undoes, unless `replace`.
pub fn query(name: &'static str, replace: bool) -> RwSignal<String> {
    let map = use_query_map();
    let location = use_location();
    let navigate = use_navigate();
    let here = location.pathname.get_untracked();
    let value = RwSignal::new(map.with_untracked(|map| map.get(name).unwrap_or_default()));
    // From the address to the signal. On another page the query says nothing about this one.
    {
        let here = here.clone();
        Effect::new(move |_| {
            let now = map.with(|map| map.get(name).unwrap_or_default());
            if location.pathname.get_untracked() == here && value.with_untracked(|old| *old != now)
            {
                value.set(now);
            }
        });
    }
    // From the signal to the address.
    Effect::new(move |before: Option<String>| {
        let now = value.get();
        let shown = map.with_untracked(|map| map.get(name).unwrap_or_default());
        if before.is_some() && now != shown && location.pathname.get_untracked() == here {
            let mut params = map.get_untracked();
            params.remove(name);
            if !now.is_empty() {
                params.insert(name, now.clone());
            }
            let options = NavigateOptions {
                replace,
                scroll: false,
                ..NavigateOptions::default()
            };
            navigate(&format!("{here}{}", params.to_query_string()), options);
        }
        now
    });
    value
}

/// A signal that is true while `name=value` is in the query: an open dialog.
pub fn flag(name: &'static str, value: &'static str) -> RwSignal<bool> {
    let query = query(name, false);
    let open = RwSignal::new(query.with_untracked(|now| now == value));
    Effect::new(move |_| {
        let now = query.with(|now| now == value);
        if open.get_untracked() != now {
            open.set(now);
        }
    });
    Effect::new(move |before: Option<bool>| {
        let now = open.get();
        if before.is_some_and(|before| before != now) {
            let shown = query.with_untracked(|query| query == value);
            if now && !shown {
                query.set(value.to_owned());
            } else if !now && shown {
                query.set(String::new());
            }
        }
        now
    });
    open
}
