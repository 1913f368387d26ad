//! Windows above the page, by the browser's own `<dialog>`: it keeps the focus
//! inside, closes on Escape and hides the page from screen readers. When it
//! closes, the focus goes back to where it was.

use ashlar_api::error::Problem;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDialogElement, HtmlElement};

use super::{Button, Icon, Look, TextField, Trouble};

/// A window above the page. Its content exists only while it is open.
#[component]
pub fn Dialog(
    /// True while it is open.
    open: RwSignal<bool>,
    /// What it is about.
    #[prop(into)]
    title: Signal<String>,
    /// True for a wide one.
    #[prop(optional)]
    large: bool,
    /// The content.
    children: ChildrenFn,
) -> impl IntoView {
    let children = StoredValue::new(children);
    view! {
        <Show when=move || open.get()>
            <Window open title large>
                {children.with_value(|children| children())}
            </Window>
        </Show>
    }
}

#[component]
fn Window(
    open: RwSignal<bool>,
    title: Signal<String>,
    large: bool,
    children: Children,
) -> impl IntoView {
    let element: NodeRef<leptos::html::Dialog> = NodeRef::new();
    let before = document()
        .active_element()
        .and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let before = StoredValue::new_local(before);
    Effect::new(move |_| {
        if let Some(element) = element.get() {
            let element: &HtmlDialogElement = &element;
            if !element.open() {
                let _ = element.show_modal();
            }
        }
    });
    on_cleanup(move || {
        let before = before.try_update_value(Option::take).flatten();
        if let Some(before) = before.filter(|element| element.is_connected()) {
            let _ = before.focus();
        }
    });
    view! {
        <dialog
            node_ref=element
            class:large=large
            aria-label=title
            on:close=move |_| open.set(false)
            on:mousedown=move |event| {
                let on_veil = event
                    .target()
                    .and_then(|target| target.dyn_into::<HtmlDialogElement>().ok())
                    .is_some();
                if on_veil && outside(&event) {
                    open.set(false);
                }
            }
        >
            <div class="dialog-head">
                <h2>{title}</h2>
                <button
                    type="button"
                    class="iconbtn"
                    aria-label="Close"
                    on:click=move |_| open.set(false)
                >
                    {Icon::Close.view()}
                </button>
            </div>
            {children()}
        </dialog>
    }
}

// A press on the veil reaches the dialog itself, outside its box.
fn outside(event: &web_sys::MouseEvent) -> bool {
    let Some(element) = event
        .target()
        .and_then(|t| t.dyn_into::<HtmlElement>().ok())
    else {
        return false;
    };
    let bounds = element.get_bounding_client_rect();
    let (x, y) = (f64::from(event.client_x()), f64::from(event.client_y()));
    x < bounds.left() || x > bounds.right() || y < bounds.top() || y > bounds.bottom()
}

/// Asks before something is done that is not done lightly; before something is
/// destroyed it names it, says what is lost, and wants its name typed.
#[component]
pub fn Confirm(
    /// True while it asks.
    open: RwSignal<bool>,
    /// The question, such as "Delete web-01".
    #[prop(into)]
    title: Signal<String>,
    /// What will be lost.
    #[prop(into)]
    text: Signal<String>,
    /// The name to be typed; none is asked for when empty.
    #[prop(optional, into)]
    name: Signal<String>,
    /// What the button says.
    #[prop(into)]
    verb: String,
    /// How the button looks: what destroys nothing is not painted so.
    #[prop(default = Look::Danger)]
    look: Look,
    /// True while it is being done.
    #[prop(optional, into)]
    busy: Signal<bool>,
    /// Why it could not be done.
    #[prop(optional, into)]
    problem: Signal<Option<Problem>>,
    /// More to choose or to know.
    #[prop(optional)]
    children: Option<ChildrenFn>,
    /// Does it.
    #[prop(into)]
    on_confirm: Callback<()>,
) -> impl IntoView {
    let children = StoredValue::new(children);
    let verb = StoredValue::new(verb);
    let typed = RwSignal::new(String::new());
    Effect::new(move |_| {
        if open.get() {
            typed.set(String::new());
        }
    });
    let right =
        move || name.with(|name| name.is_empty() || typed.with(|typed| typed.trim() == name));
    let barred = Signal::derive(move || {
        if right() {
            String::new()
        } else {
            format!("Type {} first", name.get())
        }
    });
    view! {
        <Dialog open title>
            <form on:submit=move |event| {
                event.prevent_default();
                if right() && !busy.get_untracked() {
                    on_confirm.run(());
                }
            }>
                <div class="dialog-body">
                    <Trouble problem />
                    <p>{text}</p>
                    {children.with_value(|children| children.as_ref().map(|children| children()))}
                    {move || {
                        (!name.with(String::is_empty))
                            .then(|| {
                                view! {
                                    <TextField
                                        label=format!("Type {} to confirm", name.get())
                                        value=typed
                                        wide=true
                                        autofocus=true
                                    />
                                }
                            })
                    }}
                </div>
                <div class="dialog-foot">
                    <Button label="Cancel" on_press=move |()| open.set(false) />
                    <Button label=verb.get_value() look submit=true busy barred />
                </div>
            </form>
        </Dialog>
    }
}
