//! Services that do not listen on 127.0.0.1: every client finds them, or an error reports their
//! address.

use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{Sandbox, fake_program, http, same};

/// Returns the address in a URL.
#[track_caller]
fn address(url: &Value) -> SocketAddr {
    let url = url.as_str().expect("a URL");
    let (_, rest) = url.split_once("://").expect("a URL");
    let end = rest.find('/').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|_| panic!("`{url}`"))
}

/// Starts the stack with these hosts and checks that all services find each other.
#[track_caller]
fn everybody_is_found(hosts: &[(&str, &str)], reached: [&str; 3]) {
    let mut sandbox = Sandbox::core();
    for (name, host) in hosts {
        sandbox.dotenv(name, host);
    }
    sandbox.up();
    let exports = sandbox.run("env --json").succeeds().json()["variables"].clone();
    let urls = ["NATS_URL", "POCKETBASE_URL", "CORE_URL"];
    for ((name, host), port) in urls.iter().zip(reached).zip([
        sandbox.port("nats.client"),
        sandbox.port("pocketbase.http"),
        sandbox.port("caddy.http"),
    ]) {
        let found = address(&exports[name]);
        let expected = SocketAddr::new(host.parse().unwrap(), port);
        same(name, found, expected);
        TcpStream::connect(found).unwrap_or_else(|error| panic!("{name} {found}: {error}"));
    }
    // Caddy finds PocketBase, and so does the controller: otherwise it would not be ready.
    let caddy = address(&exports["CORE_URL"]);
    let answer = http::request_at(caddy, "GET", "/api/health", &[], "").unwrap();
    same("through Caddy", answer.status, 200);
    let page = http::websocket_at(caddy, "/nats", &format!("http://{caddy}"));
    // Not to the network without credentials.
    let is_open = hosts.contains(&("CADDY_HOST", "0.0.0.0"));
    same("the websocket of our page", page.unwrap() == 101, !is_open);
    let status = sandbox.run("status --json").succeeds().json();
    let url = |service: &str| address(&status["services"][service]["url"]);
    same("the URL in `status`", url("caddy"), caddy);
    same(
        "the URL of NATS",
        url("nats"),
        address(&exports["NATS_URL"]),
    );
    sandbox.run("topology show").succeeds();
    same("unchanged", &sandbox.up()["outcome"], &json!("unchanged"));
}

#[test]
fn other_addresses_of_this_machine_reach_everybody() {
    everybody_is_found(
        &[
            ("CADDY_HOST", "127.0.0.2"),
            ("POCKETBASE_HOST", "127.0.0.3"),
            ("NATS_HOST", "127.0.0.4"),
        ],
        ["127.0.0.4", "127.0.0.3", "127.0.0.2"],
    );
}

#[test]
fn addresses_of_ipv6_reach_everybody() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    everybody_is_found(
        &[
            ("CADDY_HOST", "::1"),
            ("POCKETBASE_HOST", "0:0:0:0:0:0:0:1"),
            ("NATS_HOST", "::1"),
        ],
        ["::1", "::1", "::1"],
    );
}

#[test]
fn every_address_is_dialled_by_loopback() {
    everybody_is_found(
        &[
            ("CADDY_HOST", "0.0.0.0"),
            ("POCKETBASE_HOST", "0.0.0.0"),
            ("NATS_HOST", "localhost"),
        ],
        ["127.0.0.1", "127.0.0.1", "127.0.0.1"],
    );
}

#[test]
fn a_topology_follows_the_address_of_nats() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_of_nodes(40);
    sandbox.dotenv("NATS_HOST", "127.0.0.5");
    sandbox.up();
    sandbox
        .run("topology set --hub-nodes 3 --leaf lhr")
        .succeeds();
    let exports = sandbox.run("env --json").succeeds().json()["variables"].clone();
    for name in ["NATS_URL", "NATS_URL_HUB_1", "NATS_URL_LEAF_LHR"] {
        let found = address(&exports[name]);
        same(name, found.ip().to_string().as_str(), "127.0.0.5");
        TcpStream::connect(found).unwrap_or_else(|error| panic!("{name} {found}: {error}"));
    }
}

#[test]
fn what_is_no_address_of_this_machine_is_refused_at_once() {
    for (variable, host) in [
        ("CADDY_HOST", "192.0.2.1"),
        ("POCKETBASE_HOST", "2001:db8::1"),
        ("NATS_HOST", "not-a-host"),
        ("CADDY_HOST", "[::1]"),
        ("CADDY_HOST", "127.0.0.1:80"),
    ] {
        let mut sandbox = Sandbox::core();
        sandbox.dotenv(variable, host);
        let run = sandbox.run("up").ends(10);
        assert!(run.stderr.contains(host), "{}", run.stderr);
        assert!(run.stderr.contains("hint: "), "{}", run.stderr);
        sandbox.nothing_was_started();
    }
}

#[test]
fn a_port_is_looked_at_where_it_is_listened_on() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("CADDY_HOST", "127.0.0.2");
    let port = sandbox.port("caddy.http");
    // No conflict: the same number on another address.
    let elsewhere = TcpListener::bind(("127.0.0.6", port)).unwrap();
    sandbox.up();
    sandbox.down();
    drop(elsewhere);
    let _in_the_way = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let run = sandbox.run("up").ends(11);
    assert!(run.stderr.contains(&port.to_string()), "{}", run.stderr);
}

