//! A real machine, from its definition to its end, through the local socket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::Rig;

/// How long anything may take here, on a busy machine without KVM.
const LONG: Duration = Duration::from_secs(120);

type Socket = WebSocketStream<UnixStream>;

async fn open(rig: &Rig, path: &str) -> Socket {
    let stream = UnixStream::connect(rig.app.run.join("api.sock"))
        .await
        .unwrap();
    let url = format!("ws://localhost/api/v1{path}");
    let (socket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    socket
}

/// Reads until what came is enough.
async fn until(socket: &mut Socket, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut all = Vec::new();
    while !enough(&all) {
        match tokio::time::timeout(LONG, socket.next()).await.unwrap() {
            Some(Ok(Frame::Binary(bytes))) => all.extend_from_slice(&bytes),
            Some(Ok(Frame::Ping(_))) => {}
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&all)),
        }
    }
    all
}

async fn closed(mut socket: Socket) {
    let closing = async {
        while let Some(frame) = socket.next().await {
            if matches!(frame.unwrap(), Frame::Close(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, closing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_made_watched_and_stopped() {
    let mut rig = Rig::start().await;
    let session = rig.claim().await;
    rig.machines.tend(&rig.app.store, rig.stop.subscribe());
    let ask = async |method: Method, path: &str| {
        session.sign(rig.ask(method, path)).send().await.unwrap()
    };
    let spec = json!({ "name": "web-1", "cpus": 1, "memory": 256 << 20 });
    let made = session
        .sign(rig.ask(Method::POST, "/vms").json(&spec))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let path = format!("/vms/{}", made["id"].as_str().unwrap());
    let phase = async |wanted: &str| {
        let start = std::time::Instant::now();
        loop {
            let vm: Value = ask(Method::GET, &path).await.json().await.unwrap();
            if vm["status"]["phase"] == wanted {
                return;
            }
            assert!(start.elapsed() < LONG, "never {wanted}: {vm}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    phase("running").await;

    let mut serial = open(&rig, &format!("{path}/serial")).await;
    let firmware = |text: &[u8]| String::from_utf8_lossy(text).contains("BdsDxe");
    until(&mut serial, firmware).await;
    serial
        .send(Frame::Binary(b"\r".to_vec().into()))
        .await
        .unwrap();
    // Whoever comes later gets what was written before.
    let mut later = open(&rig, &format!("{path}/serial")).await;
    until(&mut later, firmware).await;
    later.close(None).await.unwrap();

    // As far as a viewer's handshake goes: version, no password, accepted.
    let mut screen = open(&rig, &format!("{path}/vnc")).await;
    let hello = until(&mut screen, |bytes| bytes.len() >= 12).await;
    assert_eq!(hello, b"RFB 003.008\n");
    screen.send(Frame::Binary(hello.into())).await.unwrap();
    assert_eq!(until(&mut screen, |bytes| bytes.len() >= 2).await, [1, 1]);
    screen.send(Frame::Binary(vec![1].into())).await.unwrap();
    assert_eq!(until(&mut screen, |bytes| bytes.len() >= 4).await, [0; 4]);

    let picture = ask(Method::GET, &format!("{path}/screenshot")).await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert!(picture.bytes().await.unwrap().starts_with(b"\x89PNG\r\n"));
    let metrics = ask(Method::GET, "/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("ashlar_pass_failures{domain=\"vm\"} 0\n"),
        "{metrics}"
    );
    let running = "ashlar_vm_phase{vm=\"web-1\",phase=\"running\"} 1";
    assert!(metrics.contains(running), "{metrics}");

    assert_eq!(
        ask(Method::POST, &format!("{path}/stop")).await.status(),
        202
    );
    phase("stopped").await;
    closed(serial).await;
    closed(screen).await;
    assert_eq!(
        ask(Method::GET, &format!("{path}/screenshot"))
            .await
            .status(),
        409
    );
    assert_eq!(ask(Method::DELETE, &path).await.status(), 202);
    rig.end().await;
}
