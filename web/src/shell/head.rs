//! The head of a page: its title, how things are in a sentence, and what can be
//! done. Also the title of the browser's window.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::components::Icon;
use crate::live::Live;

/// The head of a page.
#[component]
pub fn Head(
    /// What the page is about.
    #[prop(into)]
    title: Signal<String>,
    /// How things are, in a sentence.
    #[prop(optional, into)]
    lead: Signal<String>,
    /// A state beside the title.
    #[prop(optional, into)]
    state: Option<ViewFn>,
    /// Under which page this one is: its address and name.
    #[prop(optional_no_strip)]
    above: Option<(&'static str, &'static str)>,
    /// More than a sentence, in place of `lead`.
    #[prop(optional, into)]
    under: Option<ViewFn>,
    /// What can be done.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let site = use_context::<Live>().map(|live| live.site);
    Effect::new(move |_| {
        let site = site.and_then(|site| site.with(|s| s.as_ref().map(|s| s.spec.name.to_string())));
        let title = title.get();
        document().set_title(&match site {
            Some(site) => format!("{title} · {site} · Ashlar"),
            None => format!("{title} · Ashlar"),
        });
    });
    view! {
        <header class="head">
            <div>
                {above
                    .map(|(href, name)| {
                        view! {
                            <A href=href attr:class="crumb">
                                {Icon::Back.view()}
                                {name}
                            </A>
                        }
                    })} <h1>{title} {state.map(|state| move || state.run())}</h1>
                {match under {
                    Some(under) => view! { <p>{move || under.run()}</p> }.into_any(),
                    None => {
                        view! { <p>{move || if lead.with(String::is_empty) { "\u{a0}".to_owned() } else { lead.get() }}</p> }
                            .into_any()
                    }
                }}
            </div>
            {children.map(|children| view! { <div class="act">{children()}</div> })}
        </header>
    }
}
