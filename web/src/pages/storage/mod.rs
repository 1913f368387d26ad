//! Storage: pools and how full they are, the drives they are made of, and the
//! volumes cut from them.

pub mod pool;
pub mod volume;

use ashlar_api::pool::{Drive, DriveUsage, Pool};
use ashlar_api::user::Role;
use ashlar_api::{Bytes, endpoint};
use leptos::prelude::*;

use crate::address;
use crate::client;
use crate::components::notice::sentence;
use crate::components::{
    Button, Confirm, Dialog, Empty, Icon, Item, Look, Menu, Meter, Notice, Part, Pill, Toasts,
    Tone, Until, Work,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::words;

/// Storage.
#[component]
pub fn Storage() -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    live.drives.want();
    live.volumes.want();
    live.vms.want();
    let pooling = address::flag("do", "pool");
    let creating = address::flag("do", "volume");
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let ready = Memo::new(move |_| live.pools.here() && live.pools.count() > 0);
    let lead = Signal::derive(move || {
        if !live.pools.here() || !live.drives.here() {
            return String::new();
        }
        let drives = live.drives.all();
        let free = drives
            .iter()
            .filter(|d| d.usage == DriveUsage::Free)
            .count();
        let free = match free {
            0 => String::new(),
            n => format!(
                "{} not used yet",
                format::count(n, "drive is", "drives are")
            ),
        };
        let pools = live.pools.all();
        let pools = match pools.as_slice() {
            [] => "No pool yet".to_owned(),
            [one] => {
                let left = Bytes(one.status.size.0.saturating_sub(one.status.used.0));
                format!("One pool with {} free", format::bytes(left))
            }
            all => format::count(all.len(), "pool", "pools"),
        };
        sentence(&[&pools, &free])
    });
    view! {
        <Head title="Storage" lead>
            {move || {
                may.get()
                    .then(|| {
                        view! {
                            <Button label="New pool" icon=Icon::Plus on_press=move |()| pooling.set(true) />
                            <Button
                                label="New volume"
                                icon=Icon::Plus
                                look=Look::Primary
                                barred=Signal::derive(move || {
                                    if ready.get() { String::new() } else { "Make a pool first".to_owned() }
                                })
                                on_press=move |()| creating.set(true)
                            />
                        }
                    })
            }}
        </Head>
        <div class="stack">
            <Until collection=live.pools>
                <Pools pooling may />
            </Until>
            <div class="card">
                <h2>
                    "Drives"
                    <span class="r">
                        {move || live.drives.here().then(|| format::count(live.drives.count(), "drive", "drives"))}
                    </span>
                </h2>
                <Until collection=live.drives>
                    <div class="slots">
                        <For
                            each=move || live.drives.all()
                            key=|drive| (drive.id.clone(), drive.name.clone(), format!("{:?}", drive.usage), drive.content.clone())
                            children=|drive| view! { <Slot drive /> }
                        />
                    </div>
                </Until>
            </div>
            <volume::Volumes creating may />
        </div>
        <Dialog open=pooling title="New pool" large=true>
            <div class="dialog-body">
                <p class="dim">"Chosen drives are erased. They become one pool, from which disks of machines are cut."</p>
                <pool::PoolForm on_done=Callback::new(move |()| pooling.set(false))>
                    <Button label="Cancel" on_press=move |()| pooling.set(false) />
                </pool::PoolForm>
            </div>
        </Dialog>
        <Dialog open=creating title="New volume">
            <volume::NewVolume close=creating />
        </Dialog>
    }
}

#[component]
fn Pools(pooling: RwSignal<bool>, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    move || {
        if live.pools.count() > 0 {
            return view! {
                <For
                    each=move || live.pools.keys()
                    key=Clone::clone
                    children=move |key| view! { <PoolCard key may /> }
                />
            }
            .into_any();
        }
        view! {
            <div class="card">
                <Empty
                    icon=Icon::Storage
                    title="No pool yet"
                    text="A pool is made of drives. Disks of machines and images live in it, and take only the room they fill."
                >
                    {may
                        .get()
                        .then(|| {
                            view! {
                                <Button
                                    label="New pool"
                                    look=Look::Primary
                                    icon=Icon::Plus
                                    on_press=move |()| pooling.set(true)
                                />
                            }
                        })}
                </Empty>
            </div>
        }
        .into_any()
    }
}

