//! A warm `up` and `down` against other supervisors with the same servers, one after the other by
//! loops of curl.
//!
//! Owns what a user of each would write. What is not here is fetched by pip into a directory that
//! is removed; a peer that cannot be obtained is named, and fails nothing.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::base::interrupt::Interrupt;
use engine::base::poll::{holds_by, wait_until};
use engine::base::tool;
use engine::checkout::context::Ctx;
use engine::plan::stack::words;
use engine::supervisor::BINARY;
use engine::supervisor::launch;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Map, json};

use super::bare;
use super::report::BenchReport;
use super::sandbox::{Sandbox, tempdir};
use super::servers::{self, Server};
use super::timing::{median, millis, run};

/// How long pip may take.
const FETCH_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a peer may take to end: each kills what does not end within 10 s.
const END_TIMEOUT: Duration = Duration::from_mins(1);
/// Poll interval of an end.
const POLL: Duration = Duration::from_millis(1);
/// The packages of pip, by name and version.
const PACKAGES: [(&str, &str); 2] = [("honcho", "2.0.0"), ("supervisor", "4.3.0")];

/// A peer: its name, and the command that runs the servers in the foreground.
struct Peer {
    name: &'static str,
    command: Vec<String>,
    healthy: Vec<f64>,
    end: Vec<f64>,
}

impl Peer {
    fn new(name: &'static str, command: Vec<String>) -> Self {
        let (healthy, end) = (Vec::new(), Vec::new());
        Self {
            name,
            command,
            healthy,
            end,
        }
    }
}

/// Adds the rows of each peer that can be obtained.
pub(super) fn peers(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    run(&mut sandbox.xtask(&["up"]))?;
    let servers = servers::read(sandbox.ctx())?;
    run(&mut sandbox.xtask(&["down"]))?;
    let directory = tempdir()?;
    let mut peers = vec![process_compose(sandbox.ctx(), directory.path(), &servers)?];
    for (package, version) in PACKAGES {
        match fetch(directory.path(), package, version) {
            Ok(bin) if package == "honcho" => {
                peers.push(honcho(directory.path(), &bin, &servers)?);
            }
            Ok(bin) => peers.push(supervisord(directory.path(), &bin, &servers)?),
            Err(why) => ctx.ui.line(format!("{package}: not measured: {why:#}")),
        }
    }
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        up.push(run(&mut sandbox.xtask(&["up"]))?);
        down.push(run(&mut sandbox.xtask(&["down"]))?);
        for peer in &mut peers {
            measure(peer, directory.path(), &servers)?;
        }
    }
    let (up, down) = (median(up), median(down));
    for peer in peers {
        let against = format!("{}, loops of curl", peer.name);
        let figures = (up, median(peer.healthy));
        report.add("warm `cargo xtask up`", &against, "ms", figures, None);
        let against = format!("the end of {}, not proven", peer.name);
        let figures = (down, median(peer.end));
        report.add("`down`, proven", &against, "ms", figures, None);
    }
    Ok(())
}

/// Starts the servers by a peer until all answer, and ends it.
fn measure(peer: &mut Peer, directory: &Path, servers: &[Server]) -> anyhow::Result<()> {
    let runtime = kit::runtime::current_thread()?;
    let begun = Instant::now();
    let mut running = Running(spawn(peer, directory)?);
    for server in servers {
        let healthy = runtime.block_on(bare::healthy(server));
        healthy.with_context(|| format!("started by {}", peer.name))?;
    }
    peer.healthy.push(millis(begun));
    let begun = Instant::now();
    running.end(peer.name)?;
    peer.end.push(millis(begun));
    let is_gone = || {
        let answers = |server: &Server| runtime.block_on(bare::answers(server));
        !servers.iter().any(answers)
    };
    if !holds_by(Instant::now() + END_TIMEOUT, POLL, is_gone) {
        bail!("{} left a server behind", peer.name);
    }
    Ok(())
}

