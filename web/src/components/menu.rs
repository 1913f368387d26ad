//! What opens under a button of the top bar or a row: acts, or a panel of
//! things to look at. Closes on Escape, on a press elsewhere, and when an act
//! was chosen; arrow keys walk through the acts.

use leptos::ev;
use leptos::prelude::*;
use leptos_router::components::A;
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, Node};

use super::{Icon, Tone};

/// Tells what is inside a menu that it can be closed.
#[derive(Clone, Copy)]
struct Closer(RwSignal<bool>);

/// What opens the menu.
#[derive(Clone)]
enum Opener {
    Icon(Icon),
    Words(String),
    Avatar(String),
}

#[component]
fn Drop(
    opener: Opener,
    label: Signal<String>,
    dot: Signal<Option<Tone>>,
    panel: bool,
    on_open: Option<Callback<()>>,
    children: ChildrenFn,
) -> impl IntoView {
    let open = RwSignal::new(false);
    provide_context(Closer(open));
    let wrap: NodeRef<leptos::html::Div> = NodeRef::new();
    let trigger: NodeRef<leptos::html::Button> = NodeRef::new();
    let outside = window_event_listener(ev::pointerdown, move |event| {
        let inside = wrap.get_untracked().is_some_and(|wrap| {
            let target = event.target().and_then(|t| t.dyn_into::<Node>().ok());
            wrap.contains(target.as_ref())
        });
        if !inside && open.get_untracked() {
            open.set(false);
        }
    });
    let scrolled = window_event_listener(ev::scroll, move |_| {
        if open.get_untracked() && !panel {
            open.set(false);
        }
    });
    on_cleanup(move || {
        outside.remove();
        scrolled.remove();
    });
    // A menu in a table would be cut off where the table scrolls: it stands at a place of the window.
    let menu: NodeRef<leptos::html::Div> = NodeRef::new();
    let place = RwSignal::new((0.0, 0.0));
    Effect::new(move |_| {
        if let (Some(menu), Some(trigger)) = (menu.get(), trigger.get_untracked())
            && !panel
        {
            place.set(beside(&trigger, &menu));
        }
    });
    let children = StoredValue::new(children);
    let close = move || {
        open.set(false);
        if let Some(trigger) = trigger.get_untracked() {
            let _ = trigger.focus();
        }
    };
    let keys = move |event: web_sys::KeyboardEvent| match event.key().as_str() {
        "Escape" if open.get_untracked() => {
            event.prevent_default();
            event.stop_propagation();
            close();
        }
        key @ ("ArrowDown" | "ArrowUp" | "Home" | "End") if open.get_untracked() && !panel => {
            event.prevent_default();
            if let Some(wrap) = wrap.get_untracked() {
                walk(&wrap, key);
            }
        }
        _ => {}
    };
    let class = match opener {
        Opener::Icon(_) => "iconbtn",
        Opener::Words(_) => "btn",
        Opener::Avatar(_) => "avatar",
    };
    let face = match opener {
        Opener::Icon(icon) => icon.view(),
        Opener::Avatar(letters) => letters.into_any(),
        Opener::Words(words) => view! { {words} {Icon::Down.view()} }.into_any(),
    };
    view! {
        <div class="menu-wrap" class:sheet=panel node_ref=wrap on:keydown=keys>
            <button
                type="button"
                class=class
                node_ref=trigger
                aria-label=label
                title=label
                aria-haspopup=if panel { "dialog" } else { "menu" }
                aria-expanded=move || open.get().to_string()
                on:click=move |_| {
                    open.update(|open| *open = !*open);
                    if open.get_untracked() && let Some(on_open) = on_open {
                        on_open.run(());
                    }
                }
            >
                {face}
                {move || {
                    dot.get()
                        .map(|tone| {
                            let class = format!("dot {}", tone.class());
                            view! { <span class=class></span> }
                        })
                }}
            </button>
            <Show when=move || open.get()>
                <div
                    class="menu"
                    class:wide-menu=panel
                    class:placed=!panel
                    style:left=move || (!panel).then(|| format!("{}px", place.get().0))
                    style:top=move || (!panel).then(|| format!("{}px", place.get().1))
                    node_ref=menu
                    role=if panel { "dialog" } else { "menu" }
                    aria-label=label
                >
                    {children.with_value(|children| children())}
                </div>
            </Show>
        </div>
    }
}

