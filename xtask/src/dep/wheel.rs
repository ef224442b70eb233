//! A program from a wheel, obtained by `pip download` with its digest required.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use kit::{Exit, Failure};

use super::context::Context;
use super::got::{self, Got, Miss, Wanted};
use super::progress::Task;
use super::record::Source;
use super::store::Guard;
use engine::base::digest;
use engine::base::tool::{self, Finished};

/// The error of pip when a digest differs.
const PIP_MISMATCH: &str = "DO NOT MATCH THE HASHES";
/// The error of Python when pip is not installed.
const NO_PIP: &str = "No module named pip";
/// How often pip retries a host.
const PIP_RETRIES: &str = "2";

pub(super) fn get(
    context: &Context<'_>,
    guard: &Guard,
    wanted: Wanted<'_>,
    task: &mut Task<'_>,
) -> Result<Option<Got>, Miss> {
    let Some(pin) = wanted.program.artefacts(&context.platform).wheel else {
        return Ok(None);
    };
    if context.options.offline {
        return Err(Miss::Skip("not tried, because of --offline".into()));
    }
    let python = python(context)?;
    task.stage("fetching", Source::Wheel);
    let dir = guard.work().join("wheel");
    make_dir(&dir)?;
    let mut args = Vec::new();
    let requirement = match &pin.download {
        Some(sha256) => {
            args.push("--require-hashes");
            format!("{} --hash=sha256:{sha256}\n", pin.location)
        }
        None => format!("{}\n", pin.location),
    };
    let finished = download(context, &python, &dir, &requirement, &args, task)?;
    let wheel = check(&pin.location, &finished, &dir)?;
    let sha256 = digest::of_file(&wheel)?;
    got::unpack(context, guard, &wheel, "wheel.whl", &pin, sha256).map(Some)
}

/// Returns the Python that runs pip.
pub(super) fn python(context: &Context<'_>) -> Result<PathBuf, Miss> {
    let python = context.find("python3");
    python.ok_or_else(|| Miss::Skip("no `python3` on PATH: install Python 3 with pip".into()))
}

pub(super) fn make_dir(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir(dir).with_context(|| format!("cannot create the directory `{}`", dir.display()))
}

/// Runs `pip download` for one requirement into `dir`.
pub(super) fn download(
    context: &Context<'_>,
    python: &Path,
    dir: &Path,
    requirement: &str,
    args: &[&str],
    task: &Task<'_>,
) -> anyhow::Result<Finished> {
    let file = dir.join("requirements.txt");
    fs::write(&file, requirement).with_context(|| format!("cannot write `{}`", file.display()))?;
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args([
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
        ])
        .args(["--retries", PIP_RETRIES])
        .args(args)
        .args(["-d", ".", "-r", "requirements.txt"])
        .current_dir(dir)
        .env("PATH", context.path())
        // A user's rule for installations does not concern a download.
        .env("PIP_REQUIRE_VIRTUALENV", "0");
    tool::run(
        &mut command,
        context.limits.tool,
        &context.cancel,
        &|line| {
            task.detail(line);
        },
    )
}

/// Returns the wheel that pip left, or what went wrong.
pub(super) fn check(location: &str, finished: &Finished, dir: &Path) -> Result<PathBuf, Miss> {
    if finished.success() {
        return wheel_in(dir);
    }
    let says = |text: &str| finished.tail.iter().any(|line| line.contains(text));
    if says(PIP_MISMATCH) {
        let message = format!(
            "wrong digest of the wheel {location}: {}",
            finished.report()
        );
        return Err(Miss::Fatal(Failure::new(Exit::Binary, message).into()));
    }
    if says(NO_PIP) {
        return Err(Miss::Skip("`python3` has no pip: install pip".into()));
    }
    let error = finished
        .tail
        .iter()
        .rev()
        .find(|line| line.starts_with("ERROR"));
    let error = error.map_or_else(
        || finished.summary(),
        |line| line.trim_start_matches("ERROR: ").to_owned(),
    );
    Err(Miss::Told(format!("pip cannot get {location}: {error}")))
}

fn wheel_in(dir: &Path) -> Result<PathBuf, Miss> {
    let entries = fs::read_dir(dir).map_err(|error| Miss::Fatal(error.into()))?;
    let mut wheels = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "whl"));
    match (wheels.next(), wheels.next()) {
        (Some(wheel), None) => Ok(wheel),
        _ => Err(Miss::Told("pip did not leave one wheel".into())),
    }
}
