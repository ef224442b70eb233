//! Stops of services as users write them: duration, survivors, and the process that answers
//! afterwards; and the cost of the proof that nothing is left.

mod at_once;
mod course;
mod proof;

use std::num::NonZero;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::programs::{self, Program};
use super::report::BenchReport;
use super::sandbox::Sandbox;
use course::Counts;
use engine::base::threads::{Task, side_by_side};
use engine::checkout::context::Ctx;

/// Milliseconds that the stop of a program may take that exits on SIGTERM.
const END_MS: f64 = 1000.0;

/// The directory of Go's build cache: that of the tests.
const GO_CACHE: &str = "target/tmp/go-cache";

/// How many programs each core runs in parallel when only counts matter: most of the time is
/// waiting, above all for the supervisor's pause before it restarts a killed process.
const AT_ONCE: usize = 4;

/// Adds the rows of each program and of the proof.
pub(super) fn stop(
    ctx: &Ctx,
    runs: usize,
    counts: bool,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let (programs, missing) = installed(ctx)?;
    report.figure(
        "programs that need what is not installed: not measured",
        "",
        f64::from(u32::try_from(missing)?),
        None,
    );
    proof::proof(ctx, runs, &programs, report)?;
    at_once::at_once(ctx, runs, &programs, report)?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let at_once = if counts { cores * AT_ONCE } else { cores };
    let mut counts = Counts::default();
    for (program, measured) in courses(ctx, runs, programs, at_once)? {
        let name = &program.name;
        let end = END_MS + f64::from(program.ignores_term_seconds) * 1000.0;
        report.largest(&format!("{name}: `down`"), &measured.down, end);
        report.largest(&format!("{name}: `stop`"), &measured.stop, end);
        let start = measured.start.iter().copied().fold(0.0, f64::max);
        report.largest(
            &format!("{name}: `restart`, `start` alone takes up to {start:.0} ms"),
            &measured.restart,
            end + start,
        );
        counts.add(&measured.counts);
    }
    report.count(
        "all programs: processes that survived an end",
        counts.survivors,
    );
    report.count("all programs: answers of old code", counts.old);
    report.count("all programs: ports where nothing answered", counts.silent);
    report.count("all programs: starts beside what was left", counts.overlaps);
    report.count("all programs: commands that failed", counts.failed);
    Ok(())
}

/// Returns the programs that can be run, and how many cannot.
fn installed(ctx: &Ctx) -> anyhow::Result<(Vec<Program>, usize)> {
    let all = programs::all(ctx.paths.root())?;
    let mut missing = 0;
    for program in &all {
        if let Some(need) = program.missing() {
            missing += 1;
            let name = &program.name;
            ctx.ui.line(format!(
                "missing: `{need}` is not installed, so `{name}` is not measured"
            ));
        }
    }
    let installed = all
        .into_iter()
        .filter(|program| program.missing().is_none());
    Ok((installed.collect(), missing))
}

/// Runs the sequences of all programs, this many in parallel.
fn courses(
    ctx: &Ctx,
    runs: usize,
    programs: Vec<Program>,
    at_once: usize,
) -> anyhow::Result<Vec<(Program, course::Measured)>> {
    let queue = Mutex::new(programs.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut measured = Vec::new();
        while let Some(program) = next() {
            let figures = course::run(ctx, &program, runs)?;
            measured.push((program, figures));
        }
        Ok::<_, anyhow::Error>(measured)
    };
    let workers = (0..at_once).map(|_| Box::new(work) as Task<'_, _>);
    let all = side_by_side(workers.collect()).into_iter();
    let all: Vec<Vec<(Program, course::Measured)>> = all.collect::<anyhow::Result<_>>()?;
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(all)
}

/// Creates a sandbox with these programs as services.
pub(super) fn sandbox(ctx: &Ctx, programs: &[Program]) -> anyhow::Result<Sandbox> {
    let manifests = programs.iter().map(|program| {
        let manifest = program.manifest().to_string();
        (program.name.clone(), manifest)
    });
    let sandbox = Sandbox::with_services(ctx, &manifests.collect())?;
    let listener = std::env::current_exe()?;
    let go_cache = ctx.paths.root().join(GO_CACHE);
    for (name, value) in programs::variables(&pids(&sandbox), &listener, &go_cache) {
        sandbox.dotenv(name, &value)?;
    }
    for program in programs {
        program.records(&pids(&sandbox))?;
    }
    Ok(sandbox)
}

/// Returns the directory where the programs of a sandbox record themselves.
pub(super) fn pids(sandbox: &Sandbox) -> std::path::PathBuf {
    Path::new(sandbox.root()).join("pids")
}
