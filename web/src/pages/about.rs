//! What this appliance is: version, hardware, certificate, licences.

use ashlar_api::endpoint;
use leptos::prelude::*;

use crate::components::{Copy, Fact, Facts, logo};
use crate::format;
use crate::live::Live;
use crate::shell::Head;
use crate::time::Clock;

/// What the console is made of: name, licence.
const PARTS: [(&str, &str); 5] = [
    ("Leptos", "MIT"),
    ("wasm-bindgen", "MIT or Apache-2.0"),
    ("noVNC", "MPL-2.0"),
    ("xterm.js", "MIT"),
    ("uPlot", "MIT"),
];

/// About this appliance.
#[component]
pub fn About() -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let lead = Signal::derive(move || {
        live.node()
            .map(|node| format!("Version {}", node.status.version))
            .unwrap_or_default()
    });
    view! {
        <Head title="About" lead />
        <div class="grid g2">
            <div class="card">
                <h2>"This appliance"</h2>
                {move || {
                    live.node()
                        .map(|node| {
                            let status = node.status;
                            let running = clock.since(status.booted_at);
                            view! {
                                <Facts>
                                    <Fact name="Version">{status.version}</Fact>
                                    <Fact name="Linux">{status.kernel}</Fact>
                                    <Fact name="Model">{or_dash(status.model)}</Fact>
                                    <Fact name="Processor">{or_dash(status.cpu_model)}</Fact>
                                    <Fact name="Memory">{format::bytes(status.memory)}</Fact>
                                    <Fact name="Started">
                                        {format!("{} ago", format::duration(running))}
                                    </Fact>
                                    <Fact name="Node id">
                                        <span class="mono">{node.id.to_string()}</span>
                                        " "
                                        <Copy text=node.id.to_string() label="the node id" />
                                    </Fact>
                                </Facts>
                            }
                        })
                }}
            </div>
            <div class="card">
                <h2>"Certificate"</h2>
                <p class="dim small">
                    "Compare this fingerprint with the one on the screen of the machine, to be sure that nobody stands between it and this browser."
                </p>
                <p class="fingerprint">
                    {move || {
                        live.site
                            .with(|site| {
                                site.as_ref().map(|site| site.status.certificate_fingerprint.clone())
                            })
                    }}
                </p>
            </div>
            <div class="card">
                <h2>"For programs"</h2>
                <p class="dim small">
                    "All that the console does goes through the API, which is described at "
                    <a class="link" href=endpoint::OPENAPI target="_blank" rel="external">
                        {endpoint::OPENAPI}
                    </a> ". Programs use a token from the settings; the command line is the same program as the appliance."
                </p>
            </div>
            <div class="card">
                <h2>
                    <span class="brand">{logo()} "Ashlar"</span>
                </h2>
                <p class="dim small">
                    "Open source under the Apache License 2.0. The console is made with:"
                </p>
                <Facts>
                    {PARTS
                        .into_iter()
                        .map(|(name, licence)| view! { <Fact name=name>{licence}</Fact> })
                        .collect_view()}
                </Facts>
            </div>
        </div>
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "–".to_owned()
    } else {
        text
    }
}
