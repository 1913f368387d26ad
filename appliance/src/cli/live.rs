//! The client against a server: on a socket, and over TLS with a certificate of
//! its own. The server answers as the API does, but knows only what is tried.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use ashlar_api::endpoint;
use ashlar_api::error::{Code, Problem};
use ashlar_api::image::Image;
use ashlar_api::pool::Pool;
use ashlar_api::volume::Volume;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, Credentials};
use super::error::Error;
use super::image::UploadArgs;
use super::noun::{self, ChangeArgs, Cx, DeleteArgs, Noun};
use super::output::{Format, Look};
use super::place::Address;
use super::trust::{Fingerprint, Trust};
use super::upload;

const ID: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d";
const CREATED: &str = "2026-11-22T08:04:52Z";
const VOLUMES: usize = 700;
const COOKIE: &str = "__Host-ashlar=secret";

#[derive(Default)]
struct Seen {
    looks: AtomicUsize,
    received: AtomicU64,
    pieces: AtomicUsize,
    spec: Mutex<Value>,
    last: Mutex<String>,
}

fn refuse(code: Code) -> HttpResponse {
    let problem = Problem::new(code, "refused").remedy("Do otherwise.");
    let status = actix_web::http::StatusCode::from_u16(problem.status).unwrap();
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .json(problem)
}

fn object(spec: Value, status: Value) -> Value {
    json!({ "id": ID, "revision": 7, "created_at": CREATED, "spec": spec, "status": status })
}

fn volume(n: usize) -> Value {
    let id = format!("0192f0c1-2d3e-7a4b-8c5d-{n:012}");
    let condition = json!({ "ready": true });
    json!({ "id": id, "revision": 7, "created_at": CREATED, "spec": { "name": format!("v{n}"), "pool": ID, "size": 4096 },
        "status": { "phase": "ready", "condition": condition, "size": 4096, "used": 0 } })
}

async fn volumes(query: web::Query<std::collections::HashMap<String, String>>) -> HttpResponse {
    let limit: usize = query["limit"].parse().unwrap();
    let start: usize = query.get("after").map_or(0, |after| after.parse().unwrap());
    let name = query.get("name").map(|name| name.to_lowercase());
    let name = name.unwrap_or_default();
    let all: Vec<Value> = (0..VOLUMES)
        .map(volume)
        .filter(|v| v["spec"]["name"].as_str().unwrap().contains(&name))
        .collect();
    let end = (start + limit).min(all.len());
    let next = (end < all.len()).then(|| end.to_string());
    HttpResponse::Ok().json(json!({ "items": &all[start..end], "total": all.len(), "next": next }))
}

async fn change(
    seen: web::Data<Seen>,
    request: HttpRequest,
    body: web::Json<Value>,
) -> HttpResponse {
    let tag = request.headers().get(header::IF_MATCH);
    let tag = tag.map_or("none", |tag| tag.to_str().unwrap());
    *seen.last.lock().unwrap() = format!("{tag} {} {}", request.query_string(), body["name"]);
    HttpResponse::Ok().json(volume(3))
}

/// Gone at the second look.
async fn look(seen: web::Data<Seen>) -> HttpResponse {
    match seen.looks.fetch_add(1, Ordering::SeqCst) {
        0 => HttpResponse::Ok().json(volume(3)),
        _ => refuse(Code::NotFound),
    }
}

async fn delete() -> HttpResponse {
    HttpResponse::Accepted().json(volume(3))
}

fn pool() -> Value {
    let condition = json!({ "ready": true });
    object(
        json!({ "name": "data", "drives": ["a"] }),
        json!({ "condition": condition, "size": 1, "used": 0, "promised": 0, "metadata_used": 0.1, "volumes": 0,
            "volume_group": "g", "failures_survived": 0 }),
    )
}

async fn create_pool() -> HttpResponse {
    HttpResponse::Created()
        .insert_header(("Link", format!("</api/v1/jobs/{ID}>; rel=\"job\"")))
        .json(pool())
}

async fn no_jobs() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "items": [], "total": 0 }))
}

/// Over at the third look.
async fn job(seen: web::Data<Seen>) -> HttpResponse {
    let over = seen.looks.fetch_add(1, Ordering::SeqCst) >= 2;
    let state = if over { "failed" } else { "running" };
    HttpResponse::Ok().json(json!({ "id": ID, "verb": "create", "subject": { "kind": "pool", "id": ID, "name": "data" },
        "state": state, "progress": 0.5, "message": "the drive is gone", "by": "ann", "cancellable": true, "created_at": CREATED }))
}

fn image(seen: &Seen) -> Value {
    let received = seen.received.load(Ordering::SeqCst);
    let spec = seen.spec.lock().unwrap().clone();
    let phase = if Some(received) == spec["source"]["size"].as_u64() {
        "ready"
    } else {
        "receiving"
    };
    object(
        spec,
        json!({ "phase": phase, "condition": { "ready": true }, "received": received, "size": 0, "virtual_size": 0 }),
    )
}

