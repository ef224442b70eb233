//! `cargo xtask restart`, `stop`, `start` and `signal`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::operations::life::{self, Verb};
use engine::supervisor::timing;
use serde_json::json;

use super::{lock_wait, print_json};
use crate::cli::{Life, Restart, Signal, Start, Stop};

pub(crate) fn restart(instance: Option<&str>, args: &Restart) -> anyhow::Result<ExitCode> {
    run(instance, Verb::Restart, &args.life, args.with_dependents)
}

pub(crate) fn stop(instance: Option<&str>, args: &Stop) -> anyhow::Result<ExitCode> {
    run(instance, Verb::Stop, &args.life, false)
}

pub(crate) fn start(instance: Option<&str>, args: &Start) -> anyhow::Result<ExitCode> {
    run(instance, Verb::Start, &args.life, false)
}

fn run(
    instance: Option<&str>,
    verb: Verb,
    args: &Life,
    with_dependents: bool,
) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let begun = Instant::now();
    let options = life::Options {
        timeout: Duration::from_secs(args.timeout),
        lock: lock_wait(args.lock.no_wait),
        with_dependents,
    };
    let report = life::run(&ctx, verb, &args.services, options)?;
    if args.json {
        let process = |(name, outcome): (&String, &&str)| {
            let state = report.states.get(name).filter(|state| state.is_running);
            let document = json!({
                "outcome": outcome,
                "pid": state.map(|state| state.pid),
                "ready_ms": state.and_then(timing::ready_ms),
            });
            (name.clone(), document)
        };
        let processes: serde_json::Map<_, _> = report.outcomes.iter().map(process).collect();
        let document = json!({"schema_version": SCHEMA_VERSION, "processes": processes});
        return print_json(&ctx, &document);
    }
    let seconds = begun.elapsed().as_secs_f64();
    for outcome in ["restarted", "started", "stopped", "unchanged"] {
        let all = report.outcomes.iter();
        let names: Vec<&str> = all
            .filter(|(_, what)| **what == outcome)
            .map(|(name, _)| name.as_str())
            .collect();
        let names = names.join(", ");
        match (outcome, verb) {
            _ if names.is_empty() => {}
            ("unchanged", Verb::Stop) => ctx.ui.line(format!("{names}: not running")),
            ("unchanged", _) => ctx.ui.line(format!("{names}: running already")),
            _ => ctx.ui.line(format!("{outcome} in {seconds:.2} s: {names}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn signal(instance: Option<&str>, args: &Signal) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let service = std::slice::from_ref(&args.service);
    let names = life::signal(&ctx, service, args.number)?;
    if args.json {
        let document = json!({
            "schema_version": SCHEMA_VERSION,
            "signal": args.number,
            "processes": names,
        });
        print_json(&ctx, &document)?;
    } else {
        let (signal, names) = (args.number, names.join(", "));
        ctx.ui.line(format!("sent signal {signal} to {names}"));
    }
    Ok(ExitCode::SUCCESS)
}
