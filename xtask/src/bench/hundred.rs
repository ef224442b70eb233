//! A hundred services with real listeners, against plain process-compose with blocking probes.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::plain::until_ready;
use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::{median, run};
use engine::checkout::context::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::stack::{PROBE, ReadinessCheck, words};

const COUNT: usize = 100;

/// Adds the rows of a hundred services, in a chain and in parallel.
pub(super) fn hundred(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    for (name, chain) in [("in a chain", true), ("side by side", false)] {
        let sandbox = Sandbox::with_services(ctx, &services(chain)?)?;
        let plain = compose(sandbox.ctx())?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(run(&mut sandbox.xtask(&["up"]))?);
            run(&mut sandbox.xtask(&["down"]))?;
            theirs.push(until_ready(sandbox.ctx(), &plain)?);
        }
        let what = format!("{COUNT} services {name}, to healthy");
        let against = "plain process-compose with blocking probes";
        let figures = (median(ours), median(theirs));
        report.compare(what, against, figures, (3.0, 0.0));
    }
    Ok(())
}

fn services(chain: bool) -> anyhow::Result<BTreeMap<String, String>> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = words::join(&[program.to_string_lossy().into_owned()]);
    let name = |index: usize| format!("s{index:03}");
    let service = |index: usize| {
        let depends_on = match index.checked_sub(1).filter(|_| chain) {
            Some(before) => json!({name(before): {"condition": "process_healthy"}}),
            None => json!({}),
        };
        let manifest = json!({
            "process": {
                "command": format!("{program} bench-listen ${{port.http}}"),
                "compose": {
                    "depends_on": depends_on,
                    "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}}
                }
            },
            // Replaced in `.env` by free ones; here they only have to differ.
            "ports": {"http": {"port": 20_000 + index, "protocol": "http"}}
        });
        (name(index), manifest.to_string())
    };
    Ok((0..COUNT).map(service).collect())
}

/// Returns the same processes with blocking probes, as an expert would write the file.
fn compose(ctx: &Ctx) -> anyhow::Result<Value> {
    let stack = Inputs::load(ctx)?.stack;
    let probe = ctx.paths.dep().join(PROBE).to_string_lossy().into_owned();
    let mut processes = serde_json::Map::new();
    for (name, process) in &stack.processes {
        let check = process.readiness.as_ref().map(|readiness| &readiness.check);
        let Some(ReadinessCheck::Http { url, .. }) = check else {
            continue;
        };
        let depends_on = process.depends_on.iter();
        let depends_on: BTreeMap<_, _> = depends_on
            .map(|(name, condition)| (name, json!({"condition": condition})))
            .collect();
        let check = words::join(&[&probe, "http", url, "--limit", "50"].map(str::to_owned));
        processes.insert(
            name.clone(),
            json!({
                "command": format!("exec {}", words::join(&process.command)),
                "depends_on": depends_on,
                "readiness_probe": {
                    "exec": {"command": format!("exec {check}")},
                    "period_seconds": 10,
                    "timeout_seconds": 60
                }
            }),
        );
    }
    Ok(json!({"processes": processes}))
}
