//! Several stacks side by side: of one checkout, and of independent checkouts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::nats::Nats;
use crate::harness::{Running, Sandbox, fake_program, same, stranger};

/// Returns a service that listens on a port of its manifest, after `after` is healthy, if given.
fn listener(port: u16, after: Option<&str>) -> Value {
    let depends_on = after.map(|name| (name.to_owned(), json!({"condition": "process_healthy"})));
    json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}"],
            "compose": {
                "depends_on": depends_on.into_iter().collect::<BTreeMap<_, _>>(),
                "readiness_probe": {"tcp": {"port": "${port.http}"}},
            },
        },
        "ports": {"http": {"port": port, "protocol": "http"}},
    })
}

/// Returns a checkout with one service, whose port is fixed in the manifest.
fn checkout() -> (Sandbox, u16) {
    let mut sandbox = Sandbox::empty();
    sandbox.range_of_ports();
    let port = sandbox.spare_port("one.http");
    sandbox.service_text("one", &listener(port, None).to_string());
    (sandbox, port)
}

/// Returns the services of the checkout; ports that move come from a separate range.
fn core() -> Sandbox {
    let mut sandbox = Sandbox::core();
    sandbox.range_of_ports();
    sandbox
}

/// Returns the ports in a document of `up` or `status`, by process and name.
fn ports(document: &Value) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut add = |processes: &Value| {
        for (process, value) in processes.as_object().into_iter().flatten() {
            for (name, port) in value["ports"].as_object().into_iter().flatten() {
                let number = port["port"].as_u64().expect("a port is a number");
                all.insert(format!("{process}.{name}"), number);
            }
        }
    };
    add(&document["processes"]);
    for service in document["services"].as_object().into_iter().flatten() {
        add(&service.1["processes"]);
    }
    all
}

/// Returns the process ids in a document of `up` or `ps`.
fn pids(document: &Value) -> Vec<Value> {
    let processes = document["processes"].as_object().into_iter().flatten();
    processes
        .map(|(_, process)| process["pid"].clone())
        .collect()
}

fn up(sandbox: &Sandbox, options: &str) -> Value {
    sandbox
        .run(&format!("up --json {options}"))
        .succeeds()
        .json()
}

/// Returns the instances in `ps --all` by state, as `NAME STATE`.
fn states(sandbox: &Sandbox, options: &str) -> Vec<String> {
    let document = sandbox
        .run(&format!("ps --json {options}"))
        .succeeds()
        .json();
    same("schema", &document["schema_version"], &json!(1));
    let all = document["instances"].as_array().expect("a list").iter();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = all
        .map(|instance| format!("{} {}", word(&instance["name"]), word(&instance["state"])))
        .collect();
    all.sort();
    all
}

