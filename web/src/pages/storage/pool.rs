//! A new pool: which drives, what comes of it, and the word of the reader before
//! anything that holds data is erased.

use ashlar_api::pool::{Drive, DriveUsage, Pool, PoolCreate, PoolSpec};
use ashlar_api::{Bytes, Name, endpoint};
use leptos::prelude::*;

use crate::client;
use crate::components::{
    Button, Confirm, Empty, Form, Icon, Look, Reader, TextField, Toasts, Trouble, Until,
};
use crate::format;
use crate::live::Live;
use crate::words;

/// What a pool of these drives would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    drives: usize,
    size: Bytes,
}

impl Outcome {
    fn of<'a>(drives: impl Iterator<Item = &'a Drive>) -> Self {
        drives.fold(Outcome::default(), |sum, drive| Outcome {
            drives: sum.drives + 1,
            size: Bytes(sum.size.0 + drive.size.0),
        })
    }
}

/// True if a pool can be made of the drive.
const fn eligible(drive: &Drive) -> bool {
    matches!(
        drive.usage,
        DriveUsage::Free | DriveUsage::Foreign | DriveUsage::ForeignPool { .. }
    )
}

/// True if the drive holds something that would be lost.
const fn holds_data(drive: &Drive) -> bool {
    matches!(
        drive.usage,
        DriveUsage::Foreign | DriveUsage::ForeignPool { .. }
    )
}

/// Makes a pool.
#[component]
pub fn PoolForm(
    /// Called once the pool is wanted.
    on_done: Callback<()>,
    /// More buttons before its own.
    children: ChildrenFn,
) -> impl IntoView {
    let live = Live::get();
    let children = StoredValue::new(children);
    view! {
        <Until collection=live.drives>
            <Drives on_done>{children.with_value(|children| children())}</Drives>
        </Until>
    }
}

#[component]
fn Drives(on_done: Callback<()>, children: Children) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    // Empty drives are meant to be used; anything else only by the reader's choice.
    let chosen = RwSignal::new(
        live.drives
            .all_untracked()
            .into_iter()
            .filter(|drive| drive.usage == DriveUsage::Free)
            .map(|drive| drive.id)
            .collect::<Vec<_>>(),
    );
    let name = RwSignal::new(free_name(&live.pools.all_untracked()));
    let asking = RwSignal::new(false);
    let picked = Memo::new(move |_| {
        let chosen = chosen.get();
        let mut drives = live.drives.all();
        drives.retain(|drive| eligible(drive) && chosen.contains(&drive.id));
        drives
    });
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("spec.name", &name.get());
        let drives = picked.get();
        let create = name.map(|name| PoolCreate {
            spec: PoolSpec {
                name,
                drives: drives.iter().map(|drive| drive.id.clone()).collect(),
            },
            erase: drives
                .iter()
                .filter(|drive| holds_data(drive))
                .map(|drive| drive.id.clone())
                .collect(),
        });
        if let Some(create) = &create {
            reader.check(create);
        }
        reader.done(create)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(create) = built.get_untracked() else {
                return Ok(None);
            };
            client::post::<_, Pool>(endpoint::POOLS, &create)
                .await
                .map(Some)
        };
        form.send(request, move |pool| {
            asking.set(false);
            if let Some(pool) = pool {
                toasts.begun(
                    format!("Pool {} is being made", pool.spec.name),
                    String::new(),
                );
                live.pools.touch("*");
                live.drives.touch("*");
            }
            on_done.run(());
        });
    };
    let erased = Memo::new(move |_| {
        picked.with(|drives| {
            drives
                .iter()
                .filter(|d| holds_data(d))
                .map(|d| d.name.clone())
                .collect::<Vec<_>>()
        })
    });
    let press = move || {
        if erased.with_untracked(Vec::is_empty) {
            send();
        } else if form.look() {
            asking.set(true);
        }
    };
    let label = Signal::derive(move || match picked.with(Vec::len) {
        0 => "Choose a drive".to_owned(),
        n => format!("Use {}", format::count(n, "drive", "drives")),
    });
    let barred = Signal::derive(move || {
        if picked.with(Vec::is_empty) {
            "Choose at least one drive".to_owned()
        } else {
            String::new()
        }
    });
    view! {
        <form
            class="form tight"
            on:submit=move |event| {
                event.prevent_default();
                press();
            }
        >
            <Trouble problem=form.problem() />
            <fieldset>
                <legend class="sr">"Drives"</legend>
                <div class="picks">
                    {move || {
                        let drives = live.drives.all();
                        if drives.iter().any(eligible) {
                            drives.into_iter().map(|drive| view! { <Pick drive chosen /> }).collect_view().into_any()
                        } else {
                            view! {
                                <Empty
                                    icon=Icon::Storage
                                    title="No drive can be used"
                                    text="Ashlar starts from one drive and leaves it alone; a pool needs at least one more. Put a drive in: it appears here by itself."
                                />
                            }
                                .into_any()
                        }
                    }}
                </div>
            </fieldset>
            {move || {
                picked.with(|drives| {
                    (!drives.is_empty()).then(|| view! { <Result outcome=Outcome::of(drives.iter()) /> })
                })
            }}
            <TextField label="Name of the pool" value=name path="spec.name" />
            <div class="actions">
                {children()}
                <Button label look=Look::Primary submit=true busy=form.busy() barred />
            </div>
        </form>
        <Confirm
            open=asking
            title="Erase drives that hold data"
            text=Signal::derive(move || {
                let names = erased.get();
                let are = if names.len() == 1 { "It holds" } else { "They hold" };
                format!("{} will be erased. {are} data that is not Ashlar's, and it can not be brought back.", format::names(&names))
            })
            name=Signal::derive(move || erased.get().join(" "))
            verb="Erase and make the pool"
            busy=form.busy()
            problem=form.problem()
            on_confirm=move |()| send()
        />
    }
}

