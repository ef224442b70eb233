//! `cargo xtask observe`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::observe;

use crate::cli::Observe;

pub(crate) fn run(instance: Option<&str>, args: &Observe) -> anyhow::Result<ExitCode> {
    let options = observe::Options {
        subject: args.subject.clone(),
        since: args.since,
        json: args.json,
    };
    observe::observe(&Ctx::without_dotenv(instance)?, &options)?;
    Ok(ExitCode::SUCCESS)
}
