//! The serial line of a machine, for any number of viewers.
//!
//! ```text
//!  guest ── QEMU ──► serial.log ───► the hub, while somebody looks ──► viewer, viewer …
//!             │                        ▲    ◄── what they type, in the order it comes
//!             └────► serial.sock ──────┘    only says that there is more
//! ```
//!
//! QEMU itself keeps the history, on tmpfs, so it is there whether or not
//! anybody looked or a supervisor ran. What viewers get is read from there, too,
//! and never from the socket: nobody can tell when QEMU took a connection, and
//! what it wrote around that moment would be lost or come twice. So the history
//! that a new viewer gets ends exactly where its stream begins.
//!
//! A guest can write as fast as it likes: the log is cut by punching a hole into
//! its beginning (so positions stay what they are), a viewer that is too slow
//! misses a part of the stream and is told so by its channel, and nothing else
//! is kept. Viewers can type as fast as they like: what a guest does not take is
//! dropped after a while.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc};

/// What a new viewer gets to see, and what is left when the log is cut.
pub const HISTORY: u64 = 256 << 10;
/// The log is cut when it takes more room than this.
const MOST_LOG: u64 = 1 << 20;
/// So many pieces are kept for a slow viewer.
const PIECES: usize = 64;
const PIECE: usize = 16 << 10;
/// A guest that does not take what was typed within this time does not get it.
const TYPE_LIMIT: Duration = Duration::from_secs(5);
/// How often the log is looked at when the socket tells nothing: it does not until QEMU has taken the connection.
const SILENCE: Duration = Duration::from_millis(100);
/// QEMU writes to the socket first and to the log right after.
const SOON: Duration = Duration::from_millis(5);
/// What is shown in place of output that was missed.
pub const MISSED: &[u8] = b"\r\n[output was left out here]\r\n";

/// A viewer of a serial line.
#[derive(Debug)]
pub struct SerialSession {
    /// What was written before.
    pub history: Vec<u8>,
    /// What is being written. `Lagged` means that a part was missed.
    pub output: broadcast::Receiver<Bytes>,
    /// What is typed.
    pub input: mpsc::Sender<Bytes>,
}

/// The serial line of one machine.
#[derive(Debug)]
pub struct Serial {
    socket: PathBuf,
    log: PathBuf,
    hub: tokio::sync::Mutex<Option<Hub>>,
}

#[derive(Clone, Debug)]
struct Hub {
    output: broadcast::Sender<Bytes>,
    input: mpsc::Sender<Bytes>,
    place: Arc<Mutex<Place>>,
}

/// A listener, and where in the log it began to listen.
type Joined = (broadcast::Receiver<Bytes>, u64);

/// Where in the log the hub is.
#[derive(Debug)]
struct Place {
    at: u64,
    over: bool,
}

impl Serial {
    /// The line whose socket and log are in this directory.
    pub fn new(directory: &Path) -> Serial {
        Serial {
            socket: directory.join("serial.sock"),
            log: directory.join("serial.log"),
            hub: tokio::sync::Mutex::new(None),
        }
    }

    /// Begins to look.
    pub async fn attach(&self) -> io::Result<SerialSession> {
        let mut slot = self.hub.lock().await;
        let joined = slot.as_ref().and_then(|hub| Some((hub, hub.join()?)));
        let (input, (output, at)) = match joined {
            Some((hub, joined)) => (hub.input.clone(), joined),
            None => {
                let (hub, joined) = self.open().await?;
                let input = hub.input.clone();
                *slot = Some(hub);
                (input, joined)
            }
        };
        drop(slot);
        let history = self.history(at)?;
        Ok(SerialSession {
            history,
            output,
            input,
        })
    }

