//! What a page says while there is nothing to show: what this is for, and the
//! first step as a button.

use leptos::prelude::*;

use super::Icon;

/// Nothing here yet.
#[component]
pub fn Empty(
    /// What would be here.
    icon: Icon,
    /// That there is none, in a short sentence.
    #[prop(into)]
    title: String,
    /// What it is for.
    #[prop(into)]
    text: String,
    /// The first step.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="empty">
            {icon.view()} <h2>{title}</h2> <p>{text}</p>
            {children.map(|children| view! { <div class="row">{children()}</div> })}
        </div>
    }
}
