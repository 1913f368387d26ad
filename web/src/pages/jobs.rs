//! Jobs: work that takes longer, what runs now and what ran before.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::components::{Empty, Icon, Pill, Progress, Until};
use crate::format;
use crate::live::Live;
use crate::shell::Head;
use crate::shell::jobs::StopJob;
use crate::time::Clock;
use crate::words;

/// The jobs.
#[component]
pub fn Jobs() -> impl IntoView {
    let live = Live::get();
    let lead = Signal::derive(move || {
        if !live.jobs.here() {
            return String::new();
        }
        match live
            .jobs
            .all()
            .iter()
            .filter(|job| !job.state.is_over())
            .count()
        {
            0 => "Nothing is running".to_owned(),
            n => format!("{} running", format::count(n, "job", "jobs")),
        }
    });
    view! {
        <Head title="Jobs" lead />
        <div class="card flush">
            <Until collection=live.jobs>
                {move || {
                    if live.jobs.count() == 0 {
                        view! {
                            <Empty
                                icon=Icon::Jobs
                                title="No jobs yet"
                                text="Work that takes longer than a moment becomes a job: uploading an image, filling a disk, deleting a machine. It shows here with its progress, and goes on when you close the browser."
                            />
                        }
                            .into_any()
                    } else {
                        view! { <List /> }.into_any()
                    }
                }}
            </Until>
        </div>
    }
}

#[component]
fn List() -> impl IntoView {
    let live = Live::get();
    view! {
        <div class="wide">
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Job"</th>
                        <th scope="col">"State"</th>
                        <th scope="col" class="opt2">"Progress"</th>
                        <th scope="col" class="opt2">"By"</th>
                        <th scope="col">"When"</th>
                        <th scope="col" class="opt3">"Took"</th>
                        <th scope="col"><span class="sr">"Stop"</span></th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || live.jobs.keys() key=Clone::clone children=|key| view! { <Row key /> } />
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn Row(key: String) -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let row = live.jobs.row(&key);
    move || {
        let job = row.as_ref()?.get();
        let (tone, word, icon) = words::job_state(job.state);
        let over = job.state.is_over();
        let sentence = words::job(&job);
        let title = sentence.clone();
        let link = words::address(&job.subject);
        let took = job.finished_at.unwrap_or_else(crate::time::now).as_second()
            - job.created_at.as_second();
        let progress = job.progress.map(f64::from);
        Some(view! {
            <tr>
                <td class="fill">
                    <A href=link attr:class="name">
                        {title}
                    </A>
                    {(!job.message.is_empty()).then(|| view! { <div class="under">{job.message.clone()}</div> })}
                </td>
                <td>
                    <Pill tone word icon=icon />
                </td>
                <td class="opt2">
                    {(!over)
                        .then(|| {
                            view! {
                                <div class="rowline">
                                    <Progress share=progress label=sentence />
                                </div>
                            }
                        })}
                </td>
                <td class="opt2 dim">{job.by.clone()}</td>
                <td class="dim">
                    <time title=move || clock.exact(job.created_at)>{move || clock.brief(job.created_at)}</time>
                </td>
                <td class="opt3 dim">{format::duration(took)}</td>
                <td class="num">
                    {(!over && job.cancellable).then(|| view! { <StopJob id=job.id.to_string() /> })}
                </td>
            </tr>
        })
    }
}
