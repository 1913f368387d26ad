//! Sending an image: in pieces, each with its place, so that what broke goes on.
//!
//! ```text
//!   reckon SHA-256 ─► an image of this name that waits for these bytes? ─► go on from `received`
//!                                   └── none: make it ─────────────────► from the beginning
//! ```
//!
//! The SHA-256 is written with the image before the first byte is sent. So an
//! upload only goes on if the file is still the same, and the appliance notices
//! a byte that changed on the way.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use ashlar_api::error::Code;
use ashlar_api::image::{Image, ImagePhase, ImageSource, ImageSpec};
use ashlar_api::job::Job;
use ashlar_api::{Bytes, JobId, Name, endpoint};
use indicatif::ProgressBar;
use reqwest::Method;
use sha2::{Digest, Sha256};

use super::client::at;
use super::error::{Error, Result};
use super::image::UploadArgs;
use super::noun::{Cx, Noun};
use super::{output, wait};

/// Bytes sent with one request.
const PIECE: u64 = 8 << 20;
/// How long one piece may take.
const PIECE_PATIENCE: Duration = Duration::from_secs(600);
/// How often in a row a piece may fail.
const TRIES: u32 = 20;
/// What the bars look like.
const BAR: &str =
    "{prefix} {bar:30} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {msg}";

/// A name made from that of a file: what names cannot have becomes `-`.
fn name_after(file: &Path) -> Option<Name> {
    let stem = file.file_stem()?.to_string_lossy().into_owned();
    let name: String = stem
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "-_.".contains(c) => c,
            _ => '-',
        })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(63)
        .collect();
    name.parse().ok()
}

/// Where the next piece ends.
fn piece(from: u64, size: u64) -> u64 {
    PIECE.min(size.saturating_sub(from))
}

/// Sends it.
pub async fn run(cx: &Cx, args: UploadArgs) -> Result {
    let path = args.file.clone();
    let failed = |error: std::io::Error| Error::file("read", &path, error);
    let mut file = std::fs::File::open(&path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(Error::usage(
            format!("{} is not a file", path.display()),
            "Name a file that holds a disk or CD image.",
        ));
    }
    let size = facts.len();
    let name = args.name.or_else(|| name_after(&path)).ok_or_else(|| {
        Error::usage(
            "no name can be made from the file's",
            "Give one with --name.",
        )
    })?;
    let sum = match args.sha256 {
        Some(sum) => sum.to_lowercase(),
        None => checksum(&mut file, size).map_err(failed)?,
    };
    let wanted = ImageSpec {
        name,
        description: args.description,
        source: ImageSource::Upload { size: Bytes(size) },
        sha256: Some(sum),
    };
    let (image, job) = begin(cx, wanted).await?;
    let address = at(Image::PATH, &image.id());
    let from = held(cx, &address, &image).await?;
    send(cx, &mut file, &path, &address, from, size).await?;
    if let (Some(job), false) = (job, args.no_wait) {
        wait::jobs(cx, &[job]).await?;
    }
    let answer = cx.client.get(&address).await?;
    cx.show::<Image>(&answer).await
}

fn checksum(file: &mut std::fs::File, size: u64) -> std::io::Result<String> {
    let bar = wait::bar(size, BAR).with_prefix("reckoning SHA-256");
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        sum.update(&buffer[..n]);
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    let digits = sum.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The image to send to, new or half sent, and its job.
async fn begin(cx: &Cx, wanted: ImageSpec) -> Result<(Image, Option<JobId>)> {
    let images: Vec<Image> = cx
        .client
        .all(Image::PATH, &[("name", wanted.name.to_string())])
        .await?;
    let same = images
        .into_iter()
        .find(|image| image.spec.name == wanted.name && goes_on(image, &wanted));
    if let Some(image) = same {
        output::note(&format!(
            "Going on with {} where it stopped, at {}.",
            wanted.name, image.status.received
        ));
        let jobs: Vec<Job> = cx.client.all(endpoint::JOBS, &[]).await?;
        let id = image.id();
        let job = jobs
            .into_iter()
            .find(|job| job.subject.id == id && !job.state.is_over());
        return Ok((image, job.map(|job| job.id)));
    }
    let answer = cx.client.post(Image::PATH, &wanted).await?;
    let image = answer.read()?;
    Ok((image, answer.jobs().first().copied()))
}

/// Whether an image waits for the very bytes that are to be sent.
fn goes_on(image: &Image, wanted: &ImageSpec) -> bool {
    image.status.phase == ImagePhase::Receiving
        && !image.deleting
        && image.spec.source == wanted.source
        && image.spec.sha256.is_some()
        && image.spec.sha256.as_ref().map(|sum| sum.to_lowercase()) == wanted.sha256
}

async fn send(
    cx: &Cx,
    file: &mut std::fs::File,
    path: &Path,
    address: &str,
    mut from: u64,
    size: u64,
) -> Result {
    let bar = wait::bar(size, BAR).with_prefix("sending");
    bar.set_position(from);
    bar.reset_eta();
    let mut tries = 0;
    while from < size {
        let length = piece(from, size);
        let bytes =
            read_piece(file, from, length).map_err(|error| Error::file("read", path, error))?;
        match put(cx, address, bytes, from, size).await {
            Ok(next) => {
                let next = next.unwrap_or(from + length);
                tries = if next > from { 0 } else { tries + 1 };
                if tries > TRIES {
                    return Err(Error::failed(
                        "the appliance does not keep what is sent to it",
                        "`ashlar fault list` tells what is wrong with its storage.",
                    ));
                }
                from = next;
            }
            Err(error) => {
                tries += 1;
                from = recover(cx, address, error, tries, from, &bar).await?;
            }
        }
        bar.set_position(from);
    }
    bar.finish_and_clear();
    Ok(())
}

fn read_piece(file: &mut std::fs::File, from: u64, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(std::io::Error::other("the file became shorter meanwhile"));
    }
    Ok(bytes)
}

