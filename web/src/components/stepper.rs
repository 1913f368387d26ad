//! Where the reader is in a row of steps.

use leptos::prelude::*;

use super::Icon;

/// A row of steps; those before the present one are done.
#[component]
pub fn Stepper(
    /// The names of the steps.
    steps: Vec<&'static str>,
    /// The present step, from 0.
    #[prop(into)]
    now: Signal<usize>,
) -> impl IntoView {
    let items = steps
        .into_iter()
        .enumerate()
        .map(|(n, name)| {
            view! {
                <li
                    class:done=move || n < now.get()
                    class:on=move || n == now.get()
                    aria-current=move || (n == now.get()).then_some("step")
                >
                    <i aria-hidden="true">
                        {move || {
                            if n < now.get() { Icon::Check.view() } else { (n + 1).into_any() }
                        }}
                    </i>
                    <span>{name}</span>
                    <span class="sr">{move || if n < now.get() { ", done" } else { "" }}</span>
                </li>
            }
        })
        .collect_view();
    view! { <ol class="stepper">{items}</ol> }
}
