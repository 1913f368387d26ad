//! Short words in a corner about what the reader just did. Good news goes away
//! by itself; bad news stays until it is closed.

use leptos::prelude::*;

use super::{Icon, Tone};

#[derive(Clone, Debug, PartialEq)]
struct Toast {
    id: u32,
    tone: Tone,
    title: String,
    text: String,
}

/// The toasts of the console.
#[derive(Clone, Copy)]
pub struct Toasts {
    shown: RwSignal<Vec<Toast>>,
    next: StoredValue<u32>,
}

const STAY_MS: u32 = 5000;
const MOST: usize = 4;

impl Toasts {
    /// None yet.
    pub fn new() -> Self {
        Toasts {
            shown: RwSignal::default(),
            next: StoredValue::new(0),
        }
    }

    /// The toasts, from any component.
    pub fn get() -> Self {
        expect_context()
    }

    /// Something was done.
    pub fn done(self, title: impl Into<String>) {
        self.show(Tone::Ok, title.into(), String::new());
    }

    /// Something was begun.
    pub fn begun(self, title: impl Into<String>, text: impl Into<String>) {
        self.show(Tone::Info, title.into(), text.into());
    }

    /// Something could not be done.
    pub fn bad(self, title: impl Into<String>, text: impl Into<String>) {
        self.show(Tone::Bad, title.into(), text.into());
    }

    /// A request failed.
    pub fn failed(self, failure: &crate::client::Failure) {
        let problem = failure.problem();
        self.bad(
            crate::format::capital(&problem.title),
            super::notice::sentence(&[&problem.detail, &problem.remedy]),
        );
    }

    fn show(self, tone: Tone, title: String, text: String) {
        let id = self.next.get_value();
        self.next.set_value(id.wrapping_add(1));
        self.shown.update(|shown| {
            shown.retain(|toast| toast.title != title || toast.text != text);
            shown.push(Toast {
                id,
                tone,
                title,
                text,
            });
            if shown.len() > MOST {
                shown.remove(0);
            }
        });
        if tone != Tone::Bad {
            gloo_timers::callback::Timeout::new(STAY_MS, move || self.close(id)).forget();
        }
    }

    fn close(self, id: u32) {
        self.shown
            .update(|shown| shown.retain(|toast| toast.id != id));
    }
}

/// Where the toasts appear.
#[component]
pub fn ToastsView() -> impl IntoView {
    let toasts = Toasts::get();
    view! {
        <div class="toasts" role="status" aria-live="polite">
            <For
                each=move || toasts.shown.get()
                key=|toast| toast.id
                children=move |toast| {
                    let icon = if toast.tone == Tone::Info { Icon::Jobs } else { toast.tone.icon() };
                    view! {
                        <div class=format!("toast {}", toast.tone.class())>
                            {icon.view()}
                            <div>
                                <b>{toast.title}</b>
                                {(!toast.text.is_empty()).then(|| view! { <p>{toast.text}</p> })}
                            </div>
                            <button
                                type="button"
                                class="iconbtn"
                                aria-label="Close"
                                on:click=move |_| toasts.close(toast.id)
                            >
                                {Icon::Close.view()}
                            </button>
                        </div>
                    }
                }
            />
        </div>
    }
}
