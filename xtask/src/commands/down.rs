//! `cargo xtask down`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::checkout::hints;
use engine::instances::known;
use engine::supervisor::operation::StopRequest;
use engine::supervisor::stop::{self, Stopped};
use serde_json::json;

use super::{begin, lock_wait, print_json};
use crate::cli::Down;

pub(crate) fn run(instance: Option<&str>, args: &Down) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let begun = Instant::now();
    let client = ctx.client()?;
    if let Some(unknown) = known::unknown(&ctx, "down")? {
        // Not an error: it is not running. Taking its locks would create its directory.
        ctx.ui
            .line(hints::describe(&unknown.into()).replacen("error: ", "", 1));
        return tell(&ctx, args, &Stopped::NothingRan, begun);
    }
    // A command that does not wait must not interrupt a running one either.
    let request = if args.lock.no_wait {
        None
    } else {
        StopRequest::announce(&ctx.paths)?
    };
    let _operation = begin(&ctx, "down", lock_wait(args.lock.no_wait))?;
    drop(request);
    let stopped = stop::stop(&ctx, &client, Duration::from_secs(args.timeout))?;
    tell(&ctx, args, &stopped, begun)
}

fn tell(ctx: &Ctx, args: &Down, stopped: &Stopped, begun: Instant) -> anyhow::Result<ExitCode> {
    let seconds = begun.elapsed().as_secs_f64();
    let (outcome, signalled) = match stopped {
        Stopped::NothingRan => ("nothing-ran", [].as_slice()),
        Stopped::Gracefully => ("stopped", [].as_slice()),
        Stopped::BySignal(holders) => ("signalled", holders.as_slice()),
    };
    if args.json {
        let signalled: Vec<_> = signalled
            .iter()
            .map(|holder| json!({"pid": holder.pid, "program": holder.program}))
            .collect();
        let document = json!({
            "schema_version": SCHEMA_VERSION,
            "outcome": outcome,
            "signalled": signalled,
        });
        print_json(ctx, &document)?;
    } else {
        ctx.ui.line(match stopped {
            Stopped::NothingRan => "nothing was running".to_owned(),
            Stopped::Gracefully => format!("stopped in {seconds:.2} s; nothing is left running"),
            Stopped::BySignal(_) => {
                format!("stopped by signal in {seconds:.2} s; nothing is left running")
            }
        });
    }
    Ok(ExitCode::SUCCESS)
}
