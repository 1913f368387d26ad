//! The bytes of images, as clients send them.
//!
//! ```text
//!   PUT  /images/{id}/content   Content-Range: bytes 0-8388607/104857600   ─► 204, Upload-Offset: 8388608
//!   HEAD /images/{id}/content                                              ─► 204, Upload-Offset: 8388608
//! ```
//!
//! Bytes go straight to storage, in whatever pieces the client likes, each where
//! the ones before end. After a lost connection the client asks how many are held
//! (`HEAD`, or `status.received` of the image) and goes on from there; a piece
//! that broke off counts as far as it came.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, head, put, web};
use ashlar_api::ImageId;
use futures_util::{Stream, StreamExt};

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::reply::UPLOAD_OFFSET;
use super::request::{Id, NoQuery};
use super::{Shared, reply};
use crate::state::schema::ImageRecord;

/// What is read on of a piece that was refused, so that its sender gets to read why.
const DRAINED: u64 = 16 << 20;
/// How long that may take.
const DRAINING: Duration = Duration::from_secs(10);

/// Sends bytes of an image
///
/// The next ones, or all of them. `Upload-Offset` says how many are held then.
/// A piece that does not begin where the held ones end is refused with 409 and
/// the same header.
#[utoipa::path(
    params(("Content-Range" = Option<String>, Header, description = "Which bytes these are, such as `bytes 0-8388607/104857600`; all of them when absent.")),
    request_body(content = String, content_type = "application/octet-stream", description = "The bytes."),
    responses((status = 204))
)]
#[put("/images/{id}/content")]
pub async fn write(
    request: HttpRequest,
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<ImageId>,
    _: web::Query<NoQuery>,
    payload: web::Payload,
) -> Answer {
    shared.need::<ImageRecord>(id)?;
    let range = range(request.headers())?;
    let mut piece = Piece {
        body: payload,
        left: range.length,
        over: false,
    };
    let uploads = &shared.app.uploads;
    match uploads.write(id, range.from, range.total, &mut piece).await {
        Ok(held) => Ok(told(held)),
        Err(error) => {
            drain(&mut piece.body).await;
            Err(error.into())
        }
    }
}

/// How many bytes of an image are held
///
/// In the header `Upload-Offset`; sending goes on there.
#[utoipa::path(responses((status = 204)))]
#[head("/images/{id}/content")]
pub async fn offset(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<ImageId>,
    _: web::Query<NoQuery>,
) -> Answer {
    shared.need::<ImageRecord>(id)?;
    Ok(told(shared.app.uploads.held(id)?))
}

fn told(held: u64) -> HttpResponse {
    let mut answer = reply::no_content();
    let headers = answer.headers_mut();
    headers.insert(UPLOAD_OFFSET, held.into());
    answer
}

/// Which bytes of how many a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    length: u64,
    total: u64,
}

fn range(headers: &HeaderMap) -> Answer<Range> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &header::HeaderValue| v.to_str().ok())
    };
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let range = match (headers.get(header::CONTENT_RANGE), length) {
        (Some(_), _) => text(header::CONTENT_RANGE).and_then(parse),
        (None, Some(length)) => Some(Range {
            from: 0,
            length,
            total: length,
        }),
        (None, None) => None,
    };
    let range = range.ok_or_else(|| {
        let right = "which bytes these are of how many, such as `bytes 0-8388607/104857600`";
        Failure::invalid("Content-Range", right)
    })?;
    match length {
        Some(length) if length != range.length => {
            let right = format!("{} bytes, as `Content-Range` says", range.length);
            Err(Failure::invalid("Content-Length", right))
        }
        _ => Ok(range),
    }
}

/// `bytes <first>-<last>/<total>`.
fn parse(text: &str) -> Option<Range> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (positions, total) = rest.trim().split_once('/')?;
    let (first, last) = positions.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last, total) = (number(first)?, number(last)?, number(total)?);
    let whole = unit.eq_ignore_ascii_case("bytes") && first <= last && last < total;
    whole.then(|| Range {
        from: first,
        length: last - first + 1,
        total,
    })
}

/// The body of a request, which must be as long as its range says.
struct Piece {
    body: web::Payload,
    left: u64,
    over: bool,
}

impl Stream for Piece {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let polled = std::task::ready!(self.body.poll_next_unpin(context));
        let item = match polled {
            Some(Ok(bytes)) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Ok(_)) => Some(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes came than `Content-Range` says",
            ))),
            Some(Err(error)) => Some(Err(io::Error::other(error.to_string()))),
            None if self.left == 0 => None,
            None => Some(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes are missing", self.left),
            ))),
        };
        self.over = true;
        Poll::Ready(item)
    }
}

/// Reads on of a body that was refused, so that its sender gets to read why.
pub async fn drain(body: &mut web::Payload) {
    let mut drained = 0;
    let draining = async {
        while let Some(Ok(bytes)) = body.next().await {
            drained += bytes.len() as u64;
            if drained > DRAINED {
                return;
            }
        }
    };
    // Whoever sends more, or slower, has the connection closed instead.
    let _ = tokio::time::timeout(DRAINING, draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use header::HeaderValue;
    use proptest::prelude::*;

    fn of(range: Option<&'static str>, length: Option<u64>) -> Option<Range> {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            headers.insert(header::CONTENT_RANGE, HeaderValue::from_static(range));
        }
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        super::range(&headers).ok()
    }

    #[test]
    fn ranges_are_what_they_say() {
        let some = |from, length, total| {
            Some(Range {
                from,
                length,
                total,
            })
        };
        assert_eq!(of(Some("bytes 0-9/100"), Some(10)), some(0, 10, 100));
        assert_eq!(of(Some("Bytes 90-99/100"), None), some(90, 10, 100));
        assert_eq!(of(None, Some(7)), some(0, 7, 7));
        assert_eq!(of(None, None), None);
        for wrong in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 0-9/*",
            "bytes */100",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "bytes -5/100",
            "bytes +0-9/100",
            "pages 0-9/100",
            "bytes 0-18446744073709551616/100",
        ] {
            assert_eq!(of(Some(wrong), None), None, "{wrong}");
        }
        assert_eq!(of(Some("bytes 0-9/100"), Some(11)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_none(text in "\\PC{0,60}", a: u64, b: u64, c: u64) {
            parse(&text);
            let range = parse(&format!("bytes {a}-{b}/{c}"));
            prop_assert_eq!(range.is_some(), a <= b && b < c);
        }
    }
}
