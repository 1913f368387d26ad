//! The end of the log of the node's program, for whoever asks what it did: the
//! newest line is at the bottom, and in sight. It is read when the page opens
//! and when somebody asks again; lines that move by themselves can not be read.

use ashlar_api::node::{Log as Read, Node};
use ashlar_api::{Timestamp, endpoint};
use leptos::prelude::*;

use crate::address;
use crate::client;
use crate::components::copy::copy;
use crate::components::table::matches;
use crate::components::{Bone, Button, Empty, Filter, Icon, Toasts, Trouble, Work};
use crate::format;
use crate::time::{self, Clock};

/// How many lines are asked for.
const MOST: &str = "500";

/// The log.
#[component]
pub fn Log(
    /// The node.
    node: Memo<Node>,
) -> impl IntoView {
    let toasts = Toasts::get();
    let clock = Clock::get();
    let work = Work::new();
    let filter = address::query("filter", true);
    let lines: RwSignal<Option<Vec<String>>> = RwSignal::new(None);
    let read_at: RwSignal<Option<Timestamp>> = RwSignal::new(None);
    let read = move || {
        let path = format!(
            "{}/{}/log",
            endpoint::NODES,
            node.with_untracked(|node| node.id)
        );
        let path = client::with_query(&path, "lines", MOST);
        work.run(
            async move { client::get::<Read>(&path).await },
            move |log| {
                lines.set(Some(log.lines));
                read_at.set(Some(time::now()));
            },
        );
    };
    read();
    let shown = Memo::new(move |_| {
        filter.with(|filter| lines.with(|lines| kept(lines.as_deref().unwrap_or_default(), filter)))
    });
    let page: NodeRef<leptos::html::Pre> = NodeRef::new();
    // Where a log is read from: its end, once the lines are in the page.
    Effect::new(move |_| {
        shown.track();
        if let Some(page) = page.get() {
            request_animation_frame(move || page.set_scroll_top(page.scroll_height()));
        }
    });
    let state = Memo::new(move |_| {
        let count = lines.with(|lines| lines.as_ref().map(Vec::len));
        match count {
            None if work.problem().with(Option::is_some) => State::Unread,
            None => State::Reading,
            Some(0) => State::Empty,
            Some(_) if shown.with(Vec::is_empty) => State::Filtered,
            Some(_) => State::Lines,
        }
    });
    let nothing = Signal::derive(move || {
        if shown.with(Vec::is_empty) {
            "There is no line to copy".to_owned()
        } else {
            String::new()
        }
    });
    view! {
        <div class="card flush">
            <div class="bar">
                <h2>"Log"</h2>
                <span class="dimmer small" aria-live="polite">
                    {move || {
                        read_at
                            .get()
                            .map(|at| {
                                let count = shown.with(Vec::len);
                                format!("{}, read at {}", format::count(count, "line", "lines"), clock.time(at))
                            })
                    }}
                </span>
                <Filter value=filter label="Filter by words" />
                <Button
                    label="Copy"
                    small=true
                    icon=Icon::Copy
                    barred=nothing
                    on_press=move |()| copy(shown.with_untracked(|lines| lines.join("\n")), toasts)
                />
                <Button
                    label="Read again"
                    small=true
                    icon=Icon::Restart
                    busy=work.busy()
                    on_press=move |()| read()
                />
            </div>
            {move || {
                work.problem()
                    .with(Option::is_some)
                    .then(|| view! { <div class="table-end"><Trouble problem=work.problem() /></div> })
            }}
            {move || match state.get() {
                State::Unread => ().into_any(),
                State::Reading => {
                    view! {
                        <div class="table-end stack" aria-busy="true">
                            <span class="sr">"Reading"</span>
                            <Bone width="100%" height="120px" />
                        </div>
                    }
                        .into_any()
                }
                State::Empty => {
                    view! {
                        <Empty
                            icon=Icon::Clock
                            title="The log is empty"
                            text="What the program of this node does and can not do is written here, line by line."
                        />
                    }
                        .into_any()
                }
                State::Filtered => {
                    view! { <p class="table-end">"No line has these words."</p> }.into_any()
                }
                State::Lines => {
                    view! {
                        <pre
                            class="log"
                            role="region"
                            aria-label="Lines of the log, the newest last"
                            tabindex="0"
                            node_ref=page
                        >
                            {move || shown.with(|lines| lines.join("\n"))}
                        </pre>
                    }
                        .into_any()
                }
            }}
        </div>
    }
}

/// What stands in place of the lines.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Unread,
    Reading,
    Empty,
    Filtered,
    Lines,
}

// The lines with all words of the filter.
fn kept(lines: &[String], filter: &str) -> Vec<String> {
    lines
        .iter()
        .filter(|line| matches(filter, &[line]))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn lines_keep_their_order() {
        let lines = ["storage: ready", "vm web-1: started", "storage: full"].map(str::to_owned);
        assert_eq!(kept(&lines, "").len(), 3);
        assert_eq!(kept(&lines, "STORAGE"), ["storage: ready", "storage: full"]);
        assert!(kept(&lines, "network").is_empty());
    }
}
