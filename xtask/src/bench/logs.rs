//! Output of a large log, against an empty `cargo run`.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::report::BenchReport;
use super::sandbox::{tempdir, xtask};
use super::timing::{median, run};
use engine::checkout::context::Ctx;
use engine::checkout::paths::Paths;

/// The processes whose lines are merged, with lines in turn.
const PROCESSES: [&str; 3] = ["caddy", "nats", "pocketbase"];

/// Lines of each process: of some 100 bytes, so some 100 MB.
const LINES: u32 = 1_000_000;

/// Megabytes per second that `logs` must show, beyond an empty run.
const RATE_MIN: f64 = 300.0;

/// Adds the row of `logs` without a filter.
pub(super) fn logs(ctx: &Ctx, runs: usize, report: &mut BenchReport) -> anyhow::Result<()> {
    let directory = tempdir()?;
    let paths = Paths::new(directory.path().to_path_buf());
    let size = write(&paths)?;
    let once = |arguments: &[&str]| {
        let mut command: Command = xtask(ctx.paths.root(), directory.path(), arguments);
        // The reader must not be what is measured.
        command.stdout(Stdio::null());
        run(&mut command)
    };
    let measure = |arguments: &[&str]| -> anyhow::Result<f64> {
        let figures = (0..runs).map(|_| once(arguments));
        Ok(median(figures.collect::<anyhow::Result<_>>()?))
    };
    let (empty, value) = (measure(&["--version"])?, measure(&["logs"])?);
    report.compare(
        format!("`logs` of {size:.0} MB from {} processes", PROCESSES.len()),
        "an empty `cargo xtask`",
        (value, empty),
        (1.0, size / RATE_MIN * 1000.0),
    );
    Ok(())
}

/// Writes the log files as the supervisor does. Returns their size in MB.
fn write(paths: &Paths) -> anyhow::Result<f64> {
    fs::create_dir_all(paths.logs()).context("cannot make a folder")?;
    let mut size = 0.0;
    for name in PROCESSES {
        let path = paths.process_log(name);
        let mut file = BufWriter::new(File::create(&path).context("cannot write a log")?);
        for line in 0..LINES {
            let (second, milli) = (line / 1000 % 60, line % 1000);
            let (hour, minute) = (line / 3_600_000, line / 60_000 % 60);
            writeln!(
                file,
                "2026-11-24T{hour:02}:{minute:02}:{second:02}.{milli:03}Z INF [7] line {line:07} \
                 of a server that says as much in a line as servers do",
            )
            .context("cannot write a log")?;
        }
        file.flush().context("cannot write a log")?;
        size += f64::from(u32::try_from(engine::checkout::logs::size(&path) / 1000)?) / 1000.0;
    }
    Ok(size)
}
