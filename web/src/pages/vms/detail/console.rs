//! The screen and the serial line of a machine, live. Both connect again by
//! themselves while the machine runs: a supervisor that starts anew or a network
//! that was away only costs a moment.

use ashlar_api::endpoint;
use ashlar_api::user::Role;
use ashlar_api::vm::{Vm, VmPhase};
use js_sys::{Array, Function, Reflect};
use leptos::prelude::*;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CustomEvent, HtmlElement};

use super::super::actions::VmButtons;
use crate::components::{AreaField, Button, Dialog, Icon, Item, Look, Menu, Toasts};
use crate::module;
use crate::session::Sessions;

const FIRST_WAIT_MS: u32 = 500;
const LONGEST_WAIT_MS: u32 = 10_000;

/// How the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    Lost,
}

/// A connection to a custom element that says how it stands.
#[derive(Clone, Copy)]
struct Line {
    state: RwSignal<State>,
    attempt: RwSignal<u32>,
    tries: StoredValue<u32>,
    ever: RwSignal<bool>,
    element: StoredValue<Option<HtmlElement>, LocalStorage>,
}

/// The WebSocket address of a path on the appliance.
fn socket(path: &str) -> String {
    let location = window().location();
    let scheme = if location.protocol().as_deref() == Ok("http:") {
        "ws"
    } else {
        "wss"
    };
    format!("{scheme}://{}{path}", location.host().unwrap_or_default())
}

impl Line {
    fn new() -> Self {
        Line {
            state: RwSignal::new(State::Connecting),
            attempt: RwSignal::new(0),
            tries: StoredValue::new(0),
            ever: RwSignal::new(false),
            element: StoredValue::new_local(None),
        }
    }

    /// Calls a method of the element.
    fn call(self, method: &str, arguments: &[JsValue]) -> Option<JsValue> {
        let element = self.element.get_value()?;
        let function: Function = Reflect::get(&element, &method.into())
            .ok()?
            .dyn_into()
            .ok()?;
        function
            .apply(&element, &arguments.iter().collect::<Array>())
            .ok()
    }

    /// Makes the element connect again.
    fn again(self) {
        self.state.set(State::Connecting);
        self.attempt
            .update(|attempt| *attempt = attempt.wrapping_add(1));
    }
}

#[component]
fn Stage(vm: Memo<Vm>, tag: &'static str, what: &'static str, line: Line) -> impl IntoView {
    let url = socket(&format!(
        "{}/{}/{what}",
        endpoint::VMS,
        vm.with_untracked(|vm| vm.id)
    ));
    let phase = Memo::new(move |_| vm.with(|vm| vm.status.phase));
    let runs = Memo::new(move |_| {
        matches!(
            phase.get(),
            VmPhase::Running | VmPhase::Paused | VmPhase::Stopping
        )
    });
    // A supervisor that has just been started tells of a machine that runs as one that starts: what is on the page stays.
    let there = Memo::new(move |_| runs.get() || phase.get() == VmPhase::Starting);
    // The element exists while the machine may run; it closes its connection when it goes.
    Effect::new(move |_| {
        if runs.get() {
            line.tries.set_value(0);
            if line.state.get_untracked() == State::Lost {
                line.again();
            }
        }
    });
    Effect::new(move |_| {
        if there.get() {
            line.state.set(State::Connecting);
        }
    });
    let heard = Closure::<dyn FnMut(CustomEvent)>::new(move |event: CustomEvent| {
        let state = Reflect::get(&event.detail(), &"state".into())
            .ok()
            .and_then(|state| state.as_string());
        match state.as_deref() {
            Some("connected") => {
                line.tries.set_value(0);
                line.ever.set(true);
                line.state.set(State::Connected);
            }
            Some("lost" | "refused") => {
                line.state.set(State::Lost);
                let tries = line.tries.get_value();
                line.tries.set_value(tries + 1);
                let wait = FIRST_WAIT_MS
                    .saturating_mul(1 << tries.min(6))
                    .min(LONGEST_WAIT_MS);
                gloo_timers::callback::Timeout::new(wait, move || {
                    let still = line.state.try_get_untracked() == Some(State::Lost)
                        && there.try_get_untracked() == Some(true);
                    if still {
                        line.again();
                    }
                })
                .forget();
            }
            _ => {}
        }
    });
    let heard = StoredValue::new_local(heard);
    let node = NodeRef::new();
    Effect::new(move |_| {
        let Some(element) = node.get() else {
            line.element.set_value(None);
            return;
        };
        let element: &HtmlElement = &element;
        heard.with_value(|heard| {
            let _ =
                element.add_event_listener_with_callback("state", heard.as_ref().unchecked_ref());
        });
        line.element.set_value(Some(element.clone()));
    });
    let element = move || {
        there.get().then(|| {
            leptos::html::custom(tag)
                .attr("url", url.clone())
                .attr("try", move || line.attempt.get().to_string())
                .attr("tabindex", "0")
                .node_ref(node)
        })
    };
    let over = move || {
        if !there.get() {
            return view! {
                <div class="console-over">
                    <b>"The machine does not run"</b>
                    <VmButtons vm />
                </div>
            }
            .into_any();
        }
        match (line.state.get(), line.ever.get()) {
            (State::Connected, _) => ().into_any(),
            (_, false) => view! { <div class="console-over">"Connecting"</div> }.into_any(),
            (_, true) => view! {
                <div class="console-over" role="status">
                    <span class="row">
                        <span class="spin" aria-hidden="true"></span>
                        "Connecting again"
                    </span>
                </div>
            }
            .into_any(),
        }
    };
    view! { <div class="console-stage">{element} {over}</div> }
}

