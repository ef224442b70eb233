//! Prints the log files of a stack, and follows them while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use log_lines::{Filter, Format, Show, Source, merge};

use crate::base::ui::Ui;
use crate::checkout::logs;
use crate::checkout::paths::Paths;

/// How often the files are polled.
const POLL: Duration = Duration::from_millis(50);

/// Prefix of the supervisor's own log files, which belong to no process.
const SUPERVISOR: &str = "process-compose";

/// The sizes of all log files at one time, to follow them from there.
#[derive(Debug, Default)]
pub struct LogSizes(BTreeMap<PathBuf, u64>);

impl LogSizes {
    /// Returns the present sizes.
    pub fn now(paths: &Paths) -> Self {
        let entries = fs::read_dir(paths.logs()).into_iter().flatten().flatten();
        Self(
            entries
                .map(|entry| (entry.path(), logs::size(&entry.path())))
                .collect(),
        )
    }
}

/// Which lines of which processes are printed, and how.
#[derive(Debug)]
pub struct Options {
    /// The processes; if empty, every one that has a log.
    pub processes: Vec<String>,
    /// Which lines.
    pub filter: Filter,
    /// Only this many last lines.
    pub tail: Option<usize>,
    /// The output format.
    pub format: Format,
}

/// Prints and follows log files.
#[derive(Debug)]
pub struct Follow {
    logs: PathBuf,
    sources: Vec<Source>,
    show: Show,
    /// Whether logs of processes that are added later are printed, too.
    all: bool,
}

impl Follow {
    /// Follows the logs of these processes from their ends at `begin`.
    pub fn new<'a>(
        paths: &Paths,
        names: impl Iterator<Item = &'a String>,
        begin: &LogSizes,
        format: Format,
    ) -> Self {
        let names: Vec<String> = names.cloned().collect();
        let source = |name: &String| {
            let begin = begin.0.get(&paths.process_log(name));
            Source::after(&paths.logs(), name, begin.copied().unwrap_or(0))
        };
        Self {
            logs: paths.logs(),
            sources: names.iter().map(source).collect(),
            show: Show::new(&names, format, Filter::default(), None),
            all: false,
        }
    }

    /// Prints the lines that `options` select, from the beginning of the logs.
    pub fn whole(paths: &Paths, options: Options) -> anyhow::Result<Self> {
        let logs = paths.logs();
        let all = options.processes.is_empty();
        let mut names = options.processes;
        if all {
            names.extend(processes(paths));
        }
        let source = |name: &String| match options.tail {
            // More lines of one process than the total cannot be among them.
            Some(lines) if options.filter.is_empty() => Source::last(&logs, name, lines),
            _ => {
                let mut source = Source::whole(&logs, name);
                if let Some(since) = options.filter.since {
                    source.skip_before(since)?;
                }
                Ok(source)
            }
        };
        let sources = names.iter().map(source).collect::<io::Result<_>>();
        Ok(Self {
            sources: sources.context("cannot read the logs")?,
            logs,
            show: Show::new(&names, options.format, options.filter, options.tail),
            all,
        })
    }

    /// Prints every existing line, by time. A reader that closed the pipe is not an error.
    pub fn once(&mut self, ui: &Ui) -> anyhow::Result<()> {
        self.print(ui, false).map(drop)
    }

    /// Prints lines as they are written, until `ended` returns true or the reader closes the pipe.
    pub fn until(&mut self, ui: &Ui, ended: impl Fn() -> bool) -> anyhow::Result<()> {
        loop {
            let last = ended();
            self.look_for_more();
            if !self.print(ui, true)? || last || ui.pause(POLL) {
                return Ok(());
            }
        }
    }

    /// Prints the new lines. Returns whether the reader is still there.
    fn print(&mut self, ui: &Ui, live: bool) -> anyhow::Result<bool> {
        match merge(&mut self.sources, live, &mut self.show, &mut ui.blocks()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot show the logs"),
        }
    }

    /// Adds the logs of processes that were added meanwhile.
    fn look_for_more(&mut self) {
        if !self.all {
            return;
        }
        for name in log_lines::processes(&self.logs) {
            let is_known = self.sources.iter().any(|source| source.process() == name);
            if !is_known && !is_supervisor(&name) {
                self.show.add(&name);
                self.sources.push(Source::whole(&self.logs, &name));
            }
        }
    }
}

/// Returns the processes that have a log, of this run or an earlier one.
pub fn processes(paths: &Paths) -> BTreeSet<String> {
    let mut names = log_lines::processes(&paths.logs());
    names.retain(|name| !is_supervisor(name));
    names
}

fn is_supervisor(name: &str) -> bool {
    name == SUPERVISOR
}
