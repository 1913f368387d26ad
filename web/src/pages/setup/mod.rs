//! First boot in five steps. The first two make somebody the owner; the others
//! only set what the menu's pages can set later too, so leaving in between
//! loses nothing: signing in again and opening `/setup/network` goes on, and the
//! overview shows what is left.

mod claim;
mod finish;

pub use claim::Claim;

use leptos::prelude::*;
use leptos_router::components::{FlatRoutes, Route};
use leptos_router::hooks::use_navigate;
use leptos_router::path;

use crate::components::{Stepper, ToastsView, logo};
use crate::shell::strips::Strips;

const STEPS: [&str; 5] = [
    "Claim this machine",
    "Name and administrator",
    "Network",
    "Drives",
    "Start",
];

/// The frame around a step.
#[component]
fn Frame(
    /// The present step, from 0.
    #[prop(into)]
    now: Signal<usize>,
    /// The step.
    children: Children,
) -> impl IntoView {
    document().set_title("Setup · Ashlar");
    view! {
        <div class="setup">
            <aside>
                <span class="brand">{logo()} "Ashlar"</span>
                <span class="step-now">
                    {move || format!("Step {} of {}", now.get() + 1, STEPS.len())}
                </span>
                <Stepper steps=STEPS.to_vec() now />
            </aside>
            <section aria-label="Setup">{children()}</section>
        </div>
        <ToastsView />
    }
}

/// The steps after somebody owns the appliance.
#[component]
pub fn Continue() -> impl IntoView {
    view! {
        <Strips />
        <FlatRoutes fallback=|| {
            use_navigate()("/setup/network", Default::default());
        }>
            <Route path=path!("/setup/network") view=finish::Network />
            <Route path=path!("/setup/drives") view=finish::Drives />
            <Route path=path!("/setup/start") view=finish::Start />
        </FlatRoutes>
    }
}
