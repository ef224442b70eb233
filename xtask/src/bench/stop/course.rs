//! One program through everything that stops it, repeatedly.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::super::programs::{self, GENERATION, Program, Records};
use super::super::sandbox::Sandbox;
use super::super::timing::run as timed;
use engine::checkout::context::Ctx;

/// How long the restart of a killed process may take: the supervisor's pause and its start.
const BACK_LIMIT: Duration = Duration::from_secs(15);

/// Poll interval meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// Figures of a program, in milliseconds, and counts of errors.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) down: Vec<f64>,
    pub(super) stop: Vec<f64>,
    pub(super) start: Vec<f64>,
    pub(super) restart: Vec<f64>,
    pub(super) counts: Counts,
}

/// How often something happened that must not happen.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Processes that survived the command that had to stop them.
    pub(super) survivors: usize,
    /// Answers of a process that had to be gone, or with the environment before a change.
    pub(super) old: usize,
    /// A healthy service without an answer.
    pub(super) silent: usize,
    /// Starts during which an earlier process was running.
    pub(super) overlaps: usize,
    /// Commands that failed.
    pub(super) failed: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.survivors += other.survivors;
        self.old += other.old;
        self.silent += other.silent;
        self.overlaps += other.overlaps;
        self.failed += other.failed;
    }
}

struct Course<'a> {
    ctx: &'a Ctx,
    program: &'a Program,
    sandbox: Sandbox,
    records: Records,
    port: u16,
    measured: Measured,
}

/// Runs the sequence `runs` times.
pub(super) fn run(ctx: &Ctx, program: &Program, runs: usize) -> anyhow::Result<Measured> {
    let sandbox = super::sandbox(ctx, std::slice::from_ref(program))?;
    let records = program.records(&super::pids(&sandbox))?;
    let port = sandbox.port(&program.name, "http")?;
    let mut course = Course {
        ctx,
        program,
        sandbox,
        records,
        port,
        measured: Measured::default(),
    };
    for round in 0..runs {
        course.round(round)?;
    }
    Ok(course.measured)
}

impl Course<'_> {
    fn round(&mut self, round: usize) -> anyhow::Result<()> {
        let name = self.program.name.clone();
        let generation = |moment: &str| format!("{moment}-{round}");
        let started = generation("up");
        self.sandbox.dotenv(GENERATION, &started)?;
        self.renewed(&["up"], &started)?;
        let took = self.renewed(&["restart", &name], &started)?;
        self.measured.restart.extend(took);
        let reloaded = generation("reload");
        self.sandbox.dotenv(GENERATION, &reloaded)?;
        self.renewed(&["reload"], &reloaded)?;
        self.kill_main(&reloaded)?;
        let took = self.ended(&["stop", &name])?;
        self.measured.stop.extend(took);
        let took = self.renewed(&["start", &name], &reloaded)?;
        self.measured.start.extend(took);
        let took = self.ended(&["down"])?;
        self.measured.down.extend(took);
        let overlaps = self.records.overlaps()?;
        let _ = std::fs::remove_file(self.records.path("overlaps"));
        for overlap in &overlaps {
            self.tell("a start", overlap);
        }
        self.measured.counts.overlaps += overlaps.len();
        Ok(())
    }

    /// Runs a command after which a new process must answer for `generation`.
    fn renewed(&mut self, words: &[&str], generation: &str) -> anyhow::Result<Option<f64>> {
        let old = self.records.living()?;
        let took = self.command(words)?;
        if took.is_some() {
            match programs::answer(self.port) {
                None => {
                    self.measured.counts.silent += 1;
                    self.tell(&words.join(" "), "nothing answers");
                }
                Some((pid, answered)) if old.contains(&pid) || answered != generation => {
                    self.measured.counts.old += 1;
                    self.tell(&words.join(" "), &format!("{pid} answers for `{answered}`"));
                }
                Some(_) => {}
            }
        }
        self.survivors(&words.join(" "), &old)?;
        Ok(took)
    }

    /// Runs a command after which no process of the program may run.
    fn ended(&mut self, words: &[&str]) -> anyhow::Result<Option<f64>> {
        let took = self.command(words)?;
        let old = self.records.living()?;
        self.survivors(&words.join(" "), &old)?;
        Ok(took)
    }

    /// Counts the processes of `old` that still run, and kills them: each survivor counts once.
    fn survivors(&mut self, step: &str, old: &[i32]) -> anyhow::Result<()> {
        let living = self.records.living()?;
        for pid in old.iter().filter(|pid| living.contains(pid)) {
            self.measured.counts.survivors += 1;
            self.tell(step, &format!("{pid} survived"));
            programs::kill(*pid);
        }
        Ok(())
    }

    /// Sends SIGKILL to the main process and waits until another one answers.
    fn kill_main(&mut self, generation: &str) -> anyhow::Result<()> {
        let old = self.records.living()?;
        let Some(main) = self.listed()? else {
            self.measured.counts.failed += 1;
            self.tell("kill -9", "no process is listed");
            return Ok(());
        };
        programs::kill(main);
        let deadline = Instant::now() + BACK_LIMIT;
        loop {
            let answer = programs::answer(self.port);
            let is_new =
                |(pid, answered): &(i32, String)| !old.contains(pid) && answered == generation;
            if answer.as_ref().is_some_and(is_new) {
                break;
            }
            if Instant::now() >= deadline {
                let counts = &mut self.measured.counts;
                match answer {
                    None => counts.silent += 1,
                    Some(_) => counts.old += 1,
                }
                self.tell(
                    "kill -9",
                    &format!("{answer:?} answers {BACK_LIMIT:?} later"),
                );
                break;
            }
            thread::sleep(POLL);
        }
        self.survivors("kill -9", &old)?;
        // The new process answers before the supervisor has probed it: the next steps are measured
        // on a healthy stack.
        self.command(&["up"]).map(drop)
    }

    /// Returns the process that `ps` lists.
    fn listed(&self) -> anyhow::Result<Option<i32>> {
        let output = self.sandbox.direct(&["status", "--json"])?.output();
        let output = output.context("cannot run `status`")?;
        let status: Value = serde_json::from_slice(&output.stdout).context("no status")?;
        let name = &self.program.name;
        let pid = status["services"][name]["processes"][name]["pid"].as_i64();
        Ok(pid.and_then(|pid| i32::try_from(pid).ok()))
    }

    /// Returns the milliseconds of a command; `None` when it failed, which is counted.
    fn command(&mut self, words: &[&str]) -> anyhow::Result<Option<f64>> {
        match timed(&mut self.sandbox.direct(words)?) {
            Ok(took) => Ok(Some(took)),
            Err(error) => {
                self.measured.counts.failed += 1;
                self.tell(&words.join(" "), &format!("{error:#}"));
                Ok(None)
            }
        }
    }

    fn tell(&self, step: &str, what: &str) {
        self.ctx
            .ui
            .line(format!("{}: {step}: {what}", self.program.name));
    }
}