fn spawn(peer: &Peer, directory: &Path) -> anyhow::Result<Child> {
    Command::new(&peer.command[0])
        .args(&peer.command[1..])
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{}`", peer.name))
}

/// A peer that runs, in a process group of its own.
struct Running(Child);

impl Running {
    fn end(&mut self, name: &str) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).context("cannot end it")?;
        let deadline = Instant::now() + END_TIMEOUT;
        let ended = wait_until(deadline, POLL, &Interrupt::default(), || self.0.try_wait());
        let ended = ended.with_context(|| format!("cannot wait for `{name}`"))?;
        ended
            .done()
            .map(drop)
            .with_context(|| format!("`{name}` did not end within {END_TIMEOUT:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // After an error: in order if possible.
            if self.end("a peer").is_err() {
                let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
                let _ = self.0.wait();
            }
        }
    }
}

/// Has pip install a package, and returns the directory of its programs.
fn fetch(directory: &Path, package: &str, version: &str) -> anyhow::Result<PathBuf> {
    let environment = directory.join(package);
    let bin = environment.join("bin");
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&environment);
    let mut install = Command::new(bin.join("python"));
    let options = ["--quiet", "--disable-pip-version-check", "--retries", "1"];
    install.args(["-m", "pip", "install"]).args(options);
    install.arg(format!("{package}=={version}"));
    for command in [&mut create, &mut install] {
        command.stdin(Stdio::null());
        let finished = tool::run(command, FETCH_TIMEOUT, &AtomicBool::new(false), &|_| {})?;
        if !finished.success() {
            let last = finished.tail.last().map_or("no reason", String::as_str);
            bail!("{}: {last}", finished.summary());
        }
    }
    Ok(bin)
}

/// Returns a loop that ends when a server is healthy.
fn until_healthy(server: &Server) -> String {
    let url = words::join(std::slice::from_ref(&server.url));
    format!("until curl --silent --fail --output /dev/null {url}; do sleep 0.02; done")
}

/// Writes a program that becomes a server, after the one `before` it is healthy.
fn script(
    directory: &Path,
    server: &Server,
    before: Option<&Server>,
) -> anyhow::Result<Vec<String>> {
    let quote = |text: String| words::join(&[text]);
    let mut lines = vec![format!(
        "cd {}",
        quote(server.directory.display().to_string())
    )];
    let variables = server.env.iter();
    lines.extend(variables.map(|(name, value)| format!("export {name}={}", quote(value.clone()))));
    lines.extend(before.map(until_healthy));
    lines.push(format!("exec {}\n", words::join(&server.command)));
    let kind = if before.is_some() { "after" } else { "alone" };
    let file = directory.join(format!("{}-{kind}.sh", server.name));
    fs::write(&file, lines.join("\n")).context("cannot write a script")?;
    Ok(vec!["/bin/sh".to_owned(), file.display().to_string()])
}

/// Returns the command of each server, which waits for the one before it.
fn scripts(directory: &Path, servers: &[Server]) -> anyhow::Result<Vec<(String, String)>> {
    let befores = std::iter::once(None).chain(servers.iter().map(Some));
    let scripts = servers.iter().zip(befores).map(|(server, before)| {
        let command = script(directory, server, before)?;
        Ok((server.name.clone(), words::join(&command)))
    });
    scripts.collect()
}

fn process_compose(ctx: &Ctx, directory: &Path, servers: &[Server]) -> anyhow::Result<Peer> {
    let mut processes = Map::new();
    let mut before: Option<&Server> = None;
    for server in servers {
        let depends_on = before.map_or_else(
            || json!({}),
            |before| json!({&before.name: {"condition": "process_healthy"}}),
        );
        let command = words::join(&script(directory, server, None)?);
        let probe = json!({"exec": {"command": until_healthy(server)}, "timeout_seconds": 60});
        let entry = json!({"command": format!("exec {command}"), "depends_on": depends_on,
            "readiness_probe": probe});
        processes.insert(server.name.clone(), entry);
        before = Some(server);
    }
    let file = directory.join("process-compose.yaml");
    let text = json!({"processes": processes}).to_string();
    fs::write(&file, text).context("cannot write a file")?;
    let path = |path: PathBuf| path.display().to_string();
    let mut command = vec![path(ctx.paths.dep().join(BINARY))];
    command.extend(launch::ARGUMENTS.map(str::to_owned));
    let socket = path(directory.join("s"));
    let log = path(directory.join("log"));
    command.extend(["-U", "--unix-socket", &socket, "-L", &log].map(str::to_owned));
    command.extend(["-f".to_owned(), path(file)]);
    Ok(Peer::new("process-compose", command))
}

fn honcho(directory: &Path, bin: &Path, servers: &[Server]) -> anyhow::Result<Peer> {
    let scripts = scripts(directory, servers)?;
    let lines = scripts
        .iter()
        .map(|(name, command)| format!("{name}: exec {command}\n"));
    let file = directory.join("Procfile");
    fs::write(&file, lines.collect::<String>()).context("cannot write a file")?;
    let program = bin.join("honcho").display().to_string();
    let file = file.display().to_string();
    let command = [&program, "start", "-f", &file].map(str::to_owned);
    Ok(Peer::new("honcho", command.to_vec()))
}

fn supervisord(directory: &Path, bin: &Path, servers: &[Server]) -> anyhow::Result<Peer> {
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\n",
        directory.join("pid").display()
    );
    for (name, command) in scripts(directory, servers)? {
        let logs = "stdout_logfile=NONE\nstderr_logfile=NONE";
        writeln!(
            text,
            "[program:{name}]\ncommand={command}\nstartsecs=0\n{logs}"
        )
        .context("cannot write a file")?;
    }
    let file = directory.join("supervisord.conf");
    fs::write(&file, text).context("cannot write a file")?;
    let program = bin.join("supervisord").display().to_string();
    let file = file.display().to_string();
    let command = [&program, "-c", &file].map(str::to_owned);
    Ok(Peer::new("supervisord", command.to_vec()))
}
