//! The console: a Leptos program that runs in the browser and uses the API of
//! the appliance and nothing else.
//!
//! Data flows one way: [`live`] keeps what the appliance says, pages read it,
//! and requests go out through [`client`]; their effects come back with the
//! stream. [`components`] know no noun; [`pages`] are one per menu entry.

mod address;
mod app;
mod client;
mod collection;
mod components;
mod format;
mod live;
mod module;
mod noun;
mod pages;
mod session;
mod shell;
mod time;
mod trouble;
mod upload;
mod words;

fn main() {
    trouble::watch();
    if let Some(splash) = leptos::prelude::document().get_element_by_id("splash") {
        splash.remove();
    }
    leptos::mount::mount_to_body(app::App);
}
