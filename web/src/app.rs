//! Which face the console shows: setup, sign-in or the shell, and which page is
//! at which address. The address stays while somebody signs in, so a link leads
//! where it should.

use leptos::prelude::*;
use leptos_router::components::{A, FlatRoutes, Route, Router};
use leptos_router::hooks::use_location;
use leptos_router::path;

use crate::components::notice::sentence;
use crate::components::{Button, Empty, Icon, Look, Toasts, logo};
use crate::format::capital;
use crate::live::Live;
use crate::pages;
use crate::session::{Access, Sessions};
use crate::shell::{Head, Shell};
use crate::time::Clock;
use crate::upload::Uploads;

/// The console.
#[component]
pub fn App() -> impl IntoView {
    provide_context(Clock::start());
    provide_context(Toasts::new());
    let sessions = Sessions::start();
    provide_context(sessions);
    // One face at a time; a change inside a session does not build the page anew.
    let face = Memo::new(move |_| match sessions.access() {
        Access::Asking => Face::Splash,
        Access::Unreachable(_) => Face::Unreachable,
        Access::Unclaimed => Face::Setup,
        Access::SignedOut { .. } => Face::SignIn,
        Access::SignedIn(session) => Face::Shell(session.id.to_string()),
    });
    view! {
        <Router>
            {move || match face.get() {
                Face::Splash => view! { <Splash /> }.into_any(),
                Face::Unreachable => view! { <Unreachable /> }.into_any(),
                Face::Setup => view! { <pages::setup::Claim /> }.into_any(),
                Face::SignIn => view! { <pages::signin::SignIn /> }.into_any(),
                Face::Shell(_) => view! { <SignedIn /> }.into_any(),
            }}
        </Router>
    }
}

#[derive(Clone, PartialEq)]
enum Face {
    Splash,
    Unreachable,
    Setup,
    SignIn,
    // The id keeps what one person typed away from the next.
    Shell(String),
}

#[component]
fn Splash() -> impl IntoView {
    view! {
        <div class="splash">
            {logo()} <p>"Opening the console"</p>
        </div>
    }
}

#[component]
fn Unreachable() -> impl IntoView {
    let sessions = Sessions::get();
    let timer = gloo_timers::callback::Interval::new(5000, move || sessions.retry());
    let timer = StoredValue::new_local(Some(timer));
    on_cleanup(move || timer.update_value(|timer| *timer = None));
    let why = move || match sessions.access() {
        Access::Unreachable(Some(problem)) => (
            capital(&problem.title),
            sentence(&[&problem.detail, &problem.remedy]),
        ),
        _ => (
            "The appliance does not answer".to_owned(),
            "It may still be starting.".to_owned(),
        ),
    };
    view! {
        <div class="splash">
            {logo()} <div>
                <h1>{move || why().0}</h1>
                <p>{move || why().1} " This page tries again every five seconds."</p>
            </div>
            <Button label="Try now" look=Look::Primary on_press=move |()| sessions.retry() />
        </div>
    }
}

#[component]
fn SignedIn() -> impl IntoView {
    let live = Live::start(Sessions::get());
    provide_context(live);
    provide_context(Uploads::new(live));
    let path = use_location().pathname;
    let setup =
        Memo::new(move |_| path.with(|path| path == "/setup" || path.starts_with("/setup/")));
    move || {
        if setup.get() {
            view! { <pages::setup::Continue /> }.into_any()
        } else {
            view! { <Pages /> }.into_any()
        }
    }
}

#[component]
fn Pages() -> impl IntoView {
    view! {
        <Shell>
            <FlatRoutes fallback=|| view! { <NoPage /> }>
                <Route path=path!("/") view=pages::overview::Overview />
                <Route path=path!("/vms") view=pages::vms::Vms />
                <Route path=path!("/vms/new") view=pages::vms::create::CreateVm />
                <Route path=path!("/vms/:id/:tab?") view=pages::vms::detail::VmPage />
                <Route path=path!("/images") view=pages::images::Images />
                <Route path=path!("/nodes") view=pages::nodes::Nodes />
                <Route path=path!("/hardware") view=pages::hardware::Hardware />
                <Route path=path!("/storage") view=pages::storage::Storage />
                <Route path=path!("/networks") view=pages::networks::Networks />
                <Route path=path!("/networks/:id") view=pages::networks::detail::NetworkPage />
                <Route path=path!("/updates") view=pages::updates::Updates />
                <Route path=path!("/jobs") view=pages::jobs::Jobs />
                <Route path=path!("/health") view=pages::health::Health />
                <Route path=path!("/sizing") view=pages::sizing::SizingPage />
                <Route path=path!("/settings/:tab?") view=pages::settings::Settings />
                <Route path=path!("/about") view=pages::about::About />
            </FlatRoutes>
        </Shell>
    }
}

#[component]
fn NoPage() -> impl IntoView {
    view! {
        <Head title="No such page" />
        <div class="card">
            <Empty
                icon=Icon::Find
                title="There is nothing at this address"
                text="It may have been deleted, or the link is wrong. Ctrl K finds machines, drives, addresses and settings."
            >
                <A href="/" attr:class="btn pri">
                    "Overview"
                </A>
            </Empty>
        </div>
    }
}