/// Where a menu stands: under its button, or above where there is no room.
fn beside(trigger: &HtmlElement, menu: &HtmlElement) -> (f64, f64) {
    const GAP: f64 = 6.0;
    const EDGE: f64 = 8.0;
    let button = trigger.get_bounding_client_rect();
    let (width, height) = (
        f64::from(menu.offset_width()),
        f64::from(menu.offset_height()),
    );
    let root = document().document_element();
    let window_size = root.map_or((0, 0), |root| (root.client_width(), root.client_height()));
    let (all_width, all_height) = (f64::from(window_size.0), f64::from(window_size.1));
    let left = (button.right() - width)
        .min(all_width - width - EDGE)
        .max(EDGE);
    let under = button.bottom() + GAP;
    let above = button.top() - GAP - height;
    let top = if under + height + EDGE > all_height && above > 0.0 {
        above
    } else {
        under
    };
    (left, top)
}

fn walk(wrap: &HtmlElement, key: &str) {
    let Ok(list) = wrap.query_selector_all(".item:not(:disabled)") else {
        return;
    };
    let items: Vec<HtmlElement> = (0..list.length())
        .filter_map(|n| list.get(n).and_then(|node| node.dyn_into().ok()))
        .collect();
    let now = document().active_element().and_then(|active| {
        items
            .iter()
            .position(|item| item.is_same_node(Some(&active)))
    });
    let last = items.len().saturating_sub(1);
    let next = match (key, now) {
        ("Home", _) | ("ArrowDown", None) => 0,
        ("End", _) | ("ArrowUp", None) => last,
        ("ArrowDown", Some(now)) => (now + 1).min(last),
        (_, Some(now)) => now.saturating_sub(1),
        (_, None) => 0,
    };
    if let Some(item) = items.get(next) {
        let _ = item.focus();
    }
}

/// A menu of acts.
#[component]
pub fn Menu(
    /// What the acts are for.
    #[prop(into)]
    label: Signal<String>,
    /// Words on the button; three dots when absent.
    #[prop(optional, into)]
    words: Option<String>,
    /// Letters of a person on a round button.
    #[prop(optional, into)]
    avatar: Option<String>,
    /// The acts.
    children: ChildrenFn,
) -> impl IntoView {
    let opener = match (words, avatar) {
        (_, Some(letters)) => Opener::Avatar(letters),
        (Some(words), None) => Opener::Words(words),
        (None, None) => Opener::Icon(Icon::More),
    };
    view! { <Drop opener label dot=Signal::stored(None) panel=false on_open=None children /> }
}

/// A panel of things to look at.
#[component]
pub fn Panel(
    /// What is in it.
    #[prop(into)]
    label: Signal<String>,
    /// Its picture.
    icon: Icon,
    /// The colour of a dot on the button, if there is something new.
    #[prop(into)]
    dot: Signal<Option<Tone>>,
    /// What happens when it opens.
    #[prop(optional, into)]
    on_open: Option<Callback<()>>,
    /// The content.
    children: ChildrenFn,
) -> impl IntoView {
    view! { <Drop opener=Opener::Icon(icon) label dot panel=true on_open children /> }
}

/// A link in a panel, which closes it.
#[component]
pub fn PanelLink(
    /// Where it leads.
    href: &'static str,
    /// The words.
    words: &'static str,
) -> impl IntoView {
    let closer = use_context::<Closer>();
    let close = move |_| {
        if let Some(Closer(open)) = closer {
            open.set(false);
        }
    };
    view! {
        <A href=href attr:class="link" on:click=close>
            {words}
        </A>
    }
}

/// One act of a menu.
#[component]
pub fn Item(
    /// What it does.
    #[prop(into)]
    label: Signal<String>,
    /// Its picture.
    #[prop(optional, into)]
    icon: Option<Icon>,
    /// True if it leads to something that destroys.
    #[prop(optional)]
    bad: bool,
    /// Why it can not be done now; empty when it can.
    #[prop(optional, into)]
    barred: Signal<String>,
    /// Does it.
    #[prop(into)]
    on_press: Callback<()>,
) -> impl IntoView {
    let closer = use_context::<Closer>();
    view! {
        <button
            type="button"
            class="item"
            class:bad=bad
            role="menuitem"
            disabled=move || barred.with(|why| !why.is_empty())
            title=move || barred.get()
            on:click=move |_| {
                if let Some(Closer(open)) = closer {
                    open.set(false);
                }
                on_press.run(());
            }
        >
            {icon.map(Icon::view)}
            {label}
        </button>
    }
}

/// A line between groups of acts.
#[component]
pub fn Separator() -> impl IntoView {
    view! { <div class="sep" role="separator"></div> }
}
