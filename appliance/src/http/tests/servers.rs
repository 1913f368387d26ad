//! Ways in that are blocked, and the local socket.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::{Rig, app, free_port, look};
use crate::http::{Ports, serve};

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..100 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _machines) = app(&folder).await;
    let other = std::net::TcpListener::bind("[::]:0").unwrap();
    let https = other.local_addr().unwrap().port();
    let ports = Ports { https, http: None };
    let (stop, stopped) = watch::channel(false);
    let handle = serve(app.clone(), ports, stopped.clone()).unwrap();
    let told = || {
        app.health
            .reported()
            .iter()
            .any(|fault| fault.code == "api-unreachable")
    };
    until("the fault is told", told).await;
    let fault = app.health.reported().remove(0);
    assert!(fault.title.contains(&https.to_string()), "{fault:?}");
    assert!(!fault.remedy.is_empty());
    look(&app, stopped);
    until("everybody can read it", || {
        app.health.faults().contains(&fault)
    })
    .await;
    drop(other);
    until("the fault is over", || !told()).await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", https))
            .await
            .is_ok()
    );
    stop.send_replace(true);
    handle.ended().await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", https))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_socket_needs_no_credentials_and_http_only_redirects() {
    let rig = Rig::start().await;
    let path = rig.app.run.join("api.sock");
    until("the socket is there", || path.exists()).await;
    let mut socket = UnixStream::connect(&path).await.unwrap();
    let request = "GET /api/v1/nodes HTTP/1.1\r\nHost: ashlar\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let nodes: Value = serde_json::from_str(body).unwrap();
    assert_eq!(nodes["items"][0]["spec"]["name"], "ashlar-1");

    let plain = format!("http://127.0.0.1:{}/vms?x=1", rig.ports.http.unwrap());
    let answer = rig.client.get(plain).send().await.unwrap();
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["location"], "https://127.0.0.1/vms?x=1");
    assert_ne!(free_port(), rig.ports.https);
    rig.end().await;
}
