//! The ports of a stack: their numbers, their sources, and the programs that listen on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};

use serde::Serialize;

use crate::SCHEMA_VERSION;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::plan::stack::Stack;
use crate::supervisor::ours;

/// The report of `ports`.
#[derive(Debug, Serialize)]
pub struct Ports {
    /// Version of this document.
    pub schema_version: u32,
    /// Whether the stack is running: then these are its ports, despite later edits.
    pub running: bool,
    /// All ports, by process and name.
    pub ports: Vec<PortReport>,
}

/// One port.
#[derive(Debug, Serialize)]
pub struct PortReport {
    /// The process that listens, or would.
    pub process: String,
    /// Its service.
    pub service: String,
    /// The name of the port.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: String,
    /// The address it listens on.
    #[serde(skip)]
    pub listen: IpAddr,
    /// The source of the number: a place in a manifest, or a variable.
    pub declared: String,
    /// Whether a program listens.
    pub state: PortState,
    /// The program that listens, if it does not belong to this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Listener>,
}

/// The state of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// No program listens.
    Free,
    /// This stack listens.
    Ours,
    /// Another program listens.
    Taken,
}

/// A program that listens.
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// Its process id, unless it belongs to another user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name, unless it belongs to another user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// Checks the ports of the running stack, or of the one that would run. `ctx` needs no `.env` if a
/// stack is running.
pub fn ports(ctx: &Ctx) -> anyhow::Result<Ports> {
    let applied = Applied::running(ctx)?;
    let running = applied.is_some();
    let stack = match applied {
        Some(applied) => applied.stack,
        None => Inputs::load(&ctx.with_dotenv()?)?.stack,
    };
    let mut ports = declared(&stack);
    let taken = |port: &&mut PortReport| TcpListener::bind((port.listen, port.port)).is_err();
    let taken: Vec<&mut PortReport> = ports.iter_mut().filter(taken).collect();
    if !taken.is_empty() {
        let listeners = listeners();
        for port in taken {
            let found = listeners.get(&port.port).map_or(&[][..], Vec::as_slice);
            let is_ours = |pid: u32| {
                running && i32::try_from(pid).is_ok_and(|pid| ours::is_ours(&ctx.paths, pid))
            };
            if found.iter().filter_map(|holder| holder.pid).any(is_ours) {
                port.state = PortState::Ours;
            } else {
                port.state = PortState::Taken;
                let unseen = Listener {
                    pid: None,
                    program: None,
                };
                port.holder = Some(found.first().cloned().unwrap_or(unseen));
            }
        }
    }
    Ok(Ports {
        schema_version: SCHEMA_VERSION,
        running,
        ports,
    })
}

fn declared(stack: &Stack) -> Vec<PortReport> {
    let mut reports = Vec::new();
    for (process_name, process) in &stack.processes {
        for (name, port) in &process.ports {
            reports.push(PortReport {
                process: process_name.clone(),
                service: process.service.clone(),
                name: name.clone(),
                port: port.port,
                protocol: port.protocol.clone().unwrap_or_else(|| "tcp".to_owned()),
                listen: port.listen,
                declared: port.declared.replace('`', ""),
                state: PortState::Free,
                holder: None,
            });
        }
    }
    reports
}

/// Returns the visible listeners of each port of this machine, by a single scan.
fn listeners() -> BTreeMap<u16, Vec<Listener>> {
    let mut found: BTreeMap<u16, Vec<Listener>> = BTreeMap::new();
    for listener in listeners::get_all().unwrap_or_default() {
        if listener.protocol == listeners::Protocol::TCP {
            let holder = Listener {
                pid: Some(listener.process.pid),
                program: Some(listener.process.name),
            };
            found
                .entry(listener.socket.port())
                .or_default()
                .push(holder);
        }
    }
    found
}
