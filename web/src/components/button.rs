//! Buttons, and links that look like them. A button that is at work says so and
//! takes no second press; one that can not be used says why in its title.

use leptos::prelude::*;
use leptos_router::components::A;

use super::Icon;

/// How much a button asks for attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// One of several.
    #[default]
    Plain,
    /// The one thing to do here.
    Primary,
    /// Leads to something that destroys.
    Bad,
    /// Destroys.
    Danger,
    /// Beside the point.
    Quiet,
}

impl Look {
    const fn class(self, small: bool) -> &'static str {
        match (self, small) {
            (Look::Plain, false) => "btn",
            (Look::Primary, false) => "btn pri",
            (Look::Bad, false) => "btn bad",
            (Look::Danger, false) => "btn danger",
            (Look::Quiet, false) => "btn quiet",
            (Look::Plain, true) => "btn s",
            (Look::Primary, true) => "btn pri s",
            (Look::Bad, true) => "btn bad s",
            (Look::Danger, true) => "btn danger s",
            (Look::Quiet, true) => "btn quiet s",
        }
    }
}

/// A button.
#[component]
pub fn Button(
    /// What it does, in one or two words.
    #[prop(into)]
    label: Signal<String>,
    /// What it does that to, for whoever hears the page, where several buttons have the same label.
    #[prop(optional, into)]
    of: String,
    /// How it looks.
    #[prop(optional)]
    look: Look,
    /// True for a smaller one.
    #[prop(optional)]
    small: bool,
    /// A picture before the words.
    #[prop(optional, into)]
    icon: Option<Icon>,
    /// True while it is at work.
    #[prop(optional, into)]
    busy: Signal<bool>,
    /// Why it can not be used now; empty when it can.
    #[prop(optional, into)]
    barred: Signal<String>,
    /// True if pressing it sends the form around it.
    #[prop(optional)]
    submit: bool,
    /// What pressing it does.
    #[prop(optional, into)]
    on_press: Option<Callback<()>>,
) -> impl IntoView {
    let press = move |_| {
        if !busy.get_untracked()
            && barred.with_untracked(String::is_empty)
            && let Some(press) = on_press
        {
            press.run(());
        }
    };
    view! {
        <button
            type=if submit { "submit" } else { "button" }
            class=look.class(small)
            class:busy=busy
            disabled=move || busy.get() || barred.with(|why| !why.is_empty())
            title=move || barred.get()
            on:click=press
        >
            {move || busy.get().then(|| view! { <span class="spin" aria-hidden="true"></span> })}
            {icon.map(Icon::view)}
            {label}
            {(!of.is_empty()).then(|| view! { <span class="sr">{format!(": {of}")}</span> })}
        </button>
    }
}

/// A link that looks like a button.
#[component]
pub fn LinkButton(
    /// Where it leads.
    #[prop(into)]
    href: String,
    /// What is there.
    #[prop(into)]
    label: String,
    /// How it looks.
    #[prop(optional)]
    look: Look,
    /// True for a smaller one.
    #[prop(optional)]
    small: bool,
    /// A picture before the words.
    #[prop(optional, into)]
    icon: Option<Icon>,
) -> impl IntoView {
    view! {
        <A href=href attr:class=look.class(small)>
            {icon.map(Icon::view)}
            {label}
        </A>
    }
}
