//! Services in other languages, as users write them, for the tests and the benchmark of a stop.
//! They are in `xtask/tests/e2e/programs`.
//!
//! Each answers `PID GENERATION` on its port, and each of its processes writes its own
//! `/proc/PID/stat` into a directory. This shows which processes exist and which of them run,
//! whatever their names, groups, environments and descriptors, and independently of the code that
//! is tested.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Their directory, below the checkout.
const DIRECTORY: &str = "xtask/tests/e2e/programs";

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Variables of `.env` that the manifests name.
const PIDS: &str = "PIDS";
const LISTENER: &str = "LISTENER";
const GO_CACHE: &str = "GO_CACHE";

/// The variable of `.env` that changes the answer of all of them.
pub const GENERATION: &str = "GENERATION";

/// Their answer by default.
pub const FIRST_GENERATION: &str = "first";

/// A program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name as a service.
    pub name: String,
    /// Its special property.
    pub about: String,
    /// Programs that have to be installed.
    #[serde(default)]
    needs: Vec<String>,
    /// Seconds after which it must be killed, if it ignores SIGTERM.
    #[serde(default)]
    pub ignores_term_seconds: u32,
    process: Value,
}

/// Returns the programs of a checkout.
pub fn all(checkout: &Path) -> anyhow::Result<Vec<Program>> {
    let path = checkout.join(DIRECTORY).join("programs.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{DIRECTORY}/programs.json`"))?;
    serde_json::from_str(&text).with_context(|| format!("`{DIRECTORY}/programs.json` is not valid"))
}

impl Program {
    /// Returns the first program that it needs and that is not installed.
    pub fn missing(&self) -> Option<&str> {
        let needs = self.needs.iter().map(String::as_str);
        needs.into_iter().find(|need| which::which(need).is_err())
    }

    /// Returns the program under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let mut other = self.clone();
        name.clone_into(&mut other.name);
        other
    }

    /// Returns its manifest.
    pub fn manifest(&self) -> Value {
        let mut process = self.process.clone();
        let mut own = json!({
            PIDS: format!("${{env.{PIDS}}}/{}", self.name),
            LISTENER: format!("${{env.{LISTENER}}}"),
            GENERATION: format!("${{env.{GENERATION}:-{FIRST_GENERATION}}}"),
            "PORT": "${port.http}",
        });
        let mut probe = json!({
            "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}},
        });
        for (key, added) in [("env", &mut own), ("compose", &mut probe)] {
            let entries = |value: &Value| value.as_object().cloned().unwrap_or_default();
            let merged: Map<String, Value> = entries(added)
                .into_iter()
                .chain(entries(&process[key]))
                .collect();
            process[key] = Value::Object(merged);
        }
        json!({
            "process": process,
            "ports": {"http": {"port": 20_000, "protocol": "http"}},
        })
    }

    /// Creates the directory of its records below `pids`.
    pub fn records(&self, pids: &Path) -> anyhow::Result<Records> {
        Records::new(pids.join(&self.name))
    }
}

/// Returns the variables that the manifests need from `.env`: the directory of records, the program
/// that listens, which is `cargo xtask`'s, and a cache for Go.
pub fn variables(pids: &Path, listener: &Path, go_cache: &Path) -> BTreeMap<&'static str, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    BTreeMap::from([
        (PIDS, text(pids)),
        (LISTENER, text(listener)),
        (GO_CACHE, text(go_cache)),
    ])
}

/// The records of all processes of one program, past ones included.
#[derive(Debug, Clone)]
pub struct Records {
    directory: PathBuf,
}

impl Records {
    pub(super) fn new(directory: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory).context("cannot make a directory for records")?;
        Ok(Self { directory })
    }

    /// Returns the path of a file beside them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the running ones. Records of others are removed.
    pub fn living(&self) -> anyhow::Result<Vec<i32>> {
        let entries = fs::read_dir(&self.directory).context("cannot list the records")?;
        let mut living = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if is_recorded(pid, &entry.path()) {
                living.push(pid);
            } else {
                let _ = fs::remove_file(entry.path());
            }
        }
        living.sort_unstable();
        Ok(living)
    }

    /// Returns a description of each start during which an earlier process was running.
    pub fn overlaps(&self) -> anyhow::Result<Vec<String>> {
        match fs::read_to_string(self.path("overlaps")) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).context("cannot read the overlaps"),
        }
    }
}

/// Returns the parent of a process.
pub(super) fn parent(pid: i32) -> Option<i32> {
    // Field 4.
    stat(Path::new(&format!("/proc/{pid}/stat")))?
        .get(1)?
        .parse()
        .ok()
}

/// Returns fields 3 and following of `proc_pid_stat(5)`. The name before them, in parentheses, may
/// contain anything.
pub(super) fn stat(path: &Path) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Whether the process that wrote the record is running, and not another one with its pid.
fn is_recorded(pid: i32, record: &Path) -> bool {
    let now = stat(Path::new(&format!("/proc/{pid}/stat")));
    let Some((now, then)) = now.zip(stat(record)) else {
        return false;
    };
    // Field 22 is the start time.
    now.get(19) == then.get(19) && !matches!(now.first().map(String::as_str), Some("Z" | "X"))
}

/// Kills a process that recorded itself.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Writes the record of this process, if the environment requests it. By a rename, so that no
/// reader sees a half.
pub(super) fn record() -> anyhow::Result<()> {
    let Some(directory) = std::env::var_os(PIDS).map(PathBuf::from) else {
        return Ok(());
    };
    let pid = std::process::id();
    let half = directory.join(format!(".{pid}"));
    fs::read("/proc/self/stat")
        .and_then(|stat| fs::write(&half, stat))
        .and_then(|()| fs::rename(&half, directory.join(pid.to_string())))
        .context("cannot write the record of this process")
}

/// Returns which process answers on a port, and its generation; `None` without an answer.
pub fn answer(port: u16) -> Option<(i32, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    let request = format!("GET / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let (pid, generation) = body.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, generation.to_owned()))
}
