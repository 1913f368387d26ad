//! Waiting for something to become true: bounded, and telling what was seen last.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `look` until it gives `Some`, at most for `limit`. The error says what was waited for and the last answer.
pub async fn until<T, E: Debug, F>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Option<T>, E>>,
{
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        if start.elapsed() > limit {
            bail!(
                "waited {} s for {what}; the last answer was: {last}",
                limit.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
