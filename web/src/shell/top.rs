//! The top bar: where the reader is, how the site is, the finder, running jobs,
//! notifications, and who is signed in.

use ashlar_api::event::Severity;
use leptos::ev;
use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::use_navigate;

use super::theme::Theme;
use super::{bell::Bell, jobs::Jobs};
use crate::components::{Icon, Item, Menu, Separator, logo};
use crate::format;
use crate::live::{Live, Stream};
use crate::session::Sessions;
use crate::words;

/// The top bar.
#[component]
pub fn Top(menu: RwSignal<bool>, finder: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let keys = window_event_listener(ev::keydown, move |event| {
        if (event.ctrl_key() || event.meta_key())
            && event.key().eq_ignore_ascii_case("k")
            && !event.alt_key()
        {
            event.prevent_default();
            finder.update(|open| *open = !*open);
        }
    });
    on_cleanup(move || keys.remove());
    let name = move || {
        live.site
            .with(|site| site.as_ref().map(|site| site.spec.name.to_string()))
    };
    view! {
        <header class="top">
            <button
                type="button"
                class="iconbtn menu-toggle"
                aria-label="Menu"
                aria-expanded=move || menu.get().to_string()
                on:click=move |_| menu.update(|open| *open = !*open)
            >
                {Icon::Menu.view()}
            </button>
            <A href="/" attr:class="brand" attr:aria-label="Ashlar, overview">
                {logo()}
                <span>"Ashlar"</span>
            </A>
            <div class="site">
                <b class="cut">{name}</b>
                <State />
            </div>
            <button type="button" class="search" aria-label="Find" on:click=move |_| finder.set(true)>
                {Icon::Find.view()}
                <span class="cut">"Find a machine, drive, address, setting"</span>
                <kbd>"Ctrl K"</kbd>
            </button>
            <div class="top-actions">
                <Jobs />
                <Bell />
                <Account />
            </div>
        </header>
    }
}

/// How the site is, if that wants looking at.
#[component]
fn State() -> impl IntoView {
    let live = Live::get();
    move || {
        if live.stream.get() == Stream::Broken {
            return view! {
                <span class="pill info" role="status">
                    <span class="spin" aria-hidden="true"></span>
                    "Reconnecting"
                </span>
            }
            .into_any();
        }
        let faults = live.faults.all();
        let critical = faults
            .iter()
            .filter(|f| f.severity == Severity::Critical)
            .count();
        let warnings = faults
            .iter()
            .filter(|f| f.severity == Severity::Warning)
            .count();
        let (severity, words) = match (critical, warnings) {
            (0, 0) => return ().into_any(),
            (0, n) => (Severity::Warning, format::count(n, "warning", "warnings")),
            (n, _) => (Severity::Critical, format::count(n, "fault", "faults")),
        };
        let class = format!("pill {}", words::severity(severity).class());
        view! {
            <A href="/health" attr:class=class>
                {Icon::Alert.view()}
                {words}
            </A>
        }
        .into_any()
    }
}

#[component]
fn Account() -> impl IntoView {
    let sessions = Sessions::get();
    let user = move || {
        sessions
            .current()
            .map(|session| session.user.to_string())
            .unwrap_or_default()
    };
    let role = move || {
        sessions
            .current()
            .map(|session| words::role(session.role).0)
            .unwrap_or_default()
    };
    let theme = RwSignal::new(Theme::now());
    let letters = format::initials(&untrack(user));
    view! {
        <Menu label=Signal::derive(move || format!("Signed in as {}", user())) avatar=letters>
            <div class="who">
                <b>{user}</b>
                <br />
                {role}
            </div>
            <Separator />
            {Theme::ALL
                .into_iter()
                .map(|one| {
                    let label = Signal::derive(move || {
                        if theme.get() == one {
                            format!("{} (now)", one.words())
                        } else {
                            one.words().to_owned()
                        }
                    });
                    view! {
                        <Item
                            label
                            icon=one.icon()
                            on_press=move |()| {
                                one.choose();
                                theme.set(one);
                            }
                        />
                    }
                })
                .collect_view()}
            <Separator />
            <Go label="Password and sessions" icon=Icon::Key to="/settings/sessions" />
            <Go label="About this appliance" icon=Icon::Info to="/about" />
            <Item label="Sign out" icon=Icon::Out on_press=move |()| sessions.sign_out() />
        </Menu>
    }
}

#[component]
fn Go(label: &'static str, icon: Icon, to: &'static str) -> impl IntoView {
    let navigate = use_navigate();
    view! { <Item label icon on_press=move |()| navigate(to, Default::default()) /> }
}
