//! Relays between a real WebSocket client and the other end of a socket.

use std::sync::Mutex;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes that tell their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// What a relay connects a client to, once.
enum Guest {
    Screen(UnixStream),
    Serial(SerialSession),
}

struct Bench {
    guest: Mutex<Option<(Guest, oneshot::Sender<End>)>>,
    welcome: bool,
}

async fn handler(request: HttpRequest, bench: web::Data<Bench>, payload: web::Payload) -> Answer {
    let (answer, socket) = open(&request, payload)?;
    let taken = bench.guest.lock().unwrap().take();
    let (guest, told) = taken.unwrap();
    actix_web::rt::spawn(async move {
        let welcome = || bench.welcome;
        let end = match guest {
            Guest::Screen(screen) => relay_screen(socket, screen, welcome).await,
            Guest::Serial(line) => relay_serial(socket, line, welcome).await,
        };
        let _ = told.send(end);
    });
    Ok(answer)
}

async fn connect(guest: Guest) -> (Client, oneshot::Receiver<End>, ServerHandle) {
    let (told, end) = oneshot::channel();
    let bench = web::Data::new(Bench {
        guest: Mutex::new(Some((guest, told))),
        welcome: true,
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(bench.clone())
            .default_service(web::to(handler))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
    let handle = server.handle();
    tokio::spawn(server);
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    let protocol = header::HeaderValue::from_static(BINARY);
    request.headers_mut().insert(
        "sec-websocket-protocol",
        protocol.to_str().unwrap().parse().unwrap(),
    );
    let (client, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], BINARY);
    (client, end, handle)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what)
        .await
        .unwrap()
}

/// All bytes that come until `count` are there.
async fn bytes(client: &mut Client, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        match soon(client.next()).await.unwrap().unwrap() {
            Frame::Binary(bytes) => all.extend_from_slice(&bytes),
            Frame::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_passes_every_byte_both_ways() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (mut client, end, server) = connect(Guest::Screen(near)).await;
    far.write_all(b"RFB 003.008\n").await.unwrap();
    assert_eq!(bytes(&mut client, 12).await, b"RFB 003.008\n");

    // More than all buffers hold, in both directions at once.
    let picture: Vec<u8> = pattern(3_000_000);
    let typed: Vec<u8> = pattern(900_000);
    let (mut from, mut to) = far.into_split();
    let (sent, wanted) = (picture.clone(), typed.len());
    let writer = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to
    });
    let reader = tokio::spawn(async move {
        let mut got = vec![0; wanted];
        from.read_exact(&mut got).await.unwrap();
        (got, from)
    });
    client
        .send(Frame::Binary(typed.clone().into()))
        .await
        .unwrap();
    client
        .send(Frame::Ping(b"x".to_vec().into()))
        .await
        .unwrap();
    let mut got = Vec::new();
    while got.len() < picture.len() {
        match soon(client.next()).await.unwrap().unwrap() {
            Frame::Binary(bytes) => got.extend_from_slice(&bytes),
            Frame::Pong(bytes) => assert_eq!(&bytes[..], b"x"),
            other => panic!("{other:?}"),
        }
    }
    assert!(got == picture, "the picture differs");
    let (got, from) = soon(reader).await.unwrap();
    assert!(got == typed, "what was typed differs");

    // The machine closes: so does the WebSocket.
    drop((from, soon(writer).await.unwrap()));
    loop {
        match soon(client.next()).await {
            Some(Ok(Frame::Close(reason))) => {
                assert_eq!(u16::from(reason.unwrap().code), 1000);
                break;
            }
            Some(Ok(Frame::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(soon(end).await.unwrap(), End::Guest);
    server.stop(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_leaves_nothing_behind() {
    for polite in [true, false] {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (mut client, end, server) = connect(Guest::Screen(near)).await;
        if polite {
            client.close(None).await.unwrap();
        }
        drop(client);
        let mut rest = Vec::new();
        soon(far.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(soon(end).await.unwrap(), End::Client);
        server.stop(false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_that_is_not_looked_at_is_not_gathered() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (client, _end, server) = connect(Guest::Screen(near)).await;
    // The client reads nothing: after some megabytes in sockets the machine has to wait.
    let piece = vec![7; 1 << 20];
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(2), far.write(&piece)).await {
        taken += written.unwrap();
        assert!(taken < 64 << 20, "{taken} bytes were taken");
    }
    drop(client);
    server.stop(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serial_line_begins_with_its_history() {
    let history: Vec<u8> = pattern(100_000);
    let (output, received) = broadcast::channel(16);
    let (input, mut typed) = mpsc::channel(4);
    let session = SerialSession {
        history: history.clone(),
        output: received,
        input,
    };
    output.send(Bytes::from_static(b"login: ")).unwrap();
    let (mut client, end, server) = connect(Guest::Serial(session)).await;
    let got = bytes(&mut client, history.len() + 7).await;
    assert!(got.starts_with(&history) && got.ends_with(b"login: "));
    client
        .send(Frame::Binary(b"root\r".to_vec().into()))
        .await
        .unwrap();
    client.send(Frame::Text("ls\r".into())).await.unwrap();
    assert_eq!(&soon(typed.recv()).await.unwrap()[..], b"root\r");
    assert_eq!(&soon(typed.recv()).await.unwrap()[..], b"ls\r");
    // As the line does when its machine ends: its last words, then nobody listens.
    output.send(Bytes::from_static(b"bye")).unwrap();
    drop(typed);
    assert_eq!(bytes(&mut client, 3).await, b"bye");
    assert!(matches!(
        soon(client.next()).await,
        Some(Ok(Frame::Close(_)))
    ));
    assert_eq!(soon(end).await.unwrap(), End::Guest);
    server.stop(false).await;
}
