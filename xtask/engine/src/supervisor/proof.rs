//! The proof that nothing is left of one stopped process, or of the whole stack.
//!
//! A runner that exited by itself is the proof for its program. If it was killed, or if there is
//! none, remaining processes are searched and ended here. If the holder of a port is not provably
//! ours, it is reported and never signalled.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kit::process::rest::{self, Ask, Signalled};
use kit::process::{self, Process};
use kit::runner::record;
use kit::{Exit, Failure};
use rustix::process::Signal;

use super::state::State;
use super::{ours, socket};
use crate::base::poll;
use crate::base::ui::Ui;
use crate::checkout::paths::Paths;
use crate::plan::stack;

/// How long the rest of one process may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How long a port may stay in use during an exit: until a container releases it or the kernel
/// closes it.
const PORT_GRACE: Duration = Duration::from_millis(500);
/// How often the port is tried during that time.
const PORT_POLL: Duration = Duration::from_millis(5);

/// Proves that nothing is left of a process that the supervisor counts as ended, and whose last
/// state was `was`. Ends what is left.
pub(crate) fn of_process(
    paths: &Paths,
    ui: &Ui,
    name: &str,
    process: Option<&stack::Process>,
    was: &State,
) -> anyhow::Result<()> {
    let file = paths.run(name);
    if record::exists(&file) {
        let instance = socket::instance(&paths.state());
        end(ui, Ask::Tops, GRACE, || {
            record::left_by(&file, &instance, name)
        })?;
        record::remove(&file);
    } else if was.supervised_pid() > 0 && !process.is_some_and(|process| process.runner) {
        end(ui, Ask::Tops, GRACE, || left_in_group(was.supervised_pid()))?;
    }
    let ports = process
        .into_iter()
        .flat_map(|process| process.ports.values());
    let ports: Vec<SocketAddr> = ports.map(stack::Port::bound).collect();
    of_ports(paths, ui, name, &ports)
}

/// Returns what is left of a group whose leader, a process of the supervisor, has ended. Its number
/// is not reused while the group has a member; once it has none, a new leader may have the number.
fn left_in_group(group: i32) -> Vec<Process> {
    let members = process::in_group(group);
    if members.iter().any(|member| member.pid == group) {
        return Vec::new();
    }
    members
}

/// Proves that nothing of the instance is left, by a search of all processes. Returns those that
/// had to be ended. To be called while the alive lock is ours.
pub(super) fn of_instance(paths: &Paths, ui: &Ui) -> anyhow::Result<Vec<Process>> {
    let ended = end(ui, Ask::Tops, GRACE, || ours::marked(paths))?;
    forget_runs(paths);
    Ok(ended)
}

/// Whether no runner left a note, so that each of them ended its program.
pub(super) fn no_runner_was_killed(paths: &Paths) -> bool {
    let entries = std::fs::read_dir(paths.runs());
    entries.map_or(true, |mut entries| entries.next().is_none())
}

/// Removes the notes of runners that are gone together with their programs.
fn forget_runs(paths: &Paths) {
    let entries = std::fs::read_dir(paths.runs()).into_iter().flatten();
    for entry in entries.flatten() {
        record::remove(&entry.path());
    }
}

/// Proves that no process listens on the ports of `name`, which was stopped. Reports a process that
/// took one while it ran.
pub(super) fn of_ports(
    paths: &Paths,
    ui: &Ui,
    name: &str,
    ports: &[SocketAddr],
) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for address in ports {
        let deadline = Instant::now() + PORT_GRACE;
        if is_free(*address) {
            continue;
        }
        let port = address.port();
        let holder = process::listener(port);
        let own = i32::try_from(std::process::id()).ok();
        if holder.as_ref().map(|holder| holder.pid) == own {
            // A command of Core is no server of the stack, whatever it listens on.
            continue;
        }
        if let Some(ours) = holder.as_ref().filter(|one| ours::is_ours(paths, one.pid)) {
            let left = || {
                Some(ours.clone())
                    .filter(Process::runs)
                    .into_iter()
                    .collect()
            };
            end(ui, Ask::All, GRACE, left)?;
        }
        if !poll::holds_by(deadline, PORT_POLL, || is_free(*address)) {
            let unseen = || "a program that cannot be seen from here".to_owned();
            let holder = holder.map_or_else(unseen, |holder| holder.to_string());
            held.push(format!("port {port} of `{name}` is held by {holder}"));
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let message = format!("{}, which this stack did not start", held.join(", "));
    Err(Failure::new(Exit::Survivors, message)
        .hint("it took the port while the service ran: end it by hand")
        .into())
}

/// Whether a server could listen on the address, as far as other processes matter.
fn is_free(address: SocketAddr) -> bool {
    let refused = TcpListener::bind(address).err().map(|error| error.kind());
    refused != Some(io::ErrorKind::AddrInUse)
}

/// Ends the processes that `find` returns and reports each. Returns those that were signalled.
pub(super) fn end(
    ui: &Ui,
    ask: Ask,
    grace: Duration,
    find: impl FnMut() -> Vec<Process>,
) -> anyhow::Result<Vec<Process>> {
    let mut hit: Vec<Process> = Vec::new();
    let sent = |process: &Process, signal: Signal| {
        let name = if signal == Signal::KILL {
            "SIGKILL"
        } else {
            "SIGTERM"
        };
        ui.line(format!("{process} still ran: sent {name}"));
        if hit.iter().all(|known| known.pid != process.pid) {
            hit.push(process.clone());
        }
    };
    let mut signalled = Signalled::default();
    let left = kit::runtime::current_thread()?.block_on(async {
        let grace_end = tokio::time::Instant::now() + grace;
        let hurry = std::future::pending();
        rest::end(find, ask, &mut signalled, sent, grace_end, hurry).await
    });
    if left.is_empty() {
        return Ok(hit);
    }
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    let message = format!("still running after SIGKILL: {}", left.join(", "));
    Err(Failure::new(Exit::Survivors, message)
        .hint("end them by hand, then run `cargo xtask down` again")
        .into())
}
