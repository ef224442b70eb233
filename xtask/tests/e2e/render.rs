//! The file for process-compose: it loads there, in strict mode, and every value reaches the child
//! byte for byte, whatever its content, on start and on reload.

use std::collections::BTreeMap;
use std::fs;

use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Run, SOON, Sandbox, eventually, fake_program, same};

/// Values that a layer between the manifest and the child could misinterpret.
const HOSTILE: [&str; 40] = [
    "",
    " ",
    " a ",
    "a${b",
    "$$",
    "$",
    "${X}",
    "$X",
    "$(id)",
    "`id`",
    "{{.X}}",
    "{{",
    "}}",
    "{{ }}",
    "{{\"{{\"}}",
    "x{{y}}z{{",
    "'",
    "\"",
    "it's",
    "a\"b",
    "\\",
    "\\n",
    "a\\",
    "two\nlines",
    "\n",
    "tab\tin",
    "\r",
    "\r\n",
    "%s%d%n",
    "ünï – 漢字 🦀",
    "a\u{85}b",
    "\u{a0}\u{feff}\u{2028}",
    "yes",
    "null",
    "1_000",
    "012",
    "2026-01-01",
    "# c",
    "a: b",
    "- [x, {y}] &z *w !v | > @",
];

/// Returns the value as text of a manifest, where `${` begins a placeholder.
fn literal(value: &str) -> String {
    value.replace("${", "$${")
}

/// The inputs of a process.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    pid: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// A sandbox with one service that writes down its inputs.
struct Echo {
    sandbox: Sandbox,
}

impl Echo {
    fn new() -> Self {
        Self {
            sandbox: Sandbox::empty(),
        }
    }

    /// Sets these values as arguments, as environment of the manifest, and as variables of the
    /// caller. Runs `up`, returns what arrived.
    fn give(&mut self, values: &[&str], old: Option<&Given>) -> (Run, Given) {
        let mut args: Vec<String> = ["--dump", "dump", "--"].map(str::to_owned).to_vec();
        let mut env = serde_json::Map::new();
        let mut variables = Vec::new();
        for (index, value) in values.iter().enumerate() {
            args.push(literal(value));
            env.insert(format!("LITERAL_{index}"), json!(literal(value)));
            env.insert(
                format!("PASSED_{index}"),
                json!(format!("${{env.CALLER_{index}:-}}")),
            );
            variables.push((format!("CALLER_{index}"), *value));
        }
        let manifest = json!({"process": {"command": fake_program(), "args": args, "env": env}});
        self.sandbox.service("echo", &manifest);
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let up = self.sandbox.run_with("up --json", &variables).succeeds();
        let given = eventually("what the child was given", SOON, || {
            self.given()
                .filter(|given| old.is_none_or(|old| old.pid != given.pid))
        });
        (up, given)
    }

