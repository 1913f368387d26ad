//! Links, addresses and routes over rtnetlink: one method a verb, nothing is
//! decided here. Links are named by name, as people and plans do; the kernel's
//! number is looked up in the moment of use, so that a link that went away and
//! came back is not mistaken for another.
//!
//! "It exists" on adding and "it is absent" on removing are success: a plan is
//! made from a picture that can be a moment old.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ashlar_api::network::LinkKind;
use ashlar_api::vm::Mac;
use futures_util::{Stream, TryStreamExt};
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::errno::Errno;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder,
};

use super::management::PROTOCOL;
use super::observe::{Address, Link, Route};

/// The kernel answers at once; this is for a kernel that does not.
const LIMIT: Duration = Duration::from_secs(10);

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket could be had.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel refused.
    #[error("cannot {what}")]
    Refused {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer was no answer.
    #[error("cannot {what}: the kernel's answer was not understood")]
    Answer {
        /// What was tried.
        what: String,
        /// Why.
        source: rtnetlink::Error,
    },
    /// There was no answer.
    #[error("cannot {what}: the kernel did not answer within {LIMIT:?}")]
    Silent {
        /// What was tried.
        what: String,
    },
    /// There is no such link.
    #[error("there is no link `{0}`")]
    NoLink(String),
}

