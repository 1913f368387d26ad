//! Running jobs in the top bar, with progress and a way to stop them.

use ashlar_api::endpoint;
use ashlar_api::job::Job;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::client;
use crate::components::menu::PanelLink;
use crate::components::{Button, Icon, Panel, Progress, Toasts, Tone};
use crate::format;
use crate::live::Live;
use crate::time::Clock;
use crate::words;

/// How many finished jobs the panel shows.
const FINISHED: usize = 5;

/// The jobs in the top bar.
#[component]
pub fn Jobs() -> impl IntoView {
    let live = Live::get();
    let running = Memo::new(move |_| {
        live.jobs
            .all()
            .iter()
            .filter(|job| !job.state.is_over())
            .count()
    });
    let dot = Signal::derive(move || (running.get() > 0).then_some(Tone::Info));
    let label = Signal::derive(move || match running.get() {
        0 => "Jobs".to_owned(),
        n => format!("Jobs, {n} running"),
    });
    view! {
        <Panel label icon=Icon::Jobs dot>
            <div class="panel-head">
                "Jobs" <PanelLink href="/jobs" words="All jobs" />
            </div>
            {move || {
                let (finished, running): (Vec<Job>, Vec<Job>) = live
                    .jobs
                    .all()
                    .into_iter()
                    .partition(|job| job.state.is_over());
                let shown: Vec<Job> = running
                    .into_iter()
                    .chain(finished.into_iter().take(FINISHED))
                    .collect();
                if shown.is_empty() {
                    view! {
                        <p class="panel-none">
                            "Work that takes longer, such as uploads, shows here while it runs."
                        </p>
                    }
                        .into_any()
                } else {
                    shown.into_iter().map(|job| view! { <JobItem job /> }).collect_view().into_any()
                }
            }}
        </Panel>
    }
}

#[component]
fn JobItem(job: Job) -> impl IntoView {
    let clock = Clock::get();
    let over = job.state.is_over();
    let (tone, _, icon) = words::job_state(job.state);
    let sentence = words::job(&job);
    let when = job.finished_at.unwrap_or(job.created_at);
    let class = match tone {
        Tone::Ok => "t-ok",
        Tone::Bad => "t-bad",
        _ => "dimmer",
    };
    let progress = job.progress.map(f64::from);
    view! {
        <div class="panel-item">
            <div class="row">
                {over.then(|| view! { <span class=class>{icon.view()}</span> })} <b class="cut">{sentence.clone()}</b>
                <span class="push dimmer nowrap">
                    {match progress.filter(|_| !over) {
                        Some(share) => format::percent(share),
                        None => clock.brief(when),
                    }}
                </span>
            </div>
            {(!over).then(|| view! { <Progress share=progress label=sentence /> })}
            <div class="row">
                <span class="dim break">{job.message.clone()}</span>
                {(!over && job.cancellable)
                    .then(|| view! { <span class="push"><StopJob id=job.id.to_string() /></span> })}
            </div>
        </div>
    }
}

/// A button that stops a job.
#[component]
pub fn StopJob(
    /// The job.
    id: String,
) -> impl IntoView {
    let toasts = Toasts::get();
    let press = move |()| {
        let path = format!("{}/{id}/cancel", endpoint::JOBS);
        spawn_local(async move {
            if let Err(failure) = client::verb(&path).await {
                toasts.failed(&failure);
            }
        });
    };
    view! { <Button label="Stop" small=true on_press=press /> }
}