#[test]
fn two_stacks_of_one_checkout_share_nothing() {
    let mut sandbox = core();
    sandbox.ports_of_nodes(15);
    let first = sandbox.up();
    let second = up(&sandbox, "--instance b");
    same("instance", &first["instance"], &json!("default"));
    same("instance", &second["instance"], &json!("b"));
    let (one, two) = (ports(&first), ports(&second));
    same(
        "ports of one",
        one["nats.client"],
        u64::from(sandbox.port("nats.client")),
    );
    same("count", two.len(), one.len());
    let both: BTreeSet<u64> = one.values().chain(two.values()).copied().collect();
    same("different ports", both.len(), one.len() * 2);

    let client = |ports: &BTreeMap<String, u64>| {
        Nats::connect(u16::try_from(ports["nats.client"]).expect("a port is small"))
    };
    client(&one).make_stream("ONE");
    same("sequence", client(&one).publish("ONE.x", "here"), 1);
    let names = client(&two).stream_names();
    same("streams of the other", names, Vec::<String>::new());
    assert!(sandbox.path(".data/instances/b/nats").is_dir());
    assert!(
        sandbox
            .path(".core-stack/instances/b/logs/nats.log")
            .is_file()
    );
    assert!(!sandbox.path(".core-stack/instances/b/instances").exists());

    same(
        "all",
        states(&sandbox, ""),
        vec!["b healthy".to_owned(), "default healthy".to_owned()],
    );
    let told = sandbox.run("ps").succeeds();
    let url = format!("nats://127.0.0.1:{}", two["nats.client"]);
    assert!(told.stdout.contains(&url), "{}", told.stdout);

    // A change by the record affects only its own stack, and moves nothing either.
    let set = "topology set nats --hub-nodes 3 --instance b";
    sandbox.run(set).succeeds();
    let with_hub = up(&sandbox, "--instance b");
    same("outcome", &with_hub["outcome"], &json!("unchanged"));
    for (port, number) in &two {
        same(port, ports(&with_hub)[port], *number);
    }
    same(
        "nats",
        &with_hub["processes"]["nats"]["pid"],
        &second["processes"]["nats"]["pid"],
    );
    same("the other", ports(&sandbox.up()), one.clone());
    sandbox
        .run("topology set nats --single-node --instance b")
        .succeeds();

    // The end of one does not affect the other: neither its processes nor its ports change, though
    // its preferred ports are free now.
    sandbox.down();
    let again = up(&sandbox, "--instance b");
    same("outcome", &again["outcome"], &json!("unchanged"));
    same("processes", pids(&again), pids(&second));
    same("ports", ports(&again), two.clone());
    let reload = sandbox.run("reload --json --instance b").succeeds().json();
    same("processes", pids(&reload), pids(&second));
    same(
        "all",
        states(&sandbox, "--all"),
        vec!["b healthy".to_owned(), "default stopped".to_owned()],
    );
    sandbox.run("clean --state --data --yes").succeeds();
    assert!(!sandbox.path(".data/nats").exists());
    let again = up(&sandbox, "--instance b");
    same("outcome", &again["outcome"], &json!("unchanged"));
    let down = sandbox.run("down --instance b").succeeds();
    assert!(down.stderr.contains("nothing is left"), "{}", down.stderr);

    // Back to the preferred ports.
    let back = up(&sandbox, "--instance b");
    same("ports", ports(&back), one);
    sandbox.run("down --instance b").succeeds();
}

#[test]
fn ports_that_moved_are_the_same_each_time() {
    let (first, port) = checkout();
    let second = Sandbox::beside(&first);
    first.up();
    let moved = ports(&second.up());
    assert_ne!(moved["one.http"], u64::from(port));
    second.down();
    // Ports that another program holds in between are skipped.
    let third = Sandbox::beside(&first);
    third.up();
    same("again", ports(&second.up()), moved.clone());
    let told = second.run("up").succeeds();
    let note = format!("ports moved: one.http from {port} to {}", moved["one.http"]);
    assert!(told.stderr.contains(&note), "{}", told.stderr);
    // The number of its manifest is free again, but the running stack keeps its ports.
    first.down();
    same("while it runs", ports(&second.up()), moved);
    second.down();
    same("back", ports(&second.up())["one.http"], u64::from(port));
    let first_again = ports(&first.up());
    assert_ne!(
        first_again["one.http"],
        u64::from(port),
        "that one has it now"
    );
}

#[test]
fn a_port_that_a_stranger_holds_does_not_move() {
    let (sandbox, port) = checkout();
    let stranger = stranger(port);
    for line in ["up", "up --instance b", "up --ports fixed"] {
        let run = sandbox.run(line).ends(11);
        let named = format!("`xtask-fake` (pid {})", stranger.pid());
        assert!(run.stderr.contains(&named), "{line}: {}", run.stderr);
    }
    let free = ports(&up(&sandbox, "--ports auto"));
    assert_ne!(free["one.http"], u64::from(port));
}