/// Creates a service that listens on another port than its manifest declares.
fn elsewhere(sandbox: &mut Sandbox, probe: bool) -> u16 {
    let port = sandbox.spare_port("elsewhere");
    let mut manifest = json!({
        "process": {
            "command": "/bin/sh",
            "args": ["-c", format!("{} --listen {port} & wait", fake_program())],
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    if probe {
        manifest["process"]["compose"] =
            json!({"readiness_probe": {"http_get": {"port": "${port.http}"}}});
    }
    sandbox.service("web", &manifest);
    port
}

#[test]
fn a_time_out_says_where_the_processes_listen() {
    let mut sandbox = Sandbox::empty();
    let port = elsewhere(&mut sandbox, true);
    let run = sandbox.run("up --timeout 3").ends(14);
    let wanted = sandbox.port("web.http");
    let expected = format!(
        "by GET http://127.0.0.1:{wanted}/, where nothing listens; \
         its processes listen on 127.0.0.1:{port}"
    );
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
}

#[test]
fn a_time_out_says_what_the_probe_gets() {
    for status in [503, 500] {
        let mut sandbox = Sandbox::empty();
        let manifest = json!({
            "process": {
                "command": fake_program(),
                "args": ["--listen", "${port.http}", "--status", status.to_string()],
                "compose": {"readiness_probe": {
                    "http_get": {"port": "${port.http}"},
                    "failure_threshold": 100,
                }},
            },
            "ports": {"http": {"port": 1, "protocol": "http"}},
        });
        sandbox.service("web", &manifest);
        let run = sandbox.run("up --timeout 3").ends(14);
        let expected = format!(", which answered with status {status}");
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
    }
}

#[test]
fn a_process_that_its_probe_has_restarted_is_told_with_the_answer() {
    let mut sandbox = Sandbox::empty();
    let manifest = json!({
        "process": {
            "command": fake_program(),
            "args": ["--listen", "${port.http}", "--status", "429"],
            "compose": {"readiness_probe": {
                "http_get": {"port": "${port.http}", "path": "/ready"},
                "period_seconds": 2,
            }},
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
    });
    sandbox.service("web", &manifest);
    let run = sandbox.run("up").ends(13);
    let port = sandbox.port("web.http");
    let expected = format!("; GET http://127.0.0.1:{port}/ready answered with status 429");
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
}

#[test]
fn without_a_probe_the_status_says_that_nothing_listens() {
    let mut sandbox = Sandbox::empty();
    elsewhere(&mut sandbox, false);
    sandbox.up();
    let run = sandbox.run("status --json").succeeds();
    let process = run.json()["services"]["web"]["processes"]["web"].clone();
    same("silent", &process["silent_ports"], &json!(["http"]));
    same("ready", &process["ready"], &json!(true));
    let port = sandbox.port("web.http");
    let expected = format!("nothing listens on port {port} (`http`) of `web`");
    let shown = sandbox.run("status").succeeds().stdout;
    assert!(shown.contains(&expected), "{shown}");

    // Nothing is reported about a port with a listener.
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let run = sandbox.run("status --json").succeeds();
    let process = run.json()["services"]["web"]["processes"]["web"].clone();
    same("silent", &process["silent_ports"], &Value::Null);
}

#[test]
fn a_manifest_of_a_user_reads_addresses_by_placeholders() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("POCKETBASE_HOST", "127.0.0.3");
    sandbox.dotenv("WEB_HOST", "127.0.0.7");
    let manifest = json!({
        "listen": "${env.WEB_HOST:-127.0.0.1}",
        "process": {
            "command": fake_program(),
            "args": ["--bind", "${listen}", "--listen", "${port.http}", "--dump", "${state}/dump"],
            "env": {"DATABASE": "http://${host.pocketbase}:${port.pocketbase.http}"},
            "compose": {"readiness_probe": {"http_get": {"port": "${port.http}"}}},
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
        "exports": {"WEB_URL": "http://${host.web}:${port.http}"},
    });
    sandbox.service("web", &manifest);
    sandbox.up();
    let (web, pocketbase) = (sandbox.port("web.http"), sandbox.port("pocketbase.http"));
    let exports = sandbox.run("env --json").succeeds().json()["variables"].clone();
    same(
        "export",
        &exports["WEB_URL"],
        &json!(format!("http://127.0.0.7:{web}")),
    );
    let dump = sandbox.read(".core-stack/dump");
    let given = format!("DATABASE=http://127.0.0.3:{pocketbase}\0");
    assert!(dump.contains(&given), "{dump}");
    // The output of a service is visible at once.
    assert!(dump.contains("PYTHONUNBUFFERED=1\0"), "{dump}");

    sandbox.dotenv("PYTHONUNBUFFERED", "");
    sandbox.down();
    sandbox.up();
    let dump = sandbox.read(".core-stack/dump");
    assert!(dump.contains("PYTHONUNBUFFERED=\0"), "{dump}");
}

#[test]
fn clients_of_the_command_line_find_nats_elsewhere() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("NATS_HOST", "127.0.0.8");
    sandbox.up();
    let address = SocketAddr::from(([127, 0, 0, 8], sandbox.port("nats.client")));
    let mut nats = Nats::connect_at(address);
    nats.make_stream("ORDERS");
    let noticed = sandbox.run("up --probe --json").succeeds().json();
    assert!(noticed["probe"].is_object(), "{noticed}");
}