async fn images(seen: web::Data<Seen>) -> HttpResponse {
    let items = match seen.spec.lock().unwrap().is_null() {
        true => Vec::new(),
        false => vec![()],
    };
    let items: Vec<Value> = items.iter().map(|()| image(&seen)).collect();
    HttpResponse::Ok().json(json!({ "items": items, "total": items.len() }))
}

async fn create_image(seen: web::Data<Seen>, body: web::Json<Value>) -> HttpResponse {
    *seen.spec.lock().unwrap() = body.into_inner();
    HttpResponse::Created().json(image(&seen))
}

async fn read_image(seen: web::Data<Seen>) -> HttpResponse {
    HttpResponse::Ok().json(image(&seen))
}

/// Takes half of the second piece and then fails, once.
async fn content(
    seen: web::Data<Seen>,
    request: HttpRequest,
    mut body: web::Payload,
) -> HttpResponse {
    let range = request.headers().get(header::CONTENT_RANGE).unwrap();
    let range = range.to_str().unwrap();
    let from: u64 = range[6..].split('-').next().unwrap().parse().unwrap();
    let mut length = 0;
    while let Some(chunk) = body.next().await {
        length += chunk.unwrap().len() as u64;
    }
    let held = seen.received.load(Ordering::SeqCst);
    if from != held {
        let mut answer = refuse(Code::WrongState);
        let offset = header::HeaderName::from_static("upload-offset");
        answer.headers_mut().insert(offset, held.into());
        return answer;
    }
    if seen.pieces.fetch_add(1, Ordering::SeqCst) == 1 {
        seen.received.fetch_add(length / 2, Ordering::SeqCst);
        return refuse(Code::Unavailable);
    }
    seen.received.fetch_add(length, Ordering::SeqCst);
    HttpResponse::NoContent().finish()
}

/// Says everything twice, to whoever is signed in and comes from here.
async fn serial(request: HttpRequest, body: web::Payload) -> HttpResponse {
    let text = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let host = text("host").unwrap_or_default();
    if text("cookie") != Some(COOKIE) || text("origin") != Some(&format!("https://{host}")) {
        return refuse(Code::Forged);
    }
    let (answer, mut session, mut messages) = actix_ws::handle(&request, body).unwrap();
    actix_web::rt::spawn(async move {
        while let Some(Ok(actix_ws::Message::Binary(bytes))) = messages.next().await {
            session
                .binary([&bytes[..], &bytes[..]].concat())
                .await
                .unwrap();
        }
    });
    answer
}

struct Server {
    seen: Arc<Seen>,
    socket: PathBuf,
    address: Address,
    fingerprint: Fingerprint,
    _directory: tempfile::TempDir,
}

fn start() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let key = rcgen::generate_simple_self_signed(["node-1".to_owned()]).unwrap();
    let fingerprint = Fingerprint::of(key.cert.der());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private.unwrap())
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let seen = web::Data::new(Seen::default());
    let data = seen.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(1 << 30))
            .route("/api/v1/volumes", web::get().to(volumes))
            .route("/api/v1/volumes/{id}", web::get().to(look))
            .route("/api/v1/volumes/{id}", web::put().to(change))
            .route("/api/v1/volumes/{id}", web::delete().to(delete))
            .route("/api/v1/pools", web::post().to(create_pool))
            .route("/api/v1/jobs", web::get().to(no_jobs))
            .route("/api/v1/jobs/{id}", web::get().to(job))
            .route("/api/v1/images", web::get().to(images))
            .route("/api/v1/images", web::post().to(create_image))
            .route("/api/v1/images/{id}", web::get().to(read_image))
            .route("/api/v1/images/{id}/content", web::put().to(content))
            .route("/api/v1/vms/{id}/serial", web::get().to(serial))
    })
    .workers(1)
    .disable_signals()
    .bind_uds(&socket)
    .unwrap()
    .listen_rustls_0_23(listener, tls)
    .unwrap();
    tokio::spawn(server.run());
    Server {
        seen: seen.into_inner(),
        socket,
        address: address.parse().unwrap(),
        fingerprint,
        _directory: directory,
    }
}

fn cx(socket: &Path) -> Cx {
    Cx {
        client: Client::local(socket).unwrap(),
        look: Look::new(Format::Table),
    }
}

