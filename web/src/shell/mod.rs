//! What stands around every page of a signed-in reader: top bar, menu, strips
//! with news that concern everything, the finder, and the words in the corner.

mod bell;
mod finder;

mod head;
pub mod jobs;
mod side;
pub mod strips;
mod theme;
mod top;

pub use head::Head;

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use crate::components::ToastsView;
use crate::live::Live;

/// The shell around the page.
#[component]
pub fn Shell(
    /// The page.
    children: Children,
) -> impl IntoView {
    Live::get().vms.want();
    let menu = RwSignal::new(false);
    let finder = RwSignal::new(false);
    let main: NodeRef<leptos::html::Main> = NodeRef::new();
    let path = use_location().pathname;
    // A new page: the reader's place is its beginning, and the menu is done with.
    Effect::new(move |before: Option<String>| {
        let now = path.get();
        if before.is_some_and(|before| page_of(&before) != page_of(&now)) {
            menu.set(false);
            if let Some(main) = main.get_untracked() {
                let _ = main.focus();
            }
        }
        now
    });
    view! {
        <a class="skip" href="#main" on:click=move |event| {
            event.prevent_default();
            if let Some(main) = main.get_untracked() {
                let _ = main.focus();
            }
        }>
            "Skip to the page"
        </a>
        <div class="shell">
            <top::Top menu finder />
            <strips::Strips />
            <side::Side open=menu />
            <main id="main" tabindex="-1" node_ref=main>
                {children()}
            </main>
        </div>
        <finder::Finder open=finder />
        <ToastsView />
    }
}

// The tabs of one machine are one page.
fn page_of(path: &str) -> String {
    path.split('/').take(3).collect::<Vec<_>>().join("/")
}
