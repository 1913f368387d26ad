//! Brings in the parts that are written in JavaScript (charts, screens, serial
//! lines) when a page first needs them. Each defines one custom element; an
//! element that is on the page before its module has loaded waits for it.

use leptos::prelude::*;

/// Loads a module, once. Its address is in the page, where the build has put
/// the name that carries its hash.
pub fn load(name: &str) {
    let document = document();
    let id = format!("loaded-{name}");
    if document.get_element_by_id(&id).is_some() {
        return;
    }
    let address = document
        .query_selector(&format!("meta[name=module-{name}]"))
        .ok()
        .flatten()
        .and_then(|meta| meta.get_attribute("content"));
    let (Some(address), Some(head), Ok(script)) =
        (address, document.head(), document.create_element("script"))
    else {
        return;
    };
    for (attribute, value) in [("id", id.as_str()), ("type", "module"), ("src", &address)] {
        let _ = script.set_attribute(attribute, value);
    }
    let _ = head.append_child(&script);
}
