//! A small button that copies a text.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;

use super::{Icon, Toasts};

/// Copies a text, and says whether that worked.
pub fn copy(text: String, toasts: Toasts) {
    spawn_local(async move {
        let clipboard = window().navigator().clipboard();
        match JsFuture::from(clipboard.write_text(&text)).await {
            Ok(_) => toasts.done("Copied"),
            Err(_) => toasts.bad(
                "The browser does not let the console copy",
                "Select the text and copy it by hand.",
            ),
        }
    });
}

/// A button that copies a text.
#[component]
pub fn Copy(
    /// The text.
    #[prop(into)]
    text: Signal<String>,
    /// What the text is, such as "the address".
    label: &'static str,
) -> impl IntoView {
    let toasts = Toasts::get();
    view! {
        <button
            type="button"
            class="copy"
            aria-label=format!("Copy {label}")
            title=format!("Copy {label}")
            on:click=move |_| copy(text.get_untracked(), toasts)
        >
            {Icon::Copy.view()}
        </button>
    }
}
