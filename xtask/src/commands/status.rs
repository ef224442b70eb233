//! `cargo xtask status`.

mod narrow;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use engine::Ctx;
use engine::base::interrupt::{Interrupt, Interrupted};
use engine::instances::known;
use engine::operations::status::{self, ProcessStatus, Status as Document};
use kit::Exit;
use signal_hook::consts::SIGINT;

use self::narrow::Row;
use super::print_json;
use crate::cli::Status;

/// Interval of `--watch`: each time it queries the servers themselves.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Moves the cursor to the upper left corner and clears the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

pub(crate) fn run(instance: Option<&str>, args: &Status) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    if args.watch {
        return watch(&ctx, args.json);
    }
    let status = status::status(&ctx)?;
    let unknown = known::unknown(&ctx, "status")?.filter(|_| !status.running);
    if let Some(unknown) = unknown {
        if args.json {
            print_json(&ctx, &status)?;
        }
        return Err(unknown.into());
    }
    if args.json {
        print_json(&ctx, &status)?;
    } else if status.supervised {
        ctx.ui.data(table(&status))?;
    } else {
        ctx.ui.line(state_of_nothing(&ctx, &status));
    }
    if let Some(problem) = &status.problem {
        ctx.ui.line(problem);
    }
    Ok(match (status.running, status.healthy) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => Exit::Unhealthy.into(),
        (false, _) => Exit::NotRunning.into(),
    })
}

/// Returns the text for a stack without a supervisor.
fn state_of_nothing(ctx: &Ctx, status: &Document) -> String {
    let up = ctx.paths.command("up");
    if status.running {
        format!("running without its supervisor; `{up}` or `down` puts that right")
    } else {
        format!("not running; start it with `{up}`")
    }
}

/// Prints the status whenever it changes, until Ctrl-C or until stdout has no reader. Uptimes are
/// no change, but are updated on a terminal.
fn watch(ctx: &Ctx, json: bool) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let on_terminal = ctx.ui.is_watched() && !json;
    let mut shown = String::new();
    loop {
        let mut status = status::status(ctx)?;
        let text = if status.supervised {
            table(&status)
        } else {
            state_of_nothing(ctx, &status)
        };
        let processes = status.services.values_mut();
        for process in processes.flat_map(|service| service.processes.values_mut()) {
            process.uptime_seconds = None;
        }
        let document = serde_json::to_string(&status)?;
        let key = if on_terminal { &text } else { &document };
        if *key != shown {
            shown.clone_from(key);
            let written = match (json, on_terminal) {
                (true, _) => ctx.ui.stream(document),
                (_, true) => ctx.ui.stream(format!("{CLEAR}{text}")),
                _ => ctx.ui.stream(format!("{text}\n")),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::SUCCESS);
                }
                written => written.context("cannot write to stdout")?,
            }
        }
        if interrupt.signal().is_none() && ctx.ui.pause(WATCH_INTERVAL) {
            return Ok(ExitCode::SUCCESS);
        }
        match interrupt.signal() {
            None => {}
            // The usual way to end it.
            Some(Interrupted(SIGINT)) => return Ok(ExitCode::SUCCESS),
            Some(interrupted) => return Err(interrupted.into()),
        }
    }
}

fn table(status: &Document) -> String {
    let services = status.services.values();
    let processes = services.flat_map(|service| {
        let processes = service.processes.iter();
        processes.map(move |(name, process)| (service, name, process))
    });
    let rows = processes.map(|(service, name, process)| {
        let dash = || "-".to_owned();
        let versions = service.versions.iter();
        let ports = process.ports.iter();
        Row {
            name: name.clone(),
            state: state(process),
            pid: process.pid.map_or_else(dash, |pid| pid.to_string()),
            figures: [
                process.restarts.to_string(),
                process.uptime_seconds.map_or_else(dash, uptime),
                process.url.clone().unwrap_or_else(dash),
            ],
            further: versions
                .map(|(program, version)| format!("{program} {version}"))
                .chain(ports.map(|(name, port)| format!("{name}:{}", port.port)))
                .collect(),
        }
    });
    let lines = narrow::lines(&rows.collect::<Vec<_>>()).into_iter();
    lines.chain(silent(status)).collect::<Vec<_>>().join("\n")
}

/// Returns a line for each port of a process without a probe where nothing listens.
fn silent(status: &Document) -> impl Iterator<Item = String> {
    let services = status.services.values();
    let processes = services.flat_map(|service| &service.processes);
    processes.flat_map(|(name, process)| {
        process.silent_ports.iter().filter_map(move |port| {
            let number = process.ports.get(port)?.port;
            Some(format!(
                "nothing listens on port {number} (`{port}`) of `{name}`"
            ))
        })
    })
}

fn state(process: &ProcessStatus) -> String {
    let code = process.exit_code;
    match (process.status.as_str(), process.ready, process.answers) {
        _ if process.disabled => "disabled".to_owned(),
        _ if process.restarting => format!("restarting (exit {code})"),
        ("Completed", true, _) => "done".to_owned(),
        ("Completed", false, _) => format!("failed (exit {code})"),
        (_, true, Some(false)) => "no answer".to_owned(),
        (_, true, _) => "healthy".to_owned(),
        ("Running", false, _) => "unhealthy".to_owned(),
        (status, false, _) => status.to_owned(),
    }
}

/// Returns the two largest units of a duration in seconds.
pub(crate) fn uptime(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age is positive"
    )]
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds:.0}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", whole % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::uptime;

    #[test]
    fn times() {
        let shown = [0.4, 59.0, 61.0, 3_700.0, 90_000.0].map(uptime);
        assert_eq!(shown, ["0s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
    }
}
