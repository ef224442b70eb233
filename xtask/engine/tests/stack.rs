//! The pure core: manifests, variables and ports to a stack, and the stack to the file that
//! process-compose runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use engine::plan::env::Env;
use engine::plan::render::compose::{self, Secrets};
use engine::plan::stack::{Entry, Places, Process, Service, Stack, build, explain};
use expect_test::{ExpectFile, expect_file};

const NATS: &str = include_str!("../../../services/nats/service.json");
const POCKETBASE: &str = include_str!("../../../services/pocketbase/service.json");
const CADDY: &str = include_str!("../../../services/caddy/service.json");

fn service(name: &str, text: &str) -> Service {
    Service::parse(name, text).unwrap()
}

fn own_services() -> Vec<Service> {
    vec![
        service("caddy", CADDY),
        service("nats", NATS),
        service("pocketbase", POCKETBASE),
    ]
}

fn places() -> Places {
    Places::new(PathBuf::from("/checkout"))
}

fn stack(services: &[Service], env: &[(&str, &str)]) -> Stack {
    let env = Env::from_pairs(env.iter().copied());
    build(services, &env, &places()).unwrap()
}

fn render(stack: &Stack, secrets: Secrets) -> String {
    compose::render(stack, &places(), secrets).unwrap()
}

#[track_caller]
fn check_findings(services: &[(&str, &str)], env: &[(&str, &str)], expected: &ExpectFile) {
    let services: Vec<Service> = services
        .iter()
        .map(|(name, text)| service(name, text))
        .collect();
    let env = Env::from_pairs(env.iter().copied());
    let findings = build(&services, &env, &places()).unwrap_err();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    expected.assert_eq(&format!("{}\n", lines.join("\n")));
}

#[test]
fn the_services_of_this_workspace() {
    let stack = stack(&own_services(), &[]);
    assert_eq!(stack.order, ["nats", "pocketbase", "caddy"]);
    expect_file!["stack/process-compose.yaml"].assert_eq(&render(&stack, Secrets::Plain));
}

#[test]
fn the_order_of_the_manifests_does_not_matter() {
    let mut services = own_services();
    let one = render(&stack(&services, &[]), Secrets::Plain);
    services.reverse();
    assert_eq!(one, render(&stack(&services, &[]), Secrets::Plain));
}

