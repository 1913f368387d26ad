//! Kernel events about devices, as they come: a disk pulled, a link that appeared.
//!
//! Invariant: an event is a hint to look again, never the truth itself. Events can be lost (the kernel drops them
//! when we are slow) and [`Notice::Lost`] says so; whoever listens then looks at everything. The kernel is
//! heard itself: it tells at once, and also while no device manager runs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `move`, `bind`, `unbind`, `online`, `offline`.
    pub action: String,
    /// Its place under `/sys`, beginning with `/devices`.
    pub devpath: String,
    /// `block`, `net`, `input`, …
    pub subsystem: String,
    /// Everything said, these three included.
    pub properties: BTreeMap<String, String>,
}

impl Uevent {
    /// A property, as `DEVNAME` or `PARTNAME`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// One event.
    Event(Uevent),
    /// Events were lost: look at everything.
    Lost,
}

/// A listener that never blocks, for a poll loop.
#[derive(Debug)]
pub struct UeventSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// Events wait here while the listener is busy; at boot hundreds come at once.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The group of the kernel's own events; udevd repeats them in another one.
const KERNEL: u32 = 1;

impl UeventSocket {
    /// Begins to listen. What happened before is not told: look once after opening.
    pub fn open() -> io::Result<UeventSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            flags,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        // Refused without the right to do so; the default then has to do.
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
        Ok(UeventSocket {
            fd,
            buffer: vec![0; 16 << 10],
        })
    }

    /// The next notice that has come; `None` when there is none now.
    pub fn try_next(&mut self) -> io::Result<Option<Notice>> {
        loop {
            let (count, from) = match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut self.buffer)
            {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => return Ok(Some(Notice::Lost)),
                Err(errno) => return Err(errno.into()),
            };
            // Only the kernel has port 0. Any program with rights may send to the group, and must not fool us.
            if from.is_some_and(|from| from.pid() != 0) {
                continue;
            }
            if let Some(event) = parse(&self.buffer[..count]) {
                return Ok(Some(Notice::Event(event)));
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for UeventSocket {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// A listener for a task.
#[derive(Debug)]
pub struct Uevents {
    socket: AsyncFd<UeventSocket>,
}

impl Uevents {
    /// Begins to listen; needs a running runtime. What happened before is not told: look once after opening.
    pub fn open() -> io::Result<Uevents> {
        let socket = UeventSocket::open()?;
        // SAFETY: the socket owns its descriptor, never replaces it, and lives inside of the AsyncFd.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Uevents { socket })
    }

    /// Waits for the next notice. Cancel-safe: an event is taken from the socket only when it is returned.
    pub async fn next(&mut self) -> io::Result<Notice> {
        loop {
            let mut ready = self.socket.readable_mut().await?;
            match ready.get_inner_mut().try_next()? {
                Some(notice) => return Ok(notice),
                None => ready.clear_ready(),
            }
        }
    }
}

/// `add@/devices/…\0ACTION=add\0DEVPATH=…\0…`
fn parse(message: &[u8]) -> Option<Uevent> {
    let end = message.iter().position(|&byte| byte == 0)?;
    if !message[..end].contains(&b'@') {
        return None;
    }
    parse_properties(&message[end + 1..])
}

fn parse_properties(bytes: &[u8]) -> Option<Uevent> {
    let lines = bytes.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let properties: BTreeMap<String, String> = lines
        .filter_map(|line| {
            line.split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        })
        .collect();
    let take = |key: &str| properties.get(key).cloned();
    Some(Uevent {
        action: take("ACTION")?,
        devpath: take("DEVPATH")?,
        subsystem: take("SUBSYSTEM")?,
        properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RECORDED: &[u8] = b"add@/devices/pci0000:00/0000:00:04.0/virtio2/block/vdb/vdb1\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio2/block/vdb/vdb1\0SUBSYSTEM=block\0MAJOR=254\0MINOR=17\0\
        DEVNAME=vdb1\0DEVTYPE=partition\0DISKSEQ=12\0PARTN=1\0PARTNAME=ashlar-state\0SEQNUM=1234\0";

    #[test]
    fn reads_a_recorded_kernel_event() {
        let event = parse(RECORDED).unwrap();
        assert_eq!(
            (event.action.as_str(), event.subsystem.as_str()),
            ("add", "block")
        );
        assert_eq!(event.get("PARTNAME"), Some("ashlar-state"));
        assert_eq!(event.get("DEVNAME"), Some("vdb1"));
        assert!(parse(b"libudev\0whatever").is_none());
        assert!(parse(b"").is_none());
    }

    #[tokio::test]
    async fn hears_the_kernel() {
        let mut events = Uevents::open().unwrap();
        // Asking for an event of an existing device again is harmless; `SYNTH_UUID` marks it as asked for.
        std::fs::write("/sys/class/mem/null/uevent", "change").unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                match events.next().await.unwrap() {
                    Notice::Event(event) if event.get("DEVNAME") == Some("null") => return event,
                    _ => {}
                }
            }
        });
        let event = heard.await.unwrap();
        assert_eq!(
            (event.action.as_str(), event.subsystem.as_str()),
            ("change", "mem")
        );
    }
}
