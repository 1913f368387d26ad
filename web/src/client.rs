//! The one way to the API: JSON over `fetch`.
//!
//! Every failure becomes a [`Failure`] that can be shown as it is: what the
//! appliance answered (RFC 9457), or that it did not answer. Requests that
//! change something carry the session's CSRF token; replacing an object names
//! the revision it was read at (`If-Match`), so that nobody overwrites what
//! another person just changed.

use std::cell::RefCell;
use std::fmt;

use ashlar_api::error::{Code, Problem};
use ashlar_api::{FieldError, Page};
use gloo_net::http::{Method, RequestBuilder, Response};
use js_sys::{Array, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use web_sys::{AbortSignal, Blob, Url};

thread_local! {
    // The browser runs the console on one thread; this is the session's token.
    static CSRF: RefCell<String> = const { RefCell::new(String::new()) };
    static SIGNED_OUT: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Calls `hook` whenever the appliance says that nobody is signed in.
pub fn on_signed_out(hook: impl Fn() + 'static) {
    SIGNED_OUT.with_borrow_mut(|kept| *kept = Some(Box::new(hook)));
}

/// Why a request brought no answer that can be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The appliance answered with a problem.
    Refused(Problem),
    /// The appliance did not answer.
    Unreachable,
    /// The console itself gave the request up.
    Aborted,
}

impl Failure {
    /// The failure as a problem, to be shown.
    pub fn problem(&self) -> Problem {
        match self {
            Failure::Refused(problem) => problem.clone(),
            Failure::Unreachable => Problem::new(Code::Unavailable, "The appliance does not answer")
                .remedy("Check that it is switched on and that this computer reaches its network. What you typed is kept; try again."),
            Failure::Aborted => Problem::new(Code::TimedOut, "The request was given up"),
        }
    }

    /// The stable code, if the appliance answered.
    pub fn code(&self) -> Option<Code> {
        match self {
            Failure::Refused(problem) => Some(problem.code),
            Failure::Unreachable | Failure::Aborted => None,
        }
    }

    /// The fields at fault.
    pub fn fields(&self) -> Vec<FieldError> {
        match self {
            Failure::Refused(problem) => problem.fields.clone(),
            Failure::Unreachable | Failure::Aborted => Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.problem(), f)
    }
}

/// The answer to a request.
pub type Answer<T> = Result<T, Failure>;

/// Keeps the token that guards against forged requests.
pub fn set_csrf(token: &str) {
    CSRF.with_borrow_mut(|kept| token.clone_into(kept));
}

/// The token that guards against forged requests.
pub fn csrf() -> String {
    CSRF.with_borrow(Clone::clone)
}

/// Reads an object.
pub async fn get<T: DeserializeOwned>(path: &str) -> Answer<T> {
    read(send(RequestBuilder::new(path), None).await?).await
}

/// Reads a picture and gives it an address inside the browser, which whoever
/// shows it gives back by [`forget_picture`].
pub async fn picture(path: &str) -> Answer<String> {
    let response = send(RequestBuilder::new(path), None).await?;
    let bytes = response.binary().await.map_err(|_| Failure::Unreachable)?;
    let parts = Array::of1(&Uint8Array::from(bytes.as_slice()));
    Blob::new_with_u8_array_sequence(&parts)
        .and_then(|blob| Url::create_object_url_with_blob(&blob))
        .map_err(|_| Failure::Aborted)
}

/// Gives the address of a picture back.
pub fn forget_picture(address: &str) {
    if !address.is_empty() {
        // An address that is not known is given back already.
        let _ = Url::revoke_object_url(address);
    }
}

/// Reads a list to its end, page after page.
pub async fn list<T: DeserializeOwned>(path: &str) -> Answer<Vec<T>> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let address = match &after {
            Some(after) => with_query(path, "after", after),
            None => path.to_owned(),
        };
        let page: Page<T> = get(&address).await?;
        items.extend(page.items);
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(items),
        }
    }
}

/// Creates, or does something, and reads the answer.
pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(path: &str, body: &B) -> Answer<T> {
    read(
        send(
            RequestBuilder::new(path).method(Method::POST),
            Some(json(body)?),
        )
        .await?,
    )
    .await
}

