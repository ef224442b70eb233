//! A routed service: what finding its route costs, and how soon it comes and goes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::base::interrupt::Interrupt;
use engine::base::poll::{Waited, wait_until};
use serde_json::{Value, json};

use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, millis, run};
use engine::checkout::context::Ctx;

/// How much longer a request may take than one whose route stands in the configuration.
const LATENCY_FACTOR: f64 = 1.5;
/// The time for a number of requests over many connections, likewise: 0.8 times as many a second.
const LOAD_FACTOR: f64 = 1.25;
/// How long a route may take to come or go, in milliseconds.
const CHANGE_LIMIT: f64 = 200.0;
/// Requests of one measurement with one connection.
const REQUESTS: usize = 1000;
/// Connections under load, and requests of each.
const CONNECTIONS: usize = 16;
const REQUESTS_EACH: usize = 400;
/// How long the server beside the stack may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(10);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The path of the service.
const PATH: &str = "/routed/x";

/// Adds the rows of routes.
pub(super) fn routes(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(ctx)?;
    let service = Service::new(&sandbox)?;
    service.write(&["/routed"])?;
    run(&mut sandbox.xtask(&["up"]))?;
    let front = sandbox.port("caddy", "http")?;
    let fixed = Fixed::start(&sandbox, service.port)?;
    let (mut routed, mut direct) = (Vec::new(), Vec::new());
    let (mut routed_load, mut direct_load) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        routed.push(latency(front)?);
        direct.push(latency(fixed.port)?);
        routed_load.push(load(front)?);
        direct_load.push(load(fixed.port)?);
    }
    report.compare(
        "request by a route, one connection",
        "route in the configuration",
        (median(routed), median(direct)),
        (LATENCY_FACTOR, 0.0),
    );
    report.compare(
        "6,400 requests by a route, 16 connections",
        "route in the configuration",
        (median(routed_load), median(direct_load)),
        (LOAD_FACTOR, 0.0),
    );
    changes(&sandbox, &service, front, runs, report)
}

