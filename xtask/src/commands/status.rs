//! `cargo xtask status`.

use std::process::ExitCode;

use kit::Exit;
use xtask::Ctx;
use xtask::status::{self, ProcessStatus, Status as Document};

use super::{print_json, print_rows};
use crate::cli::Status;

pub(crate) fn run(instance: Option<&str>, args: &Status) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let status = status::status(&ctx)?;
    if args.json {
        print_json(&ctx, &status)?;
    } else if status.supervised {
        table(&ctx, &status)?;
    } else if status.running {
        let up = ctx.paths.command("up");
        ctx.ui.line(format!(
            "running without its supervisor; `{up}` or `down` puts that right"
        ));
    } else {
        let up = ctx.paths.command("up");
        ctx.ui.line(format!("not running; start it with `{up}`"));
    }
    Ok(match (status.running, status.healthy) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => Exit::Unhealthy.into(),
        (false, _) => Exit::NotRunning.into(),
    })
}

fn table(ctx: &Ctx, status: &Document) -> anyhow::Result<()> {
    let mut rows = vec![
        [
            "PROCESS", "STATE", "PID", "RESTARTS", "UPTIME", "URL", "VERSION", "PORTS",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for service in status.services.values() {
        let versions: Vec<_> = service
            .versions
            .iter()
            .map(|(k, v)| format!("{k} {v}"))
            .collect();
        for (name, process) in &service.processes {
            let ports = process.ports.iter();
            let ports: Vec<_> = ports
                .map(|(name, port)| format!("{name}:{}", port.port))
                .collect();
            rows.push(vec![
                name.clone(),
                state(process).to_owned(),
                process
                    .pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                process.restarts.to_string(),
                process
                    .uptime_seconds
                    .map_or_else(|| "-".to_owned(), uptime),
                process.url.clone().unwrap_or_else(|| "-".to_owned()),
                versions.join(", "),
                ports.join(" "),
            ]);
        }
    }
    print_rows(ctx, &rows)
}

fn state(process: &ProcessStatus) -> &str {
    match (process.ready, process.answers) {
        _ if process.disabled => "disabled",
        (true, Some(false)) => "no answer",
        (true, _) => "healthy",
        (false, _) if process.status == "Running" => "unhealthy",
        (false, _) => &process.status,
    }
}

/// The two largest units of a time, in seconds.
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
