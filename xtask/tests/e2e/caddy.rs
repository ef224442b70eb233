//! Caddy: the front of the stack.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, http, same};

/// Returns Caddy's configuration as the wrapper wrote it.
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

/// Returns the status for a page of `origin` that requests the websocket of NATS.
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
    let of_another = format!("http://localhost:{}", sandbox.port("nats.http"));
    same(
        "another page of the stack",
        nats_from(&sandbox, &of_another),
        101,
    );
    let not_http = format!("http://127.0.0.1:{}", sandbox.port("nats.client"));
    same("a page of no server", nats_from(&sandbox, &not_http), 403);
    let all = [
        "healthz",
        "core",
        "nats_ws_of_pages",
        "nats_ws",
        "routes_of_hosts",
        "routes",
        "pocketbase",
    ];
    same("routes", routes(&sandbox), all.map(str::to_owned).to_vec());
}

#[test]
fn cores_own_routes_are_nobodys_business() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    for path in [
        "/core/ready",
        "/core/token",
        "/core/",
        "/core/backup/holds?x=1",
        "/CORE/ready",
        "//core/ready",
        "/%63ore/ready",
        "/core%2Fready",
        "/x/../core/ready",
        "/./core/ready",
    ] {
        for method in ["GET", "POST"] {
            let answer = http::request(caddy, method, path, &[], "").unwrap();
            same(&format!("{method} {path}"), answer.status, 404);
            assert!(!answer.body.contains("superuser"), "{path}: {answer:?}");
        }
    }
    let direct = http::get(sandbox.port("pocketbase.http"), "/core/ready");
    same("without Caddy", direct.status, 200);
    same("other paths", http::get(caddy, "/api/health").status, 200);
}

#[test]
fn no_log_has_what_stands_in_a_query() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let secret = "hush-81c2";
    for name in ["token", "code", "state", "%74oken", "Access_Token", "x-y.z"] {
        for path in ["/api/health", "/nothing", "/_/", "/nats"] {
            let path = format!("{path}?page=7&{name}={secret}&{secret}");
            let referer = format!("http://127.0.0.1:{caddy}{path}#{name}={secret}");
            let headers = [("Referer", referer.as_str()), ("Cookie", secret)];
            http::request(caddy, "GET", &path, &headers, "").unwrap();
        }
    }
    // An error is logged with its request, too.
    sandbox.run("stop nats").succeeds();
    let failed = http::get(caddy, &format!("/nats?token={secret}"));
    same("without NATS", failed.status, 502);
    eventually("the error is logged", SOON, || {
        let log = sandbox.read(".core-stack/logs/caddy.log");
        log.contains("http.log.error").then_some(())
    });
    let log = eventually("the requests are logged", SOON, || {
        let log = sandbox.read(".data/caddy/access.log");
        log.contains("/nats?page=REDACTED").then_some(log)
    });
    assert!(log.contains("token=REDACTED"), "{log}");
    for file in [".data/caddy/access.log", ".core-stack/logs/caddy.log"] {
        let text = sandbox.read(file);
        assert!(!text.contains(secret), "{file}: {text}");
    }
}

#[test]
fn what_is_streamed_arrives_while_it_is_written() {
    let sandbox = Sandbox::core();
    // An answer that ends only after a minute, and one of events.
    let hook = r#"
        routerAdd("GET", "/slowly", (e) => {
            e.response.header().set("Content-Type", "application/json");
            e.response.write("[1,");
            e.flush();
            sleep(60000);
            e.response.write("2]");
        });
    "#;
    let hooks = sandbox.own_service("pocketbase").join("pb_hooks");
    if hooks.is_symlink() {
        fs::remove_file(&hooks).unwrap();
    }
    fs::create_dir_all(&hooks).unwrap();
    fs::write(hooks.join("slowly.pb.js"), hook).unwrap();
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    for accepted in ["identity", "gzip, zstd"] {
        let headers = [("Accept-Encoding", accepted)];
        let events = http::read_until(caddy, "/api/realtime", &headers, "PB_CONNECT");
        assert!(events.unwrap().contains("text/event-stream"), "{accepted}");
    }
    http::read_until(caddy, "/slowly", &[], "[1,").unwrap();
}

#[test]
fn another_port_of_caddy_restarts_nothing_else() {
    let mut sandbox = Sandbox::core();
    sandbox.up();
    let (nats, pocketbase) = (sandbox.pid("nats"), sandbox.pid("pocketbase"));
    let port = sandbox.spare_port("other");
    sandbox.dotenv("CORE_PORT_CADDY_HTTP", &port.to_string());
    let changed = sandbox.up();
    same("outcome", &changed["outcome"], &json!("changed"));
    same("NATS", sandbox.pid("nats"), nats);
    same("PocketBase", sandbox.pid("pocketbase"), pocketbase);
    // Its pages reach NATS at their new address, and only those do.
    let page = |origin: &str| http::websocket(port, "/nats", origin).unwrap();
    same("our page", page(&format!("http://127.0.0.1:{port}")), 101);
    same(
        "our page by name",
        page(&format!("http://localhost:{port}")),
        101,
    );
    same("a foreign page", page("http://example.com"), 403);
    same("a page of another port", page("http://127.0.0.1:1"), 403);
}

#[test]
fn origins_that_a_user_lists_are_added_to_those_of_the_stack() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("NATS_WS_ALLOWED_ORIGINS", "https://app.example");
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    same("listed", nats_from(&sandbox, "https://app.example"), 101);
    let own = format!("http://127.0.0.1:{caddy}");
    same("of the stack", nats_from(&sandbox, &own), 101);
    same(
        "not listed",
        nats_from(&sandbox, "https://other.example"),
        403,
    );
    let ws = sandbox.port("nats.ws");
    let direct = |origin: &str| http::websocket(ws, "/", origin).unwrap();
    same("listed, without Caddy", direct("https://app.example"), 101);
    same("not listed, without Caddy", direct(&own), 403);
}

#[test]
fn nats_is_not_forwarded_to_the_network_without_credentials() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "0.0.0.0");
    sandbox.up();
    let expected: Vec<String> = ["healthz", "core", "routes_of_hosts", "routes", "pocketbase"]
        .map(str::to_owned)
        .to_vec();
    same("routes", routes(&sandbox), expected);
    let caddy = sandbox.port("caddy.http");
    let answer = nats_from(&sandbox, &format!("http://127.0.0.1:{caddy}"));
    assert_ne!(answer, 101, "a websocket was opened");

    // With credentials it is allowed. The change is applied to a running stack.
    sandbox.dotenv("NATS_USER", "somebody");
    sandbox.dotenv("NATS_PASSWORD", "a-long-password");
    sandbox.up();
    same(
        "our page",
        nats_from(&sandbox, &format!("http://127.0.0.1:{caddy}")),
        101,
    );
}