#[test]
fn a_change_of_one_service_leaves_the_other_entries_alone() {
    let entry = |text: &str, name: &str| -> String {
        let start = text.find(&format!("  {name}:\n")).unwrap();
        let lines = text[start..]
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("    "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let before = render(&stack(&own_services(), &[]), Secrets::Plain);
    let env = [("NATS_HOST", "127.0.0.2")];
    let after = render(&stack(&own_services(), &env), Secrets::Plain);
    assert_ne!(entry(&before, "nats"), entry(&after, "nats"));
    assert_eq!(entry(&before, "pocketbase"), entry(&after, "pocketbase"));
    assert_eq!(entry(&before, "caddy"), entry(&after, "caddy"));
}

#[test]
fn secrets_are_masked_wherever_a_stack_is_shown() {
    let env = [
        ("CORE_POCKETBASE_ADMIN_PASSWORD", "s3cret-value"),
        ("NATS_PASSWORD", "s3cret-too"),
    ];
    let stack = stack(&own_services(), &env);
    for text in [
        render(&stack, Secrets::Masked),
        serde_json::to_string(&stack).unwrap(),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let plain = render(&stack, Secrets::Plain);
    assert!(plain.contains("CORE_POCKETBASE_ADMIN_PASSWORD=s3cret-value"));
}

#[test]
fn ports_follow_their_variables_everywhere() {
    let stack = stack(&own_services(), &[("CORE_PORT_CADDY_HTTP", "3000")]);
    assert_eq!(stack.processes["caddy"].ports["http"].port, 3000);
    let origins = &stack.processes["nats"].env["NATS_WS_PAGES"].text;
    assert_eq!(origins, "http://127.0.0.1:3000,http://localhost:3000");
}

#[test]
fn a_directory_of_its_own_makes_paths_absolute() {
    let text = r#"{
        "binaries": [{"name": "web", "source": "cargo-build", "path": "./cmd/web"}],
        "process": {
            "command": "${dep.web} '${data}/a b' ''",
            "args": ["${state}"],
            "compose": {"working_dir": "sub", "readiness_probe": {"tcp": {"port": "${port.http}"}}}
        },
        "ports": {"http": {"port": 80}}
    }"#;
    let stack = stack(&[service("web", text)], &[]);
    let process = &stack.processes["web"];
    assert_eq!(
        process.command,
        [
            "/checkout/.dep/web",
            "/checkout/.data/a b",
            "",
            "/checkout/.core-stack"
        ]
    );
    assert_eq!(process.working_dir.as_deref(), Some("/checkout/sub"));
    // As a shell there would find it, and PATH what has no slash.
    let directory = process.directory(&places().root);
    let program = |word| Process::program(&directory, word);
    assert_eq!(program("./serve"), PathBuf::from("/checkout/sub/serve"));
    assert_eq!(program("/bin/serve"), PathBuf::from("/bin/serve"));
    assert_eq!(program("serve"), PathBuf::from("serve"));
    let yaml = render(&stack, Secrets::Plain);
    for command in [
        "\"exec /checkout/.dep/probe run --name web --record /checkout/.core-stack/run/web \
         --signal 15 --grace 10 --port 127.0.0.1:80 -- \
         /checkout/.dep/web '/checkout/.data/a b' '' /checkout/.core-stack\"",
        r#""exec /checkout/.dep/probe tcp 127.0.0.1:80 --limit 59.8""#,
    ] {
        assert!(yaml.contains(command), "{yaml}");
    }
}

#[test]
fn everything_wrong_is_found_at_once() {
    check_findings(
        &[
            (
                "a",
                r#"{"process": {"command": "${dep.x} ${nope}",
                "env": {"A": "${env.UNSET}", "B": "${port.http}", "C": "${port.zz.http}"},
                "compose": {"depends_on": {"bb": {"condition": "process_healthy"}}}}}"#,
            ),
            (
                "b",
                r#"{"process": {"command": "x | y",
                "compose": {"depends_on": {"d": {"condition": "process_healthy"}}}},
                "ports": {"p": {"port": 80}}}"#,
            ),
            (
                "c_",
                r#"{"process": {"command": "x"}, "ports": {"p": {"port": 80}}}"#,
            ),
            (
                "d",
                r#"{"process": {"command": "x '", "compose": {"disabled": true,
                "depends_on": {"b": {"condition": "process_started"}}}}}"#,
            ),
        ],
        &[("CORE_PORT_B_P", "0"), ("CORE_PORT_B_Q", "1")],
        &expect_file!["stack/everything-wrong.txt"],
    );
}

#[test]
fn a_secret_may_not_reach_a_command_line() {
    check_findings(
        &[(
            "a",
            r#"{"process": {"command": "x --password ${env.PASSWORD}",
            "env": {"P": "${env.PASSWORD}"}, "secrets": ["P"]}}"#,
        )],
        &[("PASSWORD", "s3cret")],
        &expect_file!["stack/secret-in-command.txt"],
    );
}

#[test]
fn one_name_is_one_binary() {
    check_findings(
        &[
            (
                "a",
                r#"{"binaries": [{"name": "x", "source": "fetch", "version": "1"}],
                "process": {"command": "${dep.x}"}}"#,
            ),
            (
                "b",
                r#"{"binaries": [{"name": "x", "source": "fetch", "version": "2"},
                {"name": "y", "source": "placeholder"}], "process": {"command": "${dep.y}"}}"#,
            ),
        ],
        &[],
        &expect_file!["stack/one-name.txt"],
    );
}

const EXPLAINED: &str = r#"{
  "process": {
    "command": "run --port ${port.http}",
    "env": {
      "PLAIN": "x",
      "SET": "${env.IN_ENV:-a}",
      "UNSET": "${env.NOWHERE:-b${port.http}}",
      "TOKEN": "${env.TOKEN}"
    },
    "secrets": ["TOKEN"],
    "compose": {"readiness_probe": {"tcp": {"port": "${port.http}"}, "interval": "5s"}}
  },
  "ports": {
    "http": {"port": 9000}
  }
}"#;

fn explained() -> Vec<String> {
    let services = [service("hello", EXPLAINED)];
    let env = [
        ("IN_ENV", "set"),
        ("TOKEN", "hush"),
        ("CORE_PORT_HELLO_HTTP", "9001"),
    ];
    let env = Env::from_pairs(env);
    let entries = explain(&services, &services[0], &env, &places());
    let line = |entry: &Entry| {
        let from: Vec<String> = entry.from.iter().map(ToString::to_string).collect();
        format!("{} = {} <- {}", entry.key, entry.value, from.join("; "))
    };
    entries.iter().map(line).collect()
}