#[test]
fn a_port_that_is_ordered_does_not_move() {
    let mut first = Sandbox::empty();
    first.service("one", &listener(1, None));
    let second = Sandbox::beside(&first);
    first.up();
    for line in ["up", "up --ports auto"] {
        let run = second.run(line).ends(11);
        let root = first.root().display();
        let named = format!("is taken by the instance `default` of `{root}`");
        assert!(run.stderr.contains(&named), "{}", run.stderr);
        let hint =
            "run `cargo xtask down --instance default` there, or choose another port in `.env`";
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    }
    let fixed = second.run("up --ports fixed --instance b").ends(11);
    assert!(
        fixed.stderr.contains("is taken by the instance"),
        "{}",
        fixed.stderr
    );
}

#[test]
fn ten_checkouts_that_start_at_once_share_nothing() {
    const COUNT: usize = 10;
    // For a named instance, the ports in `.env` are preferences: all ten have the same.
    let first = core();
    let others = (1..COUNT).map(|_| Sandbox::beside(&first));
    let others: Vec<Sandbox> = others.collect();
    let all: Vec<&Sandbox> = std::iter::once(&first).chain(&others).collect();
    let start = |sandbox: &&Sandbox| sandbox.start("up --json --timeout 100 --instance w");
    let starting: Vec<Running> = all.iter().map(start).collect();
    let started: Vec<Value> = starting
        .into_iter()
        .map(|running| running.wait().succeeds().json())
        .collect();
    let mut seen = BTreeSet::new();
    for document in &started {
        for (name, port) in ports(document) {
            assert!(
                seen.insert(port),
                "{name}: {port} is there twice: {started:#?}"
            );
        }
    }
    same("ports", seen.len(), COUNT * ports(&started[0]).len());
    let wished = u64::from(first.port("nats.client"));
    assert!(
        seen.contains(&wished),
        "one of them got what all wish: {seen:?}"
    );

    let healthy = vec!["w healthy".to_owned(); COUNT];
    same("all", states(&first, "--all"), healthy);
    same("own", states(&first, ""), vec!["w healthy".to_owned()]);
    let before: Vec<Vec<Value>> = started.iter().map(pids).collect();
    all[3].run("down --instance w").succeeds();
    let mut left = vec!["w healthy".to_owned(); COUNT - 1];
    left.push("w stopped".to_owned());
    same("all but one", states(&first, "--all"), left);
    for (index, sandbox) in all.iter().enumerate().filter(|(index, _)| *index != 3) {
        let again = up(sandbox, "--instance w");
        same("outcome", &again["outcome"], &json!("unchanged"));
        same("processes", &pids(&again), &before[index]);
    }
    // Removed checkouts are not listed.
    drop(all);
    let mut others = others;
    others.remove(2);
    same(
        "all",
        states(&first, "--all"),
        vec!["w healthy".to_owned(); COUNT - 1],
    );
}

#[test]
fn checkouts_with_the_manifests_ports_start_at_once() {
    const COUNT: usize = 5;
    let (first, port) = checkout();
    let others: Vec<Sandbox> = (1..COUNT).map(|_| Sandbox::beside(&first)).collect();
    let all: Vec<&Sandbox> = std::iter::once(&first).chain(&others).collect();
    let starting: Vec<Running> = all
        .iter()
        .map(|sandbox| sandbox.start("up --json"))
        .collect();
    let started = starting
        .into_iter()
        .map(|running| running.wait().succeeds().json());
    let numbers: BTreeSet<u64> = started
        .map(|document| ports(&document)["one.http"])
        .collect();
    same("ports", numbers.len(), COUNT);
    assert!(numbers.contains(&u64::from(port)), "{numbers:?}");
}

