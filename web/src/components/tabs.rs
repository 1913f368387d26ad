//! The parts of one thing, each with its own address.

use leptos::prelude::*;
use leptos_router::components::A;

/// A row of tabs.
#[component]
pub fn Tabs(
    /// What the tabs are parts of, for a screen reader.
    #[prop(into)]
    label: String,
    /// The tabs.
    children: Children,
) -> impl IntoView {
    view! {
        <nav class="tabs" aria-label=label>
            {children()}
        </nav>
    }
}

/// One tab.
#[component]
pub fn Tab(
    /// Its address.
    #[prop(into)]
    href: String,
    /// Its name.
    label: &'static str,
    /// How many things are in it.
    #[prop(optional, into)]
    count: Signal<Option<usize>>,
) -> impl IntoView {
    view! {
        <A href=href exact=true>
            {label}
            {move || count.get().map(|n| view! { <span class="n">{format!(" {n}")}</span> })}
        </A>
    }
}
