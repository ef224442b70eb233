//! Reloads that change one service beside two others, in two stacks in parallel: process-compose
//! 1.120 lost a process in one of some hundred.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::json;

use super::programs::{self, FIRST_GENERATION, GENERATION, Records};
use super::report::BenchReport;
use super::sandbox::Sandbox;
use super::timing::run;
use engine::base::threads::{Task, side_by_side};
use engine::checkout::context::Ctx;
use engine::plan::stack::words;

/// Limit of the longest reload in milliseconds: a longer one missed an exit and timed out.
const LONGEST_MS: f64 = 2000.0;

/// How many stacks reload in parallel.
const STACKS: usize = 2;

/// The service that changes, and the others.
const CHANGES: &str = "changes";
const STAY: [&str; 2] = ["stays-1", "stays-2"];

/// The observations of one stack.
#[derive(Debug, Default)]
struct Seen {
    took: Vec<f64>,
    /// Processes that run and are not the one of their service.
    lost: usize,
    /// Answers of a process that was replaced, or with its environment.
    old: usize,
    /// Services without an answer.
    silent: usize,
    /// Unchanged services with another process.
    touched: usize,
    /// Reloads that failed.
    failed: usize,
}

/// Adds the rows of `runs` reloads in each stack.
pub(super) fn reload(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let stacks = (0..STACKS).map(|_| Box::new(|| stack(ctx, runs)) as Task<'_, _>);
    let all = side_by_side(stacks.collect()).into_iter();
    let all = all.collect::<anyhow::Result<Vec<Seen>>>()?;
    let took: Vec<f64> = all.iter().flat_map(|seen| seen.took.clone()).collect();
    report.largest(
        &format!("`reload` that changes one of three services, {STACKS} stacks at once"),
        &took,
        LONGEST_MS,
    );
    let sum = |count: fn(&Seen) -> usize| all.iter().map(count).sum::<usize>();
    report.count("reloads: processes lost", sum(|seen| seen.lost));
    report.count("reloads: answers of old code", sum(|seen| seen.old));
    report.count(
        "reloads: ports where nothing answered",
        sum(|seen| seen.silent),
    );
    report.count(
        "reloads: unchanged processes touched",
        sum(|seen| seen.touched),
    );
    report.count("reloads: reloads that failed", sum(|seen| seen.failed));
    Ok(())
}

/// Reloads one stack.
fn stack(ctx: &Ctx, runs: usize) -> anyhow::Result<Seen> {
    let sandbox = Sandbox::with_services(ctx, &services()?)?;
    let pids = sandbox.root().join("pids");
    sandbox.dotenv("PIDS", &pids.to_string_lossy())?;
    let names = [CHANGES, STAY[0], STAY[1]];
    let mut services = Vec::new();
    for name in names {
        let records = Records::new(pids.join(name))?;
        services.push((name, records, sandbox.port(name, "http")?));
    }
    run(&mut sandbox.direct(&["up"])?)?;
    let mut seen = Seen::default();
    let mut before: BTreeMap<&str, i32> = BTreeMap::new();
    for round in 0..runs {
        let changed = format!("change-{round}");
        sandbox.dotenv(GENERATION, &changed)?;
        match run(&mut sandbox.direct(&["reload"])?) {
            Ok(took) => seen.took.push(took),
            Err(error) => {
                seen.failed += 1;
                ctx.ui.line(format!("reload {round}: {error:#}"));
            }
        }
        for (name, records, port) in &services {
            let generation = if *name == CHANGES {
                &changed
            } else {
                FIRST_GENERATION
            };
            let tell = |what: &str| ctx.ui.line(format!("reload {round}: `{name}`: {what}"));
            let Some((pid, answered)) = programs::answer(*port) else {
                seen.silent += 1;
                tell("nothing answers");
                continue;
            };
            let earlier = before.insert(name, pid);
            if answered != generation {
                seen.old += 1;
                tell(&format!("{pid} answers for `{answered}`"));
            }
            let is_other = earlier.is_some_and(|earlier| earlier != pid);
            if *name != CHANGES && is_other {
                seen.touched += 1;
                tell(&format!("{pid} replaced {earlier:?}"));
            }
            let listed = listed(&sandbox, name)?;
            let is_lost = |pid: &i32| *pid != listed && programs::parent(*pid) != Some(listed);
            for lost in records.living()?.into_iter().filter(is_lost) {
                seen.lost += 1;
                tell(&format!("{lost} lives and is not listed"));
                // It counts once.
                programs::kill(lost);
            }
        }
    }
    run(&mut sandbox.direct(&["down"])?)?;
    for (name, records, _) in &services {
        for left in records.living()? {
            seen.lost += 1;
            ctx.ui.line(format!("`down`: `{name}`: {left} survived"));
        }
    }
    Ok(seen)
}

/// Returns the process that the supervisor lists for a service: its own, or its runner.
fn listed(sandbox: &Sandbox, name: &str) -> anyhow::Result<i32> {
    let states = sandbox.ctx().client()?.processes()?;
    let state = states.get(name);
    Ok(state
        .with_context(|| format!("`{name}` is not listed"))?
        .pid)
}

fn services() -> anyhow::Result<BTreeMap<String, String>> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = program.to_string_lossy().into_owned();
    let service = |name: &str| {
        let generation = if name == CHANGES {
            format!("${{env.{GENERATION}:-{FIRST_GENERATION}}}")
        } else {
            FIRST_GENERATION.to_owned()
        };
        let manifest = json!({
            "process": {
                "command": words::join(std::slice::from_ref(&program)),
                "args": ["bench-listen", "${port.http}"],
                "env": {"PIDS": format!("${{env.PIDS}}/{name}"), GENERATION: generation},
                "compose": {
                    "readiness_probe": {"http_get": {"url": "http://127.0.0.1:${port.http}/"}}
                }
            },
            "ports": {"http": {"port": 20_000, "protocol": "http"}}
        });
        (name.to_owned(), manifest.to_string())
    };
    Ok([CHANGES, STAY[0], STAY[1]].map(service).into())
}