    fn given(&self) -> Option<Given> {
        let bytes = fs::read(self.sandbox.path("dump")).ok()?;
        let text = String::from_utf8(bytes).unwrap();
        let entries: Vec<&str> = text.strip_suffix('\0')?.split('\0').collect();
        // An argument may be empty, too; the pid after it marks the end.
        let end = entries.iter().position(|entry| *entry == "--").unwrap();
        let is_pid =
            |index: usize| entries[index].parse::<i32>().is_ok() && entries[index - 1].is_empty();
        let is_env = |index: usize| entries[index + 1..].iter().all(|entry| entry.contains('='));
        let pid = (end + 2..entries.len())
            .rev()
            .find(|index| is_pid(*index) && is_env(*index))
            .unwrap();
        let environment = entries[pid + 1..]
            .iter()
            .filter_map(|entry| entry.split_once('='));
        Some(Given {
            pid: entries[pid].to_owned(),
            arguments: entries[end + 1..pid - 1]
                .iter()
                .map(|text| (*text).to_owned())
                .collect(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}

/// Fails unless these values arrived.
#[track_caller]
fn arrived(values: &[&str], given: &Given) {
    let arguments: Vec<&str> = given.arguments.iter().map(String::as_str).collect();
    same("arguments", arguments, values.to_vec());
    for (index, value) in values.iter().enumerate() {
        for name in [format!("LITERAL_{index}"), format!("PASSED_{index}")] {
            let given = given.environment.get(&name).map(String::as_str);
            same(&name, given, Some(*value));
        }
    }
}

#[test]
fn hostile_values_arrive_byte_for_byte_on_start_and_on_reload() {
    let mut echo = Echo::new();
    let (_, started) = echo.give(&HOSTILE, None);
    arrived(&HOSTILE, &started);
    let supervisor = echo.sandbox.supervisor().pid;

    // The same values again change nothing; other values are a reload.
    let mut values = HOSTILE;
    values.rotate_left(7);
    let (up, reloaded) = echo.give(&values, Some(&started));
    same(
        "changes",
        &up.json()["changes"],
        &json!({"echo": "updated"}),
    );
    arrived(&values, &reloaded);
    same("the supervisor", echo.sandbox.supervisor().pid, supervisor);
}

#[test]
fn any_value_arrives_byte_for_byte_on_reload() {
    let mut echo = Echo::new();
    let (_, first) = echo.give(&["first"], None);
    let supervisor = echo.sandbox.supervisor().pid;
    let state = std::cell::RefCell::new((echo, first));
    let config = Config {
        cases: 8,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let pieces = "([$`'\"\\\\{}%#:&*!|>@ \t\n\r-]|\\$\\{|\\{\\{|\\}\\}|[a-z0-9_.]|[^\\x00]){0,12}";
    let strategy = proptest::collection::vec(pieces, 25);
    TestRunner::new(config)
        .run(&strategy, |values| {
            let (echo, last) = &mut *state.borrow_mut();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let (_, given) = echo.give(&values, Some(last));
            arrived(&values, &given);
            *last = given;
            Ok(())
        })
        .unwrap();
    same(
        "the supervisor",
        state.borrow().0.sandbox.supervisor().pid,
        supervisor,
    );
}

#[test]
fn a_variable_in_dotenv_changes_only_who_reads_it() {
    let mut sandbox = Sandbox::empty();
    let reads = |variable: &str| {
        let value = format!("${{env.{variable}:-none}}");
        json!({"process": {"command": fake_program(), "env": {"V": value}}})
    };
    sandbox.service("one", &reads("FIRST"));
    sandbox.service("two", &reads("SECOND"));
    let before = sandbox.up();
    sandbox.dotenv("SECOND", "a${b} $$ {{.X}} # \"");
    let after = sandbox.up();
    same("changes", &after["changes"], &json!({"two": "updated"}));
    let pid = |report: &Value, name: &str| report["processes"][name]["pid"].clone();
    same("the pid of one", pid(&after, "one"), pid(&before, "one"));
    assert_ne!(pid(&after, "two"), pid(&before, "two"));

    // A service that is added, and one that is removed.
    sandbox.service("three", &reads("FIRST"));
    same(
        "changes",
        &sandbox.up()["changes"],
        &json!({"three": "added"}),
    );
    sandbox.remove_service("one");
    same(
        "changes",
        &sandbox.up()["changes"],
        &json!({"one": "removed"}),
    );
}

#[test]
fn the_file_loads_strictly_and_is_the_same_each_time() {
    let mut sandbox = Sandbox::core();
    let hostile: serde_json::Map<String, Value> = HOSTILE
        .iter()
        .enumerate()
        .map(|(index, value)| (format!("V{index}"), json!(literal(value))))
        .collect();
    sandbox.service(
        "hostile",
        &json!({"process": {"command": fake_program(), "env": hostile}}),
    );
    let run = sandbox.run("render").succeeds();
    same(
        "stderr",
        run.stderr.as_str(),
        "wrote .core-stack/process-compose.yaml\n",
    );
    let text = sandbox.read(".core-stack/process-compose.yaml");
    sandbox.run("render").succeeds();
    same(
        "again",
        sandbox.read(".core-stack/process-compose.yaml").as_str(),
        text.as_str(),
    );
    let root = sandbox.root().to_string_lossy().into_owned();
    assert!(!text.contains(&root), "it depends on where it lies");

    let load = |file: &str| {
        let arguments = [
            "-f",
            file,
            "--dry-run",
            "--disable-dotenv",
            "-L",
            "load.log",
            "-t=false",
        ];
        sandbox.program(&sandbox.path(".dep/process-compose"), &arguments)
    };
    load(".core-stack/process-compose.yaml").succeeds();
    // It is strict: an additional key is refused.
    fs::write(
        sandbox.path("wrong.yaml"),
        text.replace("is_template_disabled", "is_template_disable"),
    )
    .unwrap();
    let refused = load("wrong.yaml");
    assert_ne!(refused.code, 0, "{refused:?}");
    // Nothing was running, but the file exists now, as `render` was asked to write it.
    fs::remove_file(sandbox.path(".core-stack/process-compose.yaml")).unwrap();
    sandbox.nothing_was_started();
}

#[test]
fn what_is_shown_is_masked_and_nothing_is_written() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser("boss@example.com", "a-long-secret");
    let run = sandbox.run("render --stdout").succeeds();
    same("stderr", run.stderr.as_str(), "");
    assert!(
        run.stdout
            .contains("CORE_POCKETBASE_ADMIN_PASSWORD=********"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("a-long-secret"), "{}", run.stdout);
    let check = sandbox.run("render --check").succeeds();
    same("stdout", check.stdout.as_str(), "");
    same("stderr", check.stderr.as_str(), "4 services are valid\n");
    sandbox.nothing_was_started();
}

#[test]
fn the_file_of_a_running_stack_is_not_written_over() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    sandbox.run("render").succeeds();
    sandbox.up();
    let before = sandbox.read(".core-stack/process-compose.yaml");
    sandbox.edit("one", |manifest| {
        manifest["process"]["env"] = json!({"NEW": "x"});
    });
    sandbox.run("render").ends(15);
    assert_eq!(sandbox.read(".core-stack/process-compose.yaml"), before);
    let shown = sandbox.run("render --stdout").succeeds();
    assert!(shown.stdout.contains("NEW=x"), "{}", shown.stdout);
}
