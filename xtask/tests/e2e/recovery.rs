//! kill -9 of everything in turn: it comes back, nothing is orphaned, nothing is lost.

use std::time::Duration;

use serde_json::json;

use crate::harness::nats::Nats;
use crate::harness::processes::{self, Proc};
use crate::harness::{SOON, Sandbox, eventually, fake_program, http, same};

/// How long a process may outlive its guard.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// Stores a message.
#[track_caller]
fn store(sandbox: &Sandbox) {
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    nats.make_stream("KEPT");
    nats.publish("KEPT.one", "still here");
}

/// Fails unless the message is stored.
#[track_caller]
fn is_stored(sandbox: &Sandbox) {
    let mut nats = Nats::connect(sandbox.port("nats.client"));
    same("message", nats.stored("KEPT", 1).as_str(), "still here");
}

/// Waits until a server other than this one runs, and everything is healthy.
#[track_caller]
fn wait_for_another(sandbox: &Sandbox, service: &str, old: i32) -> Proc {
    let program = format!("{service}-server");
    let another = eventually(&format!("another {program}"), SOON, || {
        let status = sandbox.status();
        let process = &status["services"][service]["processes"][service];
        let wrapper = process["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())?;
        let mut children = processes::children(wrapper).into_iter();
        children.find(|child| child.program == program && child.pid != old)
    });
    sandbox.wait_healthy();
    another
}

#[test]
fn nats_comes_back_with_its_streams() {
    let sandbox = Sandbox::core();
    sandbox.up();
    store(&sandbox);
    let pocketbase = sandbox.pid("pocketbase");
    let server = sandbox.server("nats");
    processes::kill(server.pid);
    wait_for_another(&sandbox, "nats", server.pid);
    is_stored(&sandbox);
    same("PocketBase", sandbox.pid("pocketbase"), pocketbase);
    let status = sandbox.status();
    same(
        "restarts",
        &status["services"]["nats"]["processes"]["nats"]["restarts"],
        &json!(1),
    );
}

#[test]
fn pocketbase_comes_back_and_caddy_bridges_it() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser("boss@example.com", "a long secret");
    sandbox.up();
    let server = sandbox.server("pocketbase");
    processes::kill(server.pid);
    // Caddy holds the request until PocketBase is available again.
    same(
        "through Caddy",
        http::get(sandbox.port("caddy.http"), "/api/health").status,
        200,
    );
    wait_for_another(&sandbox, "pocketbase", server.pid);
    let body = json!({"identity": "boss@example.com", "password": "a long secret"});
    let path = "/api/collections/_superusers/auth-with-password";
    same(
        "login",
        http::post(sandbox.port("caddy.http"), path, None, &body).status,
        200,
    );
}

#[test]
fn a_client_notices_nothing_of_a_killed_caddy() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let (caddy, wrapper) = (sandbox.port("caddy.http"), sandbox.pid("caddy"));
    let server = sandbox.server("caddy");
    same("before", http::get(caddy, "/healthz").status, 200);
    processes::kill(server.pid);
    // Connections that a server has accepted die with it; from here on there is none.
    eventually("the end of Caddy", SOON, || {
        processes::find(server.pid).is_none().then_some(())
    });
    let another = eventually("another Caddy", SOON, || {
        same("meanwhile", http::get(caddy, "/healthz").status, 200);
        let mut children = processes::children(wrapper).into_iter();
        children.find(|child| child.program == "caddy-server")
    });
    assert_ne!(another.pid, server.pid);
    same("after", http::get(caddy, "/api/health").status, 200);
    same("the wrapper", sandbox.pid("caddy"), wrapper);
    sandbox.wait_healthy();
}

#[test]
fn a_killed_supervisor_leaves_nothing() {
    let sandbox = Sandbox::core();
    sandbox.up();
    store(&sandbox);
    processes::kill(sandbox.supervisor().pid);
    eventually("the end of everything", ORPHAN_LIMIT, || {
        let left = sandbox.leftovers();
        // The socket's file belongs to the supervisor, which had no time to remove it.
        left.iter()
            .all(|left| left.starts_with("socket file"))
            .then_some(())
    });
    same("status", sandbox.run("status").code, 3);
    sandbox.up();
    is_stored(&sandbox);
}

#[test]
fn up_right_after_the_supervisor_was_killed_works() {
    let sandbox = Sandbox::core();
    sandbox.up();
    store(&sandbox);
    processes::kill(sandbox.supervisor().pid);
    sandbox.up();
    is_stored(&sandbox);
}

