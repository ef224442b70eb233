//! The ports of the stack and who holds them: on IPv4, on IPv6 and on all addresses.
//!
//! Must not listen: a server that is just starting would find its port taken.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

use listeners::{Protocol, SocketState};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use super::check::{Check, Id, or_ok};
use super::scene::Scene;
use crate::stack::{Port, Process, Stack, port_variable};
use crate::supervisor::alive;

/// A program that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) program: String,
    pub(super) address: IpAddr,
    /// Whether it is part of this instance.
    pub(super) ours: bool,
    /// Where it runs, where that may be seen: another checkout is known by it.
    pub(super) directory: Option<PathBuf>,
}

/// What was seen of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) holders: Vec<Holder>,
    /// Why nobody could listen on 127.0.0.1.
    pub(super) v4_refused: Option<String>,
    /// Whether somebody listens on `::1`.
    pub(super) v6_taken: bool,
}

/// A port of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The process that listens there.
    pub(super) process: String,
    /// The number, and where it was chosen.
    pub(super) port: Port,
    /// The variable that chooses another one.
    pub(super) variable: Option<String>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let id = Id::Ports;
    let Some(stack) = scene.relevant_stack() else {
        let why = "which they are is not known: manifests or `.env` cannot be read";
        return vec![Check::skipped(id, why)];
    };
    let wanted = wanted(&stack);
    let ours = match alive::holders(&scene.paths().alive_lock()) {
        Ok(holders) => holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(),
        Err(error) => return vec![Check::failed(id, &error)],
    };
    let listening = listening(&wanted, &ours);
    let findings = wanted.iter().filter_map(|wanted| {
        let holders = listening
            .iter()
            .filter(|(port, _)| *port == wanted.port.port);
        judge(
            wanted,
            &look(wanted.port.port, holders.map(|(_, h)| h.clone()).collect()),
        )
    });
    let found = format!("{} are free or held by this stack", wanted.len());
    or_ok(findings.collect(), id, found)
}

fn wanted(stack: &Stack) -> Vec<Wanted> {
    let enabled = |(_, process): &(&String, &Process)| !process.disabled;
    let mut wanted = Vec::new();
    for (name, process) in stack.processes.iter().filter(enabled) {
        for (port_name, port) in &process.ports {
            // The ports of further nodes of a service have no variables.
            let own = *name == process.service;
            wanted.push(Wanted {
                process: name.clone(),
                port: port.clone(),
                variable: own.then(|| port_variable(name, port_name)),
            });
        }
    }
    wanted
}

/// Everybody who may be seen listening on one of these ports.
fn listening(wanted: &[Wanted], ours: &[i32]) -> Vec<(u16, Holder)> {
    let all = listeners::get_all().unwrap_or_default();
    let mut found = Vec::new();
    for listener in all {
        let port = listener.socket.port();
        let listens = listener.protocol == Protocol::TCP && listener.state == SocketState::Listen;
        if !listens || !wanted.iter().any(|wanted| wanted.port.port == port) {
            continue;
        }
        let pid = i32::try_from(listener.process.pid).unwrap_or_default();
        let holder = Holder {
            pid,
            program: listener.process.name,
            address: listener.socket.ip(),
            ours: ours.contains(&pid),
            directory: fs::read_link(format!("/proc/{pid}/cwd")).ok(),
        };
        found.push((port, holder));
    }
    found.sort_by_key(|(port, holder)| (*port, holder.pid, holder.address));
    found
}

fn look(port: u16, holders: Vec<Holder>) -> Seen {
    let v6 = refusal(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0).into());
    Seen {
        holders,
        v4_refused: refusal(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())
            .map(|error| io::Error::from(error).to_string()),
        // A machine without IPv6 refuses otherwise.
        v6_taken: v6 == Some(rustix::io::Errno::ADDRINUSE),
    }
}

/// Why an address cannot be bound. It is bound as servers do, so that connections which are just
/// ending do not count, and not listened on, so that nobody is in the way of anybody.
fn refusal(address: SocketAddr) -> Option<rustix::io::Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let attempt = || {
        let socket = socket(family, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        bind(&socket, &address)
    };
    attempt().err()
}

pub(super) fn judge(wanted: &Wanted, seen: &Seen) -> Option<Check> {
    let Wanted {
        process,
        port,
        variable,
    } = wanted;
    let strangers: Vec<&Holder> = seen.holders.iter().filter(|holder| !holder.ours).collect();
    let ours = strangers.len() < seen.holders.len();
    let v4 = |holder: &&Holder| {
        holder.address.is_ipv4()
            && (holder.address.is_loopback() || holder.address.is_unspecified())
    };
    let blocked = strangers.iter().any(v4) || seen.v4_refused.is_some() && !ours;
    let elsewhere = !strangers.is_empty() || seen.v6_taken && !ours;
    if !blocked && !elsewhere {
        return None;
    }
    let by = if strangers.is_empty() {
        match &seen.v4_refused {
            Some(error) if !error.contains("in use") => error.clone(),
            _ => "a program that cannot be seen from here".to_owned(),
        }
    } else {
        let strangers = strangers.iter().map(|holder| describe(holder, port.port));
        strangers.collect::<Vec<_>>().join(", ")
    };
    let place = format!("port {} of `{process}` ({})", port.port, port.declared);
    let check = if blocked {
        Check::error(Id::Ports, format!("{place} is taken by {by}"))
    } else {
        let found = format!("{place} is free on 127.0.0.1, but `localhost` may lead to {by}");
        Check::warning(Id::Ports, found)
    };
    Some(check.fix(match variable {
        Some(variable) => {
            format!("end that program, or choose another port in `.env`: {variable}=NUMBER")
        }
        None => "end that program".to_owned(),
    }))
}

fn describe(holder: &Holder, port: u16) -> String {
    let Holder {
        pid,
        program,
        address,
        ..
    } = holder;
    let mut text = format!(
        "`{program}` (pid {pid}) at {}",
        SocketAddr::new(*address, port)
    );
    if let Some(directory) = &holder.directory {
        let _ = write!(text, ", run in `{}`", directory.display());
    }
    text
}
