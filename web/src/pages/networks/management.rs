//! How the node is reached: which interface, and where its address comes from.
//!
//! A change is kept only if somebody confirms it through the new settings (the
//! strip under the top bar); otherwise the old ones return by themselves. So the
//! form says before it sends at which address to look next.

use std::net::IpAddr;

use ashlar_api::endpoint;
use ashlar_api::network::{Link, LinkKind};
use ashlar_api::node::{Addressing, Management, Node, NodeSpec};
use leptos::prelude::*;

use crate::client;
use crate::components::pick::Choice;
use crate::components::{
    Button, Form, Look, Picks, Reader, SelectField, TextField, Toasts, Trouble, Until,
};
use crate::format;
use crate::live::Live;

/// The addresses in a text, between commas or spaces.
fn addresses(reader: &mut Reader, path: &str, text: &str) -> Vec<IpAddr> {
    text.split([',', ' ', ';'])
        .filter(|part| !part.is_empty())
        .filter_map(|part| {
            reader.parse_or(
                path,
                part,
                &format!("`{part}` is not an address, such as 192.0.2.53"),
            )
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Fields {
    interface: RwSignal<String>,
    method: RwSignal<String>,
    address: RwSignal<String>,
    gateway: RwSignal<String>,
    dns: RwSignal<String>,
}

impl Fields {
    fn of(node: &Node, links: &[Link]) -> Self {
        let management = &node.spec.management;
        let (method, address, gateway, dns) = match &management.ipv4 {
            Addressing::Dhcp => {
                // The address of now with its prefix length, to begin with.
                let now = node
                    .status
                    .addresses
                    .iter()
                    .filter(|a| a.is_ipv4())
                    .find_map(|a| {
                        let begin = format!("{a}/");
                        links
                            .iter()
                            .flat_map(|link| &link.addresses)
                            .find(|full| full.starts_with(&begin))
                    });
                (
                    "dhcp",
                    now.cloned().unwrap_or_default(),
                    String::new(),
                    String::new(),
                )
            }
            Addressing::Static {
                address,
                gateway,
                dns,
            } => (
                "static",
                address.to_string(),
                gateway.map(|g| g.to_string()).unwrap_or_default(),
                dns.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        };
        Fields {
            interface: RwSignal::new(management.interface.clone().unwrap_or_default()),
            method: RwSignal::new(method.to_owned()),
            address: RwSignal::new(address),
            gateway: RwSignal::new(gateway),
            dns: RwSignal::new(dns),
        }
    }

    fn build(self, node: &Node) -> Result<NodeSpec, Vec<ashlar_api::FieldError>> {
        let mut reader = Reader::new();
        let ipv4 = if self.method.get() == "static" {
            let address = reader.parse_or(
                "management.ipv4.address",
                &self.address.get(),
                "an address with prefix length, such as 192.0.2.10/24",
            );
            let gateway = self.gateway.get();
            let gateway = (!gateway.trim().is_empty()).then(|| {
                reader.parse_or(
                    "management.ipv4.gateway",
                    &gateway,
                    "the address of a router, such as 192.0.2.1",
                )
            });
            let dns = addresses(&mut reader, "management.ipv4.dns", &self.dns.get());
            match (address, gateway) {
                (Some(address), None) => Some(Addressing::Static {
                    address,
                    gateway: None,
                    dns,
                }),
                (Some(address), Some(Some(gateway))) => Some(Addressing::Static {
                    address,
                    gateway: Some(gateway),
                    dns,
                }),
                _ => None,
            }
        } else {
            Some(Addressing::Dhcp)
        };
        let interface = self.interface.get();
        let spec = ipv4.map(|ipv4| NodeSpec {
            name: node.spec.name.clone(),
            management: Management {
                interface: (!interface.is_empty()).then_some(interface),
                ipv4,
            },
        });
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    }
}

/// The settings of the management network.
#[component]
pub fn ManagementForm(
    /// What the button says while nothing was changed.
    send: &'static str,
    /// Called once the settings are sent, or at once if nothing was changed.
    on_done: Callback<()>,
) -> impl IntoView {
    let live = Live::get();
    view! {
        <Until collection=live.links>
            <Settings send on_done />
        </Until>
    }
}

#[component]
fn Settings(send: &'static str, on_done: Callback<()>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    // The node as it was when the form opened: what is typed is never replaced by news.
    let Some(node) = untrack(|| live.node()) else {
        return ().into_any();
    };
    let fields = Fields::of(&node, &live.links.all_untracked());
    let node = StoredValue::new(node);
    let built = Memo::new(move |_| node.with_value(|node| fields.build(node)));
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let changed = Memo::new(move |_| {
        built.with(|built| {
            built
                .as_ref()
                .is_ok_and(|spec| node.with_value(|node| *spec != node.spec))
        })
    });
    let interfaces = Signal::derive(move || {
        let mut options = vec![(String::new(), "The first one with a cable".to_owned())];
        options.extend(
            live.links
                .all()
                .into_iter()
                .filter(|l| l.kind == LinkKind::Physical)
                .map(|link| {
                    let cable = match (link.carrier, link.speed) {
                        (true, Some(speed)) => format!("connected, {speed} Mbit/s"),
                        (true, None) => "connected".to_owned(),
                        (false, _) => "no cable".to_owned(),
                    };
                    let words = format!("{} · {cable} · {}", link.name, link.mac);
                    (link.name, words)
                }),
        );
        let chosen = fields.interface.get_untracked();
        if !chosen.is_empty() && !options.iter().any(|(key, _)| *key == chosen) {
            options.push((chosen.clone(), format!("{chosen} · not there now")));
        }
        options
    });
    let dhcp_text = node.with_value(|node| {
        let now: Vec<String> = node
            .status
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        match (&node.spec.management.ipv4, now.is_empty()) {
            (Addressing::Dhcp, false) => format!("It gave {}.", format::names(&now)),
            (Addressing::Dhcp, true) => "It gave no address yet.".to_owned(),
            (Addressing::Static { .. }, _) => "The address can change with every start.".to_owned(),
        }
    });
    let methods = vec![
        Choice::new("dhcp", "A DHCP server gives it", dhcp_text),
        Choice::new("static", "As written here", "Always the same address."),
    ];
    let outcome = move || {
        changed.get().then(|| {
            let place = built.with(|built| match built {
                Ok(NodeSpec { management: Management { ipv4: Addressing::Static { address, .. }, .. }, .. }) => {
                    format!("Then open https://{} and sign in there", address.addr())
                }
                _ => "Then open the address that the machine's screen shows".to_owned(),
            });
            view! {
                <div class="outcome soft">
                    <b>"The new settings are tried first. "</b>
                    <span class="dim">
                        {format!("{place}, if this page loses contact, and keep them. Without that, the old settings return by themselves.")}
                    </span>
                </div>
            }
        })
    };
    let press = move || {
        if !changed.get_untracked() {
            if form.look() {
                on_done.run(());
            }
            return;
        }
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(());
            };
            let (id, revision) = node.with_value(|node| (node.id, node.revision));
            client::put(&format!("{}/{id}", endpoint::NODES), Some(revision), &spec).await
        };
        form.send(request, move |()| {
            toasts.begun(
                "The new network settings are being tried",
                "Keep them with the button at the top.",
            );
            on_done.run(());
        });
    };
    let label = Signal::derive(move || {
        if changed.get() {
            "Try these settings".to_owned()
        } else {
            send.to_owned()
        }
    });
    view! {
        <form
            class="form"
            on:submit=move |event| {
                event.prevent_default();
                press();
            }
        >
            <Trouble problem=form.problem() />
            <SelectField
                label="Interface"
                value=fields.interface
                options=interfaces
                path="management.interface"
                hint="The socket at which this machine is managed."
            />
            <Picks
                label="Where its address comes from"
                value=fields.method
                choices=methods
                across=true
            />
            <Show when=move || fields.method.with(|method| method == "static")>
                <div class="form tight">
                    <TextField
                        label="Address"
                        value=fields.address
                        path="management.ipv4.address"
                        placeholder="192.0.2.10/24"
                        hint="With the prefix length of the network after it."
                    />
                    <TextField
                        label="Router"
                        value=fields.gateway
                        path="management.ipv4.gateway"
                        placeholder="192.0.2.1"
                        optional=true
                    />
                    <TextField
                        label="Name servers"
                        value=fields.dns
                        path="management.ipv4.dns"
                        placeholder="192.0.2.53, 192.0.2.54"
                        hint="Up to three, with commas between."
                        optional=true
                    />
                </div>
            </Show>
            {outcome}
            <div class="actions">
                <Button label look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
    .into_any()
}
