//! `ashlar node`: the machines of the site, their addresses and their end.
//!
//! A change of the management network lasts only if it is confirmed over the
//! network as it is then. With a static address the client goes there and
//! confirms by itself, which proves that the appliance is reached; in other
//! cases it says what to do.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ashlar_api::metrics::Sample;
use ashlar_api::node::{Addressing, Log, Node, NodeEnd, NodeSpec};
use ashlar_api::{Name, Timestamp, endpoint};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use reqwest::Method;

use super::client::{Client, at};
use super::error::{Error, Result};
use super::metrics::{self, RangeArgs};
use super::noun::{self, ChangeArgs, Cx, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun};
use super::output::{self, Format, Look, list, of, share, word, yes};
use super::place::{Address, Place};
use super::saved::Saved;
use super::{ask, wait};

/// How long the new address is tried: as long as an unconfirmed change lasts.
const CONFIRMING: Duration = Duration::from_secs(60);

/// What can be done with nodes.
#[derive(Subcommand, Debug)]
pub enum NodeCommand {
    /// List nodes
    List(ListArgs),
    /// Show a node
    Show(NameArgs),
    /// Change a node's name or management network
    Set(SetArgs),
    /// Replace all settings of a node
    Replace(ReplaceArgs),
    /// The load of a node: now, and over time
    Metrics {
        /// Its name or id; the only node when absent
        name: Option<String>,
        /// How far back
        #[command(flatten)]
        range: RangeArgs,
    },
    /// The newest lines of a node's log
    Log {
        /// Its name or id; the only node when absent
        name: Option<String>,
        /// How many lines
        #[arg(
            long,
            value_name = "N",
            default_value_t = 200,
            value_parser = clap::value_parser!(u16).range(1..=1000)
        )]
        lines: u16,
    },
    /// Keep a change of the management network
    Confirm(NameArgs),
    /// Restart a node; virtual machines on it are asked to end first
    Restart(EndArgs),
    /// Power a node off; virtual machines on it are asked to end first
    PowerOff(EndArgs),
    /// Start the appliance's own program again; virtual machines go on
    RestartSupervisor(NameArgs),
}

/// What changes about a node.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Its name or id
    node: String,
    /// Its new host name
    #[arg(long)]
    name: Option<Name>,
    /// The management interface, by name or hardware address; empty for the first with a cable
    #[arg(long, value_name = "LINK")]
    interface: Option<String>,
    /// Take the address from a DHCP server
    #[arg(long, conflicts_with_all = ["address", "gateway", "dns"])]
    dhcp: bool,
    /// A static address with prefix length, such as 192.0.2.10/24
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: Option<IpNet>,
    /// The router
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    gateway: Option<IpAddr>,
    /// A name server; repeat for several
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    dns: Vec<IpAddr>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// Which node ends.
#[derive(Args, Debug)]
pub struct EndArgs {
    /// Its name or id
    node: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn addressing(node: &Node) -> String {
    match &node.spec.management.ipv4 {
        Addressing::Dhcp => "DHCP".to_owned(),
        Addressing::Static {
            address,
            gateway,
            dns,
        } => {
            let mut text = format!("static {address}");
            if let Some(gateway) = gateway {
                text.push_str(&format!(", gateway {gateway}"));
            }
            if !dns.is_empty() {
                text.push_str(&format!(", DNS {}", list(dns)));
            }
            text
        }
    }
}

fn health(node: &Node) -> String {
    node.status
        .severity
        .map_or_else(|| "well".to_owned(), |severity| word(&severity))
}

object_noun!(Node, NodeSpec);

impl Noun for Node {
    const WORD: &'static str = "node";
    const PATH: &'static str = endpoint::NODES;
    const COLUMNS: &'static [&'static str] =
        &["name", "health", "cpus", "memory", "addresses", "version"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            health(self),
            self.status.cpus.to_string(),
            self.status.memory.to_string(),
            list(&self.status.addresses),
            self.status.version.clone(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        let status = &self.status;
        let load = status.load.as_ref();
        vec![
            ("name", self.spec.name.to_string()),
            ("id", self.id.to_string()),
            ("health", health(self)),
            ("version", status.version.clone()),
            ("kernel", status.kernel.clone()),
            ("model", status.model.clone()),
            (
                "processor",
                format!("{} × {}", status.cpus, status.cpu_model),
            ),
            ("KVM", yes(status.virtualisation)),
            ("memory", status.memory.to_string()),
            ("for itself", status.memory_system.to_string()),
            ("for machines", of(status.memory_vms, status.memory)),
            ("vCPUs given", status.vcpus.to_string()),
            (
                "CPU load",
                load.map(|load| share(load.cpu)).unwrap_or_default(),
            ),
            ("started", look.time(status.booted_at)),
            ("addresses", list(&status.addresses)),
            (
                "interface",
                self.spec.management.interface.clone().unwrap_or_default(),
            ),
            ("address from", addressing(self)),
            ("confirm until", look.maybe_time(status.confirm_until)),
        ]
    }
}

impl NodeCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            NodeCommand::List(args) => noun::list::<Node>(cx, &args).await,
            NodeCommand::Show(args) => noun::show::<Node>(cx, &args).await,
            NodeCommand::Set(args) => set(cx, args).await,
            NodeCommand::Replace(args) => noun::replace::<Node>(cx, &args).await,
            NodeCommand::Metrics { name, range } => {
                let path = one(cx, name).await?;
                metrics::show::<Sample>(cx, &path, &range).await
            }
            NodeCommand::Log { name, lines } => log(cx, name, lines).await,
            NodeCommand::Confirm(args) => {
                let id = noun::id_of::<Node>(&cx.client, &args.name).await?;
                let path = format!("{}/confirm", at(Node::PATH, &id));
                let answer = cx
                    .client
                    .send(cx.client.request(Method::POST, &path))
                    .await?;
                cx.show::<Node>(&answer).await
            }
            NodeCommand::Restart(args) => end(cx, args, "restart", "Restart").await,
            NodeCommand::PowerOff(args) => end(cx, args, "power-off", "Power off").await,
            NodeCommand::RestartSupervisor(args) => {
                let id = noun::id_of::<Node>(&cx.client, &args.name).await?;
                let path = format!("{}/restart-supervisor", at(Node::PATH, &id));
                let answer = cx
                    .client
                    .send(cx.client.request(Method::POST, &path))
                    .await?;
                cx.tell(
                    &answer,
                    "The appliance is away for a few seconds; virtual machines go on.",
                )
            }
        }
    }
}

