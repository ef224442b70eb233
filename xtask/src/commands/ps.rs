//! `cargo xtask ps`.

use std::process::ExitCode;

use engine::Ctx;
use engine::operations::ps;
use kit::names::word;

use super::status::uptime;
use super::{print_json, print_rows};
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
    let mut rows = vec![
        ["INSTANCE", "STATE", "UPTIME", "URLS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for instance in &found.instances {
        let time = instance.uptime_seconds.map(uptime);
        let urls: Vec<&str> = instance.urls.values().map(String::as_str).collect();
        let urls = Some(urls.join(" ")).filter(|urls| !urls.is_empty());
        let dash = || "-".to_owned();
        rows.push(vec![
            instance.name.clone(),
            word(instance.state),
            time.unwrap_or_else(dash),
            urls.unwrap_or_else(dash),
        ]);
    }
    // Within one checkout its path is not needed.
    if all {
        let checkouts = found
            .instances
            .iter()
            .map(|instance| instance.checkout.clone());
        let column = std::iter::once("CHECKOUT".to_owned()).chain(checkouts);
        for (row, cell) in rows.iter_mut().zip(column) {
            row.push(cell);
        }
    }
    print_rows(ctx, &rows)
}
