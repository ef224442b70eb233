//! The variables of a process that come from elsewhere: the caller's environment, and the secrets
//! of other services.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use engine::plan::env::Env;
use engine::plan::render::compose::{self, Secrets};
use engine::plan::stack::{Places, Service, Stack, build, explain};

fn places() -> Places {
    Places::new(PathBuf::from("/checkout"))
}

fn services(manifests: &[(&str, &str)]) -> Vec<Service> {
    let manifests = manifests.iter();
    manifests
        .map(|(name, text)| Service::parse(name, text).unwrap())
        .collect()
}

fn stack(manifests: &[(&str, &str)], env: &[(&str, &str)]) -> Stack {
    let env = Env::from_pairs(env.iter().copied());
    build(&services(manifests), &env, &places()).unwrap()
}

/// Returns the environment of a process, with its secrets, and the names of those.
fn environment(stack: &Stack, process: &str) -> (Vec<String>, Vec<String>) {
    let env = &stack.processes[process].env;
    let values = env
        .iter()
        .map(|(name, value)| format!("{name}={}", value.text));
    let secrets = env.iter().filter(|(_, value)| value.secret);
    (
        values.collect(),
        secrets.map(|(name, _)| name.clone()).collect(),
    )
}

fn explained(manifests: &[(&str, &str)], env: &Env, service: usize) -> Vec<String> {
    let services = services(manifests);
    let entries = explain(&services, &services[service], env, &places());
    let line = entries.iter().map(|entry| {
        let from: Vec<String> = entry.from.iter().map(ToString::to_string).collect();
        format!("{} = {} <- {}", entry.key, entry.value, from.join("; "))
    });
    line.collect()
}

#[test]
fn what_is_passed_through_is_what_is_set() {
    let manifest = r#"{"process": {"command": "x",
        "env_passthrough": ["AGENT", "UNSET", "EMPTY"]}}"#;
    let manifests = [("a", manifest)];
    let env = [("AGENT", "hush"), ("EMPTY", ""), ("OTHER", "1")];
    let stack = stack(&manifests, &env);
    let (values, secrets) = environment(&stack, "a");
    assert_eq!(values, ["AGENT=hush", "EMPTY="]);
    assert_eq!(secrets, ["AGENT", "EMPTY"]);
    let masked = compose::render(&stack, &places(), Secrets::Masked).unwrap();
    assert!(!masked.contains("hush"), "{masked}");

    let lines = explained(&manifests, &Env::from_pairs(env), 0);
    let expected = "process.env.AGENT = ******** <- services/a/service.json:2; \
                    AGENT in the environment";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
    assert!(!lines.concat().contains("UNSET"), "{lines:#?}");
}

/// A row: `api` depends on `cache`, which depends on `db`; `other` stands alone.
fn row<'a>(api: &'a str, other: &'a str) -> [(&'a str, &'a str); 4] {
    let db = r#"{"process": {"command": "x"}, "ports": {"sql": {"port": 5432}},
        "exports": {"DB_HOST": "127.0.0.1"},
        "secret_exports": {
            "DB_URL": "postgres://u:${env.DB_PASSWORD}@127.0.0.1:${port.sql}",
            "DB_PASSWORD": "${env.DB_PASSWORD}"
        }}"#;
    let cache = r#"{"process": {"command": "x",
        "compose": {"depends_on": {"db": {"condition": "process_started"}}}},
        "secret_exports": {"CACHE_TOKEN": "${env.CACHE_TOKEN:-t0ken}"}}"#;
    [("api", api), ("cache", cache), ("db", db), ("other", other)]
}

const ENV: [(&str, &str); 1] = [("DB_PASSWORD", "hush")];

const PLAIN: &str = r#"{"process": {"command": "x"}}"#;

/// Returns the manifest of a service that depends on `cache`.
fn api(more: &str) -> String {
    format!(
        r#"{{"process": {{"command": "x", {more}
        "compose": {{"depends_on": {{"cache": {{"condition": "process_started"}}}}}}}}}}"#
    )
}