/// The address of the node that is meant: the only one, when none is named.
async fn one(cx: &Cx, name: Option<String>) -> Result<String> {
    if let Some(name) = name {
        let id = noun::id_of::<Node>(&cx.client, &name).await?;
        return Ok(at(Node::PATH, &id));
    }
    let nodes: Vec<Node> = cx.client.all(Node::PATH, &[]).await?;
    match nodes.as_slice() {
        [node] => Ok(at(Node::PATH, &node.id())),
        _ => Err(Error::failed(
            format!("there are {} nodes", nodes.len()),
            "Name the one that is meant; `ashlar node list` shows them.",
        )),
    }
}

async fn log(cx: &Cx, name: Option<String>, lines: u16) -> Result {
    let path = format!("{}/log?lines={lines}", one(cx, name).await?);
    let answer = cx.client.get(&path).await?;
    if cx.look.format == Format::Json {
        return output::json(&answer.body);
    }
    let log: Log = answer.read()?;
    let text: String = log
        .lines
        .iter()
        .map(|line| output::plain(line) + "\n")
        .collect();
    output::print(&text)
}

async fn end(cx: &Cx, args: EndArgs, verb: &str, question: &str) -> Result {
    let (path, node) = noun::find::<Node>(&cx.client, &args.node).await?;
    let name = node.spec.name.to_string();
    ask::unless_said(
        args.yes,
        &format!("{question} the node {name} with everything that runs on it?"),
    )?;
    let body = NodeEnd {
        confirm: name.clone(),
    };
    let answer = cx.client.post(&format!("{path}/{verb}"), &body).await?;
    cx.tell(
        &answer,
        &format!("{name}: virtual machines are asked to end, then the node does."),
    )
}

async fn set(cx: &Cx, args: SetArgs) -> Result {
    let (path, node) = noun::find::<Node>(&cx.client, &args.node).await?;
    let now = match (args.dhcp, args.address) {
        (true, _) => Some(Addressing::Dhcp),
        (false, Some(address)) => Some(Addressing::Static {
            address,
            gateway: args.gateway,
            dns: args.dns,
        }),
        (false, None) => None,
    };
    let answer = noun::set(cx, &path, node, args.change, |spec| {
        if let Some(name) = args.name {
            spec.name = name;
        }
        if let Some(interface) = args.interface {
            spec.management.interface = Some(interface).filter(|name| !name.is_empty());
        }
        if let Some(now) = now {
            spec.management.ipv4 = now;
        }
    })
    .await?;
    let node: Node = answer.read()?;
    let pending = node.status.confirm_until.filter(|_| !args.change.dry_run);
    match pending {
        None => Ok(()),
        Some(until) => confirm(cx, &path, &node, until, args.change.no_wait).await,
    }
}

/// Where the node will be, if that is known and is not where it is spoken to now.
fn destination(place: &Place, node: &Node) -> Option<Address> {
    let Place::Remote(address) = place else {
        return None;
    };
    match &node.spec.management.ipv4 {
        Addressing::Static { address: new, .. } => {
            address.at(new.addr()).filter(|moved| moved != address)
        }
        Addressing::Dhcp => None,
    }
}

async fn confirm(cx: &Cx, path: &str, node: &Node, until: Timestamp, no_wait: bool) -> Result {
    let name = &node.spec.name;
    let hint = format!(
        "The change goes back at {} unless it is confirmed: ashlar node confirm {name}",
        cx.look.time(until)
    );
    let Some(address) = destination(cx.client.place(), node).filter(|_| !no_wait) else {
        output::note(&hint);
        return Ok(());
    };
    let spinner = wait::spinner(format!("confirming at {address}"));
    let moved = cx.client.moved(&address);
    let start = Instant::now();
    loop {
        match confirm_at(&moved, path).await {
            Ok(()) => {
                spinner.finish_and_clear();
                output::note(&format!("Confirmed at {address}."));
                return keep(cx.client.place(), &address);
            }
            Err(error) if error.may_pass() && start.elapsed() < CONFIRMING => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) if error.may_pass() => {
                return Err(Error::failed(
                    format!("{name} was not reached at {address}"),
                    "The change goes back by itself; the node stays where it was.",
                ));
            }
            Err(error) => return Err(error),
        }
    }
}

async fn confirm_at(client: &Client, path: &str) -> Result {
    let request = client
        .request(Method::POST, &format!("{path}/confirm"))
        .timeout(Duration::from_secs(10));
    client.send(request).await.map(drop)
}

/// What was known of the appliance holds at its new address too.
fn keep(old: &Place, new: &Address) -> Result {
    let mut saved = Saved::load()?;
    let old = old.to_string();
    let Some(known) = saved.appliances.remove(&old) else {
        return Ok(());
    };
    saved.appliances.insert(new.to_string(), known);
    if saved.default.as_deref() == Some(old.as_str()) {
        saved.default = Some(new.to_string());
    }
    saved.store()
}
