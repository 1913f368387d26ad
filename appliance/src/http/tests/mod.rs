//! The API as a client sees it: over TLS, on real sockets, with a real state.

mod figures;
mod hardware;
mod machine;
mod nonsense;
mod servers;
mod sizing;
mod upload;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use ashlar_api::{BootId, NodeId, Timestamp};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::server::Handle;
use super::{App, Ports, serve, tls};
use crate::hardware::Hardware;
use crate::health::seen::Seen;
use crate::health::{self, Health};
use crate::reconcile::progress::Board;
use crate::reconcile::{Waker, drive};
use crate::state::Store;
use crate::state::command::Command;
use crate::state::schema::NodeRecord;
use crate::storage::{self, Uploads};
use crate::update::{self, Updates};
use crate::vm::{Place, VmDomain};

/// An API that is being served, and a client of it.
pub struct Rig {
    pub app: App,
    pub ports: Ports,
    pub client: Client,
    pub stop: watch::Sender<bool>,
    pub handle: Handle,
    pub machines: Machines,
    _folder: TempDir,
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("[::]:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn client() -> reqwest::ClientBuilder {
    Client::builder()
        .danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
}

/// What the API stands on, and the machines behind it, which nobody tends yet.
pub async fn app(folder: &TempDir) -> (App, Machines) {
    tls::install_provider();
    let node = NodeId::from(Uuid::now_v7());
    let store = Store::open(&folder.path().join("state"), node)
        .await
        .unwrap();
    let record = NodeRecord {
        id: node,
        revision: 0,
        created_at: Timestamp::now(),
        spec: serde_json::from_value(json!({ "name": "ashlar-1", "management": {} })).unwrap(),
        unconfirmed: None,
    };
    let known = Command::RegisterNode {
        node: Box::new(record),
    };
    store.propose("ashlar", known).await.unwrap();
    let boot = BootId::from(Uuid::now_v7());
    let (waker, status) = (Waker::default(), watch::Sender::default());
    let vm = status.subscribe();
    let place = Place {
        root: folder.path().join("root"),
        group: format!("ashlar-test-http-{node}").into(),
        with_kvm: false,
        ..Place::default()
    };
    let groups = place.clone();
    let (domain, consoles) = VmDomain::new(store.clone(), node, boot, place, waker.clone(), status);
    let machines = Machines {
        domain: Some(domain),
        waker: waker.clone(),
        groups,
    };
    let library = folder.path().join("library");
    std::fs::create_dir(&library).unwrap();
    let storage = watch::Sender::new(storage::Status {
        library: Some(library),
        ..storage::Status::default()
    });
    let hardware = Hardware::open(folder.path(), watch::channel(true).1);
    let app = App {
        uploads: Uploads::new(store.clone(), storage.subscribe(), waker),
        updates: Updates::new(update::Place::of(folder.path()), boot),
        consoles,
        store,
        seen: Seen {
            network: watch::Sender::default().subscribe(),
            storage: storage.subscribe(),
            vm,
            service: watch::Sender::default().subscribe(),
            hardware: hardware.watch(),
        },
        hardware,
        board: Board::default(),
        health: Health::open(folder.path()).unwrap(),
        certificate: tls::Certificate::open(&folder.path().join("tls"), "ashlar-1", &[]).unwrap(),
        console: |_| None,
        node,
        boot,
        booted_at: Timestamp::now(),
        run: folder.path().to_owned(),
    };
    (app, machines)
}

/// The machines of a node.
pub struct Machines {
    domain: Option<VmDomain>,
    waker: Waker,
    groups: Place,
}

impl Machines {
    /// Tends to them until `stop` turns true.
    pub fn tend(&mut self, store: &Store, stop: watch::Receiver<bool>) {
        let domain = self.domain.take().unwrap();
        tokio::spawn(drive(domain, self.waker.clone(), store.watch(), stop));
    }
}

/// Nothing is left behind by a test that fails.
impl Drop for Machines {
    fn drop(&mut self) {
        if let Ok(groups) = self.groups.groups().inspect(|groups| {
            let _ = groups.kill();
        }) {
            for _ in 0..50 {
                if groups.remove().is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Looks after the health of a node.
pub fn look(app: &App, stop: watch::Receiver<bool>) {
    let sources = health::Sources {
        store: app.store.clone(),
        seen: app.seen.clone(),
        certificate: app.certificate.watch(),
        boot: app.boot,
        run: app.run.clone(),
        state: app.run.clone(),
    };
    tokio::spawn(health::run(app.health.clone(), sources, stop));
}

impl Rig {
    pub async fn start() -> Self {
        Rig::with(|_, _| {}).await
    }

    /// One whose parts were changed before it is served.
    pub async fn with(change: impl FnOnce(&mut App, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut app, machines) = app(&folder).await;
        change(&mut app, folder.path());
        let ports = Ports {
            https: free_port(),
            http: Some(free_port()),
        };
        let (stop, stopped) = watch::channel(false);
        look(&app, stopped.clone());
        let handle = serve(app.clone(), ports, stopped).unwrap();
        let client = client().build().unwrap();
        let rig = Rig {
            app,
            ports,
            client,
            stop,
            handle,
            machines,
            _folder: folder,
        };
        rig.until_served().await;
        rig
    }

    pub async fn until_served(&self) {
        for _ in 0..100 {
            if self.ask(Method::GET, "/health").send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the API does not answer: {:?}", self.app.health.reported());
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("https://127.0.0.1:{}/api/v1{path}", self.ports.https);
        self.client.request(method, url)
    }

    /// Becomes the owner, and gives what every request of the session needs.
    pub async fn claim(&self) -> Session {
        let code = super::claim_code::read(&self.app.run).unwrap();
        let claim = json!({
            "code": code,
            "site": { "name": "home" },
            "node_name": "ashlar-1",
            "user": "ann",
            "password": "a long enough password",
        });
        let answer = self
            .ask(Method::POST, "/claim")
            .json(&claim)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        let session: Value = answer.json().await.unwrap();
        Session {
            cookie: cookie.split(';').next().unwrap().to_owned(),
            csrf: session["csrf_token"].as_str().unwrap().to_owned(),
        }
    }

    pub async fn end(self) {
        self.stop.send_replace(true);
        self.handle.ended().await;
    }
}

/// Who is signed in.
pub struct Session {
    pub cookie: String,
    pub csrf: String,
}

impl Session {
    pub fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        request
            .header("cookie", &self.cookie)
            .header("x-csrf-token", &self.csrf)
    }
}

/// A refusal must be a problem, with a status that is also in it.
pub async fn problem(answer: Response, what: &str) -> Value {
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.text().await.unwrap();
    assert!(status.is_client_error(), "{what}: {status} {text}");
    assert_eq!(
        kind.unwrap(),
        "application/problem+json",
        "{what}: {status}"
    );
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{what}: {text}");
    assert!(!problem["title"].as_str().unwrap().is_empty(), "{what}");
    if status == 422 {
        let fields = problem["fields"].as_array().unwrap();
        assert!(!fields.is_empty(), "{what} names no field: {text}");
        let named = fields
            .iter()
            .all(|f| !f["message"].as_str().unwrap().is_empty());
        assert!(named, "{what}: {text}");
    }
    problem
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_day() {
    let rig = Rig::start().await;
    let health: Value = rig
        .ask(Method::GET, "/health")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["state"], "unclaimed");
    let session = rig.claim().await;
    assert_eq!(super::claim_code::read(&rig.app.run), None);
    let health: Value = rig
        .ask(Method::GET, "/health")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_ne!(health["state"], "unclaimed");

    let network = json!({ "name": "lan", "kind": { "type": "nonsense" } });
    let refused = session
        .sign(rig.ask(Method::POST, "/networks").json(&network))
        .send()
        .await
        .unwrap();
    problem(refused, "a network that is none").await;
    let unguarded = rig
        .ask(Method::POST, "/tokens")
        .header("cookie", &session.cookie);
    let token = json!({ "name": "robot", "role": "viewer" });
    let forged = unguarded.json(&token).send().await.unwrap();
    assert_eq!(problem(forged, "no token").await["code"], "forged");
    let made = session
        .sign(rig.ask(Method::POST, "/tokens").json(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let secret = made["secret"].as_str().unwrap();

    let node = format!("/nodes/{}/restart-supervisor", rig.app.node);
    let viewer = rig
        .ask(Method::POST, &node)
        .bearer_auth(secret)
        .send()
        .await
        .unwrap();
    assert_eq!(problem(viewer, "a viewer").await["code"], "forbidden");
    let metrics = rig
        .ask(Method::GET, "/metrics")
        .bearer_auth(secret)
        .send()
        .await
        .unwrap();
    assert!(
        metrics.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("ashlar_info{node=\"ashlar-1\""),
        "{metrics}"
    );

    let dry = session.sign(rig.ask(Method::POST, "/users?dry_run=true"));
    let user = json!({ "spec": { "name": "ann", "role": "viewer" }, "password": "a long enough password" });
    let taken = dry.json(&user).send().await.unwrap();
    assert_eq!(
        problem(taken, "a name that is taken").await["code"],
        "name-taken"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_the_node_is_read_from_its_end() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    let path = format!("/nodes/{}/log", rig.app.node);
    let ask = |query: &str| {
        let request = rig.ask(Method::GET, &format!("{path}{query}"));
        session.sign(request).send()
    };
    let lines = async |query: &str| -> Vec<String> {
        let answer = ask(query).await.unwrap();
        assert_eq!(answer.status(), 200, "{query}");
        answer.json::<ashlar_api::node::Log>().await.unwrap().lines
    };
    assert!(lines("").await.is_empty(), "there is no log yet");
    let folder = rig.app.run.join("log");
    std::fs::create_dir(&folder).unwrap();
    let mut log: Vec<u8> = (0..2000)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    log.extend(b"no \xff text\n");
    std::fs::write(folder.join("supervisor.log"), log).unwrap();
    let newest = lines("").await;
    assert_eq!(newest.len(), 200);
    assert_eq!(
        (newest[198].as_str(), newest[199].as_str()),
        ("line 1999", "no \u{fffd} text")
    );
    assert_eq!(lines("?lines=1000").await.len(), 1000);
    assert_eq!(lines("?lines=1").await, ["no \u{fffd} text"]);
    for bad in ["?lines=0", "?lines=1001"] {
        let refused = problem(ask(bad).await.unwrap(), bad).await;
        assert_eq!(refused["fields"][0]["field"], "lines");
    }
    let viewer = json!({ "name": "robot", "role": "viewer" });
    let made = session.sign(rig.ask(Method::POST, "/tokens")).json(&viewer);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let request = rig.ask(Method::GET, &path);
    let request = request.bearer_auth(made["secret"].as_str().unwrap());
    let refused = problem(request.send().await.unwrap(), "a viewer").await;
    assert_eq!(refused["code"], "forbidden");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_is_asked_for_a_new_supervisor() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::start().await;
    let session = rig.claim().await;
    let path = format!("/nodes/{}/restart-supervisor", rig.app.node);
    let ask = || session.sign(rig.ask(Method::POST, &path)).send();
    let nobody = ask().await.unwrap();
    assert_eq!(nobody.status(), 503);

    let init = tokio::net::UnixListener::bind(rig.app.run.join("init.sock")).unwrap();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in ["{\"restarts\":0}\n", "ok\n"] {
            let (mut stream, _) = init.accept().await.unwrap();
            let mut line = String::new();
            stream.read_to_string(&mut line).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            heard.push(line);
        }
        heard
    });
    assert_eq!(ask().await.unwrap().status(), 202);
    let heard = tokio::time::timeout(Duration::from_secs(5), heard)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard, ["status\n", "restart-supervisor\n"]);
    rig.end().await;
}
