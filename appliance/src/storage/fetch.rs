//! Fetching an image from a URL.
//!
//! Bytes go to the image's `.part` file as they come. When a connection breaks
//! the rest is asked for (`Range`), on condition that the source still has the
//! same file (`If-Range`); a source that can not say so is read from the start.
//! A fetch of an earlier process is begun anew: what its bytes were of is not
//! known any more.
//!
//! Everything is bounded: waiting for a connection and for bytes, redirections,
//! attempts, and the bytes by the room that there is.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};

use super::library;
use super::room::Room;
use super::work::Teller;
use crate::sys::https::{self, AUTHORITIES, ClientError, starts_at, validator};

/// Attempts in a row that brought nothing.
const FRUITLESS: u32 = 6;
/// Attempts at all.
const ATTEMPTS: u32 = 100;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// After so many bytes they are brought to the disk, and the room is looked at again.
const PORTION: u64 = 64 << 20;

/// Why an image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source can not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The source could not be reached, or broke off too often.
    #[error("the source could not be read")]
    Source(#[source] reqwest::Error),
    /// The source answers with something else.
    #[error("the source answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// The source ended before its own end.
    #[error("the source ended after {held} of {size} bytes")]
    Short {
        /// What came.
        held: u64,
        /// What was promised.
        size: u64,
    },
    /// There is not enough room.
    #[error("the pool that keeps the images has not enough room for it")]
    NoRoom,
    /// It could not be written.
    #[error("the file of the image could not be written")]
    Write(#[source] io::Error),
}

impl FetchError {
    /// Whether it may go better the next time.
    fn may_pass(&self) -> bool {
        match self {
            FetchError::Source(error) => !error.is_builder() && !error.is_redirect(),
            FetchError::Short { .. } => true,
            FetchError::Status { status } => {
                status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
            _ => false,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            FetchError::Client(_) => "Send the image from your own computer instead.",
            FetchError::Source(_) | FetchError::Short { .. } => {
                "Check the address, and that this node can reach it: its name servers, gateway and clock."
            }
            FetchError::Status { .. } => "Check the address in a browser.",
            FetchError::NoRoom => "Remove images or volumes that are not needed.",
            FetchError::Write(_) => "Look at the health of the pool.",
        }
    }

    /// All of it, for the job.
    pub fn story(&self) -> String {
        format!("{}. {}", crate::reconcile::chain(self), self.remedy())
    }
}

/// Fetches a file whole.
pub async fn fetch(
    url: &str,
    partial: &Path,
    room: &Room,
    teller: &Teller,
) -> Result<(), FetchError> {
    let client = https::client(Path::new(AUTHORITIES), url.starts_with("https:"))?;
    let file = library::open_partial(partial)
        .and_then(|file| file.set_len(0).map(|()| file))
        .map_err(FetchError::Write)?;
    let mut target = Target {
        file: tokio::fs::File::from_std(file),
        held: 0,
        size: None,
        validator: None,
    };
    let mut rest = FIRST_REST;
    let mut fruitless = 0;
    for _ in 0..ATTEMPTS {
        let before = target.held;
        let error = match attempt(&client, url, &mut target, room, teller).await {
            Ok(()) => return target.file.sync_all().await.map_err(FetchError::Write),
            Err(error) => error,
        };
        if target.held > before {
            (fruitless, rest) = (0, FIRST_REST);
        }
        fruitless += 1;
        if !error.may_pass() || fruitless >= FRUITLESS {
            return Err(error);
        }
        let text = crate::reconcile::chain(&error);
        teller.tell_bytes(
            target.held,
            target.size,
            &format!("Interrupted ({text}); trying again"),
        );
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(LONGEST_REST);
    }
    Err(FetchError::Short {
        held: target.held,
        size: target.size.unwrap_or(u64::MAX),
    })
}

struct Target {
    file: tokio::fs::File,
    held: u64,
    size: Option<u64>,
    /// What tells that the source still has the same file.
    validator: Option<HeaderValue>,
}

/// One connection: goes on from what is held, until the end or a failure.
async fn attempt(
    client: &Client,
    url: &str,
    target: &mut Target,
    room: &Room,
    teller: &Teller,
) -> Result<(), FetchError> {
    if target.validator.is_none() {
        target.held = 0;
    }
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    if let Some(validator) = target.validator.clone().filter(|_| target.held > 0) {
        request = request
            .header(RANGE, format!("bytes={}-", target.held))
            .header(IF_RANGE, validator);
    }
    let mut response = request.send().await.map_err(FetchError::Source)?;
    let start = match response.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if starts_at(response.headers()) == Some(target.held) => {
            target.held
        }
        StatusCode::RANGE_NOT_SATISFIABLE if target.size == Some(target.held) => return Ok(()),
        status => {
            target.validator = None;
            return Err(FetchError::Status { status });
        }
    };
    target.held = start;
    target.size = response.content_length().map(|length| start + length);
    target.validator = validator(response.headers());
    if let Some(size) = target.size
        && !room.is_enough(size - start)
    {
        return Err(FetchError::NoRoom);
    }
    target
        .file
        .set_len(start)
        .await
        .map_err(FetchError::Write)?;
    target
        .file
        .seek(SeekFrom::Start(start))
        .await
        .map_err(FetchError::Write)?;
    let received = receive(&mut response, target, room, teller).await;
    // What came is kept, whatever ended it.
    target.file.flush().await.map_err(FetchError::Write)?;
    received?;
    match target.size {
        Some(size) if target.held != size => Err(FetchError::Short {
            held: target.held,
            size,
        }),
        _ => Ok(()),
    }
}

async fn receive(
    response: &mut Response,
    target: &mut Target,
    room: &Room,
    teller: &Teller,
) -> Result<(), FetchError> {
    let mut unsaved = 0;
    while let Some(bytes) = response.chunk().await.map_err(FetchError::Source)? {
        target
            .file
            .write_all(&bytes)
            .await
            .map_err(FetchError::Write)?;
        let count = bytes.len() as u64;
        target.held += count;
        unsaved += count;
        if unsaved >= PORTION {
            unsaved = 0;
            target.file.sync_data().await.map_err(FetchError::Write)?;
            if !room.is_enough(0) {
                return Err(FetchError::NoRoom);
            }
        }
        teller.tell_bytes(target.held, target.size, "Downloading");
    }
    Ok(())
}
