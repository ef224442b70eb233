//! A separate checkout for a test: links to the real one's files, its own state, data and ports.

mod clone;
mod start;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use engine::plan::stack::port_variable;
use serde_json::Value;
use tempfile::TempDir;

use super::command::{Run, Running};
use super::ports::PortBlock;
use super::processes::{self, Proc};
use super::{binaries, eventually, leftovers, normalise, within};

/// Longest path of a temporary directory that leaves room for the names of sockets.
const TEMP_PATH_MAX: usize = 60;

/// How long the kernel may take to remove the last trace of an exited process.
const TRACE_LIMIT: Duration = Duration::from_secs(2);

/// The directory of named instances.
const INSTANCES: &str = ".core-stack/instances";

/// State of a checkout that a sandbox does not share.
const OWN: [&str; 6] = [".git", ".env", ".core-stack", ".data", "services", "target"];

/// The services of Core; a repository that grew from it may have others.
const OWN_SERVICES: [&str; 4] = ["caddy", "controller", "nats", "pocketbase"];

/// The name of a manifest in its directory.
pub(super) const MANIFEST: &str = "service.json";

/// Returns the program that simulates a service, see `fake/main.rs`.
pub(crate) fn fake_program() -> &'static str {
    env!("CARGO_BIN_EXE_xtask-fake")
}

/// Starts a foreign program that listens on a port, until it is dropped.
#[track_caller]
pub(crate) fn stranger(port: u16) -> Running {
    let mut command = Command::new(fake_program());
    command.args(["--listen", &port.to_string()]).env_clear();
    let mut stranger = Running::spawn("the stranger", command);
    stranger.wait_for_stdout("listening on");
    stranger
}

/// A separate checkout for a test. When it is dropped, the stack is stopped, and the test fails if
/// a process or socket is left.
#[derive(Debug)]
pub(crate) struct Sandbox {
    _dir: TempDir,
    pub(super) root: PathBuf,
    pub(super) block: PortBlock,
    ports: Vec<(String, u16)>,
    pub(super) dotenv: BTreeMap<String, String>,
    pub(super) register: Option<PathBuf>,
}

impl Sandbox {
    /// Creates one with the services of Core.
    pub(crate) fn core() -> Self {
        let mut sandbox = Self::empty();
        for (name, folder) in folders() {
            if OWN_SERVICES.contains(&name.as_str()) {
                link(&folder, &sandbox.root.join("services").join(&name));
                sandbox.declare_ports(&name);
            }
        }
        sandbox
    }

    /// Creates one without any service.
    pub(crate) fn empty() -> Self {
        binaries::ensure();
        let dir = tempfile::Builder::new()
            .prefix("core-")
            .rand_bytes(8)
            .tempdir_in(short_temp())
            .expect("a temporary directory can be made");
        // Links in its path would prevent processes from being recognised by it.
        let root = dir
            .path()
            .canonicalize()
            .expect("it exists")
            .join("checkout");
        for own in ["checkout/services", "home", "run"] {
            fs::create_dir_all(dir.path().join(own)).expect("the sandbox can be written to");
        }
        let checkout = binaries::checkout();
        let names = list(&checkout).into_iter();
        for name in names.filter(|name| !OWN.contains(&name.as_str())) {
            link(&checkout.join(&name), &root.join(&name));
        }
        // Directories without a manifest are shared source, which the binaries are built from.
        for (name, folder) in folders() {
            let place = root.join("services").join(&name);
            if !folder.join(MANIFEST).exists() {
                link(&folder, &place);
            } else if !OWN_SERVICES.contains(&name.as_str()) {
                // A service of the user: only its packages belong to the workspace.
                fs::create_dir(&place).expect("the sandbox can be written to");
                for file in list(&folder).iter().filter(|file| *file != MANIFEST) {
                    link(&folder.join(file), &place.join(file));
                }
            }
        }
        Self {
            _dir: dir,
            root,
            block: PortBlock::reserve(),
            ports: Vec::new(),
            dotenv: BTreeMap::new(),
            register: None,
        }
    }

