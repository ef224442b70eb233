//! The readiness probe: blocks until a server answers, then exits. As `probe run` it is the runner
//! of a program that has no wrapper.
//!
//! Owns the decision which answers mean "not yet" and which mean "wrong". Must stay tiny: the
//! supervisor starts one for each check, and one for each such program.

mod arguments;
mod glance;
mod run;

use std::io::Write as _;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kit::failure::{describe, exit_of};
use kit::files::FileLock;
use kit::http::{self, HttpError};
use kit::parent::ParentWatch;
use tokio::time::Instant;

use arguments::{Probe, Target};

/// First and longest pause between two polls of a server that does not answer yet.
const POLL_FIRST: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(25);
/// How long a server that accepted the connection may stay silent: it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How much of that the first glance takes. A healthy server answers within a few milliseconds.
const GLANCE_MAX: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == run::ROLE).is_some() {
        return run::main(arguments);
    }
    // An argument that is no text cannot be an address either.
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let result = arguments::parse(arguments).and_then(|probe| run(&probe));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", describe(&error));
            exit_of(&error).into()
        }
    }
}

fn run(probe: &Probe) -> anyhow::Result<()> {
    let began = Instant::now();
    let parent = parent_id();
    let deadline = began + probe.limit;
    if glance::is_ready(&probe.target, probe.limit.min(GLANCE_MAX)) {
        return Ok(());
    }
    // What was silent until now has only the rest of its second.
    let silence_left = SILENCE_MAX.saturating_sub(began.elapsed());
    let runtime = kit::runtime::current_thread()?;
    let result = runtime.block_on(async {
        let watch = ParentWatch::process().context("cannot watch the parent")?;
        if parent_id() != parent {
            bail!("the parent is gone");
        }
        tokio::select! {
            biased;
            result = until_ready(probe, deadline, silence_left) => result,
            () = watch.gone() => bail!("the parent is gone"),
        }
    });
    // A running name resolution must not delay the exit.
    runtime.shutdown_background();
    result
}

/// The result of one poll.
enum Answer {
    Ready,
    NotYet(String),
    Wrong(String),
}

async fn until_ready(
    probe: &Probe,
    deadline: Instant,
    mut silence_max: Duration,
) -> anyhow::Result<()> {
    let mut pause = POLL_FIRST;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match look(&probe.target, left.min(silence_max)).await {
            Answer::Ready => return Ok(()),
            Answer::Wrong(why) => bail!(why),
            Answer::NotYet(why) => why,
        };
        silence_max = SILENCE_MAX;
        if Instant::now() + pause >= deadline {
            bail!("not ready within {} s: {why}", probe.limit.as_secs_f64());
        }
        tokio::time::sleep(pause).await;
        // A twentieth of the time so far: an answer is noticed at most 5 % late.
        pause = (pause * 21 / 20).min(POLL_MAX);
    }
}

async fn look(target: &Target, limit: Duration) -> Answer {
    let result = match target {
        Target::Lock(file) => return look_at_lock(file),
        Target::Tcp(endpoint) => http::touch(endpoint, limit).await.map(|()| None),
        Target::Http { endpoint, path, .. } => {
            let response = http::get(endpoint, path, limit).await;
            response.map(|response| Some(response.status))
        }
    };
    match result {
        Ok(None) => Answer::Ready,
        Ok(Some(status)) => judge(target, status),
        Err(error @ (HttpError::Silent(_) | HttpError::ConnectTimeout(_))) => {
            Answer::Wrong(error.to_string())
        }
        // A server that is starting may cut a connection, too.
        Err(error) => Answer::NotYet(format!("{:#}", anyhow::Error::from(error))),
    }
}

fn look_at_lock(file: &Path) -> Answer {
    match FileLock::is_held(file) {
        Ok(true) => Answer::Ready,
        Ok(false) => Answer::NotYet(format!("no process holds the lock `{}`", file.display())),
        Err(error) => Answer::Wrong(format!("{error:#}")),
    }
}

/// Whether a server that answers with `status` is ready.
fn is_wanted(target: &Target, status: u16) -> bool {
    match target {
        Target::Http {
            status: Some(wanted),
            ..
        } => status == *wanted,
        _ => (200..300).contains(&status),
    }
}

fn judge(target: &Target, status: u16) -> Answer {
    let got = || match target {
        Target::Http { endpoint, path, .. } => {
            format!("`http://{endpoint}{path}` answered with status {status}")
        }
        _ => format!("status {status}"),
    };
    match status {
        _ if is_wanted(target, status) => Answer::Ready,
        500..600 => Answer::NotYet(got()),
        _ => Answer::Wrong(got()),
    }
}
