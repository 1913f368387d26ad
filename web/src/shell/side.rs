//! The menu: one entry a page, with how many things are there and whether any
//! of them wants looking at.

use ashlar_api::event::Severity;
use ashlar_api::job::Kind;
use leptos::prelude::*;
use leptos_router::components::A;

use crate::components::Icon;
use crate::live::Live;

/// What stands behind an entry's name.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mark {
    #[default]
    None,
    Count(usize),
    Warning(usize),
    Critical(usize),
}

/// The menu.
#[component]
pub fn Side(open: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    // Faults of these nouns, or else how many there are.
    let mark = move |kinds: &'static [Kind], count: Option<usize>| {
        let faults = live.faults.all();
        let of = |severity| {
            faults
                .iter()
                .filter(|f| f.severity == severity)
                .filter(|f| f.subject.as_ref().is_some_and(|s| kinds.contains(&s.kind)))
                .count()
        };
        match (of(Severity::Critical), of(Severity::Warning), count) {
            (0, 0, Some(count)) if count > 0 => Mark::Count(count),
            (0, 0, _) => Mark::None,
            (0, n, _) => Mark::Warning(n),
            (n, _, _) => Mark::Critical(n),
        }
    };
    let vms = Memo::new(move |_| mark(&[Kind::Vm], live.vms.here().then(|| live.vms.count())));
    let images = Memo::new(move |_| mark(&[Kind::Image], None));
    let nodes = Memo::new(move |_| mark(&[Kind::Node, Kind::Service], None));
    let updates = Memo::new(move |_| mark(&[Kind::Update], None));
    let hardware = Memo::new(move |_| {
        live.hardware.with(|hardware| match hardware {
            Some(Ok(report)) => match (
                report.count(Severity::Critical),
                report.count(Severity::Warning),
            ) {
                (0, 0) => Mark::None,
                (0, n) => Mark::Warning(n),
                (n, _) => Mark::Critical(n),
            },
            _ => Mark::None,
        })
    });
    let storage = Memo::new(move |_| mark(&[Kind::Pool, Kind::Volume, Kind::Drive], None));
    let networks = Memo::new(move |_| mark(&[Kind::Network, Kind::Link], None));
    view! {
        <div class="side" class:open=move || open.get() on:click=move |_| open.set(false)>
            <nav aria-label="Main" on:keydown=move |event| {
                if event.key() == "Escape" {
                    open.set(false);
                }
            }>
                <Entry href="/" icon=Icon::Home label="Overview" />
                <Entry href="/vms" icon=Icon::Vm label="Virtual machines" mark=vms />
                <Entry href="/images" icon=Icon::Image label="Images" mark=images />
                <span class="sec">"Infrastructure"</span>
                <Entry href="/nodes" icon=Icon::Node label="Node" mark=nodes />
                <Entry href="/hardware" icon=Icon::Chip label="Hardware" mark=hardware />
                <Entry href="/storage" icon=Icon::Storage label="Storage" mark=storage />
                <Entry href="/networks" icon=Icon::Network label="Networks" mark=networks />
                <span class="sec">"Operate"</span>
                <Entry href="/health" icon=Icon::Pulse label="Health and history" />
                <Entry href="/jobs" icon=Icon::Jobs label="Jobs" />
                <Entry href="/updates" icon=Icon::Download label="Updates" mark=updates />
                <Entry href="/sizing" icon=Icon::Ruler label="Sizing" />
                <Entry href="/settings" icon=Icon::Gear label="Settings" />
            </nav>
        </div>
    }
}

#[component]
fn Entry(
    href: &'static str,
    icon: Icon,
    label: &'static str,
    #[prop(optional, into)] mark: Signal<Mark>,
) -> impl IntoView {
    let number = move || {
        match mark.get() {
        Mark::None => ().into_any(),
        Mark::Count(n) => view! { <span class="n">{n}</span> }.into_any(),
        Mark::Warning(n) => view! { <span class="n warn" title="Wants looking at">{n} <span class="sr">" wants looking at"</span></span> }.into_any(),
        Mark::Critical(n) => view! { <span class="n bad" title="Does not work">{n} <span class="sr">" does not work"</span></span> }.into_any(),
    }
    };
    view! {
        <A href=href exact=href == "/">
            {icon.view()}
            {label}
            {number}
        </A>
    }
}
