//! A story about something wrong: what, and what to do. Errors of requests are
//! shown the same way.

use ashlar_api::error::Problem;
use leptos::prelude::*;

use super::{Icon, Tone};
use crate::format::capital;

/// A story with at most one act that helps.
#[component]
pub fn Notice(
    /// How bad it is.
    tone: Tone,
    /// What is so, in a short sentence.
    #[prop(into)]
    title: String,
    /// More, and what to do.
    #[prop(optional, into)]
    text: String,
    /// The act that helps.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let icon = match tone {
        Tone::Info | Tone::Off => Icon::Info,
        tone => tone.icon(),
    };
    let role = if tone == Tone::Bad { "alert" } else { "status" };
    view! {
        <div class=format!("notice {}", tone.class()) role=role>
            {icon.view()}
            <div>
                <b>{title}</b>
                {(!text.is_empty()).then(|| view! { <p>{text}</p> })}
            </div>
            {children.map(|children| view! { <div class="act">{children()}</div> })}
        </div>
    }
}

/// The problem of a request, if there is one.
#[component]
pub fn Trouble(
    /// The problem.
    #[prop(into)]
    problem: Signal<Option<Problem>>,
) -> impl IntoView {
    move || {
        problem.get().map(|problem| {
            let text = sentence(&[&problem.detail, &problem.remedy]);
            view! { <Notice tone=Tone::Bad title=capital(&problem.title) text=text /> }
        })
    }
}

/// Parts as sentences, one after the other.
pub fn sentence(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
    {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&capital(part));
        if !part.ends_with(['.', '!', '?', ':', '…']) {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn sentences_end() {
        assert_eq!(
            sentence(&["the pool is full", "", "Delete a volume."]),
            "The pool is full. Delete a volume."
        );
        assert_eq!(sentence(&["", " "]), "");
    }
}
