//! What makes the domain look: the kernel's news about links, addresses, routes
//! and firewall rules, and files that its children write.
//!
//! News are not read, only noticed: whoever is woken looks at everything, so
//! nothing can be missed or misread, also when the kernel had to drop some
//! (`ENOBUFS` is news, too). They come in bursts; one look a burst is enough.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};

use crate::reconcile::Waker;
use crate::sys::readable::Readable;

/// How long a burst may last.
const BURST: Duration = Duration::from_millis(60);
/// The rest after a source failed, before it is opened anew.
const REST: Duration = Duration::from_secs(5);
/// The group of news about firewall rules (`NFNLGRP_NFTABLES`).
const NFTABLES: u32 = 7;

/// Wakes the domain until it is dropped.
#[derive(Debug)]
pub struct Events {
    files: Option<Inotify>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Events {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Events {
    /// Begins to listen, in the network namespace of the calling thread.
    pub fn listen(waker: &Waker) -> Events {
        let mut tasks = Vec::new();
        for open in [open_links, open_rules] {
            // Opened here: a task could be on a thread in another namespace.
            let opened = open();
            tasks.push(tokio::spawn(hear(opened, open, waker.clone())));
        }
        let files = open_files();
        let watched = files
            .as_ref()
            .map_err(|error| io::Error::from(error.kind()))
            .and_then(Readable::new);
        // Without news of files the domain still looks every few minutes.
        tasks.push(tokio::spawn(hear(
            watched,
            || Err(io::ErrorKind::Unsupported.into()),
            waker.clone(),
        )));
        Events {
            files: files.ok(),
            tasks,
        }
    }

    /// Also wakes when a file in this directory changes. Saying so twice is saying so once.
    pub fn watch(&self, directory: &Path) {
        let Some(files) = &self.files else {
            return;
        };
        let changes = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE;
        match files.add_watch(directory, changes) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => tracing::warn!("cannot watch {}: {error}", directory.display()),
        }
    }
}

fn open_files() -> io::Result<Inotify> {
    Ok(Inotify::init(
        InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC,
    )?)
}

fn open_links() -> io::Result<Readable> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
    ];
    open(NETLINK_ROUTE, &groups.map(|group| group as u32))
}

fn open_rules() -> io::Result<Readable> {
    open(NETLINK_NETFILTER, &[NFTABLES])
}

fn open(protocol: isize, groups: &[u32]) -> io::Result<Readable> {
    let mut socket = Socket::new(protocol)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for &group in groups {
        socket.add_membership(group)?;
    }
    Readable::new(&socket)
}

/// Wakes at news from a source, and opens it anew when it fails.
async fn hear(mut source: io::Result<Readable>, open: fn() -> io::Result<Readable>, waker: Waker) {
    loop {
        let failure = match &source {
            Ok(source) => wake_at_news(source, &waker).await,
            Err(error) => io::Error::from(error.kind()),
        };
        tracing::warn!("listening to the kernel failed: {failure}");
        if failure.kind() == io::ErrorKind::Unsupported {
            return;
        }
        tokio::time::sleep(REST).await;
        source = open();
        waker.wake();
    }
}

/// Returns why it can not go on.
async fn wake_at_news(source: &Readable, waker: &Waker) -> io::Error {
    loop {
        if let Err(error) = source.ready().await {
            return error;
        }
        tokio::time::sleep(BURST).await;
        // Emptied before waking: news that come while the domain looks must wake it again.
        let drained = source.drain().await;
        waker.wake();
        if let Err(error) = drained {
            return error;
        }
    }
}
