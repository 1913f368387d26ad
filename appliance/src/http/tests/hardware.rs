//! The hardware by the API, from "nobody has looked" to a warning that was overridden and taken back; and what else tells of
//! it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ashlar_api::event::Severity;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Rig, app, look, problem};
use crate::hardware::{Hardware, Observed};

/// How long anything may take here, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A machine that the checks are tested with.
fn machine(case: &str) -> Observed {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hardware/testdata");
    let text = std::fs::read(folder.join(case).join("observed.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_meanwhile_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut app, _machines) = app(&folder).await;
    let seen = Arc::new(Mutex::new(machine("sound")));
    let eyes = Arc::clone(&seen);
    let eyes = Arc::new(move || eyes.lock().unwrap().clone());
    let settled = watch::channel(true).1;
    // Looked at once before the start.
    Hardware::seeing(folder.path(), settled.clone(), eyes.clone())
        .check()
        .await
        .unwrap();
    app.hardware = Hardware::seeing(folder.path(), settled, eyes);
    app.seen.hardware = app.hardware.watch();
    let (stop, stopped) = watch::channel(false);
    look(&app, stopped);
    let mut faults = app.health.watch_faults();
    let mut events = app.health.history.listen();
    let until = async |faults: &mut watch::Receiver<_>, there: bool| {
        let is = |faults: &Option<Vec<ashlar_api::fault::Fault>>| {
            let faults = faults.as_ref();
            faults.is_some_and(|all| all.iter().any(|f| f.code == "hardware-unfit") == there)
        };
        tokio::time::timeout(LONG, faults.wait_for(is))
            .await
            .unwrap()
            .unwrap();
    };
    until(&mut faults, false).await;

    let mut hear = async |mut missing: Vec<(Severity, &str)>| {
        while !missing.is_empty() {
            let event = tokio::time::timeout(LONG, events.recv()).await;
            let event = event.expect("something is not told").unwrap();
            missing.retain(|(severity, words)| {
                event.severity != *severity || !event.message.contains(words)
            });
        }
    };

    *seen.lock().unwrap() = Observed {
        watchdog: None,
        ..machine("memory-errors")
    };
    app.hardware.check().await.unwrap();
    until(&mut faults, true).await;
    hear(vec![
        (Severity::Info, "check \"Watchdog\" failed"),
        (Severity::Critical, "errors in memory"),
    ])
    .await;
    *seen.lock().unwrap() = machine("sound");
    app.hardware.check().await.unwrap();
    until(&mut faults, false).await;
    hear(vec![
        (Severity::Info, "check \"Watchdog\" passes again"),
        (Severity::Info, "No more: The hardware is not fit"),
    ])
    .await;
    stop.send_replace(true);
}

/// An API whose node looks at a machine of the tests, and settles when it is told to.
async fn rig(case: &str) -> (Rig, watch::Sender<bool>) {
    let (settle, settled) = watch::channel(false);
    let seen = machine(case);
    let rig = Rig::with(move |app, folder| {
        app.hardware = Hardware::seeing(folder, settled, Arc::new(move || seen.clone()));
        app.seen.hardware = app.hardware.watch();
    });
    (rig.await, settle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hardware_is_checked_and_a_warning_overridden() {
    let (rig, settle) = rig("bare").await;
    let session = rig.claim().await;
    let ask = |method: Method, path: &str| session.sign(rig.ask(method, path)).send();
    let override_check = |id: &str, body: Value| {
        let path = format!("/hardware/{id}/override");
        session
            .sign(rig.ask(Method::POST, &path))
            .json(&body)
            .send()
    };
    let firmware = || json!({ "identity": "firmware" });

    // Nobody has looked, and nobody may before all drivers are there.
    for (method, path) in [
        (Method::GET, "/hardware"),
        (Method::POST, "/hardware/check"),
    ] {
        let early = ask(method, path).await.unwrap();
        assert_eq!(early.status(), 503, "{path}");
        let early: Value = early.json().await.unwrap();
        assert_eq!(early["code"], "unavailable", "{path}");
    }
    settle.send_replace(true);

    let checked = ask(Method::POST, "/hardware/check").await.unwrap();
    assert_eq!(checked.status(), 200);
    let checked: Value = checked.json().await.unwrap();
    let read = ask(Method::GET, "/hardware").await.unwrap();
    let read: Value = read.json().await.unwrap();
    assert_eq!(checked, read);
    let tpm = |report: &Value| {
        let checks = report["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["id"] == "tpm")
            .unwrap()
    };
    assert_eq!(tpm(&read)["identity"], "firmware");

    // What was not overridden can be told again, and nothing has happened.
    let told = ask(Method::POST, "/hardware/tpm/withdraw").await.unwrap();
    assert_eq!(told.status(), 200);
    let overridden = override_check("tpm", firmware()).await.unwrap();
    assert_eq!(overridden.status(), 200);
    let overridden: Value = overridden.json().await.unwrap();
    assert_eq!(tpm(&overridden)["overridden"]["by"], "ann");
    let open = ask(Method::POST, "/hardware/tpm/withdraw").await.unwrap();
    let open: Value = open.json().await.unwrap();
    assert_eq!(tpm(&open)["overridden"], Value::Null);
    // It is written down soon, not at once.
    let start = Instant::now();
    loop {
        let history = ask(Method::GET, "/history?name=overridden").await.unwrap();
        let history: Value = history.json().await.unwrap();
        if history["total"] == 2 {
            break;
        }
        assert!(start.elapsed() < LONG, "{history}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    for (id, body, code) in [
        // Not what was seen; passed; critical; only good to know.
        ("tpm", json!({ "identity": "TPM 1" }), "wrong-state"),
        ("firmware-uefi", firmware(), "wrong-state"),
        (
            "network-card",
            json!({ "identity": "network" }),
            "wrong-state",
        ),
        ("iommu", json!({ "identity": "processor" }), "wrong-state"),
        ("tpm", json!({ "identity": "" }), "invalid"),
        ("tpm", json!({}), "invalid"),
        (
            "tpm",
            json!({ "identity": "firmware", "for": "ever" }),
            "invalid",
        ),
    ] {
        let refused = override_check(id, body.clone()).await.unwrap();
        let refused = problem(refused, id).await;
        assert_eq!(refused["code"], code, "{id} {body}");
        assert!(!refused["title"].as_str().unwrap().is_empty());
    }
    for nonsense in ["x", "%00", "..%2fcheck", "TPM"] {
        let refused = override_check(nonsense, firmware()).await.unwrap();
        assert_eq!(problem(refused, nonsense).await["code"], "not-found");
        let path = format!("/hardware/{nonsense}/withdraw");
        let refused = problem(ask(Method::POST, &path).await.unwrap(), &path).await;
        assert_eq!(refused["code"], "not-found", "{path}");
    }

    let viewer = json!({ "name": "robot", "role": "viewer" });
    let made = session.sign(rig.ask(Method::POST, "/tokens")).json(&viewer);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let secret = made["secret"].as_str().unwrap();
    let may = rig.ask(Method::GET, "/hardware").bearer_auth(secret);
    assert_eq!(may.send().await.unwrap().status(), 200);
    for path in ["/hardware/check", "/hardware/tpm/override"] {
        let may_not = rig.ask(Method::POST, path).bearer_auth(secret);
        let refused = problem(may_not.json(&firmware()).send().await.unwrap(), path).await;
        assert_eq!(refused["code"], "forbidden");
    }
    rig.end().await;
}