/// A bar with what can be done, and the stage below.
#[component]
fn Frame(
    label: &'static str,
    node: NodeRef<leptos::html::Section>,
    children: Children,
) -> impl IntoView {
    view! {
        <section class="console" aria-label=label node_ref=node>
            {children()}
        </section>
    }
}

/// Fills the screen of the reader with this part of the page, or gives it back.
fn fill(node: NodeRef<leptos::html::Section>) {
    if document().fullscreen_element().is_some() {
        document().exit_fullscreen();
    } else if let Some(frame) = node.get_untracked() {
        // A browser that refuses leaves the page as it is, which works too.
        let _ = frame.request_fullscreen();
    }
}

/// True if the reader may open screens; says so if not.
fn may() -> bool {
    untrack(|| Sessions::get().may(Role::Operator))
}

#[component]
fn NotAllowed() -> impl IntoView {
    view! { <p class="card dim">"Your role does not allow opening screens. An administrator can change it."</p> }
}

/// The graphical screen.
#[component]
pub fn Screen(vm: Memo<Vm>) -> impl IntoView {
    if !may() {
        return view! { <NotAllowed /> }.into_any();
    }
    module::load("vnc");
    let line = Line::new();
    let node = NodeRef::new();
    let typing = RwSignal::new(false);
    let shot = format!(
        "{}/{}/screenshot",
        endpoint::VMS,
        vm.with_untracked(|vm| vm.id)
    );
    let file = vm.with_untracked(|vm| format!("{}.png", vm.spec.name));
    view! {
        <Frame label="Screen" node>
            <div class="console-bar">
                <Button
                    label="Ctrl Alt Del"
                    small=true
                    icon=Icon::Keyboard
                    on_press=move |()| {
                        line.call("ctrlAltDel", &[]);
                    }
                />
                <Button
                    label="Type a text"
                    small=true
                    icon=Icon::Edit
                    on_press=move |()| typing.set(true)
                />
                <a class="btn s" href=shot download=file rel="external">
                    {Icon::Download.view()}
                    "Save picture"
                </a>
                <span class="push">
                    <Button
                        label="Full screen"
                        small=true
                        icon=Icon::Expand
                        on_press=move |()| fill(node)
                    />
                </span>
            </div>
            <Stage vm tag="ashlar-vnc" what="vnc" line />
        </Frame>
        <Dialog open=typing title="Type a text">
            <TypeText line close=typing />
        </Dialog>
    }
    .into_any()
}

#[component]
fn TypeText(line: Line, close: RwSignal<bool>) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let send = move || {
        close.set(false);
        line.call("type", &[text.get_untracked().into()]);
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <AreaField
                    label="Text"
                    value=text
                    hint="Typed into the machine key by key, for passwords and commands that are too long to type. The guest must use the keyboard layout of the United States."
                    code=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Type it" look=Look::Primary submit=true />
            </div>
        </form>
    }
}

/// The serial line.
#[component]
pub fn Serial(vm: Memo<Vm>) -> impl IntoView {
    if !may() {
        return view! { <NotAllowed /> }.into_any();
    }
    module::load("serial");
    let line = Line::new();
    let node = NodeRef::new();
    let toasts = Toasts::get();
    let name = vm.with_untracked(|vm| vm.spec.name.to_string());
    let key = move |text: &'static str| {
        Callback::new(move |()| {
            line.call("send", &[text.into()]);
            line.call("focus", &[]);
        })
    };
    view! {
        <Frame label="Serial line" node>
            <div class="console-bar">
                <span class="dim small">"What the guest writes to its first serial port, and what you type there."</span>
                <span class="push row">
                    <Menu label="Keys" words="Keys">
                        <Item label="Ctrl C" icon=Icon::Keyboard on_press=key("\u{3}") />
                        <Item label="Ctrl D" icon=Icon::Keyboard on_press=key("\u{4}") />
                        <Item label="Ctrl Z" icon=Icon::Keyboard on_press=key("\u{1a}") />
                        <Item label="Escape" icon=Icon::Keyboard on_press=key("\u{1b}") />
                    </Menu>
                    <Button
                        label="Copy all"
                        small=true
                        icon=Icon::Copy
                        on_press=move |()| {
                            let text = line.call("text", &[]).and_then(|text| text.as_string());
                            crate::components::copy::copy(text.unwrap_or_default(), toasts);
                        }
                    />
                    <Button
                        label="Full screen"
                        small=true
                        icon=Icon::Expand
                        on_press=move |()| fill(node)
                    />
                </span>
            </div>
            <Stage vm tag="ashlar-serial" what="serial" line />
        </Frame>
        <p class="dimmer small">
            {format!("The same on the command line: ashlar console {name}")}
        </p>
    }
    .into_any()
}
