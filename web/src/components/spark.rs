//! A line so small that it needs no axes: the shape of the last values.

use leptos::prelude::*;

/// The points of the line for values between 0 and `top`, in a box of `width` by `height`.
fn points(values: &[f64], top: f64, width: f64, height: f64) -> String {
    let step = width / (values.len().max(2) - 1) as f64;
    values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let y = height - 1.0 - (value / top).clamp(0.0, 1.0) * (height - 2.0);
            format!("{:.1},{y:.1}", n as f64 * step)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A line of the last values.
#[component]
pub fn Spark(
    /// The values, oldest first.
    #[prop(into)]
    values: Signal<Vec<f64>>,
    /// The value at the upper edge; the largest value when 0.
    #[prop(optional)]
    top: f64,
    /// `c1` to `c4`.
    #[prop(optional)]
    color: &'static str,
    /// True to fill the width of what it stands in.
    #[prop(optional)]
    wide: bool,
    /// What it shows, for a screen reader; hidden from it when empty.
    #[prop(optional, into)]
    label: String,
) -> impl IntoView {
    let (width, height) = if wide { (300.0, 46.0) } else { (110.0, 22.0) };
    let line = Memo::new(move |_| {
        values.with(|values| {
            let top = if top > 0.0 {
                top
            } else {
                values.iter().copied().fold(0.0, f64::max).max(1e-9) * 1.1
            };
            points(values, top, width, height)
        })
    });
    let area = move || {
        let line = line.get();
        let end = line.rsplit(' ').next().and_then(|p| p.split(',').next());
        let end = end.unwrap_or("0").to_owned();
        format!("0,{height} {line} {end},{height}")
    };
    let hidden = label.is_empty();
    view! {
        <svg
            class=format!("spark {color}")
            class:wide=wide
            viewBox=format!("0 0 {width} {height}")
            preserveAspectRatio="none"
            role="img"
            aria-label=label
            aria-hidden=hidden.then_some("true")
        >
            {wide.then(|| view! { <polygon points=area /> })}
            <polyline points=line />
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::points;

    #[test]
    fn stays_in_its_box() {
        assert_eq!(
            points(&[0.0, 0.5, 2.0], 1.0, 100.0, 22.0),
            "0.0,21.0 50.0,11.0 100.0,1.0"
        );
        assert_eq!(points(&[], 1.0, 100.0, 22.0), "");
        assert_eq!(points(&[1.0], 1.0, 100.0, 22.0), "0.0,1.0");
    }
}
