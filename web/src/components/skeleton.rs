//! What stands in a page until its content is here: grey shapes of the same
//! size, so that nothing jumps, and the reason when it does not come.

use leptos::prelude::*;

use super::{Button, Notice, Tone};
use crate::collection::{Collection, Noun, Reading};
use crate::components::notice::sentence;
use crate::format::capital;

/// A grey bar in place of words.
#[component]
pub fn Bone(
    /// Its width, as CSS says it.
    width: &'static str,
    /// Its height, as CSS says it.
    #[prop(default = "1em")]
    height: &'static str,
) -> impl IntoView {
    view! { <span class="skeleton" style:width=width style:height=height aria-hidden="true"></span> }
}

/// Shows its children once a collection is here; until then bars, or why not.
#[component]
pub fn Until<T: Noun>(
    /// What is waited for.
    collection: Collection<T>,
    /// How many bars stand in.
    #[prop(default = 3)]
    rows: usize,
    /// What is shown then.
    children: ChildrenFn,
) -> impl IntoView {
    collection.want();
    let state = Memo::new(move |_| collection.reading());
    move || match state.get() {
        Reading::Here => children().into_any(),
        Reading::Unasked | Reading::First => view! {
            <div class="table-end stack" aria-busy="true">
                <span class="sr">"Reading"</span>
                {(0..rows).map(|_| view! { <Bone width="100%" height="22px" /> }).collect_view()}
            </div>
        }
        .into_any(),
        Reading::Failed(problem) => view! {
            <div class="table-end">
                <Notice
                    tone=Tone::Bad
                    title=capital(&problem.title)
                    text=sentence(&[&problem.detail, &problem.remedy])
                >
                    <Button label="Try again" small=true on_press=move |()| collection.again() />
                </Notice>
            </div>
        }
        .into_any(),
    }
}
