//! A fault as a story: what, since when, what to do, and one button that helps.

use ashlar_api::fault::Fault;
use leptos::prelude::*;

use crate::components::notice::sentence;
use crate::components::{LinkButton, Notice};
use crate::format;
use crate::time::Clock;
use crate::words;

/// A fault.
#[component]
pub fn FaultNotice(
    /// What is wrong.
    fault: Fault,
) -> impl IntoView {
    let clock = Clock::get();
    let since = format!(
        "since {}",
        match untrack(|| clock.since(fault.since)) {
            age @ 0..86_400 => format::duration(age),
            _ => clock.exact(fault.since),
        }
    );
    let text = format!("{} ({since})", sentence(&[&fault.detail, &fault.remedy]));
    let link = fault.subject.as_ref().map(|subject| {
        (
            words::address(subject),
            format!("Show {}", words::kind_word(subject.kind)),
        )
    });
    view! {
        <Notice tone=words::severity(fault.severity) title=fault.title text=text.trim_start().to_owned()>
            {link.map(|(href, label)| view! { <LinkButton href label small=true /> })}
        </Notice>
    }
}
