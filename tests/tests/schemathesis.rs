//! Whatever is asked of the API, it answers as its OpenAPI document says: no failure of ours, no status, content type,
//! header or body that is not in the document; nonsense is refused, and so is everybody without credentials.
//!
//! Schemathesis invents the requests, in and beside the document, from a fixed seed, against a node that has one of
//! everything. `appliance/src/http/tests/nonsense.rs` does something like it to every operation, in a process; this one
//! leaves out what would end the run.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::user::TokenCreated;
use ashlar_image::qemu::DataDisk;
use ashlar_tests::api::Api;
use ashlar_tests::schemathesis::{self, Configuration, Value};
use ashlar_tests::{Node, calm, options, vm};
use serde_json::json;

/// Operations that are not asked, and why.
const LEFT_OUT: [(&str, &str); 5] = [
    ("post_nodes_id_restart", "ends the node"),
    ("post_nodes_id_power_off", "ends the node"),
    ("post_nodes_id_restart_supervisor", "ends who answers"),
    ("delete_session", "ends the session of who asks"),
    ("get_events", "a stream, which has no end to wait for"),
];

/// Requests of each operation in a phase, at most.
const EXAMPLES: &str = "8";

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_as_documented() -> Result<()> {
    let program = schemathesis::program()?;
    let mut machine = calm(options("schemathesis"))?;
    machine.data.push(DataDisk::Empty(4 << 30));
    let node = Node::ready(machine).await?;
    let things = Things::make(&node).await?;
    let results = ashlar_tests::results("schemathesis")?;
    let configuration = results.join("schemathesis.toml");
    things.configuration().write(&configuration)?;
    let (_, before) = node.api().events().await?;

    let mut command = Command::new(program);
    command.current_dir(&results).arg("--config-file");
    command.arg(&configuration).arg("run");
    command.arg(format!("{}/api/v1/openapi.json", node.url()));
    command.args(["--phases", "examples,coverage,fuzzing,stateful"]);
    // What a schema allows may still break a rule between two values, such as the size of a pool.
    command.args([
        "--checks",
        "all",
        "--exclude-checks",
        "positive_data_acceptance",
    ]);
    command.args(["--max-examples", EXAMPLES, "--seed", "1", "--workers", "1"]);
    command.args(["--generation-database", "none", "--continue-on-failure"]);
    command.args(["--no-color", "--warnings", "off"]);
    for (operation, _) in LEFT_OUT {
        command.args(["--exclude-operation-id", operation]);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .context("cannot run Schemathesis")?;
    let said = [output.stdout, output.stderr].concat();
    std::fs::write(results.join("run.log"), &said)?;
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "{}:\n{said}", output.status);
    for line in said.lines().filter(|line| line.contains("generated")) {
        eprintln!("{}", line.trim());
    }
    let (_, after) = node.api().events().await?;
    ensure!(before == after, "the supervisor was started anew");
    things.still_ours(node.api()).await
}

/// One of everything, and a second of what is given up.
struct Things {
    token: String,
    node: String,
    pool: String,
    drives: Vec<String>,
    network: String,
    image: String,
    volume: String,
    vm: String,
    spare_pool: String,
    spare_user: String,
    spare_token: String,
}

impl Things {
    async fn make(node: &Node) -> Result<Self> {
        let api = node.api();
        let pool = first(api, "pools").await?;
        let spare_pool = node.pool("spare").await?;
        let image = vm::upload(api, "empty", &disk()).await?;
        let body = json!({ "name": "data", "pool": pool, "size": 64u64 << 20 });
        let volume = made(api, "volumes", body).await?;
        let body = vm::empty("machine", &pool, "manual");
        let machine = made(api, "vms", body).await?;
        let body = json!({ "spec": { "name": "spare", "role": "viewer" }, "password": "spare and long enough" });
        let spare_user = made(api, "users", body).await?;
        let body = json!({ "name": "spare", "role": "viewer" });
        let spare_token: TokenCreated = api.post("/api/v1/tokens", &body).await?;
        let body = json!({ "name": "schemathesis", "role": "administrator" });
        let token: TokenCreated = api.post("/api/v1/tokens", &body).await?;
        let drives: Page<serde_json::Value> = api.get("/api/v1/drives").await?;
        let drives = drives.items.iter().filter_map(|drive| drive["id"].as_str());
        Ok(Things {
            token: token.secret,
            node: first(api, "nodes").await?,
            drives: drives.map(str::to_owned).collect(),
            network: vm::nat(api).await?.id.to_string(),
            image: image.id.to_string(),
            volume,
            vm: machine,
            pool,
            spare_pool,
            spare_user,
            spare_token: spare_token.token.id.to_string(),
        })
    }

