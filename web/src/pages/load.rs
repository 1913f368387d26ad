//! The load of the node as lines: the last hour, live, or the last day in
//! averages of five minutes. The hour is what the stream keeps fresh; the day is
//! read when somebody wants to see it, and again while it is in sight.

use ashlar_api::metrics::{Sample, Series};
use ashlar_api::{Timestamp, endpoint};
use leptos::prelude::*;

use crate::address;
use crate::client;
use crate::components::{Chart, Line, Segments, Trouble, Unit, Work};
use crate::format;
use crate::live::Live;

/// How often the day is read again; a new average comes every five minutes.
const AGAIN_MS: u32 = 60_000;

/// Reads the load of the last hour, once the node is known.
pub fn read_load(live: Live) {
    Effect::new(move |done: Option<bool>| {
        if done == Some(true) {
            return true;
        }
        let node = live.node();
        if let Some(node) = &node {
            live.read_samples(&node.id.to_string());
        }
        node.is_some()
    });
}

/// Seconds and columns of samples.
fn columns(samples: &[Sample], lines: &[fn(&Sample) -> f64]) -> Vec<Vec<f64>> {
    let seconds = |at: Timestamp| at.as_second() as f64;
    std::iter::once(samples.iter().map(|s| seconds(s.at)).collect())
        .chain(lines.iter().map(|line| samples.iter().map(line).collect()))
        .collect()
}

/// The load of the last day; absent until read.
#[derive(Clone, Copy)]
struct Day {
    samples: RwSignal<Option<Vec<Sample>>>,
    work: Work,
}

impl Day {
    fn new() -> Self {
        Day {
            samples: RwSignal::new(None),
            work: Work::new(),
        }
    }

    // Reads it once `wanted`, and from time to time as long as it is.
    fn keep(self, live: Live, wanted: Memo<bool>) {
        let read = move || {
            let Some(node) = live.nodes.all_untracked().into_iter().next() else {
                return;
            };
            let path = format!("{}/{}/metrics", endpoint::NODES, node.id);
            let path = client::with_query(&path, "range", "day");
            self.work.run(
                async move { client::get::<Series<Sample>>(&path).await },
                move |series| self.samples.set(Some(series.samples)),
            );
        };
        let known = Memo::new(move |_| live.nodes.here());
        Effect::new(move |_| {
            if wanted.get() && known.get() {
                read();
            }
        });
        let timer = gloo_timers::callback::Interval::new(AGAIN_MS, move || {
            if !document().hidden() && wanted.try_get_untracked() == Some(true) {
                read();
            }
        });
        let timer = StoredValue::new_local(Some(timer));
        on_cleanup(move || timer.update_value(|timer| *timer = None));
    }
}