/// Does something whose answer does not matter.
pub async fn act<B: Serialize + ?Sized>(path: &str, body: &B) -> Answer<()> {
    send(
        RequestBuilder::new(path).method(Method::POST),
        Some(json(body)?),
    )
    .await?;
    Ok(())
}

/// Does something that needs no words.
pub async fn verb(path: &str) -> Answer<()> {
    send(RequestBuilder::new(path).method(Method::POST), None).await?;
    Ok(())
}

/// Replaces an object that was read at `revision`.
pub async fn put<B: Serialize + ?Sized>(path: &str, revision: Option<u64>, body: &B) -> Answer<()> {
    let mut request = RequestBuilder::new(path).method(Method::PUT);
    if let Some(revision) = revision {
        request = request.header("If-Match", &format!("\"{revision}\""));
    }
    send(request, Some(json(body)?)).await?;
    Ok(())
}

/// Removes an object.
pub async fn delete(path: &str) -> Answer<()> {
    send(RequestBuilder::new(path).method(Method::DELETE), None).await?;
    Ok(())
}

/// Sends bytes `from..from + length` of `size`.
pub async fn put_piece(
    path: &str,
    piece: &JsValue,
    from: u64,
    length: u64,
    size: u64,
    signal: Option<&AbortSignal>,
) -> Answer<()> {
    let last = from + length.saturating_sub(1);
    let request = RequestBuilder::new(path)
        .method(Method::PUT)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", &format!("bytes {from}-{last}/{size}"))
        .header("X-CSRF-Token", &csrf())
        .abort_signal(signal)
        .body(piece.clone())
        .map_err(|_| Failure::Unreachable)?;
    accept(request.send().await.map_err(|error| lost(&error))?).await?;
    Ok(())
}

/// The address with one more parameter.
pub fn with_query(path: &str, name: &str, value: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    let value = js_sys::encode_uri_component(value);
    format!("{path}{sign}{name}={value}")
}

fn json<B: Serialize + ?Sized>(body: &B) -> Answer<String> {
    serde_json::to_string(body).map_err(|error| {
        Failure::Refused(
            Problem::new(Code::Malformed, "The console could not write this request")
                .detail(error.to_string()),
        )
    })
}

async fn send(mut request: RequestBuilder, body: Option<String>) -> Answer<Response> {
    request = request
        .header("Accept", "application/json")
        .header("X-CSRF-Token", &csrf());
    let response = match body {
        Some(body) => match request
            .header("Content-Type", "application/json")
            .body(body)
        {
            Ok(request) => request.send().await,
            Err(error) => Err(error),
        },
        None => request.send().await,
    };
    accept(response.map_err(|error| lost(&error))?).await
}

fn lost(error: &gloo_net::Error) -> Failure {
    match error {
        gloo_net::Error::JsError(error) if error.name == "AbortError" => Failure::Aborted,
        _ => Failure::Unreachable,
    }
}

async fn accept(response: Response) -> Answer<Response> {
    if response.ok() {
        return Ok(response);
    }
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let problem = serde_json::from_str(&text).unwrap_or_else(|_| Problem {
        status,
        ..Problem::new(
            Code::Internal,
            format!("The appliance answered with status {status}"),
        )
        .remedy("Try again. If it goes on, look at Health and history.")
    });
    if problem.code == Code::Unauthenticated {
        SIGNED_OUT.with_borrow(|hook| {
            if let Some(hook) = hook {
                hook();
            }
        });
    }
    Err(Failure::Refused(problem))
}

async fn read<T: DeserializeOwned>(response: Response) -> Answer<T> {
    let text = response.text().await.map_err(|_| Failure::Unreachable)?;
    // An answer without content is `null` to whoever expects nothing.
    let text = if text.is_empty() { "null" } else { &text };
    serde_json::from_str(text).map_err(|error| {
        Failure::Refused(
            Problem::new(
                Code::Internal,
                "The console does not understand the appliance's answer",
            )
            .detail(error.to_string())
            .remedy("The appliance may have been updated: load this page again."),
        )
    })
}
