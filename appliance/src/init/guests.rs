//! Virtual machines at the end of the machine, when no supervisor is there to end them: it does not stay up, or was
//! stuck and had to be killed.
//!
//! Each is asked by its power button, over the socket that the supervisor left, and told to quit once the guest has shut
//! down: QEMU itself then only stands still. What does not follow is ended with all other programs.
//!
//! Invariant: nothing here waits. Sockets do not block, and whoever calls decides for how long to go on.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::log;
use crate::sys::sysfs;

/// A folder a machine, with its socket.
pub const MACHINES: &str = "/run/ashlar/vm";
const ASK: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"system_powerdown\"}\n";
const QUIT: &[u8] = b"{\"execute\":\"quit\"}\n";
/// What QEMU tells once the guest has shut down.
const SHUTDOWN: &str = "\"SHUTDOWN\"";

#[derive(Debug)]
struct Guest {
    name: String,
    stream: UnixStream,
    /// What has come of a line that is not whole.
    line: Vec<u8>,
}

/// The machines that were asked and still run.
#[derive(Debug)]
pub struct Guests(Vec<Guest>);

impl Guests {
    /// Asks all machines in a folder to shut down.
    pub fn ask(folder: &Path) -> Guests {
        let guests = sysfs::names(folder).into_iter().filter_map(|name| {
            let socket = folder.join(&name).join("qmp.sock");
            // One that has ended leaves a socket that nobody listens to.
            let mut stream = open(&socket).ok()?;
            stream
                .write_all(ASK)
                .inspect_err(|error| log::warn(format_args!("cannot ask {name} to end: {error}")))
                .ok()?;
            let line = Vec::new();
            Some(Guest { name, stream, line })
        });
        Guests(guests.collect())
    }

    /// Hears what they say; true when none runs any more.
    pub fn have_ended(&mut self) -> bool {
        self.0.retain_mut(Guest::runs);
        self.0.is_empty()
    }

    /// How many were asked and run.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Which still run.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|guest| guest.name.as_str()).collect();
        names.join(", ")
    }
}

impl Guest {
    fn runs(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.hear(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            if String::from_utf8_lossy(&self.line).contains(SHUTDOWN) {
                // If it does not take this, it is ended with all other programs.
                let _ = self.stream.write_all(QUIT);
            }
            self.line.clear();
        }
    }
}

/// Connects without waiting for a listener that does not accept.
fn open(path: &Path) -> nix::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let end: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(end.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    #[test]
    fn asks_each_and_has_it_quit_after_it_shut_down() {
        let folder = tempfile::tempdir().unwrap();
        let machine = |name: &str| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            UnixListener::bind(place.join("qmp.sock")).unwrap()
        };
        let (well, deaf, gone) = (machine("well"), machine("deaf"), machine("gone"));
        drop(gone);
        std::fs::create_dir(folder.path().join("empty")).unwrap();

        let mut guests = Guests::ask(folder.path());
        assert_eq!(guests.count(), 2);
        let mut qemu = BufReader::new(well.accept().unwrap().0);
        let expect = |qemu: &mut BufReader<UnixStream>, word: &str| {
            let mut line = String::new();
            qemu.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{{\"execute\":\"{word}\"}}\n"));
        };
        expect(&mut qemu, "qmp_capabilities");
        expect(&mut qemu, "system_powerdown");
        let said =
            "{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"POWERDOWN\"}\r\n{\"event\": \"SHUT";
        qemu.get_mut().write_all(said.as_bytes()).unwrap();
        assert!(!guests.have_ended());
        qemu.get_mut()
            .write_all(b"DOWN\", \"data\": {\"guest\": true}}\r\n")
            .unwrap();
        assert!(!guests.have_ended());
        expect(&mut qemu, "quit");
        drop(qemu);
        assert!(!guests.have_ended());
        assert_eq!(guests.names(), "deaf");
        drop(deaf);
        assert!(guests.have_ended());
        assert!(Guests::ask(Path::new("/no/such/folder")).have_ended());
    }
}
