//! Caddy: the front of the stack.

use serde_json::Value;

use crate::harness::{Sandbox, http, same};

/// Caddy's configuration as the wrapper wrote it.
#[track_caller]
fn routes(sandbox: &Sandbox) -> Vec<String> {
    let config: Value =
        serde_json::from_str(&sandbox.read(".core-stack/caddy/caddy.json")).unwrap();
    let routes = config["apps"]["http"]["servers"]["core"]["routes"]
        .as_array()
        .unwrap()
        .clone();
    routes
        .iter()
        .map(|route| route["@id"].as_str().unwrap().to_owned())
        .collect()
}

/// The status of the answer to a page of `origin` that asks for the websocket of NATS.
#[track_caller]
fn nats_from(sandbox: &Sandbox, origin: &str) -> u16 {
    http::websocket(sandbox.port("caddy.http"), "/nats", origin).unwrap()
}

#[test]
fn it_answers_itself_and_forwards_to_pocketbase() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let own = http::get(caddy, "/healthz");
    same("its own page", (own.status, own.body.as_str()), (200, "ok"));
    let health = http::get(caddy, "/api/health");
    same("PocketBase's page", health.status, 200);
    same("code", health.json()["code"].as_u64(), Some(200));
    same(
        "a page of nobody",
        http::get(caddy, "/api/nothing").status,
        404,
    );
}

#[test]
fn pages_of_ours_reach_nats_and_others_do_not() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    same(
        "our page",
        nats_from(&sandbox, &format!("http://127.0.0.1:{caddy}")),
        101,
    );
    same(
        "our page by name",
        nats_from(&sandbox, &format!("http://localhost:{caddy}")),
        101,
    );
    same(
        "a foreign page",
        nats_from(&sandbox, "http://example.com"),
        403,
    );
    let other_port = format!("http://127.0.0.1:{}", sandbox.port("nats.http"));
    same(
        "a page of another port",
        nats_from(&sandbox, &other_port),
        403,
    );
    same(
        "routes",
        routes(&sandbox),
        vec!["healthz", "nats_ws", "pocketbase"]
            .into_iter()
            .map(str::to_owned)
            .collect(),
    );
}

#[test]
fn nats_is_not_forwarded_to_the_network_without_credentials() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "0.0.0.0");
    sandbox.up();
    let expected: Vec<String> = ["healthz", "pocketbase"].map(str::to_owned).to_vec();
    same("routes", routes(&sandbox), expected);
    let caddy = sandbox.port("caddy.http");
    let answer = nats_from(&sandbox, &format!("http://127.0.0.1:{caddy}"));
    assert_ne!(answer, 101, "a websocket was opened");

    // With credentials it may be. The change goes through a running stack.
    sandbox.dotenv("NATS_USER", "somebody");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    sandbox.up();
    same(
        "our page",
        nats_from(&sandbox, &format!("http://127.0.0.1:{caddy}")),
        101,
    );
}
