//! What reaches a process from the caller's environment, from files and from other services, and
//! who else sees it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

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

fn write_private(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
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

#[test]
fn a_file_of_variables_reaches_its_service_and_a_change_restarts_only_that() {
    let mut sandbox = Sandbox::empty();
    let files = ["services/one/base.env", "services/one/local.env"];
    let keys = json!({
        "env": {"FIXED": "manifest"},
        "env_file": [files[0], {"path": files[1], "optional": true}],
    });
    sandbox.service("one", &telling("one", &keys));
    sandbox.service("two", &telling("two", &json!({})));
    let missing = sandbox.run("up").ends(10);
    let wanted = "`process.env_file[0]` names `services/one/base.env`, which does not exist";
    assert!(missing.stderr.contains(wanted), "{}", missing.stderr);
    sandbox.nothing_was_started();

    let text = format!("TOKEN='{SECRET}'\nFIXED=file\nBOTH=base\n");
    write_private(sandbox.path(files[0]), &text);
    let up = sandbox.run("up --json").succeeds();
    let names = ["TOKEN", "FIXED", "BOTH"];
    let expected = values(&[Some(SECRET), Some("manifest"), Some("base")]);
    same("one", some(&sandbox, "one", &names), expected);
    let expected = values(&[None, None, None]);
    same("two", some(&sandbox, "two", &names), expected);
    same("again", &sandbox.up()["outcome"], &json!("unchanged"));
    let shown = [
        "one spec",
        "one command --env",
        "render --stdout",
        "explain one --json",
    ];
    let mut runs: Vec<Run> = shown.map(|line| sandbox.run(line).succeeds()).into();

    let (one, two) = (sandbox.pid("one"), sandbox.pid("two"));
    write_private(sandbox.path(files[1]), "BOTH=local\n");
    let plan = sandbox.run("plan --json").succeeds();
    let steps = plan.json()["processes"].clone();
    let step = json!({"action": "restart", "because": ["environment.BOTH"]});
    same("plan of one", &steps["one"], &step);
    same("plan of two", &steps["two"]["action"], &json!("none"));
    let reload = sandbox.run("reload --json").succeeds();
    let changes = json!({"one": "updated"});
    same("changes", &reload.json()["changes"], &changes);
    assert_ne!(sandbox.pid("one"), one);
    same("pid of two", sandbox.pid("two"), two);
    let expected = values(&[Some(SECRET), Some("manifest"), Some("local")]);
    same("one", some(&sandbox, "one", &names), expected);

    // A file with a mistake changes nothing.
    let one = sandbox.pid("one");
    write_private(
        sandbox.path(files[1]),
        &format!("BOTH=1\nTOKEN={SECRET} x\n"),
    );
    let bad = sandbox.run("reload").ends(10);
    let wanted = "services/one/local.env:2: is not `NAME=value`";
    assert!(bad.stderr.contains(wanted), "{}", bad.stderr);
    write_private(sandbox.path(files[1]), &format!("TOKEN=a${SECRET}\n"));
    let doubtful = sandbox.run("reload").ends(10);
    let wanted = "`services/one/local.env`:1: the value of `TOKEN` is another one";
    assert!(doubtful.stderr.contains(wanted), "{}", doubtful.stderr);
    same("pid of one", sandbox.pid("one"), one);
    // What runs can be seen and stopped without its files.
    fs::remove_file(sandbox.path(files[0])).unwrap();
    same("status", sandbox.run("status").code, 0);
    sandbox.run("restart one").succeeds();
    let expected = values(&[Some(SECRET), Some("manifest"), Some("local")]);
    same("one", some(&sandbox, "one", &names), expected);
    sandbox.down();
    runs.extend([up, plan, reload, bad, doubtful]);
    shows_nothing(&runs);
}

#[test]
fn a_file_of_variables_may_be_a_pipe_that_is_written_once() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &telling("one", &json!({"env_file": "pipe.env"})));
    sandbox.service("two", &telling("two", &json!({"env_file": "pipe.env"})));
    let pipe = sandbox.pipe("pipe.env");
    let up = sandbox.start("up");
    let mut writer = std::process::Command::new("sh");
    writer.args(["-c", "printf 'PIPED=1\\n' >\"$1\"", "sh"]);
    assert!(writer.arg(&pipe).status().unwrap().success());
    up.wait().succeeds();
    for name in ["one", "two"] {
        same(name, some(&sandbox, name, &["PIPED"]), values(&[Some("1")]));
    }
}

/// Returns a stack of three: `api` uses a secret of `db`, below `cache`; `other` depends on `db`
/// and names nothing.
fn with_secret() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    let mut db = telling("db", &json!({}));
    db["exports"] = json!({"DB_HOST": "here"});
    db["secret_exports"] = json!({"DB_URL": "db://u:${env.DB_PASSWORD}@h"});
    sandbox.service("db", &db);
    let on = |name: &str| json!({"depends_on": {name: {"condition": "process_started"}}});
    let cache = telling("cache", &json!({"compose": on("db")}));
    sandbox.service("cache", &cache);
    let api = json!({"use_secrets": ["DB_URL"], "compose": on("cache")});
    sandbox.service("api", &telling("api", &api));
    sandbox.service("other", &telling("other", &json!({"compose": on("db")})));
    sandbox.dotenv("DB_PASSWORD", SECRET);
    sandbox
}

