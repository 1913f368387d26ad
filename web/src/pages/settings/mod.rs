mod certificate;
mod node;
mod sessions;
mod site;
mod tokens;
mod users;

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::components::{Tab, Tabs};
use crate::pages::gone::Gone;
use crate::shell::Head;

/// The settings.
#[component]
pub fn Settings() -> impl IntoView {
    let params = use_params_map();
    let tab = Memo::new(move |_| params.with(|params| params.get("tab").unwrap_or_default()));
    view! {
        <Head title="Settings" lead="What belongs to the whole site, and who may use it" />
        <Tabs label="Settings">
            <Tab href="/settings" label="Site" />
            <Tab href="/settings/node" label="Node" />
            <Tab href="/settings/certificate" label="Certificate" />
            <Tab href="/settings/users" label="Users" />
            <Tab href="/settings/tokens" label="API tokens" />
            <Tab href="/settings/sessions" label="Sessions and password" />
        </Tabs>
        {move || match tab.get().as_str() {
            "" => view! { <site::SiteSettings /> }.into_any(),
            "node" => view! { <node::NodeSettings /> }.into_any(),
            "certificate" => view! { <certificate::CertificateSettings /> }.into_any(),
            "users" => view! { <users::Users /> }.into_any(),
            "tokens" => view! { <tokens::Tokens /> }.into_any(),
            "sessions" => view! { <sessions::MySessions /> }.into_any(),
            _ => view! { <Gone what="setting" above=Some(("/settings", "Settings")) /> }.into_any(),
        }}
    }
}
