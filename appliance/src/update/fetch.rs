//! Fetching a bundle from a URL. After an interruption it goes on where it was, on condition that the source still has the
//! same file; a source that can not say so is given up: what came before was verified already.

use std::io;
use std::path::Path;
use std::time::Duration;

use ashlar_api::update::{UpdateFetch, Version};
use reqwest::header::{ACCEPT_ENCODING, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Client, StatusCode};

use super::receive::{Intake, Wish};
use super::{UpdateError, Updates};
use crate::reconcile::chain;
use crate::sys::https::{self, AUTHORITIES, starts_at, validator};

/// Attempts in a row that brought nothing.
const FRUITLESS: u32 = 5;
/// Attempts at all.
const ATTEMPTS: u32 = 100;
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(6 * 3600);
const FIRST_REST: Duration = Duration::from_secs(1);

impl Updates {
    /// Begins to fetch a bundle. What becomes of it is told in the status.
    pub fn fetch(&self, wish: UpdateFetch) -> Result<(), UpdateError> {
        let held = self.hold()?;
        let client = https::client(Path::new(AUTHORITIES), wish.url.starts_with("https:"))?;
        let from = Wish {
            source: wish.url.clone(),
            downgrade: wish.downgrade,
        };
        let intake = Intake::open(self, held, from, None)?;
        let updates = self.clone();
        tokio::spawn(async move {
            let fetching = tokio::time::timeout(LIMIT, fetched(&client, &wish.url, intake));
            let slow = || UpdateError::Source(io::ErrorKind::TimedOut.into());
            match fetching.await.unwrap_or_else(|_| Err(slow())) {
                Ok(version) => tracing::info!("version {version} was fetched from {}", wish.url),
                // The thread told why a bundle was refused; why it did not come is told here.
                Err(error) => updates.0.status.send_modify(|status| {
                    status.refused = format!("{}. {}", chain(&error), error.remedy());
                }),
            }
        });
        Ok(())
    }
}

/// How one connection ended.
enum Ended {
    Whole,
    NotWanted,
    Broken(UpdateError),
    Hopeless(UpdateError),
}

async fn fetched(client: &Client, url: &str, mut intake: Intake) -> Result<Version, UpdateError> {
    let mut same: Option<HeaderValue> = None;
    let (mut attempts, mut fruitless, mut rest) = (0, 0, FIRST_REST);
    loop {
        let before = intake.held();
        let error = match connection(client, url, &mut intake, &mut same).await {
            Ended::Whole | Ended::NotWanted => return intake.end().await,
            // All that was needed may have come.
            Ended::Hopeless(error) => return intake.end().await.map_err(|_| error),
            Ended::Broken(error) => error,
        };
        attempts += 1;
        if intake.held() > before {
            (fruitless, rest) = (0, FIRST_REST);
        }
        fruitless += 1;
        if fruitless >= FRUITLESS || attempts >= ATTEMPTS {
            return intake.end().await.map_err(|_| error);
        }
        tracing::warn!("{url}: {}; trying again", chain(&error));
        tokio::time::sleep(rest).await;
        rest *= 2;
    }
}

async fn connection(
    client: &Client,
    url: &str,
    intake: &mut Intake,
    same: &mut Option<HeaderValue>,
) -> Ended {
    let held = intake.held();
    let broken = |error: reqwest::Error| {
        let is_final = error.is_builder() || error.is_redirect();
        let error = UpdateError::Source(io::Error::other(error));
        if is_final {
            Ended::Hopeless(error)
        } else {
            Ended::Broken(error)
        }
    };
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    if held > 0 {
        let Some(same) = same.clone() else {
            let error = io::Error::other("it broke off, and the source can not go on where it was");
            return Ended::Hopeless(UpdateError::Source(error));
        };
        request = request
            .header(RANGE, format!("bytes={held}-"))
            .header(IF_RANGE, same);
    }
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return broken(error),
    };
    match response.status() {
        StatusCode::OK if held == 0 => {}
        StatusCode::PARTIAL_CONTENT if starts_at(response.headers()) == Some(held) => {}
        StatusCode::OK => {
            let error = io::Error::other("the source has another file by now");
            return Ended::Hopeless(UpdateError::Source(error));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Ended::Broken(UpdateError::Status(status.as_u16()));
        }
        status => return Ended::Hopeless(UpdateError::Status(status.as_u16())),
    }
    *same = validator(response.headers());
    let size = response.content_length().map(|length| held + length);
    if let Some(size) = size {
        intake.expect(size);
    }
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                if !intake.push(bytes).await {
                    return Ended::NotWanted;
                }
            }
            Ok(None) if size.is_none_or(|size| intake.held() >= size) => return Ended::Whole,
            Ok(None) => {
                return Ended::Broken(UpdateError::Source(io::ErrorKind::UnexpectedEof.into()));
            }
            Err(error) => return broken(error),
        }
    }
}
