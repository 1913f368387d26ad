//! The OpenAPI document, made from the handlers and from the table of rules.
//!
//! Handlers say what is special about them: their types and their success. What
//! follows from the address and the method (ids, conditions, credentials, and
//! every way in which it can be refused) is added here, so that no handler can
//! forget to say it.

use actix_web::{HttpResponse, get, web};
use ashlar_api::Problem;
use ashlar_api::error::Code;
use ashlar_api::vm::VmAction;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};
use utoipa_actix_web::{AppExt, scope};

use super::error::{Answer, Failure, PROBLEM_JSON};
use super::request::NoQuery;
use super::rules::{self, Access, Verdict};
use super::{Shared, auth, routes};
use crate::hardware;

/// This document.
#[utoipa::path(responses((status = 200, description = "The document.", content_type = "application/json")))]
#[get("/openapi.json")]
pub async fn read(shared: web::Data<Shared>, _: web::Query<NoQuery>) -> Answer {
    let document = shared.document();
    if document.is_empty() {
        return Err(Failure::new(Code::Internal, "the document cannot be made"));
    }
    Ok(HttpResponse::Ok()
        .insert_header(("content-type", "application/json"))
        .body(document))
}

/// The document as JSON text.
pub fn document() -> Vec<u8> {
    serde_json::to_vec(&tree()).unwrap_or_default()
}

/// The document.
pub fn tree() -> Value {
    let handlers = scope(ashlar_api::endpoint::BASE).configure(routes::documented);
    let (_, document) = actix_web::App::new()
        .into_utoipa_app()
        .service(handlers)
        .split_for_parts();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"] = json!({
        "title": "Ashlar",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "The API of an Ashlar appliance. The console and the command line use it and nothing else.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["components"]["securitySchemes"] = json!({
        "session": {
            "type": "apiKey", "in": "cookie", "name": auth::COOKIE,
            "description": "Set by signing in. Requests that change something also need `csrf`.",
        },
        "csrf": {
            "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
            "description": "The session's `csrf_token`.",
        },
        "token": { "type": "http", "scheme": "bearer", "description": "An API token." },
    });
    let mut schemas = Vec::new();
    Problem::schemas(&mut schemas);
    schemas.push((Problem::name().into_owned(), Problem::schema()));
    for (name, schema) in schemas {
        document["components"]["schemas"][name] = serde_json::to_value(schema).unwrap_or_default();
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                if let Some(operation) = operation.as_object_mut() {
                    complete(path, method, operation);
                }
            }
        }
    }
    document
}

/// Says of an operation what follows from its address and method.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let local = path
        .strip_prefix(ashlar_api::endpoint::BASE)
        .unwrap_or(path);
    let parts: Vec<&str> = local.split('/').filter(|part| !part.is_empty()).collect();
    let tag = parts
        .first()
        .copied()
        .unwrap_or_default()
        .trim_end_matches(".json");
    operation.insert("tags".into(), json!([tag]));
    let words = parts
        .iter()
        .map(|part| part.trim_matches(['{', '}']).replace(['.', '-'], "_"));
    let name = std::iter::once(method.to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_");
    operation.insert("operationId".into(), json!(name));

    parameters(local, method, operation);
    let access = match rules::find(&actix_method(method), &example(path)) {
        Verdict::Rule(rule) => Some(rule.access),
        Verdict::Methods(_) | Verdict::Nothing => None,
    };
    let open = access == Some(Access::Open);
    let changes = !matches!(method, "get" | "head");
    let security = match (open, changes) {
        (true, _) => json!([]),
        (false, true) => json!([{ "session": [], "csrf": [] }, { "token": [] }]),
        (false, false) => json!([{ "session": [] }, { "token": [] }]),
    };
    operation.insert("security".into(), security);
    if let Some(Access::Role(role)) = access {
        operation.insert("x-role".into(), json!(role));
    }
    answers(local, method, open, operation);
}

fn parameters(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let mut added = Vec::new();
    if path.contains("{id}") {
        added.push(json!({
            "name": "id", "in": "path", "required": true, "description": "The id of the object.",
            "schema": { "type": "string", "format": "uuid" },
        }));
    }
    if path.contains("{action}") {
        let verbs: Vec<&str> = VmAction::ALL.iter().map(|action| action.verb()).collect();
        added.push(json!({
            "name": "action", "in": "path", "required": true, "description": "What to do.",
            "schema": { "type": "string", "enum": verbs },
        }));
    }
    if path.contains("{check}") {
        let checks: Vec<&str> = hardware::RULES.iter().map(|rule| rule.id).collect();
        added.push(json!({
            "name": "check", "in": "path", "required": true, "description": "The id of a check of the hardware.",
            "schema": { "type": "string", "enum": checks },
        }));
    }
    if takes_condition(path, method) {
        added.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The ETag the object must still have.",
            "schema": { "type": "string", "pattern": "^(\"[0-9]{1,19}\"|\\*)$" },
        }));
    }
    let list = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.extend(added);
    }
}

/// Whether bytes are sent there that are no JSON.
fn is_stream(path: &str) -> bool {
    path.ends_with("/content") || path.ends_with("/bundle")
}