#[test]
fn a_secret_of_a_service_reaches_who_names_it_and_is_nowhere_else() {
    let mut sandbox = with_secret();
    let url = format!("db://u:{SECRET}@h");
    let lines = [
        "up --json",
        "up",
        "status",
        "status --json",
        "plan --json",
        "explain api",
        "explain db --json",
        "env",
        "env --json",
        "env --declared",
        "db spec",
        "api spec",
        "api command --env",
        "render --stdout",
        "render --check",
        "graph --json",
        "ps --all --json",
        "doctor --json",
        "logs",
    ];
    let runs = lines.map(|line| sandbox.run(line));
    shows_nothing(&runs);
    same("up", runs[0].code, 0);
    for name in ["cache", "db", "other"] {
        let environment = environment(&sandbox, name);
        let has = environment.values().any(|value| value.contains(SECRET));
        assert!(!has, "`{name}` has it: {environment:?}");
    }
    let expected = values(&[Some("here"), Some(&url)]);
    let names = ["DB_HOST", "DB_URL"];
    same("api", some(&sandbox, "api", &names), expected);
    no_trace(&sandbox);

    // A program of the user receives it on request only.
    sandbox.run("exec -- printenv DB_URL").ends(1);
    let names = ["--", "printenv", "DB_HOST", "DB_URL"].join(" ");
    let run = sandbox.run(&format!("exec --secrets {names}")).succeeds();
    same("stdout", run.stdout, format!("here\n{url}\n"));
    let run = sandbox.run(&format!("exec -e DB_URL=mine --secrets {names}"));
    same("stdout", run.succeeds().stdout, "here\nmine\n".to_owned());

    // What runs is meant, not what `.env` says now.
    let pids = ["api", "cache", "db", "other"].map(|name| sandbox.pid(name));
    sandbox.dotenv("DB_PASSWORD", "changed");
    let run = sandbox.run(&format!("exec --secrets {names}")).succeeds();
    same("stdout", run.stdout, format!("here\n{url}\n"));
    let plan = sandbox.run("plan --json").succeeds().json();
    let step = json!({"action": "restart", "because": ["environment.DB_URL"]});
    same("plan", &plan["processes"]["api"], &step);
    let reload = sandbox.run("reload --json").succeeds().json();
    same("changes", &reload["changes"], &json!({"api": "updated"}));
    let [api, others @ ..] = ["api", "cache", "db", "other"].map(|name| sandbox.pid(name));
    assert_ne!(api, pids[0]);
    same("others", others.as_slice(), &pids[1..]);
    sandbox.down();
    let run = sandbox.run(&format!("exec --ephemeral --secrets {names}"));
    same("of its own", run.succeeds().stdout.lines().count(), 2);
    let run = sandbox.run("exec --secrets true").ends(3);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

/// Fails if the secret is in a file other than the two private ones, or on a command line.
#[track_caller]
fn no_trace(sandbox: &Sandbox) {
    let mut found = BTreeMap::new();
    search(&sandbox.path(".core-stack"), &mut found);
    let private = ["api.dump", "inputs.json", "process-compose.yaml"];
    // The dump is what the test lets the process write.
    same(
        "files",
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        private.to_vec(),
    );
    for name in &private[1..] {
        same(name, found[*name], 0o600);
    }
    for process in processes::all() {
        let shows = process.line.contains(SECRET);
        assert!(!shows, "process {} shows it: {}", process.pid, process.line);
    }
}

/// Collects the files with the secret, by name, with their modes.
fn search(directory: &Path, found: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            search(&entry.path(), found);
        } else if meta.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let mut windows = bytes.windows(SECRET.len());
            if windows.any(|window| window == SECRET.as_bytes()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                found.insert(name, meta.mode() & 0o777);
            }
        }
    }
}

#[test]
fn wrong_names_of_secrets_are_refused_before_anything_changes() {
    let mut sandbox = with_secret();
    sandbox.up();
    let pids = ["api", "db"].map(|name| sandbox.pid(name));
    for (name, wanted, message) in [
        ("api", "DB_URI", "which no service has in `secret_exports`"),
        ("other", "DB_URL", ""),
        ("db", "DB_URL", "which this service exports itself"),
    ] {
        let before = sandbox.read(&format!("services/{name}/service.json"));
        sandbox.edit(name, |manifest| {
            manifest["process"]["use_secrets"] = json!([wanted]);
        });
        if message.is_empty() {
            sandbox.run("plan").succeeds();
        } else {
            let refused = sandbox.run("up").ends(10);
            assert!(refused.stderr.contains(message), "{}", refused.stderr);
            shows_nothing(&[refused]);
        }
        sandbox.service_text(name, &before);
    }
    // The same name from two services.
    sandbox.edit("cache", |manifest| {
        manifest["secret_exports"] = json!({"DB_URL": "x"});
    });
    let refused = sandbox.run("up").ends(10);
    let wanted = "`secret_exports.DB_URL` is exported by `cache` already";
    assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
    same("pids", ["api", "db"].map(|name| sandbox.pid(name)), pids);
}