/// The load of the node.
#[component]
pub fn Load() -> impl IntoView {
    let live = Live::get();
    let what = RwSignal::new("load".to_owned());
    let range = address::query("range", true);
    let whole_day = Memo::new(move |_| range.with(|range| range == "day"));
    let day = Day::new();
    day.keep(live, whole_day);
    let memory = Memo::new(move |_| live.node().map_or(0, |node| node.status.memory.0));
    let newest = move || live.samples.with(|samples| samples.back().copied());
    let over = move || if whole_day.get() { "day" } else { "hour" };
    let columns = move |lines: &[fn(&Sample) -> f64]| {
        if whole_day.get() {
            day.samples
                .with(|samples| columns(samples.as_deref().unwrap_or_default(), lines))
        } else {
            let samples: Vec<Sample> = live.samples.with(|s| s.iter().copied().collect());
            columns(&samples, lines)
        }
    };
    // What a chart shows, in words; `now` is said of the newest load.
    let label = move |what: &str, now: fn(&Sample) -> String| {
        newest()
            .map(|s| format!("{what} over the last {}; now {}", over(), now(&s)))
            .unwrap_or_default()
    };
    let chart = move || {
        match what.get().as_str() {
        "network" => view! {
            <Legend lines=vec![("f2", "Received"), ("f3", "Sent")] />
            <Chart
                lines=vec![
                    Line { label: "Received", color: "--c2", unit: Unit::Rate, fill: true },
                    Line { label: "Sent", color: "--c3", unit: Unit::Rate, fill: false },
                ]
                values=Signal::derive(move || columns(&[|s| s.net_rx as f64, |s| s.net_tx as f64]))
                label=Signal::derive(move || label("Network", |s| {
                    format!("{} received, {} sent", format::rate(s.net_rx), format::rate(s.net_tx))
                }))
            />
        }
        .into_any(),
        "drives" => view! {
            <Legend lines=vec![("f2", "Read"), ("f3", "Written")] />
            <Chart
                lines=vec![
                    Line { label: "Read", color: "--c2", unit: Unit::Rate, fill: true },
                    Line { label: "Written", color: "--c3", unit: Unit::Rate, fill: false },
                ]
                values=Signal::derive(move || columns(&[|s| s.disk_read as f64, |s| s.disk_write as f64]))
                label=Signal::derive(move || label("Drives", |s| {
                    format!("{} read, {} written", format::rate(s.disk_read), format::rate(s.disk_write))
                }))
            />
        }
        .into_any(),
        _ => view! {
            <Legend lines=vec![("f1", "Processor"), ("f4", "Memory")] />
            <Chart
                lines=vec![
                    Line { label: "Processor", color: "--c1", unit: Unit::Share, fill: true },
                    Line { label: "Memory", color: "--c4", unit: Unit::Share, fill: false },
                ]
                values=Signal::derive(move || {
                    let all = memory.get();
                    let mut values = columns(&[|s| f64::from(s.cpu), |s| s.memory_used.0 as f64]);
                    if let Some(column) = values.get_mut(2) {
                        for value in column {
                            *value = if all == 0 { f64::NAN } else { *value / all as f64 };
                        }
                    }
                    values
                })
                label=Signal::derive(move || label("Processor load", |s| format::percent(f64::from(s.cpu))))
            />
        }
        .into_any(),
    }
    };
    let too_early = move || {
        let empty = day
            .samples
            .with(|samples| samples.as_ref().is_some_and(Vec::is_empty));
        (whole_day.get() && empty).then(|| {
            view! {
                <p class="dim small">
                    "The day begins with the first five minutes after the control plane has started."
                </p>
            }
        })
    };
    let trouble = Signal::derive(move || {
        let problem = day.work.problem().get();
        problem.filter(|_| whole_day.get())
    });
    view! {
        <div class="card">
            <div class="card-head">
                <h2>"Load"</h2>
                <Segments
                    label="How far back"
                    value=range
                    choices=vec![("", "Hour"), ("day", "Day")]
                />
                <span class="push">
                    <Segments
                        label="What the picture shows"
                        value=what
                        choices=vec![("load", "Processor"), ("network", "Network"), ("drives", "Drives")]
                    />
                </span>
            </div>
            <Trouble problem=trouble />
            {too_early}
            {chart}
        </div>
    }
}

#[component]
fn Legend(lines: Vec<(&'static str, &'static str)>) -> impl IntoView {
    view! {
        <div class="legend">
            {lines
                .into_iter()
                .map(|(class, name)| view! { <span><i class=class></i>{name}</span> })
                .collect_view()}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::columns;
    use ashlar_api::metrics::Sample;
    use ashlar_api::{Bytes, Timestamp};

    #[test]
    fn columns_begin_with_seconds() {
        let sample = Sample {
            at: Timestamp::from_second(1_800_000_000).unwrap(),
            cpu: 0.5,
            memory_used: Bytes(1),
            net_rx: 2,
            net_tx: 3,
            disk_read: 4,
            disk_write: 5,
        };
        let lines: [fn(&Sample) -> f64; 2] = [|s| f64::from(s.cpu), |s| s.net_tx as f64];
        assert_eq!(
            columns(&[sample], &lines),
            vec![vec![1_800_000_000.0], vec![0.5], vec![3.0]]
        );
        assert_eq!(columns(&[], &lines), vec![Vec::<f64>::new(); 3]);
    }
}
