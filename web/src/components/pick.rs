//! One of few, all in sight: with an explanation each, or as a row of words.

use leptos::prelude::*;

use super::field::unique;

/// One choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What it means.
    pub text: String,
}

impl Choice {
    /// A choice.
    pub fn new(key: impl Into<String>, name: impl Into<String>, text: impl Into<String>) -> Self {
        Choice {
            key: key.into(),
            name: name.into(),
            text: text.into(),
        }
    }
}

/// Choices with explanations.
#[component]
pub fn Picks(
    /// What is chosen.
    #[prop(into)]
    label: String,
    /// The key of what is chosen.
    value: RwSignal<String>,
    /// The choices.
    #[prop(into)]
    choices: Signal<Vec<Choice>>,
    /// True to put them side by side.
    #[prop(optional)]
    across: bool,
) -> impl IntoView {
    let group = unique("pick");
    view! {
        <fieldset class="field wide">
            <legend>{label}</legend>
            <div class="picks" class:across=across>
                {move || {
                    choices
                        .get()
                        .into_iter()
                        .map(|choice| {
                            let key = choice.key.clone();
                            let chosen = {
                                let key = key.clone();
                                move || value.with(|value| *value == key)
                            };
                            view! {
                                <label class="pick">
                                    <input
                                        type="radio"
                                        name=group.clone()
                                        prop:checked=chosen
                                        on:change=move |_| value.set(key.clone())
                                    />
                                    <div>
                                        <b>{choice.name}</b>
                                        {(!choice.text.is_empty())
                                            .then(|| view! { <div class="dim small">{choice.text}</div> })}
                                    </div>
                                </label>
                            }
                        })
                        .collect_view()
                }}
            </div>
        </fieldset>
    }
}

/// Choices as a row of words.
#[component]
pub fn Segments(
    /// What is chosen, for a screen reader.
    #[prop(into)]
    label: String,
    /// The key of what is chosen.
    value: RwSignal<String>,
    /// Keys and words.
    choices: Vec<(&'static str, &'static str)>,
) -> impl IntoView {
    let group = unique("segment");
    view! {
        <div class="seg" role="radiogroup" aria-label=label>
            {choices
                .into_iter()
                .map(|(key, words)| {
                    view! {
                        <label>
                            <input
                                type="radio"
                                name=group.clone()
                                prop:checked=move || value.with(|value| value == key)
                                on:change=move |_| value.set(key.to_owned())
                            />
                            {words}
                        </label>
                    }
                })
                .collect_view()}
        </div>
    }
}
