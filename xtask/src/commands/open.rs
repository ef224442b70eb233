//! `cargo xtask open`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use engine::Ctx;
use xtask::open;

use crate::cli::Open;

pub(crate) fn run(instance: Option<&str>, args: &Open) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    let address = open::address(&ctx, args.service.as_deref())?;
    // Into a pipe, print the address only.
    let opener = io::stdout().is_terminal().then(|| open::opener(&ctx.env));
    if let Some(opener) = opener.flatten()
        && open::open(&opener, &address)
    {
        ctx.ui.line(format!("opened {address}"));
    } else {
        ctx.ui.data(address)?;
    }
    Ok(ExitCode::SUCCESS)
}