/// Whether an object is changed that has an ETag.
fn takes_condition(path: &str, method: &str) -> bool {
    let replaced = method == "put" && !is_stream(path) && path != "/certificate";
    let removed = method == "delete"
        && path.ends_with("/{id}")
        && !path.starts_with("/sessions")
        && !path.starts_with("/tokens");
    replaced || removed
}

/// Adds every refusal that is possible, and what succeeds without changing anything.
fn answers(path: &str, method: &str, open: bool, operation: &mut Map<String, Value>) {
    let body = operation.contains_key("requestBody");
    let changes = !matches!(method, "get" | "head");
    let socket = path.ends_with("/vnc") || path.ends_with("/serial");
    let mut refused: Vec<u16> = vec![422, 500];
    if !open {
        refused.extend([401, 403]);
    }
    if path == "/session" && method == "post" {
        refused.push(401);
    }
    if path.contains('{') || path == "/session" {
        refused.push(404);
    }
    if body {
        refused.extend([400, 413, 415]);
    }
    if takes_condition(path, method) {
        refused.extend([400, 412]);
    }
    if socket || is_stream(path) {
        refused.extend([400, 409]);
    }
    if is_stream(path) {
        refused.extend([413, 503]);
    }
    if path.starts_with("/claim") {
        refused.push(403);
    }
    if changes || path == "/site" {
        refused.extend([409, 503]);
    }
    // Until the machine has its drivers, nobody has looked.
    if path == "/hardware" {
        refused.push(503);
    }
    let guarded = ["/claim", "/claim/check", "/session", "/users", "/vms"];
    let hashes = path.ends_with("/password") || path == "/vms/{id}" || guarded.contains(&path);
    if (changes && hashes) || path == "/events" || socket {
        refused.push(429);
    }
    let dry = operation
        .get("parameters")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|parameter| parameter["name"] == "dry_run"));
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (status, response) in responses.iter_mut() {
        describe(status, response);
    }
    if let Some(created) = responses.get("201").filter(|_| dry).cloned() {
        let mut trial = json!({ "description": "It would be accepted (`dry_run`); the object as it would be." });
        trial["content"] = created["content"].clone();
        responses.insert("200".into(), trial);
    }
    for status in refused {
        responses.entry(status.to_string()).or_insert_with(|| {
            json!({
                "description": reason(status),
                "content": { PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            })
        });
    }
}

fn describe(status: &str, response: &mut Value) {
    let text =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let description = match status {
        "101" => "The WebSocket is open.",
        "200" => "As asked.",
        "201" => "It was made.",
        "202" => "It will be done.",
        "204" => "Done.",
        _ => "",
    };
    if response["description"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        response["description"] = json!(description);
    }
    if status == "201" {
        response["headers"]["Location"] = text("Where the new object is.");
    }
    if matches!(status, "201" | "202") {
        response["headers"]["Link"] =
            text("The jobs that do the work: `</api/v1/jobs/ID>; rel=\"job\"`.");
        response["headers"]["Link"]["required"] = json!(false);
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be read.",
        401 => "Nobody is signed in, or what was shown to sign in is wrong.",
        403 => "The caller may not do this, or the guard against forged requests is missing.",
        404 => "There is no such object.",
        409 => "It cannot be done in the state things are in.",
        412 => "The object changed since it was read.",
        413 => "The request is too large.",
        415 => "The body is not of a kind that is understood.",
        422 => "A value cannot be accepted; `fields` names it.",
        429 => "Too many attempts; wait.",
        503 => "A part that is needed is not ready.",
        _ => "A defect of the appliance.",
    }
}

fn actix_method(method: &str) -> actix_web::http::Method {
    method
        .to_uppercase()
        .parse()
        .unwrap_or(actix_web::http::Method::TRACE)
}

/// An address that the pattern stands for.
fn example(pattern: &str) -> String {
    let pattern = pattern.replace("{check}", "tpm");
    pattern.replace("{id}", "x").replace("{action}", "start")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations(document: &Value) -> BTreeSet<(String, String)> {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| {
                let path = path.strip_prefix("/api/v1").unwrap().to_owned();
                item.as_object()
                    .unwrap()
                    .keys()
                    .map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect()
    }

    #[test]
    fn every_route_is_documented_and_has_a_rule() {
        let document = tree();
        let table: BTreeSet<_> = rules::RULES
            .iter()
            .map(|rule| (rule.method.to_string(), rule.pattern.to_owned()))
            .collect();
        assert_eq!(operations(&document), table);
    }

    #[test]
    fn every_operation_is_complete() {
        let document = tree();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let what = format!("{method} {path}");
                assert!(
                    names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                    "{what}"
                );
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
                assert!(operation["security"].is_array(), "{what}");
                for (status, response) in operation["responses"].as_object().unwrap() {
                    assert!(
                        !response["description"].as_str().unwrap().is_empty(),
                        "{what} {status}"
                    );
                }
                for part in ["id", "action", "check"] {
                    let named = operation["parameters"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|p| p["name"] == part);
                    assert_eq!(named, path.contains(&format!("{{{part}}}")), "{what}");
                }
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = tree();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.len() > 50);
        assert_eq!(document["openapi"], "3.1.0");
    }
}
