//! What a plan comes to, as a picture: where the room goes, what may fail, and what ends first.

use ashlar_api::Bytes;
use ashlar_api::sizing::{Hint, Limit, Sizing};
use leptos::prelude::*;

use super::Reckoned;
use crate::components::{Icon, Meter, Notice, Part, Pill, Tone};
use crate::format::{self, capital};
use crate::words;

/// Room that holds neither volumes nor reserve: their copies and parity.
fn copies(sizing: &Sizing) -> Bytes {
    Bytes(sizing.footprint.0.saturating_sub(sizing.usable.0))
}

/// What a plan comes to.
#[component]
pub fn Outcome(
    /// The plan; there is one.
    reckoned: Memo<Option<Reckoned>>,
) -> impl IntoView {
    view! {
        <Room reckoned />
        <Machines reckoned />
        <For
            each=move || reckoned.with(|one| one.as_ref().map(|one| one.sizing.hints.clone()).unwrap_or_default())
            key=|hint| (hint.code.clone(), hint.title.clone(), hint.remedy.clone())
            children=|hint: Hint| {
                view! { <Notice tone=words::severity(hint.severity) title=hint.title text=hint.remedy /> }
            }
        />
    }
}

/// Reads something of the outcome.
fn told(
    reckoned: Memo<Option<Reckoned>>,
    tell: fn(&Reckoned) -> String,
) -> impl Fn() -> String + Copy + Send + Sync + 'static {
    move || reckoned.with(|one| one.as_ref().map(tell).unwrap_or_default())
}

#[component]
fn Room(reckoned: Memo<Option<Reckoned>>) -> impl IntoView {
    let told = move |tell| told(reckoned, tell);
    let parts = Signal::derive(move || {
        reckoned.with(|one| {
            let share = |part: fn(&Sizing) -> Bytes| {
                one.as_ref()
                    .map_or(0.0, |one| format::ratio(part(&one.sizing), one.sizing.raw))
            };
            vec![
                Part::new(share(|sizing| sizing.usable), "f1"),
                Part::new(share(copies), "f4"),
                Part::new(share(|sizing| sizing.reserve), "f3"),
            ]
        })
    });
    let label = Signal::derive(told(|one| {
        let sizing = &one.sizing;
        format!(
            "Of {}: {} for volumes, {} for copies and parity, {} in reserve",
            format::bytes(sizing.raw),
            format::bytes(sizing.usable),
            format::bytes(copies(sizing)),
            format::bytes(sizing.reserve),
        )
    }));
    view! {
        <div class="card stat">
            <h2>
                "Room" <span class="r">
                    {told(|one| {
                        let sizing = &one.sizing;
                        format!("{}, {}", capital(sizing.resiliency.name()), sizing.efficiency)
                    })}
                </span>
            </h2>
            <div class="v">
                {told(|one| format::bytes(one.sizing.usable))}
                <small>
                    {told(|one| {
                        format!(
                            "for volumes, of {} ({} as drives are sold)",
                            format::bytes(one.sizing.raw),
                            format::drive(one.sizing.raw),
                        )
                    })}
                </small>
            </div>
            <Meter parts label large=true />
            <div class="legend">
                <span>
                    <i class="f1"></i>
                    {told(|one| format!("Volumes {}", format::bytes(one.sizing.usable)))}
                </span>
                <span>
                    <i class="f4"></i>
                    {told(|one| format!("Copies and parity {}", format::bytes(copies(&one.sizing))))}
                </span>
                <span>
                    <i class="f3"></i>
                    {told(|one| {
                        let drives = usize::from(one.sizing.reserve_drives);
                        format!(
                            "Reserve {}, {}",
                            format::bytes(one.sizing.reserve),
                            format::count(drives, "drive", "drives"),
                        )
                    })}
                </span>
            </div>
            <p class="survives">{told(|one| one.sizing.failures.text.clone())}</p>
        </div>
    }
}

