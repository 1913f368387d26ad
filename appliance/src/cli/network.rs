//! `ashlar network`: networks for virtual machines.

use ashlar_api::network::{Network, NetworkMode, NetworkSpec};
use ashlar_api::{Name, endpoint};
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;

use super::error::Result;
use super::noun::{
    self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun,
};
use super::output::{Look, condition};

/// What can be done with networks.
#[derive(Subcommand, Debug)]
pub enum NetworkCommand {
    /// List networks
    List(ListArgs),
    /// Show a network, with the addresses it has given
    Show(NameArgs),
    /// Make a network
    Create(CreateArgs),
    /// Change a network
    Set(SetArgs),
    /// Replace all settings of a network
    Replace(ReplaceArgs),
    /// Delete a network
    Delete(DeleteArgs),
}

/// How machines on a network reach the world; one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct ModeArgs {
    /// Behind the node, which gives addresses from this subnet, such as 10.77.0.0/24
    #[arg(long, value_name = "SUBNET")]
    nat: Option<Ipv4Net>,
    /// On the network of the management interface
    #[arg(long)]
    bridged: bool,
    /// Not at all; machines reach one another
    #[arg(long)]
    isolated: bool,
}

/// A new network.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Its name
    name: Name,
    /// How machines on it reach the world
    #[command(flatten)]
    mode: ModeArgs,
    /// What it is for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// What changes about a network.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Its name or id
    network: String,
    /// Its new name
    #[arg(long)]
    name: Option<Name>,
    /// How machines on it reach the world
    #[command(flatten)]
    mode: ModeArgs,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

impl ModeArgs {
    fn mode(&self) -> Option<NetworkMode> {
        match self {
            ModeArgs {
                nat: Some(subnet), ..
            } => Some(NetworkMode::Nat { subnet: *subnet }),
            ModeArgs { bridged: true, .. } => Some(NetworkMode::Bridged {}),
            ModeArgs { isolated: true, .. } => Some(NetworkMode::Isolated {}),
            _ => None,
        }
    }
}

fn mode(network: &Network) -> String {
    match &network.spec.mode {
        NetworkMode::Bridged {} => "bridged".to_owned(),
        NetworkMode::Nat { subnet } => format!("NAT {subnet}"),
        NetworkMode::Isolated {} => "isolated".to_owned(),
    }
}

object_noun!(Network, NetworkSpec);

impl Noun for Network {
    const WORD: &'static str = "network";
    const PATH: &'static str = endpoint::NETWORKS;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "mode",
        "condition",
        "gateway",
        "interfaces",
        "leases",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            mode(self),
            condition(&self.status.condition),
            self.status
                .gateway
                .map(|a| a.to_string())
                .unwrap_or_default(),
            self.status.interfaces.to_string(),
            self.status.leases.len().to_string(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        let leases: Vec<String> = self
            .status
            .leases
            .iter()
            .map(|lease| {
                let line = format!("{}  {}  {}", lease.address, lease.mac, lease.hostname);
                line.trim_end().to_owned()
            })
            .collect();
        vec![
            ("name", self.spec.name.to_string()),
            ("id", self.id.to_string()),
            ("description", self.spec.description.clone()),
            ("mode", mode(self)),
            ("condition", condition(&self.status.condition)),
            ("remedy", self.status.condition.remedy.clone()),
            (
                "gateway",
                self.status
                    .gateway
                    .map(|a| a.to_string())
                    .unwrap_or_default(),
            ),
            ("bridge", self.status.bridge.clone()),
            ("interfaces", self.status.interfaces.to_string()),
            ("leases", leases.join("\n")),
            ("created", look.time(self.created_at)),
        ]
    }
}

impl NetworkCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            NetworkCommand::List(args) => noun::list::<Network>(cx, &args).await,
            NetworkCommand::Show(args) => noun::show::<Network>(cx, &args).await,
            NetworkCommand::Create(args) => {
                let mode = args.mode.mode().ok_or_else(|| {
                    super::error::Error::usage(
                        "it is not said how machines on the network reach the world",
                        "Give one of --nat SUBNET, --bridged and --isolated.",
                    )
                })?;
                let spec = NetworkSpec {
                    name: args.name,
                    description: args.description,
                    mode,
                };
                noun::create::<Network>(cx, &spec, args.change)
                    .await
                    .map(drop)
            }
            NetworkCommand::Set(args) => {
                let (path, network) = noun::find::<Network>(&cx.client, &args.network).await?;
                noun::set(cx, &path, network, args.change, |spec| {
                    spec.name = args.name.unwrap_or(spec.name.clone());
                    spec.mode = args.mode.mode().unwrap_or(spec.mode.clone());
                    if let Some(description) = args.description {
                        spec.description = description;
                    }
                })
                .await
                .map(drop)
            }
            NetworkCommand::Replace(args) => noun::replace::<Network>(cx, &args).await,
            NetworkCommand::Delete(args) => noun::delete::<Network>(cx, &args, "").await,
        }
    }
}
