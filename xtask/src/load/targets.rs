//! The parts of a running stack that can be put under load, and their addresses.

use std::net::SocketAddr;

use kit::http::Endpoint;
use service_nats::credentials::Login;

use engine::checkout::applied::Applied;
use engine::checkout::paths::Paths;
use engine::checkout::recorded::Recorded;
use engine::plan::stack::{Port, Stack};

/// The servers to put under load, without those that are not running.
#[derive(Debug)]
pub struct Targets {
    pub(super) paths: Paths,
    pub(super) nats: Option<Nats>,
    pub(super) caddy: Option<Endpoint>,
    pub(super) pocketbase: Option<Endpoint>,
}

/// The first server of NATS.
#[derive(Debug, Clone)]
pub(super) struct Nats {
    pub(super) address: SocketAddr,
    pub(super) login: Option<Login>,
}

impl Targets {
    /// Returns those of the running stack, whatever the inputs say now.
    pub fn of_running(paths: &Paths) -> anyhow::Result<Self> {
        let env = Recorded::load(paths)?.env();
        let stack = Applied::load(paths).map(|applied| applied.stack);
        let port = |name, port| stack.as_ref().and_then(|stack| port_of(stack, name, port));
        let login = env.non_empty("NATS_USER").map(|user| Login {
            user: user.to_owned(),
            password: env.get("NATS_PASSWORD").unwrap_or_default().to_owned(),
        });
        let address = |found: Port| found.address();
        Ok(Self {
            paths: paths.clone(),
            nats: port("nats", "client")
                .map(address)
                .map(|address| Nats { address, login }),
            caddy: port("caddy", "http").map(|port| port.endpoint()),
            pocketbase: port("pocketbase", "http").map(|port| port.endpoint()),
        })
    }

    /// Returns the current addresses: the change may have moved a server.
    pub(super) fn now(&self) -> anyhow::Result<Self> {
        Self::of_running(&self.paths)
    }
}

fn port_of(stack: &Stack, process: &str, port: &str) -> Option<Port> {
    let process = stack.processes.get(process)?;
    let port = process.ports.get(port).filter(|_| !process.disabled)?;
    Some(port.clone())
}
