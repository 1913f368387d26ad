//! The first look at a machine: its screen, its load, what it is.

use ashlar_api::endpoint;
use ashlar_api::metrics::{Series, VmSample};
use ashlar_api::vm::{RunPolicy, Vm, VmDisk, VmPhase};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::components::A;

use crate::client;
use crate::components::{
    Bone, Chart, Copy, Fact, Facts, Icon, Line, LinkButton, Meter, Part, Spark, Unit,
};
use crate::format;
use crate::live::Live;
use crate::pages::networks::subnet;
use crate::words;

/// How often load and picture are asked for while the page is in sight.
const AGAIN_MS: u32 = 5000;

/// The summary.
#[component]
pub fn Summary(vm: Memo<Vm>) -> impl IntoView {
    let samples: RwSignal<Vec<VmSample>> = RwSignal::default();
    let tick = RwSignal::new(0u32);
    let path = format!(
        "{}/{}/metrics",
        endpoint::VMS,
        vm.with_untracked(|vm| vm.id)
    );
    let running = Memo::new(move |_| vm.with(|vm| vm.status.phase == VmPhase::Running));
    let read = move || {
        let path = path.clone();
        spawn_local(async move {
            if let Ok(series) = client::get::<Series<VmSample>>(&path).await {
                let _ = samples.try_set(series.samples);
            }
        });
    };
    read();
    let timer = gloo_timers::callback::Interval::new(AGAIN_MS, move || {
        if !document().hidden() && running.try_get_untracked() == Some(true) {
            read();
            let _ = tick.try_update(|tick| *tick = tick.wrapping_add(1));
        }
    });
    let timer = StoredValue::new_local(Some(timer));
    on_cleanup(move || timer.update_value(|timer| *timer = None));
    view! {
        <div class="stack">
            <div class="grid g3">
                <ScreenCard vm running tick />
                <LoadCard vm samples running />
                <AboutCard vm />
            </div>
            <div class="grid g2">
                <Traffic
                    title="Disks"
                    samples
                    names=["Read", "Written"]
                    values=[|s| s.disk_read as f64, |s| s.disk_write as f64]
                />
                <Traffic
                    title="Network"
                    samples
                    names=["Received", "Sent"]
                    values=[|s| s.net_rx as f64, |s| s.net_tx as f64]
                />
            </div>
        </div>
    }
}

#[component]
fn ScreenCard(vm: Memo<Vm>, running: Memo<bool>, tick: RwSignal<u32>) -> impl IntoView {
    let id = vm.with_untracked(|vm| vm.id);
    let path = StoredValue::new(format!("{}/{id}/screenshot", endpoint::VMS));
    let picture = RwSignal::new(String::new());
    Effect::new(move |_| {
        tick.track();
        if !running.get() {
            return;
        }
        spawn_local(async move {
            let Some(path) = path.try_get_value() else {
                return;
            };
            // A picture that does not come leaves the one before; the next is asked for soon.
            if let Ok(new) = client::picture(&path).await {
                let old = picture.try_update(|shown| std::mem::replace(shown, new.clone()));
                client::forget_picture(&old.unwrap_or(new));
            }
        });
    });
    on_cleanup(move || client::forget_picture(&picture.try_get_untracked().unwrap_or_default()));
    let alt = StoredValue::new(vm.with_untracked(|vm| format!("The screen of {}", vm.spec.name)));
    view! {
        <div class="card">
            <h2>
                "Screen" <span class="r">{move || if running.get() { "live" } else { "off" }}</span>
            </h2>
            <div class="screen">
                {move || {
                    if running.get() {
                        view! {
                            {move || {
                                let address = picture.get();
                                if address.is_empty() {
                                    view! { <span>"No picture yet"</span> }.into_any()
                                } else {
                                    view! { <img src=address alt=alt.get_value() /> }.into_any()
                                }
                            }}
                            <LinkButton href=format!("/vms/{id}/console") label="Open" small=true />
                        }
                            .into_any()
                    } else {
                        view! { <span>"It does not run."</span> }.into_any()
                    }
                }}
            </div>
        </div>
    }
}

#[component]
fn LoadCard(vm: Memo<Vm>, samples: RwSignal<Vec<VmSample>>, running: Memo<bool>) -> impl IntoView {
    let cpu = Signal::derive(move || {
        samples.with(|samples| {
            super::super::history::thin(samples.iter().map(|s| f64::from(s.cpu)).collect())
        })
    });
    let newest = move || {
        samples
            .with(|samples| samples.last().copied())
            .or_else(|| vm.with(|vm| vm.status.load))
    };
    let memory = move || newest().map_or(ashlar_api::Bytes(0), |load| load.memory);
    let share = Signal::derive(move || {
        vec![Part::new(
            format::ratio(memory(), vm.with(|vm| vm.spec.memory)),
            "f1",
        )]
    });
    view! {
        <div class="card stat">
            <h2>
                "Load" <span class="r">"last hour"</span>
            </h2>
            {move || {
                if !running.get() {
                    return view! { <p class="dim">"It does not run."</p> }.into_any();
                }
                if newest().is_none() {
                    return view! { <Bone width="100%" height="120px" /> }.into_any();
                }
                view! {
                    <div class="row between">
                        <span class="l">
                            {move || {
                                vm.with(|vm| format!("Processor, {}", format::count(usize::from(vm.spec.cpus), "core", "cores")))
                            }}
                        </span>
                        <b>{move || newest().map(|load| format::percent(f64::from(load.cpu)))}</b>
                    </div>
                    <Spark values=cpu top=1.0 wide=true label="Processor load over the last hour" />
                    <div class="row between">
                        <span class="l">
                            {move || vm.with(|vm| format!("Memory, {}", format::bytes(vm.spec.memory)))}
                        </span>
                        <b>{move || format::bytes(memory())}</b>
                    </div>
                    <Meter parts=share label="Memory taken" />
                    <div class="row between">
                        <span class="l">"Disks"</span>
                        <span class="l">
                            {move || {
                                newest()
                                    .map(|l| format!("{} read, {} written", format::rate(l.disk_read), format::rate(l.disk_write)))
                            }}
                        </span>
                    </div>
                    <div class="row between">
                        <span class="l">"Network"</span>
                        <span class="l">
                            {move || {
                                newest()
                                    .map(|l| format!("{} received, {} sent", format::rate(l.net_rx), format::rate(l.net_tx)))
                            }}
                        </span>
                    </div>
                }
                    .into_any()
            }}
        </div>
    }
}