/// Measures changes of routes while requests pass.
fn changes(
    sandbox: &Sandbox,
    service: &Service<'_>,
    front: u16,
    runs: usize,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let (over, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    let times = thread::scope(|scope| {
        let pass_requests = || {
            while !over.load(Ordering::Relaxed) {
                if latency_of(front, 1).is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let client = thread::Builder::new().spawn_scoped(scope, pass_requests);
        client.context("cannot start a client")?;
        let mut times = Vec::new();
        for index in 0..runs * 2 {
            let routes: &[&str] = if index % 2 == 0 {
                &["/routed", "/another"]
            } else {
                &["/routed"]
            };
            let changed = service
                .write(routes)
                .and_then(|()| run(&mut sandbox.direct(&["reload"])?));
            times.push(changed);
        }
        over.store(true, Ordering::Relaxed);
        times.into_iter().collect::<anyhow::Result<Vec<f64>>>()
    })?;
    report.figure(
        "`reload` that adds or removes a route",
        "ms",
        median(times),
        Some(CHANGE_LIMIT),
    );
    let failed = failed.load(Ordering::Relaxed);
    report.count("requests that failed meanwhile", failed);
    Ok(())
}

/// A service of the sandbox: another Caddy that answers by itself.
struct Service<'a> {
    sandbox: &'a Sandbox,
    port: u16,
}

impl<'a> Service<'a> {
    fn new(sandbox: &'a Sandbox) -> anyhow::Result<Self> {
        let services = sandbox.root().join("services");
        let shared = fs::canonicalize(&services).context("cannot find the services")?;
        fs::remove_file(&services).context("cannot replace the link to the services")?;
        fs::create_dir(&services).context("cannot make a folder")?;
        for entry in fs::read_dir(shared).context("cannot list the services")? {
            let entry = entry.context("cannot list the services")?;
            symlink(entry.path(), services.join(entry.file_name())).context("cannot link")?;
        }
        fs::create_dir(services.join("routed")).context("cannot make a service")?;
        let port = free_port()?;
        let server = json!({
            "listen": [format!("127.0.0.1:{port}")],
            "protocols": ["h1"],
            "automatic_https": {"disable": true},
            "routes": [{"handle": [{"handler": "static_response", "body": "ok"}]}],
        });
        let config = json!({
            "admin": {"disabled": true},
            "apps": {"http": {"servers": {"routed": server}}},
        });
        write(&services.join("routed/caddy.json"), &config)?;
        Ok(Self { sandbox, port })
    }

    /// Writes its manifest with these paths as routes.
    fn write(&self, paths: &[&str]) -> anyhow::Result<()> {
        let routes = paths
            .iter()
            .map(|path| json!({"path": path, "port": "http"}));
        let manifest = json!({
            "process": {
                "command": ".dep/caddy-server run --config services/routed/caddy.json",
                "compose": {"readiness_probe": {"http_get": {"port": "${port.http}"}}},
            },
            "ports": {"http": {"port": self.port, "protocol": "http"}},
            "routes": routes.collect::<Vec<_>>(),
        });
        let file = self.sandbox.root().join("services/routed/service.json");
        write(&file, &manifest)
    }
}

/// A Caddy with the configuration of the stack, in which the route of the service stands.
struct Fixed {
    process: Child,
    port: u16,
}

impl Fixed {
    fn start(sandbox: &Sandbox, upstream: u16) -> anyhow::Result<Self> {
        let state = sandbox.ctx().paths.state().join("caddy");
        let text = fs::read_to_string(state.join("caddy.json")).context("cannot read Caddy's")?;
        let mut config: Value = serde_json::from_str(&text).context("it is no JSON")?;
        let port = free_port()?;
        config["admin"] = json!({"disabled": true});
        let log = sandbox.root().join("fixed.log").display().to_string();
        config["logging"]["logs"]["access"]["writer"]["filename"] = json!(log);
        let server = &mut config["apps"]["http"]["servers"]["core"];
        server["listen"] = json!([format!("127.0.0.1:{port}")]);
        let routes = server["routes"]
            .as_array_mut()
            .context("it has no routes")?;
        let found = routes.iter_mut().find(|route| route["@id"] == "routes");
        *found.context("it has no routes of services")? = json!({
            "match": [{"path": ["/routed", "/routed/*"]}],
            "handle": [{
                "handler": "reverse_proxy",
                "upstreams": [{"dial": format!("localhost:{upstream}")}],
                "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 256}},
            }],
            "terminal": true,
        });
        let file = sandbox.root().join("fixed.json");
        write(&file, &config)?;
        let process = Command::new(sandbox.root().join(".dep/caddy-server"))
            .args(["run", "--config"])
            .arg(file)
            .current_dir(&state)
            .envs([
                ("XDG_DATA_HOME", sandbox.root()),
                ("XDG_CONFIG_HOME", sandbox.root()),
            ])
            .env("GOGC", "200")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Caddy")?;
        let fixed = Self { process, port };
        let deadline = Instant::now() + START_TIMEOUT;
        let answers = || anyhow::Ok(latency_of(port, 1).ok());
        match wait_until(deadline, START_POLL, &Interrupt::default(), answers)? {
            Waited::Done(_) => Ok(fixed),
            Waited::Deadline | Waited::Interrupted(_) => {
                bail!("the Caddy beside the stack is silent")
            }
        }
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(file: &Path, text: &Value) -> anyhow::Result<()> {
    fs::write(file, text.to_string()).with_context(|| format!("cannot write `{}`", file.display()))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr().context("no free port")?.port())
}

/// Returns the median duration of a request, in milliseconds.
fn latency(port: u16) -> anyhow::Result<f64> {
    latency_of(port, REQUESTS).map(median)
}

/// Returns the milliseconds that many requests take, over many connections.
fn load(port: u16) -> anyhow::Result<f64> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let client = || {
            let client = thread::Builder::new();
            client.spawn_scoped(scope, || latency_of(port, REQUESTS_EACH))
        };
        let clients: Result<Vec<_>, _> = (0..CONNECTIONS).map(|_| client()).collect();
        let mut clients = clients.context("cannot start a client")?.into_iter();
        clients.try_for_each(|client| match client.join() {
            Ok(times) => times.map(drop),
            Err(_) => bail!("a client panicked"),
        })
    })?;
    Ok(millis(begun))
}

/// Sends requests one after the other over one connection; returns the milliseconds of each.
fn latency_of(port: u16, count: usize) -> anyhow::Result<Vec<f64>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect to Caddy")?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            bail!("Caddy answered `{}`", line.trim());
        }
        while line.trim() != "" {
            line.clear();
            stream.read_line(&mut line)?;
            if let Some(text) = line.strip_prefix("Content-Length:") {
                length = text.trim().parse().context("the answer has no length")?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        times.push(millis(begun));
    }
    Ok(times)
}
