//! A field for one file of this computer.

use ashlar_api::Bytes;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{DragEvent, File, HtmlInputElement};

use super::Icon;
use crate::format;
use crate::upload::size_of;

/// A field for one file: a press opens the browser's chooser, and files can be dropped on it.
#[component]
pub fn DropZone(
    /// The file that was chosen.
    file: RwSignal<Option<File>, LocalStorage>,
    /// What kinds of files are meant.
    hint: &'static str,
    /// Takes the file.
    choose: Callback<File>,
) -> impl IntoView {
    let over = RwSignal::new(false);
    let chosen = move |event: web_sys::Event| {
        let file = event
            .target()
            .and_then(|target| target.dyn_into::<HtmlInputElement>().ok())
            .and_then(|input| input.files())
            .and_then(|files| files.get(0));
        if let Some(file) = file {
            choose.run(file);
        }
    };
    let drop = move |event: DragEvent| {
        event.prevent_default();
        event.stop_propagation();
        over.set(false);
        let file = event
            .data_transfer()
            .and_then(|data| data.files())
            .and_then(|files| files.get(0));
        if let Some(file) = file {
            choose.run(file);
        }
    };
    view! {
        <label
            class="drop"
            class:over=move || over.get()
            on:dragover=move |event| {
                event.prevent_default();
                over.set(true);
            }
            on:dragleave=move |_| over.set(false)
            on:drop=drop
        >
            <input type="file" on:change=chosen />
            {Icon::Upload.view()}
            {move || match file.get() {
                Some(file) => {
                    view! {
                        <b class="break">{file.name()}</b>
                        <span>{format!("{} · press to choose another", format::bytes(Bytes(size_of(&file))))}</span>
                    }
                        .into_any()
                }
                None => {
                    view! {
                        <b>"Choose a file, or drop it here"</b>
                        <span>{hint}</span>
                    }
                        .into_any()
                }
            }}
        </label>
    }
}
