//! The arguments of `observe`.

use clap::Args;

use super::life::since;

/// Follow the events of processes and topology until Ctrl-C or the end of the stack.
#[derive(Debug, Args)]
pub(crate) struct Observe {
    /// Subject to follow, `core.process.NAME.EVENT` with the wildcards of NATS
    #[arg(default_value = engine::operations::observe::ALL, value_parser = subject)]
    pub(crate) subject: String,
    /// Show stored events since: `90s`, `10m`, `2d`, or a time like 2026-11-24T13:59:22Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<i64>,
    /// Print one JSON object per event and line
    #[arg(long)]
    pub(crate) json: bool,
}

fn subject(text: &str) -> Result<String, String> {
    match engine::operations::observe::problem(text) {
        Some(problem) => Err(format!("it {problem}")),
        None => Ok(text.to_owned()),
    }
}
