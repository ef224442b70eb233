//! The cost of the proof that nothing is left, with many processes on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::super::programs::{self, Program};
use super::super::report::BenchReport;
use super::super::sandbox::Sandbox;
use super::super::timing::{median, run};
use engine::checkout::context::Ctx;
use engine::supervisor::BINARY;

/// Numbers of processes, and the milliseconds that the proof may take beside them.
const BUDGETS: [(usize, f64); 2] = [(300, 30.0), (2000, 60.0)];

/// Services whose processes leave their group or their session, or neither.
const NAMES: [&str; 4] = ["daemon", "workers", "python", "shell-script"];

/// Poll interval for the exit of `down` while processes are alive.
const PAUSE: Duration = Duration::from_millis(50);

/// Adds a row for each number of processes.
pub(super) fn proof(
    ctx: &Ctx,
    runs: usize,
    programs: &[Program],
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let named = |program: &&Program| NAMES.contains(&program.name.as_str());
    let programs: Vec<Program> = programs.iter().filter(named).cloned().collect();
    let sandbox = super::sandbox(ctx, &programs)?;
    for (count, budget) in BUDGETS {
        let crowd = Crowd::of(count)?;
        let (mut empty, mut downs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            run(&mut sandbox.direct(&["up"])?)?;
            empty.push(run(&mut sandbox.direct(&["--version"])?)?);
            downs.push(down(&sandbox, &programs)?);
        }
        drop(crowd);
        let beside = format!("{count} processes on the machine");
        let of = |figure: fn(&Down) -> f64| median(downs.iter().map(figure).collect());
        report.compare(
            format!(
                "`down` of {} services without their own end, {beside}",
                programs.len()
            ),
            "an empty run",
            (of(|down| down.before + down.after), median(empty)),
            (1.0, budget),
        );
        let what = format!("until the first of them ended, {beside}");
        report.figure(what, "ms", of(|down| down.before), None);
        let what = format!("after the last of them had ended, {beside}");
        report.figure(what, "ms", of(|down| down.after), None);
        let survivors: usize = downs.iter().map(|down| down.survivors).sum();
        report.count(format!("processes that survived it, {beside}"), survivors);
    }
    Ok(())
}

/// The observed end of a stack.
struct Ends {
    /// The first and the last exit of a process.
    ends: Option<(Instant, Instant)>,
    /// Processes that survived, and were then killed.
    survivors: usize,
}

/// One `down`. The time between the first and the last exit belongs to the processes.
struct Down {
    /// Milliseconds until the first of them exited.
    before: f64,
    /// Milliseconds after the last exit.
    after: f64,
    survivors: usize,
}

fn down(sandbox: &Sandbox, programs: &[Program]) -> anyhow::Result<Down> {
    let processes = processes_of(sandbox, programs)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = thread::Builder::new();
        let watch = watch.spawn_scoped(scope, || ends(&processes, &is_over));
        let watch = watch.context("cannot watch the processes")?;
        let begun = Instant::now();
        let whole = run(&mut sandbox.direct(&["down"])?);
        let over = Instant::now();
        is_over.store(true, Ordering::Relaxed);
        let watched = watch.join();
        let seen = watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        whole?;
        let (first, last) = seen.ends.unwrap_or((over, over));
        let millis = |from, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
        Ok(Down {
            before: millis(begun, first),
            after: millis(last, over),
            survivors: seen.survivors,
        })
    })
}

/// Watches processes until all of them have exited, or until `is_over`.
fn ends(processes: &[OwnedFd], is_over: &AtomicBool) -> anyhow::Result<Ends> {
    let mut ends: Option<(Instant, Instant)> = None;
    let mut living: Vec<&OwnedFd> = processes.iter().collect();
    let pause = Timespec::try_from(PAUSE).context("no such time")?;
    while !living.is_empty() {
        let was_over = is_over.load(Ordering::Relaxed);
        let polled = living.iter();
        let mut polled: Vec<_> = polled
            .map(|process| PollFd::new(*process, PollFlags::IN))
            .collect();
        let ended = poll(&mut polled, Some(&pause)).context("cannot watch processes")?;
        if ended == 0 && was_over {
            break;
        }
        if ended > 0 {
            let now = Instant::now();
            ends = Some((ends.map_or(now, |(first, _)| first), now));
        }
        let mut lives = polled
            .iter()
            .map(|polled| polled.revents().is_empty())
            .collect::<Vec<_>>()
            .into_iter();
        living.retain(|_| lives.next().unwrap_or(true));
    }
    for process in &living {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    Ok(Ends {
        ends,
        survivors: living.len(),
    })
}

/// Returns the supervisor of the sandbox, its descendants, and processes that recorded themselves
/// and left the tree.
fn processes_of(sandbox: &Sandbox, programs: &[Program]) -> anyhow::Result<Vec<OwnedFd>> {
    let parents = parents()?;
    let root = fs::canonicalize(sandbox.root()).context("the sandbox is gone")?;
    let is_supervisor = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let program = String::from_utf8_lossy(program).into_owned();
        program.ends_with(BINARY)
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == root)
    };
    let supervisor = parents.keys().copied().find(|pid| is_supervisor(*pid));
    let supervisor = supervisor.context("the supervisor of the sandbox does not run")?;
    let is_below = |pid: i32| {
        let mut above = Some(pid);
        while let Some(pid) = above {
            if pid == supervisor {
                return true;
            }
            above = parents.get(&pid).copied();
        }
        false
    };
    let mut ours: BTreeSet<i32> = parents
        .keys()
        .copied()
        .filter(|pid| is_below(*pid))
        .collect();
    for program in programs {
        ours.extend(program.records(&super::pids(sandbox))?.living()?);
    }
    let open = |pid: i32| {
        let pid = Pid::from_raw(pid)?;
        // A probe may have exited meanwhile.
        pidfd_open(pid, PidfdFlags::empty()).ok()
    };
    Ok(ours.into_iter().filter_map(open).collect())
}

/// Returns the parent of every process.
fn parents() -> anyhow::Result<BTreeMap<i32, i32>> {
    let parent = |pid: i32| Some((pid, programs::parent(pid)?));
    let entries = fs::read_dir("/proc").context("cannot list processes")?;
    let pids = entries.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(parent).collect())
}

/// Idle processes, which are killed when this is dropped.
struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts as many as make `count` processes on this machine.
    fn of(count: usize) -> anyhow::Result<Self> {
        let missing = count.saturating_sub(parents()?.len());
        let mut crowd = Self(Vec::new());
        for _ in 0..missing {
            let child = Command::new("sleep")
                .arg("3600")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            crowd
                .0
                .push(child.context("cannot start a process that does nothing")?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}
