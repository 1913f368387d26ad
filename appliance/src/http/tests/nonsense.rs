//! Nonsense into everything that the OpenAPI document promises. Whatever is
//! sent, the answer is a refusal that says what is wrong: never a failure of
//! ours, never silence, and never more than the caller may.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Rig, problem};
use crate::http::{openapi, rules};

const NOBODY: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d";

/// An operation of the document.
struct Operation {
    method: Method,
    path: String,
    open: bool,
    /// The schema of its body.
    body: Option<Value>,
}

impl Operation {
    fn at(&self, id: &str) -> String {
        let path = self.path.replace("{check}", "tpm");
        path.replace("{id}", id).replace("{action}", "start")
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.strip_prefix("/api/v1").unwrap().to_owned(),
                open: operation["security"].as_array().unwrap().is_empty(),
                body: (!body.is_null()).then(|| body.clone()),
            });
        }
    }
    assert_eq!(found.len(), rules::RULES.len());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing() {
    let rig = Rig::start().await;
    rig.claim().await;
    for operation in operations(&openapi::tree()) {
        let what = format!("{} {}", operation.method, operation.path);
        let ask = || rig.ask(operation.method.clone(), &operation.at(NOBODY));
        if operation.open {
            continue;
        }
        let with: [fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder; 5] = [
            |ask| ask,
            |ask| ask.json(&json!({})),
            |ask| ask.bearer_auth("ashlar_0000"),
            |ask| ask.header("authorization", "Basic YTpi"),
            |ask| {
                ask.header("cookie", "__Host-ashlar=0000")
                    .header("x-csrf-token", "")
            },
        ];
        for add in with {
            let answer = add(ask()).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{what}");
            if operation.method != Method::HEAD {
                assert_eq!(
                    problem(answer, &what).await["code"],
                    "unauthenticated",
                    "{what}"
                );
            }
        }
    }
    rig.end().await;
}

/// Bodies that fit nothing.
fn rubbish() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "7",
        "\"x\"",
        "[]",
        "[{}]",
        "{\"",
        "{\"a\":",
        "{\"nonsense\":1}",
        "{} {}",
        "{\"spec\":null}",
        "{\"name\":\"\\u0000\"}",
        "{\"name\":{},\"spec\":[]}",
        "1e999",
        "-",
        "tru",
    ]
    .map(Into::into)
    .into();
    bodies.push(b"{\"name\":\"\xff\xfe\"}".to_vec());
    bodies.push(vec![b'['; 100_000]);
    bodies.push(vec![b' '; (1 << 20) + 1]);
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_is_refused() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    for operation in operations(&openapi::tree()) {
        let what = format!("{} {}", operation.method, operation.path);
        let ask = |path: &str| session.sign(rig.ask(operation.method.clone(), path));
        let head = operation.method == Method::HEAD;
        // The bodies first: whoever signs out does so with the last of these.
        for body in operation.body.iter().flat_map(|_| rubbish()) {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let json = ask(&operation.at(NOBODY)).header("content-type", "application/json");
            let answer = json.body(body).send().await.unwrap();
            problem(answer, &format!("{what} with {shown}")).await;
        }
        if operation.body.is_some() {
            let text = ask(&operation.at(NOBODY))
                .header("content-type", "text/plain")
                .body("{}");
            let refused = problem(text.send().await.unwrap(), &what).await;
            assert_eq!(refused["code"], "unsupported-media-type", "{what}");
        }
        let path = format!("{}?nonsense=1", operation.at(NOBODY));
        let odd = ask(&path).json(&json!({})).send().await.unwrap();
        if !head {
            problem(odd, &format!("{what}?nonsense")).await;
        }
        if operation.path.contains("{id}") {
            for id in [
                "x",
                "%00",
                "..%2f..",
                "0",
                "%F0%9F%90%99",
                &"9".repeat(2000),
            ] {
                let odd = ask(&operation.at(id))
                    .json(&json!({}))
                    .send()
                    .await
                    .unwrap();
                assert!(odd.status().is_client_error(), "{what} {id}");
                if !head {
                    problem(odd, &format!("{what} {id}")).await;
                }
            }
        }
        if operation.method == Method::PUT || operation.method == Method::DELETE {
            let odd = ask(&path)
                .header("if-match", "W/x")
                .json(&json!({}))
                .send()
                .await
                .unwrap();
            problem(odd, &format!("{what} if-match")).await;
        }
    }
    rig.end().await;
}

/// Values of any kind, with the names and words of the schemas in them, so that
/// they come further than plain rubbish does.
fn values(words: Vec<String>) -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(words);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
        Just(Value::from(NOBODY)),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The names of fields and the words that a schema knows, followed through its references.
fn vocabulary(document: &Value, schema: &Value, words: &mut Vec<String>, depth: usize) {
    if depth == 0 {
        return;
    }
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                let name = name.rsplit('/').next().unwrap_or_default();
                vocabulary(
                    document,
                    &document["components"]["schemas"][name],
                    words,
                    depth - 1,
                );
            }
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                words.extend(properties.keys().cloned());
            }
            if let Some(known) = map.get("enum").and_then(Value::as_array) {
                words.extend(known.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            for value in map.values() {
                vocabulary(document, value, words, depth - 1);
            }
        }
        Value::Array(list) => {
            for value in list {
                vocabulary(document, value, words, depth - 1);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nearly_fits_never_fails_us() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    // Before the first look it is said that there was none, which is no failure of ours.
    let look = session.sign(rig.ask(Method::POST, "/hardware/check"));
    assert!(look.send().await.unwrap().status().is_success());
    let document = openapi::tree();
    let mut runner = TestRunner::default();
    for operation in operations(&document) {
        let Some(schema) = &operation.body else {
            continue;
        };
        let mut words = vec!["nonsense".to_owned()];
        vocabulary(&document, schema, &mut words, 12);
        words.sort();
        words.dedup();
        let values = values(words);
        for _ in 0..40 {
            let value = values.new_tree(&mut runner).unwrap().current();
            let what = format!("{} {} {value}", operation.method, operation.path);
            let ask = session.sign(rig.ask(operation.method.clone(), &operation.at(NOBODY)));
            let answer = ask.json(&value).send().await.unwrap();
            // By chance something may fit; then it is done.
            if !answer.status().is_success() {
                problem(answer, &what).await;
            }
        }
    }
    rig.end().await;
}
