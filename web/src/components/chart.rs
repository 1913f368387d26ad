//! Lines over time: the Rust side of `<ashlar-chart>` (see `static/js/chart.js`).

use js_sys::{Array, Float64Array, Object, Reflect};
use leptos::prelude::*;
use wasm_bindgen::JsValue;

use crate::time::Clock;

/// In which unit a line's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Shares, 0 to 1.
    Share,
    /// Bytes per second.
    Rate,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it shows.
    pub label: &'static str,
    /// Name of the CSS variable of its colour.
    pub color: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// True to fill the ground under it.
    pub fill: bool,
}

/// Values over time: seconds, then one column a line. Not a number: a gap.
pub type Columns = Vec<Vec<f64>>;

fn set(object: &Object, name: &str, value: &JsValue) {
    // Setting a property of a fresh plain object can not fail.
    let _ = Reflect::set(object, &name.into(), value);
}

fn series(lines: &[Line]) -> JsValue {
    lines
        .iter()
        .map(|line| {
            let object = Object::new();
            set(&object, "label", &line.label.into());
            set(&object, "color", &line.color.into());
            let unit = match line.unit {
                Unit::Share => "share",
                Unit::Rate => "rate",
            };
            set(&object, "unit", &unit.into());
            set(&object, "fill", &line.fill.into());
            JsValue::from(object)
        })
        .collect::<Array>()
        .into()
}

fn columns(values: &Columns) -> JsValue {
    values
        .iter()
        .map(|column| {
            if column.iter().any(|value| value.is_nan()) {
                // uPlot leaves a gap where the value is null.
                let gaps = column.iter().map(|value| {
                    if value.is_nan() {
                        JsValue::NULL
                    } else {
                        JsValue::from_f64(*value)
                    }
                });
                JsValue::from(gaps.collect::<Array>())
            } else {
                JsValue::from(Float64Array::from(column.as_slice()))
            }
        })
        .collect::<Array>()
        .into()
}

/// Lines over time.
#[component]
pub fn Chart(
    /// The lines.
    lines: Vec<Line>,
    /// Their values.
    #[prop(into)]
    values: Signal<Columns>,
    /// What the picture shows, as a sentence with the numbers that matter.
    #[prop(into)]
    label: Signal<String>,
    /// True for a lower one.
    #[prop(optional)]
    short: bool,
) -> impl IntoView {
    crate::module::load("chart");
    let clock = Clock::get();
    let element = NodeRef::new();
    Effect::new(move |_| {
        let Some(element) = element.get() else { return };
        let element: &web_sys::HtmlElement = &element;
        let _ = Reflect::set(element, &"series".into(), &series(&lines));
        let _ = Reflect::set(element, &"zone".into(), &clock.zone().into());
    });
    Effect::new(move |_| {
        let Some(element) = element.get() else { return };
        let element: &web_sys::HtmlElement = &element;
        let _ = Reflect::set(element, &"data".into(), &values.with(columns));
    });
    leptos::html::custom("ashlar-chart")
        .class(if short { "short" } else { "" })
        .role("img")
        .aria_label(move || label.get())
        .node_ref(element)
}