/// How many bytes the appliance holds. What is seen of an image lags behind, so
/// it is the answer only when nothing better is known.
async fn held(cx: &Cx, address: &str, image: &Image) -> Result<u64> {
    let request = cx
        .client
        .request(Method::HEAD, &format!("{address}/content"));
    let (response, _) = cx.client.exchange(request).await?;
    let offset = response.headers().get("upload-offset");
    let offset = offset.and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(offset.unwrap_or(image.status.received.0))
}

/// Sends one piece; gives where the appliance wants to go on, if it says.
async fn put(cx: &Cx, address: &str, bytes: Vec<u8>, from: u64, size: u64) -> Result<Option<u64>> {
    let last = from + (bytes.len() as u64).saturating_sub(1);
    let request = cx
        .client
        .request(Method::PUT, &format!("{address}/content"))
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", format!("bytes {from}-{last}/{size}"))
        .timeout(PIECE_PATIENCE)
        .body(bytes);
    let (response, _) = cx.client.exchange(request).await?;
    let offset = response.headers().get("upload-offset");
    let offset = offset
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .filter(|offset| *offset != from && *offset <= size);
    // A refusal that says where to go on is as good as a success.
    match response.status().is_success() || offset.is_some() {
        true => Ok(offset),
        false => Err(cx.client.refused(response).await),
    }
}

/// Whether the same piece may be taken later: the appliance was away, somebody
/// else's broken upload still holds the image, or what is told of it lags behind.
fn may_be_taken(error: &Error) -> bool {
    error.may_pass() || matches!(error.code(), Some(Code::WrongState | Code::InUse))
}

/// Where to go on after a piece failed: where the appliance is, if it is there at all.
async fn recover(
    cx: &Cx,
    address: &str,
    error: Error,
    tries: u32,
    from: u64,
    bar: &ProgressBar,
) -> Result<u64> {
    if tries > TRIES {
        return Err(error);
    }
    bar.set_message("broken; trying again");
    tokio::time::sleep(Duration::from_secs(u64::from(tries).min(5))).await;
    let image: Image = match cx.client.get(address).await {
        Ok(answer) => answer.read()?,
        Err(away) if away.may_pass() => return Ok(from),
        Err(other) => return Err(other),
    };
    let here = match held(cx, address, &image).await {
        Err(away) if away.may_pass() => return Ok(from),
        other => other?,
    };
    bar.set_message("");
    let hopeless = here == from && !may_be_taken(&error);
    if image.status.phase != ImagePhase::Receiving || hopeless {
        return Err(error);
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        let name = |file: &str| name_after(Path::new(file)).map(|name| name.to_string());
        assert_eq!(name("/x/debian-13.qcow2").as_deref(), Some("debian-13"));
        assert_eq!(name("My Disk (1).img").as_deref(), Some("My-Disk--1-"));
        assert_eq!(name(".hidden.iso").as_deref(), Some("hidden"));
        assert_eq!(name("???.iso"), None);
    }

    #[test]
    fn pieces_cover_the_file_once() {
        let size = 3 * PIECE + 5;
        let (mut from, mut count) = (0, 0);
        while from < size {
            let length = piece(from, size);
            assert!(length > 0 && length <= PIECE);
            from += length;
            count += 1;
        }
        assert_eq!((from, count), (size, 4));
    }

    #[test]
    fn only_the_same_file_goes_on() {
        let image: Image = serde_json::from_value(serde_json::json!({
            "id": "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d", "revision": 1, "created_at": "2026-11-22T08:04:52Z",
            "spec": { "name": "x", "source": { "from": "upload", "size": 4096 }, "sha256": "AB" },
            "status": { "phase": "receiving", "condition": { "ready": false }, "received": 1024, "size": 4096, "virtual_size": 0 }
        }))
        .unwrap();
        let mut wanted = image.spec.clone();
        wanted.sha256 = Some("ab".into());
        assert!(goes_on(&image, &wanted));
        wanted.sha256 = Some("cd".into());
        assert!(!goes_on(&image, &wanted));
        wanted.sha256 = Some("ab".into());
        wanted.source = ImageSource::Upload { size: Bytes(4097) };
        assert!(!goes_on(&image, &wanted));
    }
}