#[component]
fn PoolCard(key: String, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let Some(row) = live.pools.row(&key) else {
        return ().into_any();
    };
    let deleting = RwSignal::new(false);
    let work = Work::new();
    let pool = Memo::new(move |_| row.get());
    let name = Signal::derive(move || pool.with(|pool| pool.spec.name.to_string()));
    let remove = move |()| {
        let path = format!(
            "{}/{}",
            endpoint::POOLS,
            pool.with_untracked(|pool| pool.id)
        );
        work.run(async move { client::delete(&path).await }, move |()| {
            deleting.set(false);
            toasts.begun(
                format!("Pool {} is being deleted", name.get_untracked()),
                String::new(),
            );
            live.pools.touch("*");
        });
    };
    view! {
        <div class="card">
            {move || pool.with(|pool| view! { <PoolState pool=pool.clone() /> })}
            <PoolMeter pool />
            {move || {
                if !may.get() {
                    return view! { <Legend pool /> }.into_any();
                }
                view! {
                    <div class="row between">
                        <Legend pool />
                        <Menu label="Acts for this pool">
                            <Item
                                label="Delete the pool"
                                icon=Icon::Trash
                                bad=true
                                on_press=move |()| deleting.set(true)
                            />
                        </Menu>
                    </div>
                }
                    .into_any()
            }}
        </div>
        <Confirm
            open=deleting
            title=Signal::derive(move || format!("Delete pool {}", name.get()))
            text="Its drives become free for other use. A pool that still holds volumes is not deleted, nor is the one that keeps the images while there are any: delete those first."
            name
            verb="Delete the pool"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        />
    }
    .into_any()
}

#[component]
fn PoolState(pool: Pool) -> impl IntoView {
    let condition = pool.status.condition;
    let (tone, word, icon) = if pool.deleting {
        (Tone::Info, "Deleting", Icon::Trash)
    } else if condition.ready {
        (Tone::Ok, "Ready", Icon::Check)
    } else {
        (Tone::Warn, "Not ready", Icon::Alert)
    };
    let survives = match pool.status.failures_survived {
        0 => "one copy of everything".to_owned(),
        1 => "survives the loss of a drive".to_owned(),
        n => format!("survives the loss of {n} drives"),
    };
    view! {
        <h2>
            {format!("Pool {}", pool.spec.name)} <Pill tone word icon=icon />
            <span class="r">
                {format!(
                    "{} · {} · {survives}",
                    format::bytes(pool.status.size),
                    format::count(pool.spec.drives.len(), "drive", "drives"),
                )}
            </span>
        </h2>
        {(!condition.message.is_empty())
            .then(|| {
                view! {
                    <Notice
                        tone=if condition.ready { Tone::Info } else { Tone::Warn }
                        title=format::capital(&condition.message)
                        text=sentence(&[&condition.remedy])
                    />
                }
            })}
    }
}

#[component]
fn PoolMeter(pool: Memo<Pool>) -> impl IntoView {
    let parts = Signal::derive(move || {
        pool.with(|pool| {
            let share = format::ratio(pool.status.used, pool.status.size);
            let class = match share {
                0.9.. => "f-bad",
                0.8.. => "f-warn",
                _ => "f1",
            };
            vec![Part::new(share, class)]
        })
    });
    let label = Signal::derive(move || {
        pool.with(|pool| {
            format!(
                "{} of {} used",
                format::bytes(pool.status.used),
                format::bytes(pool.status.size)
            )
        })
    });
    view! { <Meter parts label large=true /> }
}

#[component]
fn Legend(pool: Memo<Pool>) -> impl IntoView {
    move || {
        let status = pool.with(|pool| pool.status.clone());
        let free = Bytes(status.size.0.saturating_sub(status.used.0));
        let over = status.promised > status.size;
        let promised = format!(
            "{} promised to {}",
            format::bytes(status.promised),
            format::count(status.volumes, "volume", "volumes")
        );
        view! {
            <div class="legend">
                <span>
                    <i class="f1"></i>
                    {format!("Used {}", format::bytes(status.used))}
                </span>
                <span>
                    <i class="free"></i>
                    {format!("Free {}", format::bytes(free))}
                </span>
                <span class:t-warn=over title=if over { "More is promised than there is: keep an eye on the free room" } else { "" }>
                    {promised}
                </span>
            </div>
        }
    }
}

#[component]
fn Slot(drive: Drive) -> impl IntoView {
    let live = Live::get();
    let class = match &drive.usage {
        DriveUsage::Free => "slot free",
        DriveUsage::System => "slot system",
        DriveUsage::Pool { .. } => "slot pool",
        DriveUsage::Foreign | DriveUsage::ForeignPool { .. } => "slot foreign",
        DriveUsage::Unusable { .. } => "slot unusable",
    };
    let usage = drive.usage.clone();
    let content = drive.content.clone();
    let words = move || match &usage {
        DriveUsage::Pool { pool } => live.pools.one(&pool.to_string()).map_or_else(
            || "in a pool".to_owned(),
            |pool| format!("in pool {}", pool.spec.name),
        ),
        other => words::drive_usage(other, &content),
    };
    let title = format!("{} · {}", drive.model, drive.serial);
    view! {
        <div class=class title=title>
            <b>{format!("{} {}", words::media(drive.media), format::drive(drive.size))}</b>
            <div>{words}</div>
            <div class="dimmer">
                {format!("{} · {}", drive.name, if drive.model.is_empty() { "no model given" } else { &drive.model })}
            </div>
        </div>
    }
}
