//! Screens and serial lines of machines over WebSockets, and pictures of screens.
//!
//! ```text
//!   browser ══ WebSocket ══ relay ══ QEMU      three futures, and the first that ends, ends it:
//!             ◄─ outward ─                       what the guest says, what the client says,
//!             ── inward ─►                       and a pulse that asks whether the client is
//!             ── pulse ──                        still there and still may look
//! ```
//!
//! Nothing is gathered: a side is read only when the other took what was read
//! before, and one that takes nothing for half a minute loses the connection. So
//! a relay holds a few pieces of 32 KiB, whatever either side does. The rights of
//! a caller are looked at again with each pulse: who was signed out, is cut off.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse, get, web};
use actix_ws::{CloseCode, CloseReason, Item, Message, MessageStream, Session};
use ashlar_api::VmId;
use ashlar_api::error::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Shared;
use super::auth::Caller;
use super::calm::Prompt;
use super::error::{Answer, Failure};
use super::request::{Id, NoQuery};
use crate::state::schema::VmRecord;
use crate::vm::{MISSED, SerialSession};

/// The protocol that noVNC asks for: RFB as it is.
const BINARY: &str = "binary";
/// How many bytes are passed on at once.
const PIECE: usize = 32 << 10;
/// The largest frame of a client; what somebody pastes is one.
const LARGEST_FRAME: usize = 1 << 20;
/// How long one side may take nothing.
const STALL: Duration = Duration::from_secs(30);
/// How often the client is looked after.
const PULSE: Duration = Duration::from_secs(15);
/// A client of which nothing was heard for so long, not even the answer to a pulse, is gone.
const SILENCE: Duration = Duration::from_secs(50);
/// How long a machine may take to open its console.
const OPENING: Duration = Duration::from_secs(10);
/// Consoles open at once.
const CONSOLES: usize = 64;
/// Pictures drawn at once.
const PICTURES: usize = 2;

/// How many consoles there may be.
#[derive(Clone, Debug)]
pub struct Places {
    consoles: Arc<Semaphore>,
    pictures: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            consoles: Arc::new(Semaphore::new(CONSOLES)),
            pictures: Arc::new(Semaphore::new(PICTURES)),
        }
    }
}

/// The screen of a virtual machine as a picture, as it is now.
#[utoipa::path(responses((status = 200, description = "A picture.", body = String, content_type = "image/png")))]
#[get("/vms/{id}/screenshot")]
pub async fn screenshot(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<VmId>,
    _: web::Query<NoQuery>,
) -> Answer {
    shared.need::<VmRecord>(id)?;
    let _prompt = Prompt::timers();
    let turn = tokio::time::timeout(OPENING, shared.places.pictures.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Failure::too_many(Duration::from_secs(5)));
    };
    let picture = in_time(shared.app.consoles.picture(id)).await??;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "image/png"))
        .insert_header(header::ContentEncoding::Identity)
        .body(picture))
}

/// The screen of a virtual machine
///
/// A WebSocket with the subprotocol `binary`: its messages are the bytes of the
/// protocol RFB (VNC), both ways, without a password.
#[utoipa::path(responses((status = 101)))]
#[get("/vms/{id}/vnc")]
pub async fn vnc(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VmId>,
    _: web::Query<NoQuery>,
    payload: web::Payload,
) -> Answer {
    shared.need::<VmRecord>(id)?;
    let place = (place(&shared)?, Prompt::timers());
    let (answer, socket) = open(&request, payload)?;
    let screen = in_time(shared.app.consoles.vnc(id)).await??;
    tracing::info!(vm = %id, by = caller.name, "the screen is looked at");
    actix_web::rt::spawn(async move {
        let _place = place;
        relay_screen(socket, screen, || caller.still_welcome(&shared)).await;
    });
    Ok(answer)
}

/// The serial line of a virtual machine
///
/// A WebSocket: its messages are the bytes of the line, both ways; what was
/// written before comes first.
#[utoipa::path(responses((status = 101)))]
#[get("/vms/{id}/serial")]
pub async fn serial(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VmId>,
    _: web::Query<NoQuery>,
    payload: web::Payload,
) -> Answer {
    shared.need::<VmRecord>(id)?;
    let place = (place(&shared)?, Prompt::timers());
    let (answer, socket) = open(&request, payload)?;
    let line = in_time(shared.app.consoles.serial(id)).await??;
    tracing::info!(vm = %id, by = caller.name, "the serial line is looked at");
    actix_web::rt::spawn(async move {
        let _place = place;
        relay_serial(socket, line, || caller.still_welcome(&shared)).await;
    });
    Ok(answer)
}

fn place(shared: &Shared) -> Answer<OwnedSemaphorePermit> {
    let place = Arc::clone(&shared.places.consoles).try_acquire_owned();
    place.map_err(|_| {
        Failure::new(Code::TooManyRequests, "too many consoles are open")
            .remedy("Close the screen or the serial line of a machine.")
    })
}

async fn in_time<T>(opening: impl Future<Output = T>) -> Answer<T> {
    tokio::time::timeout(OPENING, opening).await.map_err(|_| {
        Failure::new(
            Code::TimedOut,
            "the virtual machine does not show its console",
        )
        .remedy("Try again. If it goes on, reset the machine.")
    })
}

/// A WebSocket that is open.
struct Socket {
    session: Session,
    messages: MessageStream,
}

