//! The node's end of a machine's interfaces: put into its bridge and switched on.
//!
//! A tap is made where QEMU is started and ends with it. Here it only gets its
//! place, again whenever the bridge was made anew.

use nix::net::if_::if_nametoindex;
use rtnetlink::{LinkUnspec, new_connection};

use crate::sys::sysfs;

/// Why an interface could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no netlink.
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    /// A link is absent.
    #[error("there is no link {name}")]
    Absent {
        /// The link.
        name: String,
    },
    /// The kernel refused.
    #[error("cannot put {tap} into the bridge {bridge}")]
    Refused {
        /// The interface.
        tap: String,
        /// The bridge.
        bridge: String,
        /// What the kernel said.
        source: Box<rtnetlink::Error>,
    },
}

fn index(name: &str) -> Result<u32, LinkError> {
    if_nametoindex(name).map_err(|_| LinkError::Absent {
        name: name.to_owned(),
    })
}

/// Whether a bridge (or any link) of this name is there.
pub fn exists(name: &str) -> bool {
    index(name).is_ok()
}

/// The bridge that a link is a port of.
pub fn bridge_of(name: &str) -> Option<String> {
    sysfs::link_name(format!("/sys/class/net/{name}/master"))
}

/// Makes a tap a port of a bridge and switches it on.
pub async fn plug(tap: &str, bridge: &str) -> Result<(), LinkError> {
    let (port, controller) = (index(tap)?, index(bridge)?);
    // The node itself has no business on a guest's wire; without IPv6 in the kernel there is nothing to switch off.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{tap}/disable_ipv6"), "1");
    let (connection, handle, _) = new_connection().map_err(LinkError::Open)?;
    let connection = tokio::spawn(connection);
    let message = LinkUnspec::new_with_index(port)
        .controller(controller)
        .up()
        .build();
    let done = handle.link().change(message).execute().await;
    connection.abort();
    done.map_err(|source| LinkError::Refused {
        tap: tap.to_owned(),
        bridge: bridge.to_owned(),
        source: Box::new(source),
    })
}