#[test]
fn an_instance_is_named_on_the_line_or_by_a_variable() {
    let (mut sandbox, _) = checkout();
    sandbox.dotenv("CORE_INSTANCE", "b");
    let report = sandbox.up();
    same("by `.env`", &report["instance"], &json!("b"));
    same("seen", &sandbox.status()["instance"], &json!("b"));
    let other = [("CORE_INSTANCE", "c")];
    let status = sandbox.run_with("status --json", &other).ends(3).json();
    same("by the environment", &status["instance"], &json!("c"));
    let line = "status --json --instance default";
    let status = sandbox.run_with(line, &other).ends(3).json();
    same("on the line", &status["instance"], &json!("default"));
    // A stop must work, on the right instance, whatever else is in `.env`.
    sandbox.dotenv_line("not a line");
    let down = sandbox.down();
    assert!(down.stderr.starts_with("stopped in"), "{}", down.stderr);

    for (line, code) in [("up --instance ../b", 2), ("status --instance B", 2)] {
        let run = sandbox.run(line).ends(code);
        assert!(run.stderr.contains("may only hold"), "{}", run.stderr);
    }
    let bad = sandbox
        .run_with("down", &[("CORE_INSTANCE", "../b")])
        .ends(10);
    assert!(
        bad.stderr.contains("`../b` may only hold"),
        "{}",
        bad.stderr
    );
    let unknown = sandbox.run("down --instance never").succeeds();
    let told = &unknown.stderr;
    assert!(told.contains("no instance `never`"), "{told}");
    assert!(told.ends_with("nothing was running\n"), "{told}");
    for name in ["B", "never"] {
        let made = sandbox.path(".core-stack/instances").join(name);
        assert!(!made.exists(), "{}", made.display());
    }
}

#[test]
fn a_part_starts_with_what_it_depends_on() {
    let mut sandbox = Sandbox::empty();
    for (name, after) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", None)] {
        sandbox.service(name, &listener(1, after));
    }
    let unknown = sandbox.run("up bb").ends(2);
    same("stdout", unknown.stdout.as_str(), "");
    assert!(
        unknown.stderr.contains("there is no service `bb`"),
        "{}",
        unknown.stderr
    );
    sandbox.nothing_was_started();

    let order = |document: &Value| document["order"].clone();
    let part = up(&sandbox, "b");
    same("started", order(&part), json!(["a", "b"]));
    let status = sandbox.run("status --json").succeeds().json();
    same("healthy", &status["healthy"], &json!(true));
    let names = status["services"].as_object().unwrap().keys();
    let names: Vec<&str> = names.map(String::as_str).collect();
    same("services", names, vec!["a", "b"]);
    // `plan` covers the whole stack, `reload` the running services.
    let plan = sandbox.run("plan").succeeds();
    same("plan", plan.stdout.as_str(), "add c\nadd d\n");
    let reload = sandbox.run("reload --json").succeeds().json();
    same("reload", order(&reload), json!(["a", "b"]));
    same("reload", &reload["outcome"], &json!("unchanged"));

    let more = up(&sandbox, "d");
    same("more", order(&more), json!(["a", "b", "d"]));
    same("changes", &more["changes"], &json!({"d": "added"}));
    let all = sandbox.up();
    same("all", order(&all), json!(["a", "b", "c", "d"]));
    same("changes", &all["changes"], &json!({"c": "added"}));
    for name in ["a", "b"] {
        same(
            name,
            &all["processes"][name]["pid"],
            &part["processes"][name]["pid"],
        );
    }
    // Running services continue.
    let again = up(&sandbox, "a --no-deps");
    same("again", order(&again), json!(["a", "b", "c", "d"]));
    same("again", &again["outcome"], &json!("unchanged"));
    sandbox.down();

    let alone = up(&sandbox, "c --no-deps");
    same("alone", order(&alone), json!(["c"]));
    let waits_for = &alone["processes"]["c"]["depends_on"];
    same("waits for", waits_for, &json!([]));
}