    /// What was written up to a place in the log.
    fn history(&self, end: u64) -> io::Result<Vec<u8>> {
        let file = match File::open(&self.log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let begin = end.saturating_sub(HISTORY);
        let mut history = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        let mut count = 0;
        while let Some(rest) = history.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, begin + count as u64)? {
                0 => break,
                more => count += more,
            }
        }
        history.truncate(count);
        // What was cut out reads as zeros.
        let cut = history.iter().take_while(|byte| **byte == 0).count();
        Ok(history.split_off(cut))
    }

    async fn open(&self) -> io::Result<(Hub, Joined)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (output, first) = broadcast::channel(PIECES);
        let (input, typed) = mpsc::channel(PIECES);
        let at = length(&self.log);
        let hub = Hub {
            output,
            input,
            place: Arc::new(Mutex::new(Place { at, over: false })),
        };
        let (from, to) = stream.into_split();
        let reader = hub.clone();
        let log = self.log.clone();
        tokio::spawn(async move {
            // Reading must not wait for a guest that takes nothing: two loops,
            // which end together. Dropping one half way loses only what nobody
            // looks at any more.
            tokio::select! {
                () = listen(from, &reader, &log) => {}
                () = type_in(to, typed) => {}
            }
            reader.place().over = true;
        });
        Ok((hub, (first, at)))
    }
}

impl Hub {
    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen, and where in the log that is; `None` when the hub has ended.
    fn join(&self) -> Option<Joined> {
        let place = self.place();
        (!place.over).then(|| (self.output.subscribe(), place.at))
    }

    /// Passes on what is new in the log; says how many bytes that were. With nobody to pass it on to, the hub is over.
    fn pass_on(&self, log: &Path) -> io::Result<u64> {
        let mut place = self.place();
        let file = File::open(log)?;
        let end = file.metadata()?.len();
        let began = place.at.min(end);
        // What was cut out can not be read any more.
        place.at = began.max(end.saturating_sub(HISTORY));
        if place.at > began {
            place.over = self.output.send(Bytes::from_static(MISSED)).is_err();
        }
        while place.at < end && !place.over {
            let left = usize::try_from(end - place.at).unwrap_or(PIECE);
            let mut piece = vec![0; left.min(PIECE)];
            let count = file.read_at(&mut piece, place.at)?;
            if count == 0 {
                break;
            }
            piece.truncate(count);
            place.at += count as u64;
            place.over = self.output.send(piece.into()).is_err();
        }
        Ok(place.at - began)
    }

    /// Ends it when nobody listens; says whether it is over.
    fn is_over(&self) -> bool {
        let mut place = self.place();
        place.over |= self.output.receiver_count() == 0;
        place.over
    }
}

/// Passes the line on until it ends or nobody looks any more.
async fn listen(mut from: OwnedReadHalf, hub: &Hub, log: &Path) {
    let mut buffer = vec![0; PIECE];
    let (mut since_cut, mut wait) = (0, SILENCE);
    loop {
        let told = tokio::time::timeout(wait, from.read(&mut buffer)).await;
        match hub.pass_on(log) {
            Ok(count) => since_cut += count,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", log.display());
                return;
            }
        }
        wait = match told {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => SOON,
            Err(_) if hub.is_over() => return,
            Err(_) => SILENCE,
        };
        if since_cut > MOST_LOG {
            since_cut = 0;
            cut(log);
        }
    }
}

