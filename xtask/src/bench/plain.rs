//! A warm `up` against the bare servers and against plain process-compose.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::http::Endpoint;
use serde_json::{Value, json};

use super::bare;
use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::servers::{self, Server};
use super::timing::{median, millis, run};
use engine::base::interrupt::Interrupt;
use engine::base::poll::{holds_by, wait_until};
use engine::checkout::context::Ctx;
use engine::plan::stack::words;
use engine::supervisor::BINARY;
use engine::supervisor::client::Client;
use engine::supervisor::launch;
use engine::supervisor::state::Phase;

/// How long a supervisor may take until all its processes are ready, and to exit.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Poll interval.
const POLL: Duration = Duration::from_millis(5);

/// Adds the rows of a warm start and of a stop.
pub(super) fn stack(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    // The first start creates data directories and validates: the measured starts are warm.
    run(&mut sandbox.xtask(&["up"]))?;
    let servers = servers::read(sandbox.ctx())?;
    run(&mut sandbox.xtask(&["down"]))?;
    let (mut ours, mut bare, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(run(&mut sandbox.xtask(&["up"]))?);
        run(&mut sandbox.xtask(&["down"]))?;
        bare.push(bare::run(&servers)?);
        plain.push(until_ready(sandbox.ctx(), &compose(&servers)?)?);
    }
    let (ours, bare, plain) = (median(ours), median(bare), median(plain));
    let against = "the three bare servers, one after the other";
    report.compare("warm `cargo xtask up`", against, (ours, bare), (3.0, 0.0));
    let against = "plain process-compose, http_get probes of period 1 s, a seventh of it";
    report.compare(
        "warm `cargo xtask up`",
        against,
        (ours, plain),
        (1.0 / 7.0, 0.0),
    );
    Ok(())
}

/// Returns the file that a user would write: the same servers, declared probes.
fn compose(servers: &[Server]) -> anyhow::Result<Value> {
    let mut processes = serde_json::Map::new();
    let mut before: Option<&str> = None;
    for server in servers {
        let (endpoint, path) = Endpoint::from_url(&server.url).context("not a URL")?;
        let Endpoint::Tcp { host, port } = endpoint else {
            bail!("not a TCP address")
        };
        let env: Vec<String> = server.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let depends_on = before.map_or_else(
            || json!({}),
            |name| json!({name: {"condition": "process_healthy"}}),
        );
        processes.insert(
            server.name.clone(),
            json!({
                "command": format!("exec {}", words::join(&server.command)),
                "working_dir": server.directory,
                "environment": env,
                "depends_on": depends_on,
                "readiness_probe": {
                    "http_get": {"host": host, "port": port.to_string(), "path": path},
                    "period_seconds": 1
                }
            }),
        );
        before = Some(&server.name);
    }
    Ok(json!({"processes": processes}))
}

/// Runs plain process-compose on a file and returns the milliseconds until all was ready.
pub(super) fn until_ready(ctx: &Ctx, compose: &Value) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let file = directory.path().join("process-compose.yaml");
    // JSON is YAML, too.
    std::fs::write(&file, compose.to_string()).context("cannot write a compose file")?;
    let socket = directory.path().join("s");
    let client = Client::new(socket.clone())?;
    let begun = Instant::now();
    let mut supervisor = Supervisor {
        child: spawn(ctx, directory.path(), &file, &socket)?,
    };
    let count = compose["processes"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    let is_ready = || {
        let states = socket.exists().then(|| client.processes().ok()).flatten();
        states.is_some_and(|states| {
            states.len() == count && states.values().all(|state| state.phase() == Phase::Ready)
        })
    };
    let result = if holds_by(begun + TIMEOUT, POLL, is_ready) {
        Ok(millis(begun))
    } else {
        Err(anyhow::anyhow!(
            "plain process-compose was not ready in time"
        ))
    };
    let _ = client.stop_project();
    supervisor.wait()?;
    result
}

struct Supervisor {
    child: Child,
}

impl Supervisor {
    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        let ended = wait_until(deadline, POLL, &Interrupt::default(), || {
            self.child.try_wait()
        });
        let ended = ended.context("cannot wait for process-compose")?;
        if ended.done().is_none() {
            self.child.kill().context("cannot end process-compose")?;
            let ended = self.child.wait();
            ended.context("cannot wait for process-compose")?;
        }
        Ok(())
    }
}

fn spawn(ctx: &Ctx, directory: &Path, file: &Path, socket: &Path) -> anyhow::Result<Child> {
    Command::new(ctx.paths.dep().join(BINARY))
        .args(launch::ARGUMENTS)
        .arg("-U")
        .arg("--unix-socket")
        .arg(socket)
        .arg("-L")
        .arg(directory.join("log"))
        .arg("-f")
        .arg(file)
        .current_dir(ctx.paths.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start process-compose")
}
