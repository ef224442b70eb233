//! Output for scripts: variables, ports, origins, the graph, pages, completions.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{Sandbox, expected, fake_program, http, same, stranger, tell_missing};

const SECRET: &str = "hush-71c2";

#[test]
fn a_program_runs_with_the_variables_of_the_stack() {
    let mut sandbox = Sandbox::empty();
    sandbox.service(
        "one",
        &json!({
            "process": {"command": fake_program(), "args": ["--listen", "${port.http}"]},
            "ports": {"http": {"port": 9000}},
            "exports": {"ONE_URL": "http://${port.http}", "TWO": "2"},
        }),
    );
    for (name, text) in [
        (
            "show",
            "#!/bin/sh\necho $ONE_URL $TWO $MINE \"$@\"; cat; exit 7\n",
        ),
        ("killed", "#!/bin/sh\nkill -TERM $$\n"),
    ] {
        let script = sandbox.path(name);
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    sandbox.dotenv("MINE", "mine");
    let nothing = sandbox.run("exec ./show").ends(3);
    assert!(nothing.stderr.contains("hint: "), "{}", nothing.stderr);
    sandbox.up();
    let url = format!("http://{}", sandbox.port("one.http"));

    let run = sandbox.run("exec -- ./show -e x --json").ends(7);
    same("stdout", run.stdout, format!("{url} 2 mine -e x --json\n"));
    same("stderr", run.stderr.as_str(), "");

    // Tests must not write to the server of somebody else.
    sandbox.dotenv("TWO", "of .env");
    let run = sandbox.run_with("exec ./show", &[("ONE_URL", "elsewhere"), ("MINE", "here")]);
    let run = run.ends(7);
    same("stdout", run.stdout, format!("{url} 2 here\n"));
    for (name, place) in [("ONE_URL", "in the environment"), ("TWO", "in `.env`")] {
        let warning =
            format!("warning: `{name}` is that of the running stack, not the one {place}");
        same(name, run.stderr.matches(&warning).count(), 1);
    }
    same("warnings", run.stderr.lines().count(), 2);

    let run = sandbox.run("exec -e TWO=x=y -e MINE= ./show").ends(7);
    same("stdout", run.stdout, format!("{url} x=y\n"));
    same("stderr", run.stderr.as_str(), "");

    sandbox.run("exec ./killed").ends(143);
    sandbox.run("exec no-such-program").ends(127);
    sandbox.run("exec ./services/one/service.json").ends(126);
    sandbox.run("exec -e novalue true").ends(2);
    sandbox.run("exec").ends(2);
}

/// Returns the value of a variable in a shell after `eval`.
fn in_shell(sandbox: &Sandbox, text: &str, name: &str) -> String {
    let script = format!("eval \"$1\"; printf %s \"${name}\"");
    let run = sandbox.program(Path::new("/bin/sh"), &["-c", &script, "sh", text]);
    run.succeeds().stdout
}

#[test]
fn apps_find_the_running_stack_by_its_variables() {
    let sandbox = Sandbox::core();
    let nothing = sandbox.run("env").ends(3);
    same("stdout", nothing.stdout.as_str(), "");
    expect![[r"
        error: there is no running stack to tell of
        hint: start it with `cargo xtask up`, or say `--declared` for what would run"]]
    .assert_eq(&sandbox.normal(&nothing.stderr));
    let declared = sandbox.run("env --declared").succeeds();

    sandbox.up();
    let shell = sandbox.run("env").succeeds();
    same("stderr", shell.stderr.as_str(), "");
    same("as declared", &shell.stdout, &declared.stdout);
    expect![[r"
        export CORE_URL='http://127.0.0.1:{caddy.http}'
        export NATS_MONITOR_URL='http://127.0.0.1:{nats.http}'
        export NATS_URL='nats://127.0.0.1:{nats.client}'
        export NATS_WS_URL='ws://127.0.0.1:{nats.ws}'
        export POCKETBASE_URL='http://127.0.0.1:{pocketbase.http}'"]]
    .assert_eq(&sandbox.normal(&shell.stdout));
    let port = sandbox.port("pocketbase.http");
    let url = format!("http://127.0.0.1:{port}");
    same(
        "in a shell",
        in_shell(&sandbox, &shell.stdout, "POCKETBASE_URL"),
        url.clone(),
    );
    same("it answers", http::get(port, "/api/health").status, 200);
    let document = sandbox.run("env --json").succeeds().json();
    same(
        "JSON",
        &document["variables"]["POCKETBASE_URL"],
        &json!(url),
    );
    same("its version", &document["schema_version"], &json!(1));

    // The running stack counts, whatever was edited since.
    sandbox.dotenv_line("not a line");
    same(
        "broken `.env`",
        sandbox.run("env").succeeds().stdout,
        shell.stdout,
    );
}

#[test]
fn variables_go_where_github_actions_looks() {
    let mut sandbox = Sandbox::empty();
    let exports = json!({"MINE": "it's ${port.http}"});
    let manifest = json!({
        "process": {"command": fake_program()},
        "ports": {"http": {"port": 9000}},
        "exports": exports,
    });
    sandbox.service("mine", &manifest);
    let port = sandbox.port("mine.http");
    let entry = format!("MINE<<END_OF_VALUE_0\nit's {port}\nEND_OF_VALUE_0\n");
    let line = "env --declared --format github";
    let printed = sandbox.run(line).succeeds();
    same("printed", &printed.stdout, &entry);
    let file = sandbox.path("github-env");
    fs::write(&file, "BEFORE=1\n").unwrap();
    let variables = [("GITHUB_ENV", file.to_str().unwrap())];
    let added = sandbox.run_with(line, &variables).succeeds();
    same("stdout", added.stdout.as_str(), "");
    let text = fs::read_to_string(&file).unwrap();
    same("the file", text, format!("BEFORE=1\n{entry}"));
    let dotenv = sandbox.run("env --declared --format dotenv").succeeds();
    same("dotenv", dotenv.stdout, format!("MINE=\"it's {port}\"\n"));
}

#[test]
fn exports_hold_no_secret_and_one_variable_has_one_owner() {
    let mut sandbox = Sandbox::empty();
    let manifest = |command: &str| {
        json!({
            "process": {
                "command": command,
                "env": {"TOKEN": "${env.TOKEN:-}"},
                "secrets": ["TOKEN"],
            },
            "exports": {"SHARED_URL": "x://${env.TOKEN:-}", "NOT-A-NAME": "x"},
        })
    };
    sandbox.service("one", &manifest(fake_program()));
    let run = sandbox.run("render --check").ends(10);
    expected("scripts/exports-name", &sandbox.normal(&run.stderr));
    for name in ["one", "two"] {
        let mut manifest = manifest(fake_program());
        manifest["exports"]
            .as_object_mut()
            .unwrap()
            .remove("NOT-A-NAME");
        sandbox.service(name, &manifest);
    }
    let curious = json!({
        "process": {"command": fake_program()},
        "exports": {"OTHER": "${env.OTHER:-x${env.TOKEN:-}}"},
    });
    sandbox.service("curious", &curious);
    let run = sandbox.run("render --check").ends(10);
    expected("scripts/exports", &sandbox.normal(&run.stderr));
}

#[test]
fn ports_tell_their_place_and_who_listens() {
    let sandbox = Sandbox::core();
    let port = sandbox.port("nats.client");
    let stranger = stranger(port);
    let before = sandbox.run("ports").succeeds();
    same("stderr", before.stderr.as_str(), "");
    let line = |text: &str, start: &str| -> Vec<String> {
        let found = text.lines().find(|line| line.starts_with(start));
        let words = found.unwrap_or_else(|| panic!("no `{start}` in\n{text}"));
        words.split_whitespace().map(str::to_owned).collect()
    };
    let pid = format!("{})", stranger.pid());
    let expected = [
        "nats",
        "client",
        &port.to_string(),
        "nats",
        "xtask-fake",
        "(pid",
        &pid,
    ];
    same(
        "a stranger's",
        &line(&before.stdout, "nats        client")[..7],
        &expected.map(str::to_owned)[..],
    );
    drop(stranger);

    sandbox.up();
    let report = sandbox.run("ports --json").succeeds().json();
    same("running", &report["running"], &json!(true));
    let ports = report["ports"].as_array().unwrap();
    same("ports", ports.len(), 7);
    for port in ports {
        // Without a topology nothing listens for routes.
        let state = if port["name"] == "cluster" {
            "free"
        } else {
            "ours"
        };
        same(
            "state",
            (&port["state"], &port["name"]),
            (&json!(state), &port["name"]),
        );
        same("no holder is named", &port["holder"], &Value::Null);
    }
    let declared = &ports.iter().find(|port| port["name"] == "client").unwrap()["declared"];
    same("declared", declared, &json!("CORE_PORT_NATS_CLIENT"));
}

#[test]
fn a_service_is_explained_without_its_secrets() {
    let mut sandbox = Sandbox::core();
    let manifest = json!({
        "process": {
            "command": format!("{} --listen ${{port.http}}", fake_program()),
            "env": {
                "TOKEN": "${env.TOKEN}",
                "NATS": "${port.nats.client}",
                "WORD": "${env.WORD:-a}",
            },
            "secrets": ["TOKEN"],
        },
        "ports": {"http": {"port": 9000, "protocol": "http"}},
    });
    sandbox.service("hello", &manifest);
    sandbox.dotenv("TOKEN", SECRET);
    let run = sandbox
        .run_with("explain hello", &[("WORD", "b")])
        .succeeds();
    same("stderr", run.stderr.as_str(), "");
    let told: Vec<String> = run
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.starts_with("environment."))
        .collect();
    expected("scripts/explain", &sandbox.normal(&told.join("\n")));
    let document = sandbox.run("explain hello --json").succeeds();
    assert!(!document.stdout.contains(SECRET), "{}", document.stdout);
    let document = document.json();
    let entries = document["entries"].as_array().unwrap();
    let token = entries
        .iter()
        .find(|entry| entry["key"] == "process.env.TOKEN");
    let from = json!([
        {"kind": "manifest", "file": "services/hello/service.json", "line": 12},
        {"kind": ".env", "name": "TOKEN"},
    ]);
    same("origin", &token.unwrap()["from"], &from);
    let unknown = sandbox.run("explain helo").ends(2);
    expect![[r"
        error: there is no service `helo`
        hint: did you mean `hello`?"]]
    .assert_eq(&sandbox.normal(&unknown.stderr));
}

#[test]
fn the_graph_in_four_forms() {
    let sandbox = Sandbox::core();
    let graph = |format: &str| {
        let run = sandbox.run(&format!("graph --format {format}")).succeeds();
        same("stderr", run.stderr.as_str(), "");
        run
    };
    expect![[r"
        nats
        pocketbase  after nats is healthy
        caddy       after pocketbase is healthy
        controller  after pocketbase is healthy
    "]]
    .assert_eq(&graph("text").stdout);
    expect![[r#"
        flowchart LR
          p0["nats"]
          p1["pocketbase"]
          p2["caddy"]
          p3["controller"]
          p0 -->|is healthy| p1
          p1 -->|is healthy| p2
          p1 -->|is healthy| p3
    "#]]
    .assert_eq(&graph("mermaid").stdout);
    expect![[r#"
        digraph core {
          rankdir=LR;
          p0 [label="nats"];
          p1 [label="pocketbase"];
          p2 [label="caddy"];
          p3 [label="controller"];
          p0 -> p1 [label="is healthy"];
          p1 -> p2 [label="is healthy"];
          p1 -> p3 [label="is healthy"];
        }
    "#]]
    .assert_eq(&graph("dot").stdout);
    let document = graph("json").json();
    same(
        "order",
        &document["order"],
        &json!(["nats", "pocketbase", "caddy", "controller"]),
    );
    let depends = &document["processes"]["caddy"]["depends_on"];
    same("edges", depends, &json!({"pocketbase": "process_healthy"}));
    same("--json", sandbox.run("graph --json").json(), document);
}

#[test]
fn pages_are_printed_where_there_is_no_terminal() {
    let sandbox = Sandbox::core();
    let nothing = sandbox.run("open").ends(3);
    same("stdout", nothing.stdout.as_str(), "");
    sandbox.up();
    for (line, page) in [
        ("open", "http://127.0.0.1:{caddy.http}"),
        ("open caddy", "http://127.0.0.1:{caddy.http}"),
        ("open pocketbase", "http://127.0.0.1:{pocketbase.http}/_/"),
        ("open nats", "http://127.0.0.1:{nats.http}/"),
    ] {
        let run = sandbox.run(line).succeeds();
        same(line, sandbox.normal(&run.stdout).as_str(), page);
        same("stderr", run.stderr.as_str(), "");
    }
    let unknown = sandbox.run("open pocketbse").ends(2);
    expect![[r"
        error: no service `pocketbse` runs
        hint: did you mean `pocketbase`?"]]
    .assert_eq(&sandbox.normal(&unknown.stderr));
    let admin = http::get(sandbox.port("pocketbase.http"), "/_/");
    same("the admin page", admin.status, 200);
}

#[test]
fn a_shell_completes_commands() {
    let sandbox = Sandbox::empty();
    let bash = Path::new("/bin/bash");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = sandbox.run(&format!("completions {shell}")).succeeds();
        same("stderr", run.stderr.as_str(), "");
        assert!(run.stdout.contains("ci-key"), "{shell}: {}", run.stdout);
    }
    sandbox.run("completions tcsh").ends(2);
    if bash.exists() {
        let text = sandbox.run("completions bash").succeeds().stdout;
        let script = "eval \"$1\"; COMP_WORDS=(xtask stat) COMP_CWORD=1; \
                      _xtask xtask stat xtask; printf %s \"${COMPREPLY[*]}\"";
        let run = sandbox.program(bash, &["-c", script, "bash", &text]);
        same("completion", run.succeeds().stdout.as_str(), "status");
        assert!(!text.contains("bench-listen"), "a hidden command");
    }
}

/// For bash: prints the result of a function.
const COMPLETE_IN_BASH: &str = r#"
cd "$2"; eval "$1"; COMP_WORDS=(xtask up na) COMP_CWORD=2
_xtask_names xtask na up
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// For fish: prints what the shell itself would offer.
const COMPLETE_IN_FISH: &str = r#"
cd $argv[2]; echo $argv[1] | source; complete -C "xtask up na"
"#;

/// For zsh: prints what a terminal shows after the completion key.
const COMPLETE_IN_ZSH: &str = r#"
zmodload zsh/zpty
zpty terminal zsh -f -i
cd $2
print -r -- "$1" >.core-stack/script.zsh
zpty -w terminal "cd ${(q)2}; PS1=; bindkey -e; autoload -Uz compinit; compinit -u -D"
zpty -w terminal "source .core-stack/script.zsh; echo lo''aded"
zpty -r terminal shown '*loaded*'
zpty -n -w terminal $'xtask up na\t'
zpty -r terminal shown '*xtask up nats *'
echo nats
"#;

#[test]
fn shells_complete_names_of_the_checkout() {
    // They call the program that is kept in the state directory.
    let sandbox = Sandbox::core();
    fs::create_dir(sandbox.path(".core-stack")).unwrap();
    let kept = sandbox.path(".core-stack/xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), kept).unwrap();
    let root = sandbox.root().to_str().unwrap();
    for (shell, script, name) in [
        ("bash", COMPLETE_IN_BASH, Some("bash")),
        ("fish", COMPLETE_IN_FISH, None),
        ("zsh", COMPLETE_IN_ZSH, Some("zsh")),
    ] {
        let Ok(program) = which::which(shell) else {
            tell_missing("scripts::shells_complete_names_of_the_checkout", shell);
            continue;
        };
        let text = sandbox
            .run(&format!("completions {shell}"))
            .succeeds()
            .stdout;
        let words = ["-c", script].into_iter().chain(name);
        let words: Vec<&str> = words.chain([text.as_str(), root]).collect();
        let run = sandbox.program(&program, &words).succeeds();
        same(shell, run.stdout.trim_end(), "nats");
    }
}

#[test]
fn the_command_alone_shows_what_there_is() {
    let sandbox = Sandbox::empty();
    let run = sandbox.run("").succeeds();
    same("stderr", run.stderr.as_str(), "");
    expected("scripts/overview", &run.stdout);
}

#[test]
fn the_key_of_a_cache_is_the_same_for_the_same_sources() {
    let (one, other) = (Sandbox::core(), Sandbox::core());
    let key = one.run("ci-key").succeeds();
    same("stderr", key.stderr.as_str(), "");
    same(
        "another place",
        &other.run("ci-key").succeeds().stdout,
        &key.stdout,
    );
    let (start, digest) = key.stdout.trim_end().rsplit_once('-').unwrap();
    same(
        "platform",
        start,
        format!("core-{}", xtask::dep::platform()).as_str(),
    );
    same("digits", digest.len(), 16);
    let lock = other.path("dep.lock");
    let text = other.read("dep.lock");
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, text.replace('a', "b")).unwrap();
    assert_ne!(other.run("ci-key").succeeds().stdout, key.stdout);
}
