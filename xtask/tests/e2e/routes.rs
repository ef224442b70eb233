//! Routes: services of the user behind Caddy.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, fake_program, http, same};

/// A page of nobody who matters.
const ORIGIN: &str = "http://example.com";

/// Returns a service that answers with its port and the path, with these routes.
fn web(routes: &Value) -> Value {
    json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}"],
            "compose": {
                "readiness_probe": {"http_get": {"host": "localhost", "port": "${port.http}"}},
            },
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
        "routes": routes,
    })
}

/// Returns the body of a page of the front.
#[track_caller]
fn page(sandbox: &Sandbox, path: &str) -> String {
    http::get(sandbox.port("caddy.http"), path).body
}

/// Returns the answer to a browser on this machine.
#[track_caller]
fn browsed(sandbox: &Sandbox, path: &str) -> http::Answer {
    let headers = [("Accept", "text/html,*/*")];
    let caddy = sandbox.port("caddy.http");
    http::request(caddy, "GET", path, &headers, "").unwrap()
}

/// Fails unless a page has all of these parts.
#[track_caller]
fn has_all(page: &http::Answer, parts: &[&str]) {
    for part in parts {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
}

#[test]
fn services_are_reached_by_their_routes() {
    let mut sandbox = Sandbox::core();
    let routes = json!([
        {"path": "/app", "port": "http"},
        {"path": "/", "port": "http"},
        {"path": "/", "port": "http", "host": "other.localhost"},
    ]);
    sandbox.service("web", &web(&routes));
    let routes = json!([{"path": "/app/v2/x", "port": "http", "strip_prefix": true}]);
    sandbox.service("deep", &web(&routes));
    let report = sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let (web, deep) = (sandbox.port("web.http"), sandbox.port("deep.http"));
    for (path, expected) in [
        ("/app", format!("{web} /app")),
        ("/app/", format!("{web} /app/")),
        ("/app/v2", format!("{web} /app/v2")),
        ("/app/v2/x", format!("{deep} /")),
        ("/app/v2/x/y?q=a%2Fb", format!("{deep} /y?q=a%2Fb")),
        ("/app/v2/xy", format!("{web} /app/v2/xy")),
        ("/", format!("{web} /")),
        ("/src/main.ts", format!("{web} /src/main.ts")),
        ("/*/@/x", format!("{web} /*/@/x")),
    ] {
        same(path, page(&sandbox, path), expected);
    }
    // Core's own paths stay.
    for (path, status) in [
        ("/api/health", 200),
        ("/_/", 200),
        ("/healthz", 200),
        ("/core/x", 404),
    ] {
        same(path, http::get(caddy, path).status, status);
        assert!(
            !page(&sandbox, path).starts_with(&web.to_string()),
            "{path}"
        );
    }
    let nats = http::websocket(caddy, "/nats", &format!("http://127.0.0.1:{caddy}"));
    same("nats", nats.unwrap(), 101);
    let of_host = http::websocket(caddy, "/nats", &format!("http://other.localhost:{caddy}"));
    same("nats for a page of a route's host", of_host.unwrap(), 101);
    // A host wins over everything without one, and covers its other paths, too.
    let text = format!("GET /app/z HTTP/1.0\r\nHost: other.localhost:{caddy}\r\n\r\n");
    let answer = http::raw(caddy, &text).unwrap();
    assert!(answer.ends_with(&format!("{web} /app/z")), "{answer}");

    let url = format!("http://127.0.0.1:{caddy}/app");
    same(
        "up",
        report["processes"]["web"]["url"].as_str(),
        Some(url.as_str()),
    );
    let status = sandbox.status();
    let of_web = &status["services"]["web"]["processes"]["web"];
    same("status", of_web["url"].as_str(), Some(url.as_str()));
    let variables = sandbox.run("env --json").succeeds().json();
    same(
        "env",
        variables["variables"]["WEB_URL"].as_str(),
        Some(url.as_str()),
    );
    same(
        "open",
        sandbox.run("open web").succeeds().stdout,
        format!("{url}\n"),
    );
    sandbox.down();
}

#[test]
fn routes_come_and_go_unnoticed() {
    let mut sandbox = Sandbox::core();
    sandbox.service("web", &web(&json!([{"path": "/app", "port": "http"}])));
    sandbox.service("other", &web(&json!([])));
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let (web, other) = (sandbox.port("web.http"), sandbox.port("other.http"));
    let (status, mut socket) = http::upgrade(http::here(caddy), "/app/socket", ORIGIN).unwrap();
    same("a websocket", status, 101);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) {
                same(
                    "under load",
                    http::get(caddy, "/app/x").body,
                    format!("{web} /app/x"),
                );
                same("PocketBase", http::get(caddy, "/api/health").status, 200);
                count += 1;
            }
            count
        });
        let pids = |sandbox: &Sandbox| ["caddy", "web", "other"].map(|name| sandbox.pid(name));
        let before = pids(&sandbox);
        for (path, host) in [
            ("/new", None),
            ("/", Some("new.localhost")),
            ("/app/deep", None),
        ] {
            sandbox.edit("other", |manifest| {
                manifest["routes"] = json!([{"path": path, "port": "http", "host": host}]);
                if host.is_none() {
                    manifest["routes"][0]
                        .as_object_mut()
                        .unwrap()
                        .remove("host");
                }
            });
            let plan = sandbox.run("plan --json").succeeds().json();
            let route = format!("{}{path}", host.unwrap_or_default());
            same(
                "its plan",
                plan["routes"][&route]["action"].as_str(),
                Some("add"),
            );
            same(
                "the other",
                plan["routes"]["/app"]["action"].as_str(),
                Some("none"),
            );
            sandbox.run("reload").succeeds();
            if host.is_none() {
                same(
                    "the new one",
                    page(&sandbox, path),
                    format!("{other} {path}"),
                );
            }
        }
        same("processes", pids(&sandbox), before);
        sandbox.edit("other", |manifest| manifest["routes"] = json!([]));
        sandbox.run("reload").succeeds();
        same(
            "it is gone",
            page(&sandbox, "/app/deep"),
            format!("{web} /app/deep"),
        );
        ends.store(true, Ordering::Relaxed);
        assert!(load.join().unwrap() > 0);
    });
    socket.get_mut().write_all(b"still here\n").unwrap();
    let mut line = String::new();
    socket.read_line(&mut line).unwrap();
    same("the websocket lived on", line.as_str(), "still here\n");
    drop(socket);
    sandbox.down();
}

