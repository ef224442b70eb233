//! `cargo xtask up` and `cargo xtask reload`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::base::interrupt::Interrupt;
use engine::checkout::kept;
use engine::instances::POLICY_VARIABLE;
use engine::operations::follow::{Follow, LogSizes};
use engine::operations::inputs::{Inputs, Selection};
use engine::operations::up::{self, Mode, Outcome, UpOptions, UpReport};
use engine::plan::binaries::Request;
use engine::supervisor::state::{Phase, State, States};
use engine::supervisor::stop;
use engine::supervisor::timing::{self, Step};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use xtask::load::{Load, LoadReport};
use xtask::{attach, bars, dep};

use super::columns::width;
use super::plan::overridden;
use super::{begin, lock_wait, print_json, probe};
use crate::cli::{Converge, Reload, Up};

/// Columns of URLs, if none is longer.
const URL_WIDTH: usize = 24;

/// Printed at once when `up` or `reload` is interrupted.
const INTERRUPTED: &str = "interrupted: ending in order; once more ends this command at once and \
     leaves what runs as it is then";

pub(crate) fn run(instance: Option<&str>, args: &Up) -> anyhow::Result<ExitCode> {
    if args.ci {
        return super::ci::run(
            || context(instance, args),
            |ctx| {
                let (report, _) = converge(ctx, Mode::Up, selection(args), &args.converge)?;
                timings(ctx, &report, args)
            },
        );
    }
    let ctx = context(instance, args)?;
    let begin = LogSizes::now(&ctx.paths);
    if args.tui {
        attach::needs_terminal()?;
    }
    let (report, interrupt) = converge(&ctx, Mode::Up, selection(args), &args.converge)?;
    timings(&ctx, &report, args)?;
    if args.tui {
        return super::attach::open(&ctx);
    }
    if args.attach {
        let timeout = Duration::from_secs(args.converge.timeout);
        let names = report.inputs.stack.processes.keys();
        let format = super::logs::format(&ctx, false);
        let follow = Follow::new(&ctx.paths, names, &begin, format);
        return attach(&ctx, follow, &interrupt, timeout);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the context of `up`.
fn context(instance: Option<&str>, args: &Up) -> anyhow::Result<Ctx> {
    let mut ctx = Ctx::load_for(instance, args.converge.profile.profile.as_deref())?;
    if let Some(policy) = &args.ports {
        ctx.env.set(POLICY_VARIABLE, policy);
    }
    Ok(ctx)
}

/// Returns the selected services.
fn selection(args: &Up) -> Selection {
    match args.services.as_slice() {
        [] => Selection::All,
        names => Selection::Some {
            names: names.to_vec(),
            dependencies: !args.no_deps,
        },
    }
}

/// `cargo xtask reload`: like `up`, but only on a running stack.
pub(crate) fn reload(instance: Option<&str>, args: &Reload) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::load_for(instance, args.converge.profile.profile.as_deref())?;
    converge(&ctx, Mode::Reload, Selection::Running, &args.converge)?;
    Ok(ExitCode::SUCCESS)
}

/// Applies the inputs with a live view, and reports the result.
fn converge(
    ctx: &Ctx,
    mode: Mode,
    selection: Selection,
    args: &Converge,
) -> anyhow::Result<(UpReport, Interrupt)> {
    let options = UpOptions {
        mode,
        selection,
        timeout: Duration::from_secs(args.timeout),
        lock: lock_wait(args.lock.no_wait),
        move_streams: args.move_streams,
    };
    let fetch = (&args.fetch).into();
    let ensure = |requests: &[Request]| dep::ensure(ctx, requests, &fetch);
    let prepared = up::prepare(ctx, &options, ensure)?;
    if let Err(error) = kept::keep(&ctx.paths) {
        ctx.ui.line(format!("{error:#}"));
    }
    // From here on an interrupt must stop processes in order.
    let interrupt = Interrupt::watch()?;
    let answer = interrupt.answer(&ctx.ui, INTERRUPTED);
    let load = if args.probe { probe::begin(ctx)? } else { None };
    let mut view = View::new(ctx);
    let report = up::up(ctx, &options, prepared, &interrupt, |inputs, states| {
        view.show(inputs, states);
    });
    drop(answer);
    view.clear();
    let noticed = load.map(Load::finish);
    if let (Err(_), Some(Ok(noticed))) = (&report, &noticed) {
        probe::tell(ctx, noticed);
    }
    let report = report?;
    let noticed = noticed.transpose()?;
    if args.json {
        print_json(ctx, &document(ctx, &report, noticed.as_ref()))?;
    } else {
        summary(ctx, &report);
        match &noticed {
            Some(noticed) => probe::tell(ctx, noticed),
            None if args.probe => ctx.ui.line("no stack was running; nothing to measure"),
            None => {}
        }
    }
    noticed.as_ref().map_or(Ok(()), probe::faultless)?;
    Ok((report, interrupt))
}

/// Shows the logs, from before the start, until the user ends it; then stops the stack.
fn attach(
    ctx: &Ctx,
    mut follow: Follow,
    interrupt: &Interrupt,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let client = ctx.client()?;
    let followed = follow.until(&ctx.ui, || {
        interrupt.signal().is_some() || !client.is_reachable()
    });
    // After any end, also without a reader: the stack does not run on alone.
    ctx.ui.line("stopping");
    let _operation = begin(ctx, "down", lock_wait(false))?;
    stop::stop(ctx, &client, timeout)?;
    followed?;
    Ok(ExitCode::SUCCESS)
}

/// The live view: a line for each process, on a terminal with a spinner.
pub(super) struct View<'a> {
    ctx: &'a Ctx,
    bars: BTreeMap<String, ProgressBar>,
    /// The processes that were ready at the last poll, `None` before the first.
    ready: Option<BTreeSet<String>>,
}