#[component]
fn AboutCard(vm: Memo<Vm>) -> impl IntoView {
    let live = Live::get();
    let disks = move || {
        let sizes: Vec<u64> = vm.with(|vm| {
            vm.spec
                .disks
                .iter()
                .map(|disk| match disk {
                    VmDisk::Volume { volume } => live
                        .volumes
                        .one(&volume.to_string())
                        .map_or(0, |v| v.spec.size.0),
                    VmDisk::New { size, .. } => size.0,
                })
                .collect()
        });
        match sizes.len() {
            0 => "none".to_owned(),
            n => format!(
                "{n}, {}",
                format::bytes(ashlar_api::Bytes(sizes.iter().sum()))
            ),
        }
    };
    let cd = move || {
        let cd = vm.with(|vm| vm.spec.cdrom)?;
        Some(live.images.one(&cd.to_string()).map_or_else(
            || "an image".to_owned(),
            |image| image.spec.name.to_string(),
        ))
    };
    let networks = move || {
        let ids: Vec<String> = vm.with(|vm| {
            vm.spec
                .nics
                .iter()
                .map(|nic| nic.network.to_string())
                .collect()
        });
        if ids.is_empty() {
            return "none".into_any();
        }
        ids.into_iter()
            .filter_map(|id| live.networks.one(&id))
            .map(|network| {
                view! {
                    <div>
                        <A href=format!("/networks/{}", network.id) attr:class="link">
                            {network.spec.name.to_string()}
                        </A>
                        <span class="dim">{format!(" ({})", subnet(&network.spec.mode))}</span>
                    </div>
                }
            })
            .collect_view()
            .into_any()
    };
    let policy = move || vm.with(|vm| vm.spec.run_policy);
    view! {
        <div class="card">
            <h2>"About"</h2>
            <Facts>
                <Fact name="Processor">
                    {move || vm.with(|vm| format::count(usize::from(vm.spec.cpus), "core", "cores"))}
                </Fact>
                <Fact name="Memory">{move || vm.with(|vm| format::bytes(vm.spec.memory))}</Fact>
                <Fact name="Firmware">"UEFI"</Fact>
                <Fact name="Disks">{disks}</Fact>
                {move || cd().map(|name| view! { <Fact name="CD">{name}</Fact> })}
                <Fact name="Network">{networks}</Fact>
                <Fact name="Runs">
                    {move || {
                        let (name, _) = words::run_policy(policy());
                        if policy() == RunPolicy::Stopped {
                            "never".to_owned()
                        } else {
                            name.to_lowercase()
                        }
                    }}
                </Fact>
                <Fact name="Guest agent">
                    {move || {
                        vm.with(|vm| match (vm.status.phase, vm.status.agent) {
                            (_, true) => "answers",
                            (VmPhase::Running, false) => "none",
                            _ => "–",
                        })
                    }}
                </Fact>
                <Fact name="Virtualised by">
                    {move || {
                        vm.with(|vm| match vm.status.kvm {
                            Some(true) => "KVM",
                            Some(false) => "software",
                            None => "–",
                        })
                    }}
                </Fact>
                {move || {
                    vm.with(|vm| vm.spec.protected)
                        .then(|| {
                            view! {
                                <Fact name="Deleting">
                                    <span class="row">{Icon::Lock.view()} "is refused"</span>
                                </Fact>
                            }
                        })
                }}
                <Fact name="Id">
                    <span class="mono">{vm.with_untracked(|vm| vm.id.to_string())}</span>
                    " "
                    <Copy text=vm.with_untracked(|vm| vm.id.to_string()) label="the id" />
                </Fact>
            </Facts>
        </div>
    }
}

#[component]
fn Traffic(
    title: &'static str,
    samples: RwSignal<Vec<VmSample>>,
    names: [&'static str; 2],
    values: [fn(&VmSample) -> f64; 2],
) -> impl IntoView {
    let columns = Signal::derive(move || {
        samples.with(|samples| {
            let seconds = samples.iter().map(|s| s.at.as_second() as f64).collect();
            vec![
                seconds,
                samples.iter().map(values[0]).collect(),
                samples.iter().map(values[1]).collect(),
            ]
        })
    });
    view! {
        <div class="card">
            <h2>
                {title} <span class="legend">
                    <span>
                        <i class="f2"></i>
                        {names[0]}
                    </span>
                    <span>
                        <i class="f3"></i>
                        {names[1]}
                    </span>
                </span> <span class="r">"last hour"</span>
            </h2>
            <Chart
                lines=vec![
                    Line { label: names[0], color: "--c2", unit: Unit::Rate, fill: true },
                    Line { label: names[1], color: "--c3", unit: Unit::Rate, fill: false },
                ]
                values=columns
                label=format!("{title} of the machine over the last hour")
                short=true
            />
        </div>
    }
}
