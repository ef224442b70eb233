//! `cargo xtask ps`.

use std::process::ExitCode;

use xtask::Ctx;
use xtask::instances::ps;

use super::status::uptime;
use super::{print_json, print_table};
use crate::cli::Ps;

pub(crate) fn run(args: &Ps) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(None)?;
    let found = ps::list(&ctx, args.all)?;
    if args.json {
        print_json(&ctx, &found)?;
    } else if found.instances.is_empty() {
        ctx.ui.line("no instance was started yet");
    } else {
        table(&ctx, &found, args.all)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(ctx: &Ctx, found: &ps::Instances, all: bool) -> anyhow::Result<()> {
    let heading = ["INSTANCE", "STATE", "UPTIME", "URLS"];
    // Within one checkout there is no need to say which.
    let place = |checkout: &str| {
        if all {
            checkout.to_owned()
        } else {
            String::new()
        }
    };
    let mut rows = Vec::new();
    let row = |cells: [&str; 4], last: &str| {
        let [name, state, time, urls] = cells.map(str::to_owned);
        [name, state, time, urls, last.to_owned()]
    };
    rows.push(row(heading, if all { "CHECKOUT" } else { "" }));
    for instance in &found.instances {
        let time = instance.uptime_seconds.map(uptime);
        let time = time.unwrap_or_else(|| "-".to_owned());
        let urls: Vec<&str> = instance.urls.values().map(String::as_str).collect();
        let urls = if urls.is_empty() {
            "-".to_owned()
        } else {
            urls.join(" ")
        };
        let cells = [&*instance.name, instance.state.word(), &*time, &*urls];
        rows.push(row(cells, &place(&instance.checkout)));
    }
    print_table(ctx, &rows)
}