impl<'a> View<'a> {
    pub(super) fn new(ctx: &'a Ctx) -> Self {
        Self {
            ctx,
            bars: BTreeMap::new(),
            ready: None,
        }
    }

    pub(super) fn show(&mut self, inputs: &Inputs, states: &States) {
        let order = inputs.stack.order.iter();
        let states = order.filter_map(|name| Some((name, states.get(name)?)));
        let ready: BTreeMap<String, &str> = states
            .clone()
            .filter(|(_, state)| state.phase() == Phase::Ready)
            .map(|(name, state)| (name.clone(), is_ready(state)))
            .collect();
        if let Some(bars) = bars::bars() {
            for (name, state) in states {
                self.bar(bars, name).set_message(describe(state));
            }
        } else if let Some(before) = &self.ready {
            for (name, how) in ready.iter().filter(|(name, _)| !before.contains(*name)) {
                self.ctx.ui.line(format!("{name} {how}"));
            }
        }
        self.ready = Some(ready.into_keys().collect());
    }

    fn bar(&mut self, bars: &MultiProgress, name: &str) -> &ProgressBar {
        self.bars.entry(name.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix:<12} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = bars.add(ProgressBar::new_spinner().with_style(style));
            bar.set_prefix(name.to_owned());
            bars::spin(&bar, Duration::from_millis(100));
            bar
        })
    }

    pub(super) fn clear(&self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
    }
}

/// Describes a ready process. Without a probe it is only known to run.
fn is_ready(state: &State) -> &'static str {
    if state.did_its_work() {
        "is done"
    } else if state.has_ready_probe {
        "is healthy"
    } else {
        "runs"
    }
}

fn describe(state: &State) -> String {
    match (state.phase(), state.status.as_str()) {
        (Phase::Ready, _) => is_ready(state).trim_start_matches("is ").to_owned(),
        (Phase::Starting, "Pending") => "waiting for what it depends on".to_owned(),
        (Phase::Starting, _) => "starting".to_owned(),
        (_, status) => status.to_lowercase(),
    }
}

fn summary(ctx: &Ctx, report: &UpReport) {
    let seconds = report.ready_after.as_secs_f64();
    let stack = &report.inputs.stack;
    match &report.outcome {
        Outcome::Started => ctx.ui.line(format!("started in {seconds:.2} s")),
        Outcome::Unchanged => ctx.ui.line("already running"),
        Outcome::Changed(changes) => {
            let changes = changes.iter().map(|(name, what)| format!("{name} {what}"));
            let changes = changes.collect::<Vec<_>>().join(", ");
            ctx.ui.line(format!("changed in {seconds:.2} s: {changes}"));
        }
    }
    if report.inputs.topology.overridden.is_some() {
        ctx.ui.line(overridden(ctx));
    }
    let width = width(&stack.order);
    let urls = stack
        .order
        .iter()
        .filter_map(|name| stack.processes[name].url());
    let url_width = urls.map(|url| url.len()).max();
    let url_width = url_width.unwrap_or_default().max(URL_WIDTH);
    for name in &stack.order {
        let process = &stack.processes[name];
        let url = process.url().unwrap_or_default();
        let took = match report.states.get(name) {
            _ if process.disabled => "disabled".to_owned(),
            Some(state) => how_far(state),
            None => String::new(),
        };
        ctx.ui
            .line(format!("  {name:width$}  {url:<url_width$}  {took}").trim_end());
    }
    for name in &stack.order {
        let process = &stack.processes[name];
        let page = process.open.clone().or_else(|| process.url());
        if let (Some(login), Some(page), false) = (&process.login, page, process.disabled) {
            ctx.ui.line(format!("{page} is for {login}"));
        }
    }
    if !report.inputs.leased.is_empty() {
        ctx.ui.line(moved(report));
    }
    let logs = ctx.paths.shown(&ctx.paths.logs());
    let down = ctx.paths.command("down");
    ctx.ui
        .line(format!("logs are in {logs}; stop it with `{down}`"));
    if ctx.paths.kept().is_file() {
        let down = ctx.paths.command_without_cargo("down");
        ctx.ui.line(format!("works without cargo, too: `{down}`"));
    }
}

