//! New services: valid at once, complete or absent.

use std::fs;
use std::path::Path;

use expect_test::expect;
use rustix::process::Signal;

use crate::harness::{Sandbox, http, same};

/// Replaces the links to the checkout's files by copies where `init` writes.
pub(crate) fn own_workspace(sandbox: &Sandbox) {
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = sandbox.read(file);
        let path = sandbox.path(file);
        fs::remove_file(&path).unwrap();
        fs::write(path, text).unwrap();
    }
    let own = sandbox.path("cmd");
    let shared = own.canonicalize().unwrap();
    fs::remove_file(&own).unwrap();
    fs::create_dir(&own).unwrap();
    for entry in fs::read_dir(shared).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), own.join(entry.file_name())).unwrap();
    }
}

/// Returns all names in a directory, hidden files included.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_manifest_is_valid_at_once_and_comes_up() {
    let mut sandbox = Sandbox::empty();
    let port = sandbox.spare_port("mine.http");
    let run = sandbox
        .run(&format!("init my-one --port {port}"))
        .succeeds();
    let files = "services/my-one/service.json\nservices/my-one/README.md\n";
    same("files", run.stdout.as_str(), files);
    sandbox.run("render --check").succeeds();
    sandbox.up();
    let page = http::get(port, "/README.md");
    assert!(page.body.starts_with("# my-one\n"), "{page:?}");
    let url = format!("export MY_ONE_URL='http://127.0.0.1:{port}'\n");
    same("its variable", sandbox.run("env").succeeds().stdout, url);
}

#[test]
fn a_program_in_rust_is_valid_builds_and_runs() {
    let mut sandbox = Sandbox::core();
    own_workspace(&sandbox);
    let port = sandbox.spare_port("mine.http");
    let line = format!("init my-one --wrapper --port {port}");
    let run = sandbox.run(&line).succeeds();
    expect![[r"
        cmd/my-one/Cargo.toml
        cmd/my-one/src/main.rs
        services/my-one/service.json
        services/my-one/README.md
        services/my-one/Cargo.toml
        services/my-one/src/lib.rs
        services/my-one/src/run.rs
        services/my-one/src/settings.rs
        Cargo.toml"]]
    .assert_eq(run.stdout.trim_end());
    sandbox.run("render --check").succeeds();
    // Third-party crates come from the checkout, where they are built.
    let target = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    let target_dir = target.parent().unwrap().to_str().unwrap();
    let cargo = std::env::var("CARGO").unwrap();
    for (order, package) in [("build", "my-one"), ("test", "service-my-one")] {
        let arguments = [
            order,
            "--offline",
            "--target-dir",
            target_dir,
            "-p",
            package,
        ];
        sandbox.program(Path::new(&cargo), &arguments).succeeds();
    }

    let program = target.join("my-one");
    let spec = sandbox.program(&program, &["spec"]).succeeds();
    same(
        "spec",
        spec.stdout,
        sandbox.read("services/my-one/service.json"),
    );
    sandbox.program(&program, &["check"]).ends(10);
    let data = sandbox.path(".data/my-one");
    let variables = [
        ("MY_ONE_DATA_DIR", data.to_str().unwrap().to_owned()),
        ("MY_ONE_HOST", "127.0.0.1".to_owned()),
        ("MY_ONE_PORT", port.to_string()),
    ];
    let mut running = sandbox.start_program(&program, &variables);
    running.wait_for_stdout("READY");
    let page = http::get(port, "/healthz");
    same("page", page.body.as_str(), "hello from my-one\n");
    running.signal(Signal::TERM);
    running.wait().succeeds();
}

#[test]
fn a_name_that_cannot_be_used_changes_nothing() {
    let sandbox = Sandbox::core();
    own_workspace(&sandbox);
    let cargo = sandbox.read("Cargo.toml");
    let services = names(&sandbox.path("services"));
    let nats = sandbox.port("nats.client");
    for (line, told) in [
        ("init My_one", "it may only hold a-z, 0-9 and `-`"),
        ("init status", "that is a command"),
        ("init nats", "it exists"),
        ("init kit", "it exists"),
        ("init probe --wrapper", "it exists"),
        (
            "init tokio --wrapper",
            "the name is that of a package already",
        ),
        (
            "init nats-server --wrapper",
            "the name is that of a binary already",
        ),
        ("init core --wrapper", "the name is reserved"),
        ("init 3d --wrapper", "the name begins with a digit"),
        (&format!("init mine --port {nats}"), "`nats` has it"),
    ] {
        let run = sandbox.run(line).ends(2);
        same("stdout", run.stdout.as_str(), "");
        assert!(run.stderr.contains(told), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("\nhint: "), "{line}: {}", run.stderr);
    }
    // A file in another format: refused before the directories are created.
    fs::write(
        sandbox.path("Cargo.toml"),
        "[workspace]\nmembers = [\"xtask\"]\n",
    )
    .unwrap();
    sandbox.run("init mine --wrapper").ends(10);
    fs::write(sandbox.path("Cargo.toml"), &cargo).unwrap();
    same("services", names(&sandbox.path("services")), services);
    assert!(!sandbox.path("cmd/mine").exists());
    same("Cargo.toml", sandbox.read("Cargo.toml"), cargo);
    sandbox.run("render --check").succeeds();
}