#[test]
fn a_stack_whose_state_was_deleted_is_found_and_stopped() {
    let sandbox = Sandbox::core();
    sandbox.up();
    store(&sandbox);
    let forget = || std::fs::remove_dir_all(sandbox.path(".core-stack")).unwrap();
    forget();
    sandbox.run("status").succeeds();
    let run = sandbox.run("up").succeeds();
    let told = "`.core-stack` was deleted while the stack ran: stopping what still runs";
    assert!(run.stderr.starts_with(told), "{}", run.stderr);
    is_stored(&sandbox);
    forget();
    let run = sandbox.down();
    let expected = format!("{told}\nstopped in N s; nothing is left running");
    same("down", sandbox.normal(&run.stderr), expected);
    sandbox.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn a_stack_is_found_from_an_environment_with_another_runtime_directory() {
    let sandbox = Sandbox::core();
    sandbox.up();
    let wrapper = sandbox.pid("nats");
    for other in [("XDG_RUNTIME_DIR", ""), ("TMPDIR", "nowhere")] {
        sandbox.run_with("status", &[other]).succeeds();
        let report = sandbox.run_with("up --json", &[other]).succeeds().json();
        same("outcome", &report["outcome"], &json!("unchanged"));
    }
    same("the wrapper", sandbox.pid("nats"), wrapper);
    let run = sandbox.run_with("down", &[("XDG_RUNTIME_DIR", "")]);
    let run = run.succeeds();
    let expected = "stopped in N s; nothing is left running";
    same("down", sandbox.normal(&run.stderr).as_str(), expected);
    sandbox.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn a_killed_wrapper_leaves_no_server() {
    let sandbox = Sandbox::core();
    sandbox.up();
    store(&sandbox);
    for service in ["nats", "pocketbase", "caddy"] {
        let (wrapper, server) = (sandbox.pid(service), sandbox.server(service));
        processes::kill(wrapper);
        eventually(
            &format!("the end of {}", server.program),
            ORPHAN_LIMIT,
            || {
                let living = processes::find(server.pid);
                living
                    .is_none_or(|living| living.program != server.program)
                    .then_some(())
            },
        );
        wait_for_another(&sandbox, service, server.pid);
    }
    is_stored(&sandbox);
}

/// Returns every process of the stack that is not below a running supervisor.
fn orphans(sandbox: &Sandbox) -> Vec<Proc> {
    let all = processes::all();
    let named = |pid: i32| all.iter().find(|process| process.pid == pid);
    let root = sandbox.root().to_string_lossy().into_owned();
    let servers = all
        .iter()
        .filter(|process| process.program.ends_with("-server") && process.line.contains(&root));
    let is_orphan = |server: &&Proc| {
        let wrapper = named(server.parent);
        let supervisor = wrapper.and_then(|wrapper| named(wrapper.parent));
        supervisor.is_none_or(|supervisor| supervisor.program != "process-compose")
    };
    servers.filter(is_orphan).cloned().collect()
}

#[test]
fn up_that_is_killed_leaves_no_orphan_and_the_next_one_works() {
    // A service that never gets healthy keeps `up` waiting at the end.
    let mut sandbox = Sandbox::core();
    let slow = json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}", "--status", "503"],
            "compose": {
                "depends_on": {"caddy": {"condition": "process_healthy"}},
                "readiness_probe": {"tcp": {"port": "${port.gate}"}},
            },
        },
        "ports": {"http": {"port": 1}, "gate": {"port": 2}},
    });
    sandbox.service("slow", &slow);
    let moments = [
        ".core-stack/operation.lock",
        ".core-stack/process-compose.yaml",
        ".core-stack/logs/process-compose.log",
        ".core-stack/logs/nats.log",
        ".core-stack/logs/caddy.log",
        ".core-stack/logs/slow.log",
    ];
    for moment in moments {
        let up = sandbox.start("up");
        eventually(moment, SOON, || sandbox.path(moment).exists().then_some(()));
        processes::kill(up.pid());
        up.wait().killed();
        eventually("no orphan", ORPHAN_LIMIT, || {
            orphans(&sandbox).is_empty().then_some(())
        });
        sandbox.down();
        std::fs::remove_dir_all(sandbox.path(".core-stack")).unwrap();
    }
    // The gate opens: the next `up` completes whatever the killed one left running.
    let up = sandbox.start("up");
    eventually("all but one", SOON, || {
        sandbox
            .path(".core-stack/logs/slow.log")
            .exists()
            .then_some(())
    });
    processes::kill(up.pid());
    up.wait().killed();
    let _gate = std::net::TcpListener::bind(("127.0.0.1", sandbox.port("slow.gate"))).unwrap();
    sandbox.up();
    store(&sandbox);
}