/// How many machines one thing is enough for; none when it was not given.
fn enough(sizing: &Sizing, of: Limit) -> Option<u64> {
    match of {
        Limit::Storage => Some(sizing.vms.by_storage),
        Limit::Memory => sizing.vms.by_memory,
        Limit::Processors => sizing.vms.by_processors,
    }
}

/// How much of it is taken when as many machines run as fit.
fn taken(sizing: &Sizing, of: Limit) -> f64 {
    match enough(sizing, of) {
        None | Some(0) => 0.0,
        Some(enough) => sizing.vms.count as f64 / enough as f64,
    }
}

#[component]
fn Machines(reckoned: Memo<Option<Reckoned>>) -> impl IntoView {
    let told = move |tell| told(reckoned, tell);
    view! {
        <div class="card stat">
            <h2>
                "Virtual machines" <span class="r">
                    {told(|one| match one.sizing.spare_nodes {
                        0 => "while every node runs".to_owned(),
                        n => format!("while {} may be away", format::count(usize::from(n), "node", "nodes")),
                    })}
                </span>
            </h2>
            <div class="v">
                {told(|one| one.sizing.vms.count.to_string())}
                <small>
                    {told(|one| {
                        let vm = &one.plan.vm;
                        format!(
                            "with {}, {} of memory and {} of disks",
                            format::count(usize::from(vm.cpus), "processor", "processors"),
                            format::bytes(vm.memory),
                            format::bytes(vm.disk),
                        )
                    })}
                </small>
            </div>
            <ul class="limits">
                <Share reckoned of=Limit::Storage name="Storage" />
                <Share reckoned of=Limit::Memory name="Memory" />
                <Share reckoned of=Limit::Processors name="Processors" />
            </ul>
            <p class="survives dim">
                {told(|one| {
                    one.sizing
                        .memory_for_vms
                        .map(|memory| format!("Each node has {} for machines; it keeps the rest of its memory for itself.", format::bytes(memory)))
                        .unwrap_or_default()
                })}
            </p>
        </div>
    }
}

#[component]
fn Share(reckoned: Memo<Option<Reckoned>>, of: Limit, name: &'static str) -> impl IntoView {
    let with = move |tell: fn(&Sizing, Limit) -> f64| {
        reckoned.with(|one| one.as_ref().map_or(0.0, |one| tell(&one.sizing, of)))
    };
    let first = Memo::new(move |_| {
        reckoned.with(|one| one.as_ref().is_some_and(|one| one.sizing.vms.limit == of))
    });
    let words = move || {
        reckoned.with(|one| {
            let enough = one.as_ref().and_then(|one| enough(&one.sizing, of));
            match enough {
                Some(count) => format!("enough for {count}"),
                None => "not given".to_owned(),
            }
        })
    };
    let parts = Signal::derive(move || vec![Part::new(with(taken), "f1")]);
    let label = Signal::derive(move || format!("{name}: {} taken", format::percent(with(taken))));
    view! {
        <li>
            <span>
                {name}
                {move || first.get().then(|| view! { " " <Pill tone=Tone::Info word="Ends first" icon=Icon::Info /> })}
            </span>
            <Meter parts label />
            <span class="num">{words}</span>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::sizing::{SizingSpec, size};

    #[test]
    fn what_ends_first_is_taken_whole() {
        let plan = SizingSpec {
            memory_per_node: Some(Bytes::gib(64)),
            ..SizingSpec::new(3, 4, Bytes(2_000_000_000_000))
        };
        let sizing = size(&plan).unwrap();
        assert_eq!(sizing.vms.limit, Limit::Memory);
        assert!((taken(&sizing, Limit::Memory) - 1.0).abs() < f64::EPSILON);
        assert!(taken(&sizing, Limit::Storage) < 1.0);
        assert!(taken(&sizing, Limit::Processors).abs() < f64::EPSILON);
        assert_eq!(
            copies(&sizing).0 + sizing.usable.0 + sizing.reserve.0,
            sizing.raw.0
        );
    }
}
