//! What stands at the address of something that is not there any more.

use leptos::prelude::*;

use crate::components::{Empty, Icon, LinkButton, Look};
use crate::format::capital;
use crate::shell::Head;

/// Something that is not there.
#[component]
pub fn Gone(
    /// Its noun.
    what: &'static str,
    /// The list it would be in: address and name.
    above: Option<(&'static str, &'static str)>,
) -> impl IntoView {
    let (href, name) = above.unwrap_or(("/", "Overview"));
    view! {
        <Head title=format!("No such {what}") above=Some((href, name)) />
        <div class="card">
            <Empty
                icon=Icon::Find
                title=format!("{} not found", capital(what))
                text="It was deleted, or the link is wrong."
            >
                <LinkButton href label=name look=Look::Primary />
            </Empty>
        </div>
    }
}
