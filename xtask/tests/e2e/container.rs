//! A service in a container, with the real podman and an image of our own.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{SOON, Sandbox, eventually, http, processes, same, tell_missing};

/// The name of the container and of its image.
const NAME: &str = "core-test-box";
/// The source of the program in it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/container");

/// Podman with images and containers of its own, and settings that also work in a container.
struct Podman {
    variables: Vec<(&'static str, String)>,
}

impl Podman {
    fn new(home: &Path) -> Self {
        fs::create_dir_all(home.join("run")).unwrap();
        let file = |name: &str, text: String| {
            let path = home.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        // Where cgroups are those of an outer container, only runc works.
        let runtime = if has("runc") {
            "runtime = \"runc\"\n"
        } else {
            ""
        };
        let settings = format!(
            "[containers]\nnetns = \"host\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\n{runtime}"
        );
        let shown = home.display();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\n\
             graphroot = \"{shown}/root\"\nrunroot = \"{shown}/runroot\"\n"
        );
        Self {
            variables: vec![
                ("CONTAINERS_CONF", file("containers.conf", settings)),
                ("CONTAINERS_STORAGE_CONF", file("storage.conf", storage)),
                ("XDG_RUNTIME_DIR", home.join("run").display().to_string()),
            ],
        }
    }

    /// Runs podman; returns its stdout, or what it says of its failure.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let output = Command::new("podman")
            .args(arguments)
            .envs(variables)
            .output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Makes the image: nothing but one program.
    fn make_image(&self, home: &Path) {
        let program = home.join("app");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(PROGRAM)
            .envs([
                ("CGO_ENABLED", "0"),
                ("GOPROXY", "off"),
                ("GOTOOLCHAIN", "local"),
            ])
            .status();
        assert!(built.unwrap().success(), "the program cannot be built");
        let archive = home.join("app.tar");
        let packed = Command::new("tar")
            .args(["--create", "--file"])
            .arg(&archive)
            .args(["--directory", home.to_str().unwrap(), "app"])
            .status();
        assert!(packed.unwrap().success(), "the program cannot be packed");
        let entry = "ENTRYPOINT [\"/app\"]";
        let archive = archive.to_str().unwrap();
        self.run(&["import", "--change", entry, archive, NAME])
            .unwrap();
    }

    /// Returns the names of all containers, stopped ones included.
    fn containers(&self) -> String {
        self.run(&["ps", "--all", "--format", "{{.Names}}"])
            .unwrap()
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn a_container_is_healthy_recovers_and_is_gone_after_a_stop() {
    const TEST: &str = "container::a_container_is_healthy_recovers_and_is_gone_after_a_stop";
    // `go` has no such option.
    let has_go = Command::new("go").arg("version").output().is_ok();
    for (program, is_there) in [("podman", has("podman")), ("go", has_go)] {
        if !is_there {
            return tell_missing(TEST, program);
        }
    }
    let mut sandbox = Sandbox::core();
    let home = sandbox.path("../podman");
    let podman = Podman::new(&home);
    podman.make_image(&home);
    // It exits by itself, for want of a port.
    let tried = podman.run(&["run", "--rm", NAME]).unwrap_err();
    if !tried.contains("invalid syntax") {
        return tell_missing(
            TEST,
            &format!("podman that can run containers here ({tried})"),
        );
    }
    let mut env: serde_json::Map<String, Value> = podman
        .variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    env.insert("PORT".to_owned(), json!("${port.http}"));
    let command = format!("podman run --rm --name {NAME} --replace --env PORT {NAME}");
    let manifest = json!({
        "process": {
            "command": command, "env": env,
            "compose": {"readiness_probe": {"http_get": {"port": "${port.http}"}}},
        },
        "ports": {"http": {"port": 1, "protocol": "http"}},
        "routes": [{"path": "/box", "port": "http"}],
    });
    sandbox.service("box", &manifest);
    sandbox.up();
    let page = || http::get(sandbox.port("caddy.http"), "/box").body;
    same("its page", page().as_str(), "from a container");
    same("containers", podman.containers().as_str(), NAME);

    processes::kill(sandbox.pid("box"));
    eventually("another container", SOON, || {
        (page() == "from a container").then_some(())
    });
    sandbox.wait_healthy();
    sandbox.run("stop box").succeeds();
    same("containers", podman.containers().as_str(), "");
    let log = sandbox.run("logs box").succeeds().stdout;
    assert!(log.contains("asked to stop"), "{log}");
    sandbox.run("start box").succeeds();
    sandbox.down();
    sandbox.nothing_is_left_within(SOON);
    same("containers", podman.containers().as_str(), "");
}