#[test]
fn every_value_has_its_place_and_what_it_reads() {
    let lines = explained();
    let port = "CORE_PORT_HELLO_HTTP in the environment";
    for expected in [
        format!("process.command = run --port 9001 <- FILE:3; {port}"),
        "process.env.PLAIN = x <- FILE:5".to_owned(),
        "process.env.SET = set <- FILE:6; IN_ENV in the environment".to_owned(),
        format!("process.env.UNSET = b9001 <- FILE:7; default, NOWHERE is not set; {port}"),
        "process.env.TOKEN = ******** <- FILE:8; TOKEN in the environment".to_owned(),
        format!("ports.http = tcp://127.0.0.1:9001 <- {port}"),
        "process.compose.readiness_probe.interval = 5 <- FILE:11".to_owned(),
        "process.compose.readiness_probe.timeout_seconds = 60 <- default".to_owned(),
        "process.compose.availability.restart = always <- default".to_owned(),
    ] {
        let expected = expected.replace("FILE", "services/hello/service.json");
        assert!(lines.contains(&expected), "{expected}\n{lines:#?}");
    }
    assert!(!lines.concat().contains("hush"), "{lines:#?}");
}

/// The front with three services in a row: `last` depends on `middle`, which depends on `first`.
fn row(last: &str) -> Stack {
    let exporting = |name: &str, on: &str| {
        format!(
            r#"{{"process": {{"command": "true", "compose": {{"depends_on": {on}}}}},
            "ports": {{"http": {{"port": 1{}00}}}}, "exports": {{"{}_URL": "x:${{port.http}}"}}}}"#,
            name.len(),
            name.to_uppercase()
        )
    };
    let first = exporting("first", "{}");
    let middle = exporting("middle", r#"{"first": {"condition": "process_started"}}"#);
    let other = exporting("others", "{}").replace("1600", "1700");
    let mut services = own_services();
    services.extend([
        service("first", &first),
        service("middle", &middle),
        service("others", &other),
        service("last", last),
    ]);
    stack(&services, &[])
}

fn environment<'a>(stack: &'a Stack, name: &str) -> Vec<(&'a str, &'a str)> {
    let env = stack.processes[name].env.iter();
    env.map(|(name, value)| (name.as_str(), value.text.as_str()))
        .collect()
}

#[test]
fn a_service_knows_what_it_depends_on() {
    let front = ("CORE_URL", "http://127.0.0.1:2015");
    let manifest = |more: &str| {
        format!(
            r#"{{"process": {{"command": "true", {more} "compose": {{"depends_on":
            {{"middle": {{"condition": "process_started"}}}}}}}}}}"#
        )
    };
    let stack = row(&manifest(""));
    let expected = [front, ("FIRST_URL", "x:1500"), ("MIDDLE_URL", "x:1600")];
    assert_eq!(environment(&stack, "last"), expected);
    assert_eq!(environment(&stack, "first"), [front], "not its own");

    let stack = row(&manifest(r#""env": {"FIRST_URL": "mine"},"#));
    let expected = [front, ("FIRST_URL", "mine"), ("MIDDLE_URL", "x:1600")];
    assert_eq!(environment(&stack, "last"), expected);

    let stack = row(&manifest(r#""inherit_exports": false,"#));
    assert_eq!(environment(&stack, "last"), []);
}

#[test]
fn what_is_inherited_is_explained_by_its_owner() {
    let text = r#"{"process": {"command": "true",
        "compose": {"depends_on": {"nats": {"condition": "process_started"}}}}}"#;
    let mut services = own_services();
    services.push(service("mine", text));
    let mine = services.last().unwrap();
    let entries = explain(&services, mine, &Env::default(), &places());
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap();
    let url = entry("process.env.NATS_URL");
    assert_eq!(url.value, "nats://127.0.0.1:4222");
    let from: Vec<String> = url.from.iter().map(ToString::to_string).collect();
    let line = NATS
        .lines()
        .position(|line| line.contains("\"NATS_URL\""))
        .unwrap()
        + 1;
    assert_eq!(from, [format!("services/nats/service.json:{line}")]);
}