    /// Returns the root of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a file in it.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns the text of a file in it.
    #[track_caller]
    pub(crate) fn read(&self, relative: &str) -> String {
        let text = fs::read_to_string(self.path(relative));
        text.unwrap_or_else(|error| panic!("`{relative}`: {error}"))
    }

    /// Adds or replaces a service. Its ports become free ones.
    pub(crate) fn service(&mut self, name: &str, manifest: &Value) {
        let text = serde_json::to_string_pretty(manifest).expect("a manifest is JSON");
        self.service_text(name, &text);
        self.declare_ports(name);
    }

    /// Adds or replaces a service by the text of its manifest.
    pub(crate) fn service_text(&mut self, name: &str, text: &str) {
        let manifest = self.own_service(name).join("service.json");
        // The wrappers are built from their manifests: a changed one would rebuild them, for all
        // sandboxes.
        assert!(
            !manifest.is_symlink(),
            "`{name}` is a service of the checkout, whose manifest stays as it is"
        );
        fs::write(manifest, text).expect("a manifest can be written");
    }

    /// Changes the manifest of a service.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let text = self.read(&format!("services/{name}/service.json"));
        let mut manifest = serde_json::from_str(&text).expect("a manifest is JSON");
        change(&mut manifest);
        self.service(name, &manifest);
    }

    /// Removes a service.
    pub(crate) fn remove_service(&mut self, name: &str) {
        let folder = self.own_service(name);
        fs::remove_dir_all(folder).expect("a service can be removed");
        let prefix = format!("{name}.");
        self.ports.retain(|(port, _)| !port.starts_with(&prefix));
        self.dotenv
            .retain(|variable, _| !variable.starts_with(&port_variable(name, "")));
        self.write_dotenv();
    }

    /// Returns the directory of a service, after replacing a link to the checkout's by a copy.
    pub(crate) fn own_service(&self, name: &str) -> PathBuf {
        let folder = self.root.join("services").join(name);
        if folder.is_symlink() {
            let original = fs::canonicalize(&folder).expect("a service is there");
            fs::remove_file(&folder).expect("a link can be removed");
            fs::create_dir(&folder).expect("a service can be made");
            for file in list(&original) {
                link(&original.join(&file), &folder.join(&file));
            }
        }
        fs::create_dir_all(&folder).expect("a service can be made");
        folder
    }

    /// Copies the checkout's binaries into it.
    pub(crate) fn own_binaries(&self) {
        let own = self.path(".dep");
        let shared = own.canonicalize().expect("the checkout has binaries");
        fs::remove_file(&own).expect("a link can be removed");
        for folder in ["", ".records"] {
            let (from, to) = (shared.join(folder), own.join(folder));
            fs::create_dir(&to).expect("the sandbox can be written to");
            for name in list(&from) {
                if from.join(&name).is_file() {
                    fs::copy(from.join(&name), to.join(&name)).expect("a binary can be copied");
                }
            }
        }
    }

    /// Sets every port of a service to a free number in `.env`.
    fn declare_ports(&mut self, name: &str) {
        let Ok(text) = fs::read_to_string(self.path(&format!("services/{name}/service.json")))
        else {
            return;
        };
        let Ok(manifest) = serde_json::from_str::<Value>(&text) else {
            return;
        };
        for port in manifest["ports"]
            .as_object()
            .into_iter()
            .flat_map(|ports| ports.keys())
        {
            let key = format!("{name}.{port}");
            if self.ports.iter().all(|(known, _)| *known != key) {
                let number = self.block.take();
                self.ports.push((key, number));
                self.dotenv
                    .insert(port_variable(name, port), number.to_string());
            }
        }
        self.write_dotenv();
    }

    /// Returns the number of a port: `nats.client`.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> u16 {
        let found = self.ports.iter().find(|(port, _)| port == name);
        found
            .unwrap_or_else(|| panic!("no port `{name}`: {:?}", self.ports))
            .1
    }

    /// Returns a port that nothing of the sandbox uses; it is known as `name` from now on.
    pub(crate) fn spare_port(&mut self, name: &str) -> u16 {
        let port = self.block.take();
        self.ports.push((name.to_owned(), port));
        port
    }

    /// Reserves ports for further nodes of NATS.
    pub(crate) fn ports_of_nodes(&mut self, count: u16) {
        let ports: Vec<u16> = (0..count)
            .map(|index| self.spare_port(&format!("node.{index}")))
            .collect();
        if let [first, .., last] = ports.as_slice() {
            self.dotenv("CORE_TOPOLOGY_PORTS", &format!("{first}-{last}"));
        }
    }

    /// Sets a variable in `.env`. The value may not contain a single quote.
    pub(crate) fn dotenv(&mut self, name: &str, value: &str) {
        assert!(
            !value.contains('\''),
            "`.env` cannot hold it between single quotes"
        );
        self.dotenv.insert(name.to_owned(), format!("'{value}'"));
        self.write_dotenv();
    }

    fn write_dotenv(&self) {
        let lines = self
            .dotenv
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let path = self.path(".env");
        let is_new = !path.exists();
        fs::write(&path, lines.collect::<String>()).expect("`.env` can be written");
        if is_new {
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, private).expect("a mode can be set");
        }
    }

    /// Replaces a file by a pipe.
    pub(crate) fn pipe(&self, relative: &str) -> PathBuf {
        let path = self.path(relative);
        let _ = fs::remove_file(&path);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("`mkfifo` can be run").success());
        path
    }

    /// Appends a line to `.env` unchanged.
    pub(crate) fn dotenv_line(&self, line: &str) {
        let text = format!("{}{line}\n", self.read(".env"));
        fs::write(self.path(".env"), text).expect("`.env` can be written");
    }

    /// Configures the superuser of PocketBase.
    pub(crate) fn superuser(&mut self, email: &str, password: &str) {
        self.dotenv("CORE_POCKETBASE_ADMIN_EMAIL", email);
        self.dotenv("CORE_POCKETBASE_ADMIN_PASSWORD", password);
    }

    /// Runs `up`, which must succeed; returns its document.
    #[track_caller]
    pub(crate) fn up(&self) -> Value {
        self.run("up --json").succeeds().json()
    }

    /// Runs `down`, which must succeed.
    #[track_caller]
    pub(crate) fn down(&self) -> Run {
        self.run("down").succeeds()
    }

    /// Runs `status --json` with any exit code; returns its document.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.run("status --json").json()
    }

    /// Returns the process id of a service's process.
    #[track_caller]
    pub(crate) fn pid(&self, service: &str) -> i32 {
        let status = self.status();
        let pid = &status["services"][service]["processes"][service]["pid"];
        let pid = pid.as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("`{service}` does not run: {status:#}"))
    }

    /// Returns the upstream server below a wrapper: `nats-server` of `nats`.
    #[track_caller]
    pub(crate) fn server(&self, service: &str) -> Proc {
        let wrapper = self.pid(service);
        let program = format!("{service}-server");
        let mut children = processes::children(wrapper).into_iter();
        let found = children.find(|child| child.program == program);
        found.unwrap_or_else(|| panic!("no `{program}` below process {wrapper}"))
    }

    /// Returns the process of process-compose.
    #[track_caller]
    pub(crate) fn supervisor(&self) -> Proc {
        let services = self.status()["services"].clone();
        let services = services
            .as_object()
            .expect("services are an object")
            .clone();
        let mut pids = services.values().flat_map(|service| {
            let processes = service["processes"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            processes
                .into_iter()
                .filter_map(|(_, process)| process["pid"].as_i64())
        });
        let first = pids.next().and_then(|pid| i32::try_from(pid).ok());
        let child = first
            .and_then(processes::find)
            .expect("a process of the stack runs");
        let mut above = processes::find(child.parent).expect("its parent runs");
        if above.program == "probe" {
            above = processes::find(above.parent).expect("the parent of its runner runs");
        }
        assert_eq!(above.program, "process-compose");
        above
    }

    /// Waits until `status` reports that everything is healthy.
    #[track_caller]
    pub(crate) fn wait_healthy(&self) {
        eventually("everything healthy", super::SOON, || {
            (self.run("status").code == 0).then_some(())
        });
    }

    /// Returns everything that is left of the sandbox.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers::find(self.root.parent().unwrap_or(&self.root), &self.ports)
    }

    /// Fails the test unless nothing is left within `limit`.
    #[track_caller]
    pub(crate) fn nothing_is_left_within(&self, limit: Duration) {
        let mut left = Vec::new();
        let gone = within(limit, || {
            left = self.leftovers();
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "left after {limit:?}:\n{}", left.join("\n"));
    }

    /// Fails the test unless nothing was started and no file for the supervisor was written.
    #[track_caller]
    pub(crate) fn nothing_was_started(&self) {
        self.nothing_is_left_within(TRACE_LIMIT);
        let compose = self.path(".core-stack/process-compose.yaml");
        assert!(!compose.exists(), "a file for the supervisor was written");
        assert!(
            !self.path(".core-stack/logs").exists(),
            "the supervisor was started"
        );
    }

    /// Returns the text with paths, ports, process ids and times replaced by words.
    pub(crate) fn normal(&self, text: &str) -> String {
        let dir = self.root.parent().unwrap_or(&self.root);
        let text = text
            .replace(&*self.root.to_string_lossy(), "ROOT")
            .replace(&*dir.to_string_lossy(), "SANDBOX")
            .replace(fake_program(), "FAKE");
        normalise::normalise(&normalise::socket(&text), &self.ports)
    }

    fn tell_logs(&self) {
        let logs = self.path(".core-stack/logs");
        for name in list(&logs) {
            let text = fs::read_to_string(logs.join(&name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(15).collect();
            let lines = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("--- {name}\n{lines}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for name in list(&self.path(INSTANCES)) {
            let down = || self.run(&format!("down --timeout 5 --instance {name}"));
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(down));
        }
        if thread::panicking() {
            self.tell_logs();
            let _ = std::panic::catch_unwind(|| self.run("down --timeout 5"));
            leftovers::kill(self.root.parent().unwrap_or(&self.root));
            return;
        }
        let down = self.run("down");
        let left = within(TRACE_LIMIT, || self.leftovers().is_empty().then_some(()));
        let left = if left.is_none() {
            self.leftovers()
        } else {
            Vec::new()
        };
        if down.code != 0 || !left.is_empty() {
            leftovers::kill(self.root.parent().unwrap_or(&self.root));
            panic!(
                "`down` ended with {}: {}\nleft: {left:#?}",
                down.code, down.stderr
            );
        }
    }
}

fn short_temp() -> PathBuf {
    let temp = std::env::temp_dir();
    if temp.as_os_str().len() <= TEMP_PATH_MAX {
        temp
    } else {
        PathBuf::from("/tmp")
    }
}

/// Returns the directories in `services/` of the checkout.
fn folders() -> Vec<(String, PathBuf)> {
    let services = binaries::checkout().join("services");
    let mut names = list(&services);
    names.sort();
    names
        .into_iter()
        .map(|name| (name.clone(), services.join(name)))
        .collect()
}

pub(super) fn link(original: &Path, link: &Path) {
    symlink(original, link).unwrap_or_else(|error| panic!("`{}`: {error}", link.display()));
}

pub(super) fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_process_that_is_left_fails_the_test_and_is_ended() {
        let sandbox = Sandbox::empty();
        let mut command = Command::new(fake_program());
        sandbox.environment(&mut command);
        let left = Running::spawn("what is left", command);
        let result = catch_unwind(AssertUnwindSafe(|| drop(sandbox)));
        let message = result.expect_err("the test must fail");
        let message = message
            .downcast_ref::<String>()
            .expect("a panic has a message");
        let named = format!("process {} `{}` runs in it", left.pid(), fake_program());
        assert!(message.contains(&named), "{message}");
        assert_eq!(left.wait().code, 128 + 9, "it was killed");
    }

    #[test]
    fn a_port_that_is_listened_on_is_found() {
        let mut sandbox = Sandbox::empty();
        let port = sandbox.spare_port("spare");
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free");
        let expected = format!("port {port} (spare) is still listened on");
        assert_eq!(sandbox.leftovers(), [expected]);
        drop(listener);
        assert_eq!(sandbox.leftovers(), [""; 0]);
    }
}