async fn type_in(mut to: OwnedWriteHalf, mut typed: mpsc::Receiver<Bytes>) {
    while let Some(piece) = typed.recv().await {
        // What the guest does not take in time is dropped.
        if let Ok(Err(_)) = tokio::time::timeout(TYPE_LIMIT, to.write_all(&piece)).await {
            return;
        }
    }
    // No viewer can type any more, some may still look.
    std::future::pending().await
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Cuts the beginning out of a log that takes too much room.
pub fn cut(log: &Path) {
    let Ok(metadata) = std::fs::metadata(log) else {
        return;
    };
    let Some(end) = metadata.len().checked_sub(HISTORY) else {
        return;
    };
    if metadata.blocks() * 512 <= MOST_LOG {
        return;
    }
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let done = OpenOptions::new().write(true).open(log).and_then(|file| {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        fallocate(&file, hole, 0, end).map_err(io::Error::from)
    });
    if let Err(error) = done {
        tracing::warn!("cannot cut {}: {error}", log.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream as StdStream};

    /// The other end, which writes as QEMU does: to the socket, then to the log.
    struct Line {
        directory: tempfile::TempDir,
        listener: UnixListener,
    }

    impl Line {
        fn new() -> Line {
            let directory = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(directory.path().join("serial.sock")).unwrap();
            Line {
                directory,
                listener,
            }
        }
        fn path(&self) -> PathBuf {
            self.directory.path().join("serial.log")
        }
        fn log(&self, bytes: &[u8]) {
            let mut options = OpenOptions::new();
            let mut file = options.append(true).create(true).open(self.path()).unwrap();
            file.write_all(bytes).unwrap();
        }
        fn write(&self, stream: &mut StdStream, bytes: &[u8]) {
            stream.write_all(bytes).unwrap();
            self.log(bytes);
        }
    }

    async fn until(session: &mut SerialSession, end: &[u8]) -> Vec<u8> {
        let mut seen = session.history.clone();
        while !seen.ends_with(end) {
            let piece = tokio::time::timeout(Duration::from_secs(5), session.output.recv());
            seen.extend(piece.await.unwrap().unwrap());
        }
        seen
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn history_ends_where_the_stream_begins() {
        let line = Line::new();
        line.log(b"before ");
        let serial = Serial::new(line.directory.path());
        let mut one = serial.attach().await.unwrap();
        assert_eq!(one.history, b"before ");
        let (mut stream, _) = line.listener.accept().unwrap();
        line.write(&mut stream, b"hello ");
        assert_eq!(until(&mut one, b"hello ").await, b"before hello ");
        let mut two = serial.attach().await.unwrap();
        assert_eq!(two.history, b"before hello ");
        line.write(&mut stream, b"both ");
        assert_eq!(until(&mut two, b"both ").await, b"before hello both ");
        assert_eq!(until(&mut one, b"both ").await, b"before both ");
        one.input.send(Bytes::from_static(b"ls\n")).await.unwrap();
        two.input.send(Bytes::from_static(b"id\n")).await.unwrap();
        let mut typed = [0; 6];
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        io::Read::read_exact(&mut stream, &mut typed).unwrap();
        assert_eq!(&typed, b"ls\nid\n");
        drop((one, two));
        // The connection is given up soon after the last viewer.
        let mut rest = Vec::new();
        tokio::task::spawn_blocking(move || io::Read::read_to_end(&mut stream, &mut rest))
            .await
            .unwrap()
            .unwrap();
        let again = serial.attach().await.unwrap();
        assert_eq!(again.history, b"before hello both ");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_written_while_the_line_is_opened_comes_once() {
        for wait in [0, 10, 30] {
            let line = Line::new();
            line.log(b"before ");
            let serial = Serial::new(line.directory.path());
            let writer = std::thread::spawn(move || {
                // QEMU takes the connection when it comes to it, and may have had something to write until then.
                std::thread::sleep(Duration::from_millis(wait));
                line.log(b"unheard ");
                let (mut stream, _) = line.listener.accept().unwrap();
                line.write(&mut stream, b"early ");
                stream.write_all(b"late ").unwrap();
                std::thread::sleep(Duration::from_millis(150));
                line.log(b"late ");
                (line, stream)
            });
            let mut viewer = serial.attach().await.unwrap();
            let seen = until(&mut viewer, b"late ").await;
            assert_eq!(seen, b"before unheard early late ");
            drop(writer.join().unwrap());
        }
    }

    #[tokio::test]
    async fn a_flood_takes_no_room() {
        let line = Line::new();
        let serial = Serial::new(line.directory.path());
        let mut session = serial.attach().await.unwrap();
        let path = line.path();
        let writer = std::thread::spawn(move || {
            let (mut stream, _) = line.listener.accept().unwrap();
            for number in 0..400_000 {
                line.write(&mut stream, format!("line {number:>9}\n").as_bytes());
            }
            (line, stream)
        });
        // A viewer that does not keep up is told so, and goes on.
        let (line, _stream) = tokio::task::spawn_blocking(|| writer.join().unwrap())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(matches!(
            session.output.recv().await,
            Err(broadcast::error::RecvError::Lagged(_))
        ));
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 400_000 * 15);
        cut(&path);
        let room = std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(room <= MOST_LOG + HISTORY, "{room} bytes");
        let late = serial.attach().await.unwrap();
        assert!(late.history.ends_with(b"line    399999\n"));
        assert!(late.history.len() as u64 <= HISTORY);
        drop(line);
    }
}
