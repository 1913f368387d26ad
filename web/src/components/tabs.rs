//! The parts of one thing, each with its own address.

use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::use_location;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

/// How much of the tab before the open one stays in sight, in pixels.
const BEFORE_OPEN: i32 = 48;

/// A row of tabs.
#[component]
pub fn Tabs(
    /// What the tabs are parts of, for a screen reader.
    #[prop(into)]
    label: String,
    /// The tabs.
    children: Children,
) -> impl IntoView {
    let row: NodeRef<leptos::html::Nav> = NodeRef::new();
    let path = use_location().pathname;
    // On a narrow screen the row scrolls: the tab that is open is in sight.
    Effect::new(move |_| {
        path.track();
        let Some(row) = row.get() else { return };
        request_animation_frame(move || {
            let open = row.query_selector("[aria-current]").ok().flatten();
            if let Some(open) = open.and_then(|open| open.dyn_into::<HtmlElement>().ok()) {
                row.set_scroll_left(open.offset_left() - row.offset_left() - BEFORE_OPEN);
            }
        });
    });
    view! {
        <nav class="tabs" aria-label=label node_ref=row>
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