#[tokio::test]
async fn lists_are_read_to_their_end_and_objects_found_by_name() {
    let server = start();
    let cx = cx(&server.socket);
    let all: Vec<Volume> = cx.client.all(Volume::PATH, &[]).await.unwrap();
    assert_eq!(all.len(), VOLUMES);
    assert_eq!(all[VOLUMES - 1].name(), format!("v{}", VOLUMES - 1));
    let (path, found) = noun::find::<Volume>(&cx.client, "V17").await.unwrap();
    assert_eq!(found.name(), "v17");
    assert!(path.starts_with("/api/v1/volumes/0192f0c1"));
    let missing = noun::find::<Volume>(&cx.client, "v").await.unwrap_err();
    assert_eq!(missing.status(), 4);
    let error = cx.client.get("/api/v1/nothing").await.unwrap_err();
    assert!(matches!(error, Error::Foreign { status: 404 }));
}

#[tokio::test]
async fn a_change_carries_the_revision_it_was_made_from() {
    let server = start();
    let cx = cx(&server.socket);
    let (path, found) = noun::find::<Volume>(&cx.client, "v3").await.unwrap();
    let how = ChangeArgs {
        dry_run: true,
        no_wait: false,
    };
    let name = "new".parse().unwrap();
    noun::set(&cx, &path, found, how, |spec| spec.name = name)
        .await
        .unwrap_err();
    // The names of pools are not known to this server, so showing fails; the change was sent.
    assert_eq!(
        *server.seen.last.lock().unwrap(),
        "\"7\" dry_run=true \"new\""
    );
}

#[tokio::test]
async fn deleting_waits_until_the_object_is_gone() {
    let server = start();
    let args = DeleteArgs {
        name: "v3".into(),
        yes: true,
        change: ChangeArgs::default(),
    };
    noun::delete::<Volume>(&cx(&server.socket), &args, "")
        .await
        .unwrap();
    assert_eq!(server.seen.looks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_job_that_fails_is_the_error_of_its_change() {
    let server = start();
    let body = json!({});
    let created = noun::create::<Pool>(&cx(&server.socket), &body, ChangeArgs::default()).await;
    let error = created.unwrap_err();
    assert_eq!(error.to_string(), "create pool data: the drive is gone");
    assert_eq!(server.seen.looks.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let server = start();
    let size = (20 << 20) + 5;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    let args = || UploadArgs {
        file: file.path().to_owned(),
        name: Some("disk".parse().unwrap()),
        description: String::new(),
        sha256: None,
        no_wait: true,
    };
    let cx = cx(&server.socket);
    upload::run(&cx, args()).await.unwrap();
    assert_eq!(server.seen.received.load(Ordering::SeqCst), size);
    assert_eq!(server.seen.pieces.load(Ordering::SeqCst), 4);
    // Half of it is there already: the rest follows.
    server.seen.received.store(size / 2, Ordering::SeqCst);
    upload::run(&cx, args()).await.unwrap();
    assert_eq!(server.seen.received.load(Ordering::SeqCst), size);
    assert_eq!(server.seen.pieces.load(Ordering::SeqCst), 6);
    let image: Image = cx
        .client
        .get(&format!("{}/{ID}", endpoint::IMAGES))
        .await
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(image.spec.sha256.unwrap().len(), 64);
}

#[tokio::test]
async fn only_a_certificate_that_is_trusted_is_spoken_to() {
    let server = start();
    let remote = |trust| Client::remote(&server.address, trust, Credentials::None).unwrap();
    let stranger = remote(Trust::System);
    let met = stranger.meet().await.unwrap();
    assert_eq!(met.fingerprint, server.fingerprint);
    assert!(met.refused.is_some());
    for trust in [Trust::System, Trust::Pinned(Fingerprint::of(b"other"))] {
        let error = remote(trust)
            .get("/api/v1/volumes?limit=1")
            .await
            .unwrap_err();
        assert_eq!(error.status(), 3);
        let Error::Untrusted { fingerprint, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(fingerprint, server.fingerprint.to_string());
    }
    let known = remote(Trust::Pinned(server.fingerprint));
    known.get("/api/v1/volumes?limit=1").await.unwrap();
    let nobody: Address = "https://127.0.0.1:1".parse().unwrap();
    let error = known
        .moved(&nobody)
        .get("/api/v1/volumes")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_serial_line_is_opened_with_the_session() {
    let server = start();
    let path = format!("/api/v1/vms/{ID}/serial");
    let open = |cookie: &str| {
        let credentials = Credentials::Session {
            cookie: cookie.to_owned(),
            csrf: "c".into(),
        };
        Client::remote(
            &server.address,
            Trust::Pinned(server.fingerprint),
            credentials,
        )
        .unwrap()
    };
    let mut line = open(COOKIE).socket(&path).await.unwrap();
    line.send(Message::Binary(b"ho"[..].into())).await.unwrap();
    let heard = line.next().await.unwrap().unwrap();
    assert_eq!(heard.into_data(), b"hoho"[..]);
    let error = open("x=y").socket(&path).await.map(drop).unwrap_err();
    assert_eq!(error.code(), Some(Code::Forged));
}
