//! When the console itself fails: what it shows may be wrong from then on, so it says so, with the remedy. Written
//! straight into the page, as nothing else of the program can be relied upon any more.

use js_sys::{Array, Reflect};
use leptos::prelude::document;
use wasm_bindgen::{JsCast, JsValue};

/// The notice's place in the page.
const NOTICE: &str = "trouble";
/// As many as the page's own scripts keep (`theme.js`).
const MOST: u32 = 50;

/// From now on a panic is noted and told.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        console_error_panic_hook::hook(panic);
        // What fails here has nobody left to hear of it.
        let _ = note(&panic.to_string());
        let _ = tell();
    }));
}

/// Adds it to what went wrong in scripts.
fn note(panic: &str) -> Result<(), JsValue> {
    let errors: Array = Reflect::get(&js_sys::global(), &"ashlarErrors".into())?.dyn_into()?;
    if errors.length() < MOST {
        errors.push(&panic.into());
    }
    Ok(())
}

fn tell() -> Result<(), JsValue> {
    let document = document();
    if document.get_element_by_id(NOTICE).is_some() {
        return Ok(());
    }
    let notice = document.create_element("div")?;
    notice.set_id(NOTICE);
    notice.set_class_name("strip warn");
    notice.set_attribute("role", "alert")?;
    let words = document.create_element("span")?;
    words.set_text_content(Some(
        "This page has run into an error of its own and may not be right any more. The appliance goes on.",
    ));
    let again = document.create_element("a")?;
    again.set_attribute("href", "")?;
    again.set_text_content(Some("Load it again"));
    notice.append_child(&words)?;
    notice.append_child(&again)?;
    let body = document.body().ok_or(JsValue::NULL)?;
    body.prepend_with_node_1(&notice)
}