#[component]
fn Pick(drive: Drive, chosen: RwSignal<Vec<String>>) -> impl IntoView {
    let id = StoredValue::new(drive.id.clone());
    let can = eligible(&drive);
    let usage = words::drive_usage(&drive.usage, &drive.content);
    let class = if holds_data(&drive) { "t-warn" } else { "" };
    let is = move || id.with_value(|id| chosen.with(|chosen| chosen.contains(id)));
    let model = if drive.model.is_empty() {
        drive.name.clone()
    } else {
        drive.model.clone()
    };
    view! {
        <label class="pick">
            <input
                type="checkbox"
                disabled=!can
                prop:checked=move || can && is()
                on:change=move |event| {
                    let on = event_target_checked(&event);
                    chosen.update(|chosen| {
                        id.with_value(|id| {
                            chosen.retain(|other| other != id);
                            if on {
                                chosen.push(id.clone());
                            }
                        });
                    });
                }
            />
            <div>
                <b>{format!("{model} {}", format::drive(drive.size))}</b>
                <div class="dim">
                    {format!("{} · {} · ", words::media(drive.media), drive.name)}
                    <span class=class>{usage}</span>
                </div>
            </div>
            <div class="r dimmer mono small opt3">{drive.serial}</div>
        </label>
    }
}

#[component]
fn Result(outcome: Outcome) -> impl IntoView {
    let loss = if outcome.drives == 1 {
        "Every block is kept once: if the drive fails, what is on it is lost. Keep backups elsewhere."
    } else {
        "Every block is kept once: if one of the drives fails, the pool is lost. Keep backups elsewhere."
    };
    view! {
        <div class="outcome">
            <b>{format!("You get about {}", format::bytes(outcome.size))}</b>
            <span class="dim">" for machines and images. " {loss}</span>
        </div>
    }
}

// "main", or "main-2" when that is taken.
fn free_name(pools: &[Pool]) -> String {
    let taken = |name: &str| pools.iter().any(|pool| pool.spec.name.as_str() == name);
    std::iter::once("main".to_owned())
        .chain((2..).map(|n| format!("main-{n}")))
        .find(|name| !taken(name))
        .unwrap_or_default()
}
