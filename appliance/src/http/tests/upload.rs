//! Bytes of images in pieces, with real storage behind them; and the doors of consoles.

use ashlar_api::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Rig, Session, problem};
use crate::state::command::{Command, NewJob, Outcome};
use crate::state::schema::{Phase, PoolRecord};

fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// A pool, so that there is a library.
async fn with_pool(rig: &Rig) {
    let pool = PoolRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        phase: Phase::Preparing,
        spec: serde_json::from_value(json!({ "name": "tank", "drives": ["drive-a"] })).unwrap(),
        erase: Vec::new(),
        library: false,
    };
    let (id, job) = (pool.id, Uuid::now_v7().into());
    let verb = ashlar_api::job::Verb::Create;
    let create = Command::CreatePool {
        pool: Box::new(pool),
        job: NewJob { id: job, verb },
    };
    let outcome = Outcome::Done;
    for command in [create, Command::SettlePool { id, outcome }] {
        rig.app.store.propose("ashlar", command).await.unwrap();
    }
}

async fn made(rig: &Rig, session: &Session, path: &str, spec: &Value) -> Value {
    let ask = session.sign(rig.ask(Method::POST, path).json(spec));
    let answer = ask.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

fn offset(answer: &Response) -> &str {
    answer.headers()["upload-offset"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_stopped() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    with_pool(&rig).await;
    let content: Vec<u8> = pattern(3_000_000);
    let spec = json!({ "name": "disk", "source": { "from": "upload", "size": content.len() } });
    let image = made(&rig, &session, "/images", &spec).await;
    let id = image["id"].as_str().unwrap();
    let path = format!("/images/{id}/content");
    let put = async |from: usize, to: usize, total: usize| {
        let range = format!("bytes {from}-{}/{total}", to - 1);
        let ask = rig.ask(Method::PUT, &path).header("content-range", range);
        let ask = session.sign(ask).body(content[from..to].to_vec());
        ask.send().await.unwrap()
    };
    let all = content.len();
    let first = put(0, 1_000_000, all).await;
    assert_eq!((first.status().as_u16(), offset(&first)), (204, "1000000"));

    let again = put(0, 1_000_000, all).await;
    assert_eq!(offset(&again), "1000000");
    assert_eq!(
        problem(again, "from the beginning again").await["code"],
        "wrong-state"
    );
    let gap = put(2_000_000, all, all).await;
    assert_eq!(problem(gap, "a gap").await["status"], 409);
    let other = put(1_000_000, 2_000_000, 2_000_000).await;
    assert_eq!(
        problem(other, "another size").await["fields"][0]["field"],
        "Content-Range"
    );
    let ask = rig
        .ask(Method::PUT, &path)
        .header("content-range", "bytes 1-0/2");
    let wrong = session.sign(ask).body("x").send().await.unwrap();
    assert_eq!(
        problem(wrong, "no range").await["fields"][0]["field"],
        "Content-Range"
    );

    // A piece that breaks off counts as far as it came.
    let part = content[1_000_000..1_500_000].to_vec();
    let broken = futures_util::stream::unfold(Some(part), |part| async {
        match part {
            Some(part) => Some((Ok(part), None)),
            None => {
                // What was sent has to arrive before the connection is cut.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Some((
                    Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
                    None,
                ))
            }
        }
    });
    let ask = rig
        .ask(Method::PUT, &path)
        .header("content-range", format!("bytes 1000000-2999999/{all}"));
    let sent = session
        .sign(ask)
        .body(reqwest::Body::wrap_stream(broken))
        .send()
        .await;
    assert!(sent.is_err() || sent.unwrap().status() == 400);
    let mut held = 0;
    for _ in 0..50 {
        let ask = session
            .sign(rig.ask(Method::HEAD, &path))
            .send()
            .await
            .unwrap();
        assert_eq!(ask.status(), 204);
        held = offset(&ask).parse().unwrap();
        if held == 1_500_000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(held, 1_500_000);
    let image: Value = session
        .sign(rig.ask(Method::GET, &format!("/images/{id}")))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(image["status"]["received"], held);

    // The one that broke off may hold its turn a moment longer.
    let mut last = put(held, all, all).await;
    for _ in 0..50 {
        if last.status() != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        last = put(held, all, all).await;
    }
    assert_eq!((last.status().as_u16(), offset(&last)), (204, "3000000"));
    let file = rig.app.run.join("library").join(format!("{id}.part"));
    assert!(std::fs::read(file).unwrap() == content, "the file differs");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consoles_open_only_from_our_own_pages() {
    let mut rig = Rig::start().await;
    // A WebSocket begins as a request of HTTP/1.1.
    rig.client = super::client().http1_only().build().unwrap();
    let session = rig.claim().await;
    let spec = json!({ "name": "web-1", "cpus": 1, "memory": 256 << 20 });
    let vm = made(&rig, &session, "/vms", &spec).await;
    let id = vm["id"].as_str().unwrap();
    let token = json!({ "name": "robot", "role": "operator" });
    let token = made(&rig, &session, "/tokens", &token).await;
    let secret = token["secret"].as_str().unwrap();
    let ours = format!("https://127.0.0.1:{}", rig.ports.https);
    for console in ["vnc", "serial"] {
        let open = || {
            rig.ask(Method::GET, &format!("/vms/{id}/{console}"))
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        };
        let stranger = open().header("origin", &ours).send().await.unwrap();
        assert_eq!(stranger.status(), 401);
        for origin in ["https://evil.example", "null", "http://127.0.0.1", ""] {
            let forged = session
                .sign(open())
                .header("origin", origin)
                .send()
                .await
                .unwrap();
            assert_eq!(problem(forged, origin).await["code"], "forged");
        }
        let absent = session.sign(open()).send().await.unwrap();
        assert_eq!(problem(absent, "no origin").await["code"], "forged");
        // The machine is known, but nothing runs.
        let allowed = session
            .sign(open())
            .header("origin", &ours)
            .send()
            .await
            .unwrap();
        let status = problem(allowed, "our own").await["status"].as_u64();
        assert!(matches!(status, Some(404 | 409)), "{status:?}");
        let robot = open().bearer_auth(secret).send().await.unwrap();
        assert!(matches!(
            problem(robot, "a token").await["status"].as_u64(),
            Some(404 | 409)
        ));
        let plain = rig.ask(Method::GET, &format!("/vms/{id}/{console}"));
        let plain = plain.bearer_auth(secret).send().await.unwrap();
        assert_eq!(problem(plain, "no WebSocket").await["status"], 400);
    }
    let picture = rig.ask(Method::GET, &format!("/vms/{id}/screenshot"));
    let picture = session.sign(picture).send().await.unwrap();
    assert!(matches!(
        problem(picture, "a picture").await["status"].as_u64(),
        Some(404 | 409)
    ));
    rig.end().await;
}
