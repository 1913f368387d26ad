//! Does one step. Nothing is decided here.

use std::path::Path;

use ashlar_api::NodeId;

use super::children::Places;
use super::eyes::Eyes;
use super::netlink::Netlink;
use super::plan::Step;
use super::{Error, dhcp};
use crate::reconcile::children::Children;
use crate::state::command::{Command, Refusal};
use crate::state::schema::MANAGEMENT_BRIDGE;
use crate::state::{ProposeError, Store};
use crate::sys::fs;

/// In whose name the state is told what became of wishes.
const OURSELVES: &str = "ashlar";

/// What steps are done with.
pub struct Hands<'a> {
    /// The machine's links.
    pub netlink: &'a Netlink,
    /// The children.
    pub children: &'a mut Children,
    /// Where the files are.
    pub places: &'a Places,
    /// To be told of what is changed.
    pub eyes: &'a mut Eyes,
    /// The state.
    pub store: &'a Store,
    /// This node.
    pub node: NodeId,
}

/// Does a step.
pub async fn apply(hands: Hands<'_>, step: Step) -> Result<(), Error> {
    let netlink = hands.netlink;
    match step {
        Step::RevertNode => propose(hands.store, Command::RevertNode { id: hands.node }).await?,
        Step::ForgetNetwork(id) => propose(hands.store, Command::ForgetNetwork { id }).await?,
        Step::StopService(name) => hands.children.stop(&name).await?,
        Step::StartService(service) => {
            let launch = |directory: &Path| hands.places.launch(&service, directory);
            hands
                .children
                .start(&service.name(), &service.fingerprint(), launch)?;
        }
        Step::DropLease(link) => fs::remove_file(&dhcp::file(&hands.places.dhcp(), &link))?,
        Step::DeleteRoute(route) => netlink.delete_route(&route).await?,
        Step::DeleteAddress(address) => netlink.delete_address(&address).await?,
        Step::DeleteBridge(name) => netlink.delete_link(&name).await?,
        Step::ApplyFirewall(rules) => {
            rules.apply().await?;
            hands.eyes.firewall_written(&rules).await?;
        }
        Step::SetSysctl { key, value } => set(&key, value)?,
        Step::CreateBridge { name, mac } => netlink.create_bridge(&name, mac).await?,
        Step::SetMac { link, mac } => netlink.set_mac(&link, mac).await?,
        Step::SetUp(link) => netlink.set_up(&link).await?,
        Step::ReleaseLink(link) => netlink.release(&link).await?,
        Step::EnslaveLink(link) => netlink.enslave(&link, MANAGEMENT_BRIDGE).await?,
        Step::AddAddress(address) => netlink.add_address(&address).await?,
        Step::AddRoute(route) => netlink.add_route(&route).await?,
        Step::WriteResolvConf(text) => {
            fs::write_atomic(&hands.places.resolv_conf(), text.as_bytes(), 0o644)?;
        }
        Step::RememberUplink(mac) => {
            let text = format!("{mac}\n");
            fs::write_atomic(&hands.places.uplink(), text.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

/// Tells the state. That it is so already is success.
async fn propose(store: &Store, command: Command) -> Result<(), Error> {
    match store.propose(OURSELVES, command).await {
        Ok(_)
        | Err(ProposeError::Refused(Refusal::NotFound { .. } | Refusal::WrongState { .. })) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets a kernel setting. A kernel without it (IPv6 switched off at start) needs no telling.
fn set(key: &str, value: &str) -> Result<(), Error> {
    match std::fs::write(Path::new("/proc/sys").join(key), value) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Sysctl {
            key: key.to_owned(),
            value: value.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