#[test]
fn a_secret_reaches_who_names_it_and_nobody_else() {
    let api = api("\"use_secrets\": [\"DB_URL\"],");
    let manifests = row(&api, PLAIN);
    let stack = stack(&manifests, &ENV);
    let (values, secrets) = environment(&stack, "api");
    let url = "DB_URL=postgres://u:hush@127.0.0.1:5432";
    assert_eq!(values, ["DB_HOST=127.0.0.1", url]);
    assert_eq!(secrets, ["DB_URL"]);
    for process in ["cache", "db", "other"] {
        let (values, _) = environment(&stack, process);
        assert!(!values.concat().contains("hush"), "{values:?}");
    }
    let masked = compose::render(&stack, &places(), Secrets::Masked).unwrap();
    for shown in [masked, serde_json::to_string(&stack).unwrap()] {
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("DB_URL"), "{shown}");
    }

    let env = Env::from_pairs(ENV);
    let lines = explained(&manifests, &env, 0);
    let expected = "process.env.DB_URL = ******** <- services/db/service.json:4";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
    let lines = explained(&manifests, &env, 2);
    let expected = "secret_exports.DB_PASSWORD = ******** <- services/db/service.json:5; \
                    DB_PASSWORD in the environment";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
}

#[test]
fn without_exports_the_named_secrets_remain() {
    let api = api("\"inherit_exports\": false, \"use_secrets\": [\"CACHE_TOKEN\"],");
    let stack = stack(&row(&api, PLAIN), &ENV);
    assert_eq!(environment(&stack, "api").0, ["CACHE_TOKEN=t0ken"]);
}

#[test]
fn names_that_are_not_there_or_not_below_are_refused() {
    let api = api("\"use_secrets\": [\n\"DB_URI\",\n\"MINE\"],");
    let api = api.replacen('{', r#"{"secret_exports": {"MINE": "1"}, "#, 1);
    let other = r#"{"process": {"command": "${env.DB_PASSWORD}", "use_secrets": ["DB_URL"]},
        "exports": {"SHOWN": "${env.DB_PASSWORD}", "CACHE_TOKEN": ""},
        "secret_exports": {"DB_URL": "", "DB_HOST": ""}}"#;
    let found = |env: &[(&str, &str)], manifests: &[(&str, &str)]| {
        let env = Env::from_pairs(env.iter().copied());
        let findings = build(&services(manifests), &env, &places()).unwrap_err();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(!lines.concat().contains("hush"), "{lines:#?}");
        lines
    };
    let expected = [
        "services/api/service.json:2: `process.use_secrets[0]` names `DB_URI`, which no service \
         has in `secret_exports`; did you mean `DB_URL`?",
        "services/api/service.json:3: `process.use_secrets[1]` names `MINE`, which this service \
         exports itself",
        "services/other/service.json:1: `process.use_secrets[0]` names `DB_URL` of `db`, which \
         this service does not depend on",
        "services/other/service.json:2: `exports.CACHE_TOKEN` is exported by `cache` already",
        "services/other/service.json:2: `exports.SHOWN` would show `DB_PASSWORD`, a secret of \
         another service",
        "services/other/service.json:3: `secret_exports.DB_HOST` is exported by `db` already",
        "services/other/service.json:3: `secret_exports.DB_URL` is exported by `db` already",
    ];
    assert_eq!(found(&ENV, &row(&api, other)), expected);

    let shown = r#"{"process": {"command": "x ${env.PASSWORD}"},
        "secret_exports": {"TOKEN": "${env.PASSWORD}"}}"#;
    let expected = "services/a/service.json:1: `process.command` would show the secret \
                    `PASSWORD`; pass it by `process.env`";
    assert_eq!(found(&[("PASSWORD", "hush")], &[("a", shown)]), [expected]);
}
