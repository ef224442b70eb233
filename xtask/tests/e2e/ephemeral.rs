//! A stack for one program, which is gone afterwards, however the program or the command ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Running, SOON, Sandbox, eventually, fake_program, processes, same};

/// How long a stack may outlive a command that was killed.
const GONE_LIMIT: Duration = Duration::from_secs(2);

/// Ports for more than two stacks of Core.
const PORTS: u16 = 24;

/// Says that it runs, and each signal that it gets, of which the second one ends it.
const WAITS: &str = "#!/bin/sh
trap 'echo interrupted; seen INT' INT
trap 'echo asked; seen TERM' TERM
trap 'echo passed on' USR1
seen() { [ -z \"$before\" ] || exit 9; before=$1; }
echo \"runs in $CORE_INSTANCE as $$ with $ONE_URL\"
while [ ! -e go-on ]; do sleep 0.02; done
exit 7
";

/// Returns a checkout with a small service, and the program `./waits`.
fn small() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    sandbox.ports_that_move(PORTS);
    let service = json!({
        "process": {
            "command": fake_program(), "args": ["--listen", "${port.http}"],
            "compose": {"readiness_probe": {"tcp": {"port": "${port.http}"}}},
        },
        "ports": {"http": {"port": 9000}},
        "exports": {"ONE_URL": "http://${port.http}"},
    });
    sandbox.service("one", &service);
    script(&sandbox, "waits", WAITS);
    sandbox
}

fn script(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns the files of ephemeral instances, and their entries in the register.
fn traces(sandbox: &Sandbox) -> Vec<String> {
    let directories = [".core-stack/instances", ".data/instances"];
    let entries = directories.map(|directory| fs::read_dir(sandbox.path(directory)));
    let entries = entries.into_iter().flatten().flatten().flatten();
    let mut found: Vec<String> = entries
        .map(|entry| entry.path().display().to_string())
        .collect();
    let register = fs::read(sandbox.register().join("instances.json")).unwrap_or_default();
    let register: Value = serde_json::from_slice(&register).unwrap_or_default();
    let names = register["instances"].as_array().into_iter().flatten();
    let names = names.filter_map(|entry| entry["instance"].as_str());
    found.extend(names.filter(|name| *name != "default").map(str::to_owned));
    found
}

/// Whether the service `dying` of any instance has written a text.
fn has_logged(sandbox: &Sandbox, text: &str) -> bool {
    let instances = fs::read_dir(sandbox.path(".core-stack/instances"));
    let mut logs = instances
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("logs/dying.log"));
    logs.any(|log| fs::read_to_string(log).is_ok_and(|log| log.contains(text)))
}

#[track_caller]
fn nothing_is_left(sandbox: &Sandbox) {
    same("traces", traces(sandbox), Vec::new());
    sandbox.nothing_is_left_within(GONE_LIMIT);
}

/// Returns what `./waits` says once it runs: the instance, its process id, its address.
fn told(running: &mut Running) -> [String; 3] {
    running.wait_for_stdout(" with http");
    let stdout = running.stdout();
    let words: Vec<&str> = stdout.split_whitespace().collect();
    [2, 4, 6].map(|index| words[index].to_owned())
}

#[test]
fn a_program_has_a_stack_of_its_own_beside_the_running_one() {
    let mut sandbox = Sandbox::core();
    sandbox.ports_that_move(PORTS);
    sandbox.up();
    let before = sandbox.pid("nats");
    fs::write(sandbox.path(".data/mine"), "mine").unwrap();
    let text = "#!/bin/sh\necho $CORE_INSTANCE $NATS_URL $MINE \"$@\"\n\
                \"$XTASK\" status --json >&2 || exit 1\ncat\nexit 7\n";
    script(&sandbox, "show", text);
    let xtask = env!("CARGO_BIN_EXE_xtask");
    // Also with a variable that means the running instance.
    let variables = [("XTASK", xtask), ("CORE_INSTANCE", "default")];
    let run = sandbox.run_with("exec --ephemeral -e MINE=x -- ./show -e y", &variables);
    let run = run.ends(7);
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let [instance, url, "x", "-e", "y"] = words.as_slice() else {
        panic!("{run:#?}");
    };
    assert!(instance.starts_with("ephemeral-"), "{instance}");
    let own = format!("nats://127.0.0.1:{}", sandbox.port("nats.client"));
    assert_ne!(*url, own, "that is the running stack");
    assert!(run.stderr.contains("\"healthy\": true"), "{}", run.stderr);
    same("traces", traces(&sandbox), Vec::new());
    same("the running stack", sandbox.pid("nats"), before);
    same("its data", sandbox.read(".data/mine").as_str(), "mine");
    sandbox.down();

    sandbox.run("exec --ephemeral true").succeeds();
    sandbox.run("exec --ephemeral no-such-program").ends(127);
    nothing_is_left(&sandbox);
}

#[test]
fn ten_at_once_share_nothing() {
    let sandbox = small();
    let mut all: Vec<Running> = (0..10)
        .map(|_| sandbox.start("exec --ephemeral ./waits"))
        .collect();
    let (mut instances, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for running in &mut all {
        let [instance, _, address] = told(running);
        instances.insert(instance);
        addresses.insert(address);
    }
    same("addresses", addresses.len(), all.len());
    let listed = sandbox.run("ps --json").succeeds().json();
    let listed = listed["instances"].as_array().unwrap().iter();
    let listed = listed.filter_map(|entry| Some(entry["name"].as_str()?.to_owned()));
    same("instances", listed.collect::<BTreeSet<_>>(), instances);
    fs::write(sandbox.path("go-on"), "").unwrap();
    for running in all {
        running.wait().ends(7);
    }
    nothing_is_left(&sandbox);
}

#[test]
fn a_program_gets_each_signal_once() {
    let sandbox = small();
    let mut running = sandbox.on_terminal("exec --ephemeral ./waits", &[]);
    told(&mut running);
    running.types("\x03");
    running.wait_for_stdout("interrupted");
    fs::write(sandbox.path("go-on"), "").unwrap();
    let run = running.wait().ends(7);
    same("of Ctrl-C", run.stdout.matches("interrupted").count(), 1);
    nothing_is_left(&sandbox);

    fs::remove_file(sandbox.path("go-on")).unwrap();
    for (signal, said) in [(Signal::TERM, "asked"), (Signal::INT, "interrupted")] {
        let mut running = sandbox.start("exec --ephemeral ./waits");
        told(&mut running);
        running.signal(Signal::USR1);
        running.wait_for_stdout("passed on");
        running.signal(signal);
        running.wait_for_stdout(said);
        running.signal(signal);
        running.wait().ends(9);
        nothing_is_left(&sandbox);
    }
}

#[test]
fn a_command_that_is_killed_takes_its_stack_with_it() {
    let sandbox = small();
    let text = "#!/bin/sh\necho \"runs in $CORE_INSTANCE as $$ with $ONE_URL\"\nexec sleep 300\n";
    script(&sandbox, "sleeps", text);
    let mut running = sandbox.start("exec --ephemeral ./sleeps");
    let [_, program, _] = told(&mut running);
    running.signal(Signal::KILL);
    // Elsewhere the kernel does not end the program, too.
    if !cfg!(target_os = "linux") {
        processes::kill(program.parse().unwrap());
    }
    running.wait().killed();
    eventually("the end of the stack", GONE_LIMIT, || {
        traces(&sandbox).is_empty().then_some(())
    });
    nothing_is_left(&sandbox);

    // The whole process group, program and all.
    script(&sandbox, "kills", "#!/bin/sh\nkill -9 0\n");
    let running = sandbox.on_terminal("exec --ephemeral ./kills", &[]);
    running.wait().killed();
    eventually("the end of the stack", GONE_LIMIT, || {
        traces(&sandbox).is_empty().then_some(())
    });
    nothing_is_left(&sandbox);
}

#[test]
fn a_command_whose_guardian_is_killed_removes_its_stack_itself() {
    let sandbox = small();
    let mut running = sandbox.start("exec --ephemeral ./waits");
    told(&mut running);
    let children = processes::children(running.pid());
    let guardian = children
        .iter()
        .find(|child| child.line.ends_with(" guardian"));
    processes::kill(guardian.expect("it is a child").pid);
    fs::write(sandbox.path("go-on"), "").unwrap();
    running.wait().ends(7);
    nothing_is_left(&sandbox);
}

#[test]
fn a_start_that_fails_or_is_interrupted_leaves_nothing() {
    let mut sandbox = small();
    let dying = json!({"process": {
        "command": fake_program(), "args": ["--say", "oh no", "--exit", "3"],
        "compose": {"readiness_probe": {"tcp": {"port": "1"}}},
    }});
    sandbox.service("dying", &dying);
    let run = sandbox.run("exec --ephemeral ./waits").ends(13);
    assert!(run.stderr.contains("oh no"), "{}", run.stderr);
    assert!(!run.stderr.contains(".core-stack"), "{}", run.stderr);
    same("stdout", run.stdout.as_str(), "");
    nothing_is_left(&sandbox);

    sandbox.edit("dying", |manifest| {
        manifest["process"]["args"] = json!(["--say", "never ready"]);
    });
    sandbox.run("exec --ephemeral --timeout 1 ./waits").ends(14);
    nothing_is_left(&sandbox);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 137)] {
        let running = sandbox.start("exec --ephemeral ./waits");
        eventually("the service", SOON, || {
            has_logged(&sandbox, "never ready").then_some(())
        });
        running.signal(signal);
        let run = running.wait().ends(code);
        same("stdout", run.stdout.as_str(), "");
        eventually("the end of the stack", GONE_LIMIT, || {
            traces(&sandbox).is_empty().then_some(())
        });
        nothing_is_left(&sandbox);
    }

    // Bad input begins nothing.
    sandbox.run("exec --ephemeral --instance b ./waits").ends(2);
    sandbox.run("exec --timeout 5 ./waits").ends(2);
    sandbox.dotenv_line("not a line");
    sandbox.run("exec --ephemeral ./waits").ends(10);
    nothing_is_left(&sandbox);
}
