//! The variables of a process that come from elsewhere: from the caller's environment.

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