#[test]
fn a_service_that_is_down_has_a_page_and_recovers() {
    let mut sandbox = Sandbox::core();
    sandbox.service("web", &web(&json!([{"path": "/app", "port": "http"}])));
    sandbox.up();
    sandbox.run("stop web").succeeds();
    let answer = http::get(sandbox.port("caddy.http"), "/app/x");
    same("status", answer.status, 502);
    same("service", answer.json()["service"].as_str(), Some("web"));
    let shown = browsed(&sandbox, "/app/x");
    same("status for people", shown.status, 502);
    has_all(
        &shown,
        &[
            "web does not answer",
            "cargo xtask status",
            "cargo xtask logs web",
        ],
    );
    sandbox.run("start web").succeeds();
    let web = sandbox.port("web.http");
    same("again", page(&sandbox, "/app/x"), format!("{web} /app/x"));
    sandbox.down();
}

#[test]
fn a_stack_without_a_page_shows_one() {
    let mut sandbox = Sandbox::core();
    sandbox.service("web", &web(&json!([{"path": "/app", "port": "http"}])));
    sandbox.up();
    let caddy = sandbox.port("caddy.http");
    let shown = browsed(&sandbox, "/");
    same("status", shown.status, 200);
    has_all(
        &shown,
        &[
            "href=\"/_/\"",
            "href=\"/app\"",
            "services/pocketbase/pb_public/index.html",
        ],
    );
    same("for programs", http::get(caddy, "/").status, 404);
    same("elsewhere", browsed(&sandbox, "/nothing").status, 404);
    same("the icon", http::get(caddy, "/favicon.ico").status, 204);
    let public = sandbox.own_service("pocketbase").join("pb_public");
    fs::create_dir_all(&public).unwrap();
    fs::write(public.join("index.html"), "mine").unwrap();
    sandbox.run("reload").succeeds();
    eventually("its own page", SOON, || {
        (browsed(&sandbox, "/").body == "mine").then_some(())
    });
    sandbox.down();
}

#[test]
fn routes_that_cannot_be_are_refused_with_both_lines() {
    let mut sandbox = Sandbox::core();
    sandbox.service("one", &web(&json!([{"path": "/app", "port": "http"}])));
    let routes = json!([
        {"path": "/app", "port": "http"},
        {"path": "/api/mine", "port": "http"},
    ]);
    sandbox.service("two", &web(&routes));
    let run = sandbox.run("up").ends(10);
    let problems: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("routes["))
        .collect();
    same("problems", problems.len(), 2);
    assert!(
        problems[0].contains("services/one/service.json:"),
        "{}",
        run.stderr
    );
    assert!(
        problems[1].contains("services/caddy/service.json:"),
        "{}",
        run.stderr
    );
    sandbox.edit("two", |manifest| {
        manifest["routes"] = json!([{"path": "/x", "port": "htp"}]);
    });
    let run = sandbox.run("up").ends(10);
    assert!(run.stderr.contains("`htp`"), "{}", run.stderr);
    sandbox.nothing_was_started();
}