#[test]
fn a_register_that_cannot_be_understood_is_named_and_begins_anew() {
    let (sandbox, _) = checkout();
    fs::create_dir(sandbox.register()).unwrap();
    let file = sandbox.register().join("instances.json");
    fs::write(&file, "no").unwrap();
    sandbox.run("plan").succeeds();
    same(
        "the file",
        fs::read_to_string(&file).unwrap().as_str(),
        "no",
    );
    let run = sandbox.run("up").succeeds();
    let aside = file.with_file_name("instances.json.damaged");
    assert!(
        run.stderr.contains(aside.to_str().unwrap()),
        "{}",
        run.stderr
    );
    same(
        "what was there",
        fs::read_to_string(&aside).unwrap().as_str(),
        "no",
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("one.http"), "{text}");
}

#[test]
fn nodes_of_two_checkouts_have_ports_of_their_own() {
    let mut first = core();
    let range = 20;
    first.ports_of_nodes(range);
    let topology = r#"{"topology": "hub-spoke", "hub_nodes": 3}"#;
    first.dotenv("CORE_TOPOLOGY_NATS", topology);
    let second = Sandbox::beside(&first);
    let spec = |sandbox: &Sandbox| up(sandbox, "nats --instance w");
    let one = ports(&spec(&first));
    same(
        "nodes",
        one.keys().filter(|key| key.contains("hub")).count(),
        15,
    );
    first.run("down --instance w").succeeds();
    // Nothing listens there now: the register reserves them.
    let refused = second.run("up nats --instance w").ends(11);
    assert!(
        refused.stderr.contains("not enough free ports"),
        "{}",
        refused.stderr
    );
    let held = TcpListener::bind(("127.0.0.1", first.port("node.0")));
    assert!(held.is_ok(), "nobody listens");
}

#[test]
fn a_service_is_given_no_port_that_the_topology_keeps() {
    let mut sandbox = Sandbox::core();
    // Nodes and services take free ports from one range.
    sandbox.ports_that_move(30);
    let topology = "CORE_TOPOLOGY_NATS";
    sandbox.dotenv(topology, r#"{"topology": "hub-spoke", "hub_nodes": 3}"#);
    let kept = |document: &Value| {
        let ports = ports(document).into_iter();
        let of_nodes = ports.filter(|(name, _)| name.contains("hub"));
        of_nodes.map(|(_, port)| port).collect::<BTreeSet<u64>>()
    };
    let nodes = kept(&up(&sandbox, "nats --instance w"));
    same("ports of nodes", nodes.len(), 15);
    sandbox.run("down --instance w").succeeds();
    // Another instance holds the ports that the services of the first one prefer.
    sandbox.dotenv(topology, r#"{"topology": "single-node"}"#);
    up(&sandbox, "nats");
    let moved = ports(&up(&sandbox, "nats --instance w"));
    let taken: Vec<_> = moved
        .iter()
        .filter(|(_, port)| nodes.contains(port))
        .collect();
    assert!(taken.is_empty(), "{taken:?}");
    // And the hub gets its former ports again.
    sandbox.dotenv(topology, r#"{"topology": "hub-spoke", "hub_nodes": 3}"#);
    let again = up(&sandbox, "nats --instance w");
    same("ports of nodes", kept(&again), nodes.clone());
    sandbox.run("down --instance w").succeeds();
    sandbox.run("down").succeeds();

    // A port that is configured for a service is no longer the node's.
    let ordered = *nodes.first().unwrap();
    sandbox.dotenv("CORE_PORT_NATS_CLIENT", &ordered.to_string());
    let client = |document: &Value| ports(document)["nats.client"];
    let last = up(&sandbox, "nats --instance w");
    same("port", client(&last), ordered);
    let now = kept(&last);
    same("ports of nodes", now.len(), 15);
    assert!(!now.contains(&ordered), "{now:?}");
    same("moved", now.intersection(&nodes).count(), 14);
    sandbox.run("down --instance w").succeeds();
}
