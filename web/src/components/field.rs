//! Fields. The error stands under its field, with the remedy, and is tied to it
//! for screen readers.

use leptos::prelude::*;

use super::{Form, Icon};
use crate::format::capital;

/// A number for an id that no other element has.
pub fn unique(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How long the reader pauses before an error shows.
pub const PAUSE_MS: u32 = 700;

/// When a field shows its error: once the reader paused, left it, or sent the form.
#[derive(Clone)]
struct Showing {
    path: String,
    form: Option<Form>,
    ready: RwSignal<bool>,
    edits: StoredValue<u32>,
}

impl Showing {
    fn new(path: String) -> Self {
        let form = use_context::<Form>();
        if let Some(form) = form.filter(|_| !path.is_empty()) {
            form.register(&path);
        }
        Showing {
            path,
            form,
            ready: RwSignal::new(false),
            edits: StoredValue::new(0),
        }
    }

    fn edited(&self) {
        if let Some(form) = self.form {
            form.touched(&self.path);
        }
        let (edits, ready) = (self.edits, self.ready);
        let edit = edits.get_value().wrapping_add(1);
        edits.set_value(edit);
        gloo_timers::callback::Timeout::new(PAUSE_MS, move || {
            if edits.try_get_value() == Some(edit) {
                let _ = ready.try_set(true);
            }
        })
        .forget();
    }

    fn left(&self, value: &str) {
        if !value.is_empty() {
            self.ready.set(true);
        }
    }

    fn error(&self) -> Option<String> {
        let form = self.form?;
        (self.ready.get() || form.all_shown() || form.refused(&self.path))
            .then(|| form.error(&self.path))
            .flatten()
            .map(|message| capital(&message))
    }
}

#[component]
fn Around(
    label: String,
    id: String,
    hint: Signal<String>,
    error: Signal<Option<String>>,
    optional: bool,
    class: &'static str,
    children: Children,
) -> impl IntoView {
    let note = format!("{id}-note");
    view! {
        <div class=format!("field {class}") class:wrong=move || error.with(Option::is_some)>
            {(!label.is_empty())
                .then(|| {
                    view! {
                        <label for=id>
                            {label}
                            {optional.then(|| view! { <span class="opt">" (optional)"</span> })}
                        </label>
                    }
                })} {children()} <div id=note aria-live="polite">
                {move || match error.get() {
                    Some(error) => {
                        view! { <p class="error">{Icon::Alert.view()} <span>{error}</span></p> }
                            .into_any()
                    }
                    None => {
                        let hint = hint.get();
                        (!hint.is_empty()).then(|| view! { <p class="hint">{hint}</p> }).into_any()
                    }
                }}
            </div>
        </div>
    }
}

/// A line of text.
#[component]
pub fn TextField(
    /// What is to be filled in; the field has its name from elsewhere when empty.
    #[prop(into)]
    label: String,
    /// The text.
    value: RwSignal<String>,
    /// Where the field is in the request, for its errors.
    #[prop(optional, into)]
    path: String,
    /// What would be right.
    #[prop(optional, into)]
    hint: Signal<String>,
    /// Type of the input.
    #[prop(default = "text")]
    kind: &'static str,
    /// An example.
    #[prop(optional, into)]
    placeholder: String,
    /// What the browser may fill in.
    #[prop(default = "off")]
    autocomplete: &'static str,
    /// Which keys a phone shows.
    #[prop(optional)]
    inputmode: &'static str,
    /// True if it may stay empty.
    #[prop(optional)]
    optional: bool,
    /// True to use the whole width.
    #[prop(optional)]
    wide: bool,
    /// True to have the focus at once.
    #[prop(optional)]
    autofocus: bool,
    /// Things to choose from.
    #[prop(optional)]
    list: Vec<String>,
    /// More classes.
    #[prop(optional)]
    class: &'static str,
    /// True if it can not be changed.
    #[prop(optional, into)]
    disabled: Signal<bool>,
    /// A name for screen readers when there is no label.
    #[prop(optional, into)]
    name: String,
) -> impl IntoView {
    let id = unique("field");
    let showing = StoredValue::new(Showing::new(path));
    let error = Signal::derive(move || showing.with_value(Showing::error));
    let list_id = format!("{id}-list");
    let has_list = !list.is_empty();
    let class = match (wide, class) {
        (true, "") => "wide",
        (_, class) => class,
    };
    let input: NodeRef<leptos::html::Input> = NodeRef::new();
    if autofocus {
        Effect::new(move |_| {
            if let Some(input) = input.get() {
                request_animation_frame(move || {
                    let _ = input.focus();
                });
            }
        });
    }
    view! {
        <Around label id=id.clone() hint error optional class>
            <input
                node_ref=input
                id=id.clone()
                type=kind
                placeholder=placeholder
                autocomplete=autocomplete
                inputmode=(!inputmode.is_empty()).then_some(inputmode)
                spellcheck="false"
                autocapitalize="off"
                list=has_list.then(|| list_id.clone())
                aria-label=(!name.is_empty()).then_some(name)
                aria-describedby=format!("{id}-note")
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-required=(!optional).then_some("true")
                disabled=disabled
                prop:value=value
                on:input=move |event| {
                    value.set(event_target_value(&event));
                    showing.with_value(Showing::edited);
                }
                on:blur=move |_| value.with_untracked(|v| showing.with_value(|s| s.left(v)))
            />
            {has_list
                .then(|| {
                    view! {
                        <datalist id=list_id>
                            {list.into_iter().map(|one| view! { <option value=one></option> }).collect_view()}
                        </datalist>
                    }
                })}
        </Around>
    }
}

/// Several lines of text.
#[component]
pub fn AreaField(
    /// What is to be filled in.
    #[prop(into)]
    label: String,
    /// The text.
    value: RwSignal<String>,
    /// Where the field is in the request, for its errors.
    #[prop(optional, into)]
    path: String,
    /// What would be right.
    #[prop(optional, into)]
    hint: Signal<String>,
    /// An example.
    #[prop(optional, into)]
    placeholder: String,
    /// True if it may stay empty.
    #[prop(optional)]
    optional: bool,
    /// True for code: fixed width.
    #[prop(optional)]
    code: bool,
) -> impl IntoView {
    let id = unique("field");
    let showing = StoredValue::new(Showing::new(path));
    let error = Signal::derive(move || showing.with_value(Showing::error));
    view! {
        <Around label id=id.clone() hint error optional class="wide">
            <textarea
                id=id.clone()
                class:code=code
                placeholder=placeholder
                spellcheck=if code { "false" } else { "true" }
                aria-describedby=format!("{id}-note")
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                prop:value=value
                on:input=move |event| {
                    value.set(event_target_value(&event));
                    showing.with_value(Showing::edited);
                }
                on:blur=move |_| value.with_untracked(|v| showing.with_value(|s| s.left(v)))
            ></textarea>
        </Around>
    }
}

/// One of several, from a menu.
#[component]
pub fn SelectField(
    /// What is chosen.
    #[prop(into)]
    label: String,
    /// The key of what is chosen.
    value: RwSignal<String>,
    /// What can be chosen: keys and words.
    #[prop(into)]
    options: Signal<Vec<(String, String)>>,
    /// Where the field is in the request, for its errors.
    #[prop(optional, into)]
    path: String,
    /// What the choice means.
    #[prop(optional, into)]
    hint: Signal<String>,
    /// True if it may stay empty.
    #[prop(optional)]
    optional: bool,
    /// A name for screen readers when there is no label.
    #[prop(optional, into)]
    name: String,
) -> impl IntoView {
    let id = unique("field");
    let showing = StoredValue::new(Showing::new(path));
    let error = Signal::derive(move || showing.with_value(Showing::error));
    let choices = move || {
        let chosen = value.get();
        options.with(|options| {
            options
                .iter()
                .map(|(key, words)| {
                    view! {
                        <option value=key.clone() selected=*key == chosen>
                            {words.clone()}
                        </option>
                    }
                })
                .collect_view()
        })
    };
    view! {
        <Around label id=id.clone() hint error optional class="">
            <select
                id=id.clone()
                aria-label=(!name.is_empty()).then_some(name)
                aria-describedby=format!("{id}-note")
                prop:value=value
                on:change=move |event| {
                    value.set(event_target_value(&event));
                    showing.with_value(Showing::edited);
                }
            >
                {choices}
            </select>
        </Around>
    }
}

/// Yes or no.
#[component]
pub fn Tick(
    /// What yes means.
    #[prop(into)]
    label: String,
    /// The answer.
    value: RwSignal<bool>,
    /// What follows from it.
    #[prop(optional, into)]
    hint: String,
) -> impl IntoView {
    view! {
        <label class="tick">
            <input
                type="checkbox"
                prop:checked=value
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <span>
                {label}
                {(!hint.is_empty()).then(|| view! { <span class="hint"><br />{hint}</span> })}
            </span>
        </label>
    }
}