fn open(request: &HttpRequest, payload: web::Payload) -> Answer<(HttpResponse, Socket)> {
    let opened = actix_ws::handle_with_protocols(request, payload, &[BINARY]);
    let (answer, session, messages) = opened.map_err(|error| {
        Failure::new(Code::Malformed, "this address is for WebSockets").detail(error.to_string())
    })?;
    let messages = messages.max_frame_size(LARGEST_FRAME);
    Ok((answer, Socket { session, messages }))
}

/// Why a relay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The machine has closed its side.
    Guest,
    /// The client has, or is gone.
    Client,
    /// The client takes nothing, or says nothing, for too long.
    Stalled,
    /// The machine takes nothing for too long.
    Deaf,
    /// The client may not look any more.
    Unwelcome,
}

impl End {
    fn reason(self) -> CloseReason {
        let (code, description) = match self {
            End::Guest => (CloseCode::Normal, "the machine has closed its console"),
            End::Client => (CloseCode::Normal, ""),
            End::Stalled => (CloseCode::Away, "the client did not answer"),
            End::Deaf => (CloseCode::Away, "the machine does not take what is typed"),
            End::Unwelcome => (CloseCode::Policy, "the session has ended"),
        };
        CloseReason {
            code,
            description: Some(description.to_owned()).filter(|text| !text.is_empty()),
        }
    }
}

async fn relay_screen(socket: Socket, screen: UnixStream, welcome: impl Fn() -> bool) -> End {
    let (mut reader, mut writer) = screen.into_split();
    let mut session = socket.session.clone();
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return End::Guest,
                Ok(_) => {}
            }
            if let Err(end) = tell(&mut session, buffer.split().freeze()).await {
                return end;
            }
        }
    };
    let take =
        async |bytes: Bytes| match tokio::time::timeout(STALL, writer.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Guest),
            Err(_) => Err(End::Deaf),
        };
    relay(socket, outward, take, welcome).await
}

async fn relay_serial(socket: Socket, line: SerialSession, welcome: impl Fn() -> bool) -> End {
    let SerialSession {
        history,
        mut output,
        input,
    } = line;
    let typing = input.clone();
    let mut session = socket.session.clone();
    let outward = async {
        let mut history = Bytes::from(history);
        while !history.is_empty() {
            let piece = history.split_to(PIECE.min(history.len()));
            if let Err(end) = tell(&mut session, piece).await {
                return end;
            }
        }
        loop {
            // Both arms are cancel-safe: a channel keeps what was not received. The line
            // has ended when nothing can be typed any more; what came before goes first.
            let received = tokio::select! {
                biased;
                received = output.recv() => received,
                () = typing.closed() => return End::Guest,
            };
            let bytes = match received {
                Ok(bytes) => bytes,
                Err(RecvError::Lagged(_)) => Bytes::from_static(MISSED),
                Err(RecvError::Closed) => return End::Guest,
            };
            if let Err(end) = tell(&mut session, bytes).await {
                return end;
            }
        }
    };
    let take = async |bytes: Bytes| match tokio::time::timeout(STALL, input.send(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Guest),
        Err(_) => Err(End::Deaf),
    };
    relay(socket, outward, take, welcome).await
}

async fn tell(session: &mut Session, bytes: Bytes) -> Result<(), End> {
    match tokio::time::timeout(STALL, session.binary(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Client),
        Err(_) => Err(End::Stalled),
    }
}

/// Passes bytes on until one side ends it, then closes the WebSocket.
async fn relay(
    socket: Socket,
    outward: impl Future<Output = End>,
    take: impl AsyncFnMut(Bytes) -> Result<(), End>,
    welcome: impl Fn() -> bool,
) -> End {
    let Socket { session, messages } = socket;
    let heard = Cell::new(Instant::now());
    // Whichever arm ends, the others are of no use any more.
    let end = tokio::select! {
        end = outward => end,
        end = inward(messages, session.clone(), &heard, take) => end,
        end = pulse(session.clone(), &heard, welcome) => end,
    };
    // A client that takes nothing is not waited for.
    let closing = tokio::time::timeout(Duration::from_secs(2), session.close(Some(end.reason())));
    let _ = closing.await;
    end
}

async fn inward(
    mut messages: MessageStream,
    mut session: Session,
    heard: &Cell<Instant>,
    mut take: impl AsyncFnMut(Bytes) -> Result<(), End>,
) -> End {
    while let Some(Ok(message)) = messages.recv().await {
        heard.set(Instant::now());
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into_bytes(),
            // Where a message begins and ends means nothing to a stream of bytes.
            Message::Continuation(
                Item::FirstText(bytes)
                | Item::FirstBinary(bytes)
                | Item::Continue(bytes)
                | Item::Last(bytes),
            ) => bytes,
            Message::Ping(bytes) => match tokio::time::timeout(STALL, session.pong(&bytes)).await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return End::Client,
                Err(_) => return End::Stalled,
            },
            Message::Pong(_) | Message::Nop => continue,
            Message::Close(_) => return End::Client,
        };
        if let Err(end) = take(bytes).await {
            return end;
        }
    }
    End::Client
}

async fn pulse(mut session: Session, heard: &Cell<Instant>, welcome: impl Fn() -> bool) -> End {
    loop {
        tokio::time::sleep(PULSE).await;
        if !welcome() {
            return End::Unwelcome;
        }
        if heard.get().elapsed() > SILENCE {
            return End::Stalled;
        }
        match tokio::time::timeout(STALL, session.ping(b"")).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Client,
            Err(_) => return End::Stalled,
        }
    }
}

#[cfg(test)]
mod tests;
