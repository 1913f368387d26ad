//! Fetching over real sockets, from servers that break off.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::reconcile::Waker;
use crate::reconcile::progress::Board;
use crate::storage::Status;
use crate::storage::fetch::{FetchError, fetch};
use crate::storage::observe::{Observed, Work};
use crate::storage::plan::Subject;
use crate::storage::room::Room;
use crate::storage::work::Works;

/// Gives each connection the next of these answers, and keeps what was asked.
async fn serve(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                let count = client.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    break;
                }
            }
            kept.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&request).to_lowercase());
            client.write_all(&answer).await.unwrap();
        }
    });
    (url, asked)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = head.replace('\n', "\r\n");
    [head.as_bytes(), b"\r\nconnection: close\r\n\r\n", body].concat()
}

/// Fetches as a work does; the text of the failure, or nothing.
async fn run(url: &str, folder: &Path) -> (PathBuf, Result<(), String>) {
    let partial = folder.join("image.part");
    let (_sender, status) = watch::channel(Status::default());
    let room = Room::new(status, folder.to_owned(), None);
    let works = Works::new(Board::default(), Waker::default());
    let subject = Subject::Image(uuid::Uuid::from_u128(1).into());
    let (url, path) = (url.to_owned(), partial.clone());
    works.start(subject, None, move |teller| async move {
        let fetched = fetch(&url, &path, &room, &teller).await;
        fetched.map(|()| None).map_err(|error| error.story())
    });
    for _ in 0..600 {
        let mut observed = Observed::default();
        works.look(&mut observed);
        match observed.images.into_values().next() {
            Some(Work::Done { .. }) => return (partial, Ok(())),
            Some(Work::Failed { message }) => return (partial, Err(message)),
            _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    panic!("it did not end");
}

#[tokio::test]
async fn goes_on_where_the_connection_broke() {
    let folder = tempfile::tempdir().unwrap();
    let (url, asked) = serve(vec![
        answer(
            "HTTP/1.1 200 OK\ncontent-length: 10\netag: \"a\"",
            b"0123",
        ),
        answer(
            "HTTP/1.1 206 Partial Content\ncontent-length: 6\ncontent-range: bytes 4-9/10\netag: \"a\"",
            b"456789",
        ),
    ])
    .await;
    let (partial, fetched) = run(&url, folder.path()).await;
    fetched.unwrap();
    assert_eq!(std::fs::read(partial).unwrap(), b"0123456789");
    let asked = asked.lock().unwrap();
    assert!(!asked[0].contains("range:"));
    assert!(asked[1].contains("range: bytes=4-") && asked[1].contains("if-range: \"a\""));
}

#[tokio::test]
async fn begins_anew_when_the_file_changed() {
    let folder = tempfile::tempdir().unwrap();
    // What an earlier process left is not trusted.
    std::fs::write(folder.path().join("image.part"), "older").unwrap();
    let (url, asked) = serve(vec![
        answer("HTTP/1.1 200 OK\ncontent-length: 9\netag: W/\"a\"", b"012"),
        answer("HTTP/1.1 503 Wait\ncontent-length: 0", b""),
        answer("HTTP/1.1 200 OK\ncontent-length: 2", b"ok"),
    ])
    .await;
    let (partial, fetched) = run(&url, folder.path()).await;
    fetched.unwrap();
    assert_eq!(std::fs::read(partial).unwrap(), b"ok");
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|request| !request.contains("range:")));
}

#[tokio::test]
async fn tells_what_can_not_be_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _) = serve(vec![answer("HTTP/1.1 404 None\ncontent-length: 0", b"")]).await;
    let (_, fetched) = run(&url, folder.path()).await;
    let story = fetched.unwrap_err();
    assert!(
        story.contains("404") && story.contains("address"),
        "{story}"
    );

    let huge = "HTTP/1.1 200 OK\ncontent-length: 9000000000000000000";
    let (url, _) = serve(vec![answer(huge, b"x")]).await;
    let (_, fetched) = run(&url, folder.path()).await;
    assert!(fetched.unwrap_err().contains("enough room"));

    let wrong = "HTTP/1.1 302 Over there\nlocation: ftp://example.org/\ncontent-length: 0";
    let (url, _) = serve(vec![answer(wrong, b"")]).await;
    let (_, fetched) = run(&url, folder.path()).await;
    assert!(fetched.is_err());
    assert!(!FetchError::NoRoom.story().is_empty());
}