/// Describes the state of a process.
fn how_far(state: &State) -> String {
    match timing::ready_ms(state) {
        _ if state.did_its_work() || !state.has_ready_probe => describe(state),
        Some(ms) => format!("healthy after {ms} ms"),
        None => String::new(),
    }
}

/// Describes the ports whose numbers differ from the requested ones.
fn moved(report: &UpReport) -> String {
    let ports = report.inputs.leased.iter().map(|(port, wanted)| {
        let (service, name) = port.split_once('.').unwrap_or((port, ""));
        let process = report.inputs.stack.processes.get(service);
        let number = process.and_then(|process| process.ports.get(name));
        let number = number.map_or_else(String::new, |port| format!(" to {}", port.port));
        format!("{port} from {wanted}{number}")
    });
    let ports = ports.collect::<Vec<_>>().join(", ");
    format!("ports moved: {ports}; see `cargo xtask ps --all`")
}

/// Returns the critical path of the start.
fn critical_path(report: &UpReport) -> Vec<Step> {
    let is_new = |name: &str| match &report.outcome {
        Outcome::Started => true,
        Outcome::Unchanged => false,
        Outcome::Changed(changes) => changes.contains_key(name),
    };
    timing::critical_path(&report.inputs.stack, &report.states, is_new)
}

/// Prints the critical path if requested; the JSON document always has it.
fn timings(ctx: &Ctx, report: &UpReport, args: &Up) -> anyhow::Result<()> {
    if !args.timings || args.converge.json {
        return Ok(());
    }
    let path = critical_path(report);
    if path.is_empty() {
        ctx.ui
            .line("nothing was started that could have taken time");
        return Ok(());
    }
    let width = width(path.iter().map(|step| &step.process));
    for step in path {
        let Step {
            process,
            started_ms,
            took_ms,
            ..
        } = &step;
        let waited = step.waited_for.as_ref();
        let waited = waited.map_or_else(String::new, |name| format!("  after {name}"));
        let line = format!("{process:width$}  at {started_ms:>5} ms  took {took_ms:>5} ms{waited}");
        ctx.ui.data(line)?;
    }
    Ok(())
}

/// Returns the document of `--json`.
fn document(ctx: &Ctx, report: &UpReport, noticed: Option<&LoadReport>) -> serde_json::Value {
    let stack = &report.inputs.stack;
    let (outcome, changes) = match &report.outcome {
        Outcome::Started => ("started", None),
        Outcome::Unchanged => ("unchanged", None),
        Outcome::Changed(changes) => ("changed", Some(changes)),
    };
    let process = |name: &String| {
        let process = &stack.processes[name];
        let state = report.states.get(name);
        let waited_for: Vec<&String> = process.depends_on.keys().collect();
        let timing = state.and_then(|state| timing::timing(state, &report.states));
        (
            name.clone(),
            json!({
                "url": process.url(),
                "ports": process.ports,
                "open": process.open,
                "login": process.login,
                "pid": state.map(|state| state.pid),
                "depends_on": waited_for,
                "started_ms": timing.as_ref().map(|timing| timing.started_ms),
                "ready_ms": timing.as_ref().map(|timing| timing.ready_ms),
            }),
        )
    };
    let processes: serde_json::Map<_, _> = stack.order.iter().map(process).collect();
    let ready_ms = u64::try_from(report.ready_after.as_millis()).unwrap_or(u64::MAX);
    let mut document = json!({
        "schema_version": SCHEMA_VERSION,
        "instance": ctx.paths.instance(),
        "without_cargo": ctx.paths.kept(),
        "outcome": outcome,
        "changes": changes,
        "ready_ms": ready_ms,
        "order": stack.order,
        "critical_path": critical_path(report),
        "processes": processes,
    });
    if let Some(noticed) = noticed {
        document["probe"] = json!(noticed);
    }
    document
}
