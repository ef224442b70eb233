//! What reaches a process from the caller's environment, and who else sees it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::harness::{Run, SOON, Sandbox, eventually, fake_program, processes, same};

const SECRET: &str = "hush-e21b";

/// Returns a service that writes down what it receives, with these keys of its process.
fn telling(name: &str, more: &Value) -> Value {
    let mut manifest = json!({"process": {
        "command": fake_program(),
        "args": ["--dump", format!("${{state}}/{name}.dump")],
    }});
    let process = manifest["process"].as_object_mut().unwrap();
    process.extend(more.as_object().unwrap().clone());
    manifest
}

/// Returns the environment of the running process of such a service.
#[track_caller]
fn environment(sandbox: &Sandbox, name: &str) -> BTreeMap<String, String> {
    let pid = sandbox.pid(name);
    let path = sandbox.path(&format!(".core-stack/{name}.dump"));
    eventually("what the process received", SOON, || {
        let text = fs::read_to_string(&path).ok()?;
        let (_, rest) = text.split_once("\0\0")?;
        let mut entries = rest.split_terminator('\0');
        let writer: i32 = entries.next()?.parse().ok()?;
        let is_writer = writer == pid || processes::find(writer)?.parent == pid;
        let pairs = entries.filter_map(|entry| entry.split_once('='));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        is_writer.then(|| pairs.map(owned).collect())
    })
}

/// Returns some variables of the environment, in this order.
#[track_caller]
fn some(sandbox: &Sandbox, name: &str, variables: &[&str]) -> Vec<Option<String>> {
    let environment = environment(sandbox, name);
    let variables = variables.iter();
    variables
        .map(|name| environment.get(*name).cloned())
        .collect()
}

fn values(values: &[Option<&str>]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| value.map(str::to_owned))
        .collect()
}

#[test]
fn a_variable_of_the_caller_reaches_who_names_it_if_it_is_set() {
    let mut sandbox = Sandbox::empty();
    let passed = json!({"env_passthrough": ["AGENT_SOCK", "NOT_SET"]});
    sandbox.service("one", &telling("one", &passed));
    sandbox.service("two", &telling("two", &json!({})));
    let shell = [("AGENT_SOCK", SECRET), ("NOT_NAMED", "1")];
    let up = sandbox.run_with("up --json", &shell).succeeds();
    let names = ["AGENT_SOCK", "NOT_SET", "NOT_NAMED"];
    let expected = values(&[Some(SECRET), None, None]);
    same("one", some(&sandbox, "one", &names), expected);
    let expected = values(&[None, None, None]);
    same("two", some(&sandbox, "two", &names), expected);

    let recorded = sandbox.path(".core-stack/inputs.json");
    let inputs: Value = serde_json::from_slice(&fs::read(&recorded).unwrap()).unwrap();
    same("recorded", &inputs["env"]["AGENT_SOCK"], &json!(SECRET));
    same("not recorded", &inputs["env"]["NOT_NAMED"], &Value::Null);
    same(
        "mode",
        fs::metadata(&recorded).unwrap().mode() & 0o777,
        0o600,
    );

    // From another shell, as for every variable that a manifest reads.
    let (one, two) = (sandbox.pid("one"), sandbox.pid("two"));
    same("status", sandbox.run("status").code, 0);
    let plan = sandbox.run_with("plan --json", &shell).succeeds();
    same("the same shell", &plan.json()["changes"], &json!(false));
    let plan = sandbox.run("plan --json").succeeds();
    let steps = plan.json()["processes"].clone();
    let step = json!({"action": "restart", "because": ["environment.AGENT_SOCK"]});
    same("plan of one", &steps["one"], &step);
    same("plan of two", &steps["two"]["action"], &json!("none"));
    let reload = sandbox.run_with("reload --json", &shell).succeeds();
    same("pids", (sandbox.pid("one"), sandbox.pid("two")), (one, two));

    let explained = sandbox.run_with("explain one", &shell).succeeds();
    let line = explained.stdout.lines().find(|line| line.contains("AGENT"));
    let line = line.unwrap_or_default();
    assert!(line.ends_with("; AGENT_SOCK in the environment"), "{line}");
    shows_nothing(&[up, plan, reload, explained]);
}

/// Fails if the output of a command has the secret.
#[track_caller]
fn shows_nothing(runs: &[Run]) {
    for run in runs {
        let text = format!("{}{}", run.stdout, run.stderr);
        assert!(!text.contains(SECRET), "`{}` shows it: {text}", run.line);
    }
}