    fn configuration(&self) -> Configuration {
        let one = |id: &String| vec![id.clone()];
        let nouns = [
            ("nodes", one(&self.node)),
            ("pools", vec![self.pool.clone(), self.spare_pool.clone()]),
            ("networks", one(&self.network)),
            ("images", one(&self.image)),
            ("volumes", one(&self.volume)),
            ("vms", one(&self.vm)),
        ];
        let mut made = Configuration::new(&self.token).parameters(
            None,
            &[
                ("body.pool", Value::Mostly("pools")),
                ("body.image", Value::Mostly("images")),
                ("body.spec.drives[*]", Value::Mostly("drives")),
                ("body.disks[*].pool", Value::Mostly("pools")),
                ("body.disks[*].image", Value::Mostly("images")),
                ("body.disks[*].volume", Value::Mostly("volumes")),
                ("body.nics[*].network", Value::Mostly("networks")),
            ],
        );
        made = made.list("drives", &self.drives);
        for (noun, ids) in &nouns {
            // All of them, but for those that follow. Patterns of one entry must all fit; names would each do alone.
            let methods = match *noun {
                "nodes" => "GET|POST",
                "pools" => "GET",
                _ => ".",
            };
            let which = format!(
                "include-path-regex = '^/api/v1/{noun}/.id.'\ninclude-method-regex = '(?i){methods}'"
            );
            made = made
                .list(noun, ids)
                .parameters(Some(&which), &[("path.id", Value::Mostly(noun))]);
        }
        let only = |method: &str, path: &str| format!("include-name = \"{method} /api/v1/{path}\"");
        for (operation, parameter, value) in [
            // A new address would cut the run off; that a change is refused or would be done is still answered.
            (only("PUT", "nodes/{id}"), "query.dry_run", "true"),
            // With it goes what all else is in.
            (only("DELETE", "pools/{id}"), "path.id", &*self.spare_pool),
            // Without its user or itself, the run's own token is worth nothing.
            (only("PUT", "users/{id}"), "path.id", &*self.spare_user),
            (only("DELETE", "users/{id}"), "path.id", &*self.spare_user),
            (
                only("POST", "users/{id}/password"),
                "path.id",
                &*self.spare_user,
            ),
            (only("DELETE", "tokens/{id}"), "path.id", &*self.spare_token),
        ] {
            made = made.parameters(Some(&operation), &[(parameter, Value::Always(value))]);
        }
        made
    }

    /// The run did not cut itself off halfway: then everything would have been refused, and well documented.
    async fn still_ours(&self, api: &Api) -> Result<()> {
        let tokens: Page<serde_json::Value> = api.get("/api/v1/tokens?limit=500").await?;
        let own = |token: &&serde_json::Value| token["spec"]["name"] == "schemathesis";
        ensure!(tokens.items.iter().any(|t| own(&t)), "its token is gone");
        let users: Page<serde_json::Value> = api.get("/api/v1/users?limit=500").await?;
        let admin = users
            .items
            .iter()
            .find(|user| user["spec"]["name"] == "admin");
        let role = admin.map(|user| &user["spec"]["role"]);
        ensure!(
            role == Some(&json!("administrator")),
            "its user is {role:?}"
        );
        api.get::<serde_json::Value>(&format!("/api/v1/pools/{}", self.pool))
            .await
            .map(drop)
    }
}

async fn made(api: &Api, noun: &str, body: serde_json::Value) -> Result<String> {
    let object: serde_json::Value = api.post(&format!("/api/v1/{noun}"), &body).await?;
    id_of(&object)
}

async fn first(api: &Api, noun: &str) -> Result<String> {
    let page: Page<serde_json::Value> = api.get(&format!("/api/v1/{noun}")).await?;
    id_of(page.items.first().with_context(|| format!("no {noun}"))?)
}

fn id_of(object: &serde_json::Value) -> Result<String> {
    let id = object["id"]
        .as_str()
        .with_context(|| format!("no id in {object}"));
    Ok(id?.to_owned())
}

/// An image that is known by its mark, with nothing in it.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[..4].copy_from_slice(b"XFSB");
    disk
}
