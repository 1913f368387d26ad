//! Shares and progress as bars. Widths are set through the style object, which
//! the content security policy allows; style attributes it does not.

use leptos::prelude::*;

use crate::format::percent;

/// One part of a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its share of the whole, 0 to 1.
    pub share: f64,
    /// Its class: `f1` to `f4`, `f-ok`, `f-warn`, `f-bad`, with `faded`.
    pub class: &'static str,
}

impl Part {
    /// A part.
    pub const fn new(share: f64, class: &'static str) -> Self {
        Part { share, class }
    }
}

fn width(share: f64) -> String {
    format!("{:.2}%", share.clamp(0.0, 1.0) * 100.0)
}

/// Parts of a whole, side by side.
#[component]
pub fn Meter(
    /// The parts.
    #[prop(into)]
    parts: Signal<Vec<Part>>,
    /// What is measured, for a screen reader.
    #[prop(into)]
    label: Signal<String>,
    /// True for a thick one.
    #[prop(optional)]
    large: bool,
) -> impl IntoView {
    let count = parts.with_untracked(Vec::len);
    let part = move |n: usize| parts.with(|parts| parts.get(n).cloned());
    view! {
        <div class="meter" class:l=large role="img" aria-label=label>
            {(0..count)
                .map(|n| {
                    view! {
                        <i
                            class=move || part(n).map_or("", |p| p.class)
                            style:width=move || width(part(n).map_or(0.0, |p| p.share))
                        ></i>
                    }
                })
                .collect_view()}
        </div>
    }
}

/// A share in a row of a list, with its number.
#[component]
pub fn SmallMeter(
    /// The share, 0 to 1.
    #[prop(into)]
    share: Signal<f64>,
) -> impl IntoView {
    let class = move || match share.get() {
        0.9.. => "f-bad",
        0.8.. => "f-warn",
        _ => "f1",
    };
    view! {
        <span class="nowrap">
            <span class="meter s" aria-hidden="true">
                <i class=class style:width=move || width(share.get())></i>
            </span>
            <span class="dim">{move || percent(share.get())}</span>
        </span>
    }
}

/// How far work has come.
#[component]
pub fn Progress(
    /// The share that is done; absent when it can not be told.
    #[prop(into)]
    share: Signal<Option<f64>>,
    /// What is done, for a screen reader.
    #[prop(into)]
    label: Signal<String>,
) -> impl IntoView {
    view! {
        <div
            class="progress"
            class:unknown=move || share.get().is_none()
            role="progressbar"
            aria-label=label
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=move || share.get().map(|share| format!("{:.0}", share * 100.0))
        >
            <i style:width=move || share.get().map_or_else(|| "30%".to_owned(), width)></i>
        </div>
    }
}
