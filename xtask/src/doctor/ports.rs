//! The ports of the stack and their holders: on IPv4, on IPv6 and on all addresses.
//!
//! Must not listen: a server that is just starting would find its port taken.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use listeners::{Protocol, SocketState};
use tokio::net::TcpSocket;

use super::check::{Check, Id, or_ok};
use super::scene::Scene;
use engine::checkout::paths::Paths;
use engine::plan::stack::{Port, Process, Stack, port_variable};
use engine::supervisor::ours;

/// A program that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    pub(super) program: String,
    pub(super) address: IpAddr,
    /// Whether it is part of this instance.
    pub(super) ours: bool,
    /// Its working directory, if visible: it identifies another checkout.
    pub(super) directory: Option<PathBuf>,
}

/// The observed state of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) holders: Vec<Holder>,
    /// Why the wanted address cannot be bound: on 127.0.0.1, or as the service says.
    pub(super) v4_refused: Option<String>,
    /// Whether a program listens on `::1`.
    pub(super) v6_taken: bool,
}

/// A port of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The process that listens there.
    pub(super) process: String,
    /// The number, and where it was configured.
    pub(super) port: Port,
    /// The variable that configures another one.
    pub(super) variable: Option<String>,
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let id = Id::Ports;
    let Some(stack) = scene.relevant_stack() else {
        let why = "which they are is not known: manifests or `.env` cannot be read";
        return vec![Check::skipped(id, why)];
    };
    let wanted = wanted(&stack);
    let seen = look(scene.paths(), &wanted);
    let judged = wanted.iter().zip(&seen);
    let findings = judged.filter_map(|(wanted, seen)| judge(wanted, seen));
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

/// Observes each port. A stack may be starting or stopping meanwhile: our processes are listed
/// before and after, and a port counts as refused if it is so before and after.
fn look(paths: &Paths, wanted: &[Wanted]) -> Vec<Seen> {
    let refusals = || -> Vec<Refusals> {
        let ports = wanted.iter().map(|wanted| &wanted.port);
        ports
            .map(|port| Refusals::of(port.listen, port.port))
            .collect()
    };
    let before = refusals();
    let mut ours = ours::all(paths);
    let users = users(wanted);
    ours.extend(ours::all(paths));
    let after = refusals();
    let see = |((wanted, before), after): ((&Wanted, Refusals), Refusals)| {
        let v4_refused = after.v4.filter(|_| before.v4.is_some());
        let of = |state: fn(SocketState) -> bool| -> Vec<Holder> {
            let users = users.iter();
            let users = users.filter(|user| user.port == wanted.port.port && state(user.state));
            let holders = users.map(|user| user.holder.clone());
            let is_ours = |pid| ours.iter().any(|own| own.pid == pid) || ours::is_ours(paths, pid);
            holders
                .map(|holder| Holder {
                    ours: is_ours(holder.pid),
                    ..holder
                })
                .collect()
        };
        let mut holders = of(|state| state == SocketState::Listen);
        if holders.is_empty() && v4_refused.is_some() {
            // The kernel may have given the port to an outgoing connection.
            holders = of(|_| true);
        }
        Seen {
            holders,
            v4_refused: v4_refused.map(|error| error.to_string()),
            v6_taken: before.v6_taken && after.v6_taken,
        }
    };
    wanted.iter().zip(before).zip(after).map(see).collect()
}

/// A socket with one of these ports.
struct User {
    port: u16,
    state: SocketState,
    holder: Holder,
}

/// Returns all visible users of these ports.
fn users(wanted: &[Wanted]) -> Vec<User> {
    let all = listeners::get_all().unwrap_or_default();
    let mut found = Vec::new();
    for listener in all {
        let port = listener.socket.port();
        let is_wanted = wanted.iter().any(|wanted| wanted.port.port == port);
        if listener.protocol != Protocol::TCP || !is_wanted {
            continue;
        }
        let pid = i32::try_from(listener.process.pid).unwrap_or_default();
        found.push(User {
            port,
            state: listener.state,
            holder: Holder {
                pid,
                program: listener.process.name,
                address: listener.socket.ip(),
                ours: false,
                directory: fs::read_link(format!("/proc/{pid}/cwd")).ok(),
            },
        });
    }
    found.sort_by_key(|user| (user.port, user.holder.pid, user.holder.address));
    found
}

/// The addresses that cannot be bound now.
struct Refusals {
    /// The wanted one.
    v4: Option<io::Error>,
    /// A machine without IPv6 returns another error.
    v6_taken: bool,
}

impl Refusals {
    fn of(listen: IpAddr, port: u16) -> Self {
        let v6 = refusal((Ipv6Addr::LOCALHOST, port).into());
        Self {
            v4: refusal((listen, port).into()),
            v6_taken: v6.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse),
        }
    }
}

/// Returns why an address cannot be bound.
fn refusal(address: SocketAddr) -> Option<io::Error> {
    bind(address).err()
}

/// Binds an address as servers do, so that closing connections do not count, but does not listen on
/// it, so that it blocks no server.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(super) fn judge(wanted: &Wanted, seen: &Seen) -> Option<Check> {
    let Wanted {
        process,
        port,
        variable,
    } = wanted;
    let strangers: Vec<&Holder> = seen.holders.iter().filter(|holder| !holder.ours).collect();
    let ours = strangers.len() < seen.holders.len();
    let in_the_way = |holder: &&Holder| {
        holder.address.is_ipv4() == port.listen.is_ipv4()
            && (holder.address == port.listen
                || holder.address.is_unspecified()
                || port.listen.is_unspecified())
    };
    let blocked = strangers.iter().any(in_the_way) || seen.v4_refused.is_some() && !ours;
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
        let found = format!(
            "{place} is free on {}, but `localhost` may lead to {by}",
            port.listen
        );
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn looking_at_a_port_sees_a_listener_and_is_in_nobodys_way() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let refused = || Refusals::of(address.ip(), address.port()).v4;
        assert!(refused().is_some());
        drop(listener);
        assert!(refused().is_none());
        let _looking = bind(address).unwrap();
        TcpListener::bind(address).expect("a server may listen meanwhile");
    }
}