impl NetlinkError {
    /// What the kernel said.
    fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens the socket, in the network namespace of the calling thread.
    pub fn open() -> Result<Netlink, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        Ok(Netlink {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// Whether the socket can still be used.
    pub fn is_open(&self) -> bool {
        !self.connection.is_finished()
    }

    /// Every link, in the kernel's order.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let what = || "list the links".to_owned();
        let messages = collect(what, self.handle.link().get().execute()).await?;
        let names: HashMap<u32, String> = messages
            .iter()
            .filter_map(|message| Some((message.header.index, name(message)?)))
            .collect();
        let mut links: Vec<Link> = messages.iter().filter_map(|m| link(m, &names)).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Every address of both families. `links` gives the names.
    pub async fn addresses(&self, links: &[Link]) -> Result<Vec<Address>, NetlinkError> {
        let what = || "list the addresses".to_owned();
        let messages = collect(what, self.handle.address().get().execute()).await?;
        let mut addresses: Vec<Address> =
            messages.iter().filter_map(|m| address(m, links)).collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// The IPv4 routes of the main table that the kernel did not make itself.
    pub async fn routes(&self, links: &[Link]) -> Result<Vec<Route>, NetlinkError> {
        let what = || "list the routes".to_owned();
        let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages = collect(what, self.handle.route().get(query).execute()).await?;
        let mut routes: Vec<Route> = messages.iter().filter_map(|m| route(m, links)).collect();
        routes.sort();
        routes.dedup();
        Ok(routes)
    }

    /// Makes a bridge, switched off.
    pub async fn create_bridge(&self, name: &str, mac: Option<Mac>) -> Result<(), NetlinkError> {
        let mut builder = LinkMessageBuilder::<LinkBridge>::new(name);
        if let Some(mac) = mac {
            builder = builder.address(mac.0.to_vec());
        }
        let request = self.handle.link().add(builder.build()).execute();
        let done = perform(|| format!("make the bridge {name}"), request).await;
        unless(done, &[Errno::EEXIST])
    }

    /// Removes a link.
    pub async fn delete_link(&self, name: &str) -> Result<(), NetlinkError> {
        let index = match self.index(name).await {
            Err(NetlinkError::NoLink(_)) => return Ok(()),
            index => index?,
        };
        let request = self.handle.link().del(index).execute();
        let done = perform(|| format!("remove the link {name}"), request).await;
        unless(done, &[Errno::ENODEV])
    }

    /// Switches a link on.
    pub async fn set_up(&self, name: &str) -> Result<(), NetlinkError> {
        self.change(name, "switch on", LinkMessageBuilder::up).await
    }

    /// Gives a link a hardware address.
    pub async fn set_mac(&self, name: &str, mac: Mac) -> Result<(), NetlinkError> {
        let what = format!("give the hardware address {mac} to");
        self.change(name, &what, |link| link.address(mac.0.to_vec()))
            .await
    }

    /// Makes a link a port of a bridge.
    pub async fn enslave(&self, name: &str, bridge: &str) -> Result<(), NetlinkError> {
        let index = self.index(bridge).await?;
        let what = format!("put into the bridge {bridge}");
        self.change(name, &what, |link| link.controller(index))
            .await
    }

    /// Takes a link out of its bridge.
    pub async fn release(&self, name: &str) -> Result<(), NetlinkError> {
        self.change(
            name,
            "take out of its bridge",
            LinkMessageBuilder::nocontroller,
        )
        .await
    }

    async fn change(
        &self,
        name: &str,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), NetlinkError> {
        let index = self.index(name).await?;
        let message = change(LinkUnspec::new_with_index(index)).build();
        let request = self.handle.link().change(message).execute();
        perform(|| format!("{what} the link {name}"), request).await
    }

    /// Adds an address.
    pub async fn add_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let index = self.index(&address.link).await?;
        let (ip, length) = (address.net.addr(), address.net.prefix_len());
        let mut request = self.handle.address().add(index, ip, length);
        let message = request.message_mut();
        if address.ours {
            let mark = AddressProtocol::Other(PROTOCOL);
            message.attributes.push(AddressAttribute::Protocol(mark));
        }
        if matches!(ip, IpAddr::V4(ip) if ip.is_link_local()) {
            message.header.scope = AddressScope::Link;
        }
        let done = perform(
            || format!("add the address {} to {}", address.net, address.link),
            request.execute(),
        )
        .await;
        unless(done, &[Errno::EEXIST])
    }

    /// Removes an address.
    pub async fn delete_address(&self, address: &Address) -> Result<(), NetlinkError> {
        let index = match self.index(&address.link).await {
            Err(NetlinkError::NoLink(_)) => return Ok(()),
            index => index?,
        };
        let message = match address.net {
            IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build(),
        };
        let done = perform(
            || format!("remove the address {} from {}", address.net, address.link),
            self.handle.address().del(message).execute(),
        )
        .await;
        unless(done, &[Errno::EADDRNOTAVAIL, Errno::ENODEV])
    }

    /// Adds a route.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let index = self.index(&route.link).await?;
        let mut builder = message(route, index).protocol(match route.ours {
            true => RouteProtocol::Other(PROTOCOL),
            false => RouteProtocol::Boot,
        });
        builder = match (route.gateway, route.source) {
            (None, _) => builder.scope(RouteScope::Link),
            // A router outside of the address's network is believed to be on the link, as servers that give
            // single addresses mean it.
            (Some(_), Some(_)) => builder.onlink(),
            (Some(_), None) => builder,
        };
        let done = perform(
            || format!("add the route to {} over {}", route.destination, route.link),
            self.handle.route().add(builder.build()).execute(),
        )
        .await;
        unless(done, &[Errno::EEXIST])
    }

    /// Removes a route.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let index = match self.index(&route.link).await {
            Err(NetlinkError::NoLink(_)) => return Ok(()),
            index => index?,
        };
        // "Nowhere" and "unspecified" match any.
        let message = message(route, index)
            .scope(RouteScope::NoWhere)
            .protocol(match route.ours {
                true => RouteProtocol::Other(PROTOCOL),
                false => RouteProtocol::Unspec,
            })
            .build();
        let what = || {
            format!(
                "remove the route to {} over {}",
                route.destination, route.link
            )
        };
        let done = perform(what, self.handle.route().del(message).execute()).await;
        unless(done, &[Errno::ESRCH, Errno::ENODEV])
    }

    async fn index(&self, name: &str) -> Result<u32, NetlinkError> {
        let request = self.handle.link().get().match_name(name).execute();
        match collect(|| format!("look for the link {name}"), request).await {
            Ok(messages) => messages
                .first()
                .map(|message| message.header.index)
                .ok_or_else(|| NetlinkError::NoLink(name.to_owned())),
            Err(error) if error.errno() == Some(Errno::ENODEV) => {
                Err(NetlinkError::NoLink(name.to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Counts some refusals as success.
fn unless(done: Result<(), NetlinkError>, fine: &[Errno]) -> Result<(), NetlinkError> {
    match done {
        Err(error) if error.errno().is_some_and(|errno| fine.contains(&errno)) => Ok(()),
        done => done,
    }
}

fn classify(what: impl Fn() -> String) -> impl Fn(rtnetlink::Error) -> NetlinkError {
    move |error| match error {
        rtnetlink::Error::NetlinkError(message) => NetlinkError::Refused {
            what: what(),
            source: message.to_io(),
        },
        source => NetlinkError::Answer {
            what: what(),
            source,
        },
    }
}

async fn perform(
    what: impl Fn() -> String,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), NetlinkError> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(done) => done.map_err(classify(what)),
        Err(_) => Err(NetlinkError::Silent { what: what() }),
    }
}

async fn collect<T>(
    what: impl Fn() -> String,
    answer: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetlinkError> {
    match tokio::time::timeout(LIMIT, std::pin::pin!(answer).try_collect()).await {
        Ok(messages) => messages.map_err(classify(what)),
        Err(_) => Err(NetlinkError::Silent { what: what() }),
    }
}

fn message(route: &Route, index: u32) -> RouteMessageBuilder<Ipv4Addr> {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .output_interface(index)
        .destination_prefix(route.destination.network(), route.destination.prefix_len());
    if let Some(gateway) = route.gateway {
        builder = builder.gateway(gateway);
    }
    if let Some(source) = route.source {
        builder = builder.pref_source(source);
    }
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    builder
}

fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn link(message: &LinkMessage, names: &HashMap<u32, String>) -> Option<Link> {
    let mut info = None;
    let (mut mac, mut mtu, mut master) = (None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice())
                    .ok()
                    .and_then(|bytes| Mac(bytes).to_string().parse().ok());
            }
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Controller(index) => master = names.get(index).cloned(),
            LinkAttribute::LinkInfo(infos) => {
                info = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        index: message.header.index,
        name: name(message)?,
        mac,
        kind: kind(message.header.link_layer_type, info.as_ref()),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu,
        master,
        driver: String::new(),
        speed: None,
    })
}

/// The kernel gives a kind to links that programs make, and none to hardware. The pair that a container's host
/// makes (`veth`) is what hardware is to the container.
fn kind(layer: LinkLayerType, info: Option<&InfoKind>) -> LinkKind {
    match (layer, info) {
        (LinkLayerType::Loopback, _) => LinkKind::Loopback,
        (LinkLayerType::Ether, None | Some(InfoKind::Veth)) => LinkKind::Physical,
        (_, Some(InfoKind::Bridge)) => LinkKind::Bridge,
        (_, Some(InfoKind::Tun)) => LinkKind::Tap,
        _ => LinkKind::Other,
    }
}

fn link_name(links: &[Link], index: u32) -> Option<String> {
    links
        .iter()
        .find(|link| link.index == index)
        .map(|link| link.name.clone())
}

fn address(message: &AddressMessage, links: &[Link]) -> Option<Address> {
    let (mut local, mut peer, mut ours) = (None, None, false);
    let mut usable = !message
        .header
        .flags
        .intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed);
    // IPv4 addresses are usable at once.
    usable |= message.header.family == AddressFamily::Inet;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == PROTOCOL,
            _ => {}
        }
    }
    Some(Address {
        link: link_name(links, message.header.index)?,
        net: IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?,
        ours,
    })
    .filter(|_| usable)
}

fn route(message: &RouteMessage, links: &[Link]) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut to, mut gateway, mut source) = (Ipv4Addr::UNSPECIFIED, None, None);
    let (mut metric, mut index) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = *ip,
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(*ip),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(value) => index = Some(*value),
            _ => {}
        }
    }
    let settable = table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Kernel;
    Some(Route {
        link: link_name(links, index?)?,
        destination: Ipv4Net::new(to, header.destination_prefix_length).ok()?,
        gateway,
        source,
        metric,
        ours: u8::from(header.protocol) == PROTOCOL,
    })
    .filter(|_| settable)
}
