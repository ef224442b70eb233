//! Checks before a start: ports, and the services' own checks of their settings.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use kit::{Exit, Failure};

use crate::base::threads::{Task, side_by_side};
use crate::base::tool::{self, End};
use crate::checkout::addresses;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::checkout::sizes;
use crate::instances::register::Others;
use crate::plan::stack::{self, Port, Stack};
use crate::supervisor::ours;

/// How long a check of settings may take; it starts no server, so milliseconds are usual.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of lines of a refusal that are printed.
const REASONS_MAX: usize = 10;

/// Lets every service check its settings, in parallel. All refusals are reported at once.
pub fn check_settings(ctx: &Ctx, stack: &Stack) -> anyhow::Result<()> {
    addresses::check(stack)?;
    sizes::check(&ctx.env, stack)?;
    let cancel = AtomicBool::new(false);
    let mut checks: Vec<Task<'_, _>> = Vec::new();
    for (name, process) in &stack.processes {
        if let (Some(check), false) = (&process.check, process.disabled) {
            let mut command = ctx.command(process, check);
            let cancel = &cancel;
            checks.push(Box::new(move || run_check(name, &mut command, cancel)));
        }
    }
    let results = side_by_side(checks);
    let refusals: Vec<Option<String>> = results.into_iter().collect::<anyhow::Result<_>>()?;
    let refusals: Vec<String> = refusals.into_iter().flatten().collect();
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Invalid, refusals.join("\n"))
        .hint("nothing was started; correct the variable in `.env` or the environment")
        .into())
}

/// Runs a check until it exits. Returns its refusal as a sentence.
fn run_check(
    name: &str,
    command: &mut Command,
    cancel: &AtomicBool,
) -> anyhow::Result<Option<String>> {
    let finished = tool::run(command, CHECK_TIMEOUT, cancel, &|_| {})
        .with_context(|| format!("cannot check the settings of `{name}`"))?;
    if finished.success() {
        return Ok(None);
    }
    if let End::Deadline(limit) = finished.end {
        let message = format!("the check of `{name}` did not end within {limit:?}");
        return Err(Failure::new(Exit::Timeout, message).into());
    }
    Ok(Some(refusal(name, &finished.tail.join("\n"))))
}

/// Formats the output of a check as a sentence, with several reasons on lines of their own. Removes
/// the name and the hint that our wrappers print, since the sentence and our own hint replace them.
fn refusal(name: &str, text: &str) -> String {
    let text = text.split("\nhint: ").next().unwrap_or_default();
    let reason = text.strip_prefix("error: ").unwrap_or(text);
    let own = format!("the settings of `{name}` are invalid:");
    let reason = reason.strip_prefix(&own).unwrap_or(reason);
    let lines = reason.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = lines.take(REASONS_MAX).collect();
    if lines.is_empty() {
        lines.push("it gave no reason");
    }
    match lines.as_slice() {
        [only] => format!("`{name}` refuses its settings: {only}"),
        many => format!("`{name}` refuses its settings:\n  {}", many.join("\n  ")),
    }
}

/// The ports of a running stack, and its paths.
struct Running<'a> {
    ports: BTreeSet<u16>,
    paths: &'a Paths,
}

/// Refuses to start on ports in use. To be called while no process of the instance is alive.
pub fn check_ports(stack: &Stack, others: &Others) -> anyhow::Result<()> {
    check_ports_beside(stack, others, None)
}

/// Refuses ports in use for a change of a running stack: a program that answers on a new port would
/// be taken for its server.
pub fn check_new_ports(ctx: &Ctx, stack: &Stack, others: &Others) -> anyhow::Result<()> {
    let Some(applied) = Applied::load(&ctx.paths) else {
        return Ok(());
    };
    let processes = applied.stack.processes.values();
    let ports = processes.flat_map(|process| process.ports.values());
    let running = Running {
        ports: ports.map(|port| port.port).collect(),
        paths: &ctx.paths,
    };
    check_ports_beside(stack, others, Some(&running))
}

fn check_ports_beside(
    stack: &Stack,
    others: &Others,
    running: Option<&Running<'_>>,
) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    let mut variable = None;
    let mut strangers = false;
    let mut owner = None;
    let enabled = |(_, process): &(&String, &stack::Process)| !process.disabled;
    for (name, process) in stack.processes.iter().filter(enabled) {
        for (port_name, port) in &process.ports {
            if running.is_some_and(|running| running.ports.contains(&port.port)) {
                continue;
            }
            let instance = others.living.get(&port.port);
            // An instance that is about to start has its port already, even without a listener.
            let holder = instance
                .cloned()
                .or_else(|| holder((port.listen, port.port).into(), running));
            if let Some(holder) = holder {
                strangers |= instance.is_none();
                owner = owner.or(others.names.get(&port.port));
                taken.push(describe(name, port, &holder));
                // The ports of further nodes of a service have no variables.
                if *name == process.service {
                    variable.get_or_insert_with(|| stack::port_variable(name, port_name));
                }
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let end = match owner {
        // The message names its checkout.
        Some(name) if !strangers => format!("run `cargo xtask down --instance {name}` there"),
        _ => "end that program".to_owned(),
    };
    let hint = match variable {
        Some(variable) => format!("{end}, or choose another port in `.env`: {variable}=NUMBER"),
        None => end,
    };
    Err(Failure::new(Exit::PortTaken, taken.join("\n"))
        .hint(hint)
        .into())
}

fn describe(service: &str, port: &Port, holder: &str) -> String {
    format!(
        "port {} of `{service}` ({}) is taken by {holder}",
        port.port, port.declared
    )
}

/// Returns who holds an address; `None` if it is free or held by a process of the `running` stack:
/// a change that was killed may have moved a server to its new port already.
fn holder(address: SocketAddr, running: Option<&Running<'_>>) -> Option<String> {
    let port = address.port();
    let error = TcpListener::bind(address).err()?;
    if error.kind() != io::ErrorKind::AddrInUse {
        return Some(error.to_string());
    }
    let program = listeners::get_process_by_port(port, listeners::Protocol::TCP);
    if let (Ok(program), Some(running)) = (&program, running) {
        let pid = i32::try_from(program.pid).unwrap_or_default();
        if ours::is_ours(running.paths, pid) {
            return None;
        }
    }
    Some(program.map_or_else(
        |_| "a program that cannot be seen from here".to_owned(),
        |program| format!("`{}` (pid {})", program.name, program.pid),
    ))
}
