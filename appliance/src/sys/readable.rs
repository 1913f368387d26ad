//! A descriptor of which a task learns that it can be read: for sources whose
//! news are only noticed (netlink groups, inotify), and for terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that does not block, registered with the runtime.
#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Registers a copy of a descriptor; needs a running runtime. The descriptor must be set not to block.
    pub fn new(source: &impl AsFd) -> io::Result<Readable> {
        let copy = source.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is an OwnedFd: it stays open and the same until the AsyncFd is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }?;
        Ok(Readable(registered))
    }

    /// Waits until there is something to read. Cancel-safe: nothing is taken.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        Ok(())
    }

    /// Reads what there is, once there is something; 0 is the end. Cancel-safe: bytes are taken only when it returns.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = |fd: &AsyncFd<OwnedFd>| Ok(nix::unistd::read(fd.get_ref(), buffer)?);
            match ready.try_io(read) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Reads and drops everything there is, once there is something. That the kernel had to drop something itself is
    /// no failure.
    pub async fn drain(&self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        loop {
            let mut ready = self.0.readable().await?;
            let read = |fd: &AsyncFd<OwnedFd>| Ok(nix::unistd::read(fd.get_ref(), &mut buffer)?);
            match ready.try_io(read) {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[tokio::test]
    async fn tells_again_only_after_something_new() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let readable = Readable::new(&reader).unwrap();
        let short = Duration::from_millis(50);
        for _ in 0..3 {
            assert!(tokio::time::timeout(short, readable.ready()).await.is_err());
            writer.write_all(&[0; 20_000]).unwrap();
            readable.ready().await.unwrap();
            // Not taken yet: it is told again.
            readable.ready().await.unwrap();
            readable.drain().await.unwrap();
        }
        writer.write_all(b"ab").unwrap();
        let mut two = [0; 4];
        assert_eq!(readable.read(&mut two).await.unwrap(), 2);
        assert_eq!(&two[..2], b"ab");
        let more = tokio::time::timeout(short, readable.read(&mut two));
        assert!(more.await.is_err());
        drop(writer);
        assert_eq!(readable.read(&mut two).await.unwrap(), 0);
        readable.ready().await.unwrap();
        assert!(readable.drain().await.is_err());
    }
}
