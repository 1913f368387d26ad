//! Parts of lists: headings that sort, and the field that filters. A list keeps
//! its order while values change; only the reader changes it.

use leptos::prelude::*;

use super::Icon;

/// By which column a list is sorted, and which way.
#[derive(Clone, Copy)]
pub struct Sorting {
    by: RwSignal<(&'static str, bool)>,
}

impl Sorting {
    /// Sorted by this column, ascending.
    pub fn by(column: &'static str) -> Self {
        Sorting {
            by: RwSignal::new((column, false)),
        }
    }

    /// The column, and true if descending.
    pub fn get(self) -> (&'static str, bool) {
        self.by.get()
    }

    fn press(self, column: &'static str) {
        self.by.update(|(by, descending)| {
            *descending = *by == column && !*descending;
            *by = column;
        });
    }
}

/// A heading that sorts its column.
#[component]
pub fn SortHead(
    /// The words.
    label: &'static str,
    /// The column.
    column: &'static str,
    /// What it changes.
    sorting: Sorting,
    /// More classes, such as `num` or `opt`.
    #[prop(optional)]
    class: &'static str,
) -> impl IntoView {
    let sort = move || match sorting.get() {
        (by, _) if by != column => "none",
        (_, false) => "ascending",
        (_, true) => "descending",
    };
    view! {
        <th scope="col" class=class aria-sort=sort>
            <button type="button" on:click=move |_| sorting.press(column)>
                {label} {Icon::Up.view()}
            </button>
        </th>
    }
}

/// A field that narrows a list to what contains its words.
#[component]
pub fn Filter(
    /// The words.
    value: RwSignal<String>,
    /// By what it filters, such as "Filter by name or address".
    label: &'static str,
) -> impl IntoView {
    view! {
        <input
            type="search"
            class="filter"
            placeholder=label
            aria-label=label
            autocomplete="off"
            spellcheck="false"
            prop:value=value
            on:input=move |event| value.set(event_target_value(&event))
        />
    }
}

/// True if each word of `filter` is somewhere in `texts`.
pub fn matches(filter: &str, texts: &[&str]) -> bool {
    filter.split_whitespace().all(|word| {
        let word = word.to_lowercase();
        texts.iter().any(|text| text.to_lowercase().contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn every_word_counts() {
        assert!(matches("", &["web-01"]));
        assert!(matches("WEB 10.2", &["web-01", "10.20.4.11"]));
        assert!(!matches("web 192", &["web-01", "10.20.4.11"]));
    }
}
