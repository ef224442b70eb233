//! Starts process-compose for an instance.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::{self, FileLock};
use kit::{Exit, Failure, process};

use super::client::Client;
use super::{last_words, ours, socket};
use crate::base::interrupt::Interrupt;
use crate::base::limits;
use crate::base::poll::{Waited, wait_until};
use crate::checkout::paths::Paths;
use crate::plan::env::Env;

/// How often the API is polled while it starts: it answers after some 40 ms.
const POLL: Duration = Duration::from_millis(2);

/// How long the API may take to answer.
const API_TIMEOUT: Duration = Duration::from_secs(20);

/// Its arguments: no terminal, and no reading of `.env` by itself.
pub const ARGUMENTS: [&str; 5] = [
    "up",
    "--tui=false",
    "--keep-project",
    "--ordered-shutdown",
    "--disable-dotenv",
];

/// Starts process-compose at `binary` on the rendered file, in a session of its own, and waits
/// until its API answers. `claim` is the alive lock, which the supervisor inherits. Returns the
/// child, so that its exit can be seen; it outlives us.
pub fn launch(
    paths: &Paths,
    env: &Env,
    binary: &Path,
    client: &Client,
    claim: FileLock,
) -> anyhow::Result<Child> {
    let errors = output_file(paths)?;
    // No process is alive, so a socket file is a leftover, which would make the supervisor fail.
    let _ = fs::remove_file(client.socket());
    socket::record(&paths.state(), client.socket())?;
    // We may have been started by a service of another stack: its locks must not be inherited.
    kit::spawn::close_on_exec().context("cannot list what is open")?;
    kit::spawn::keep_open_on_exec(claim.file()).context("cannot hand on the alive lock")?;
    let mark = ours::begin(paths)?;
    let mut command = command(paths, env, binary, client.socket());
    command.env(process::mark::VARIABLE, mark.to_string());
    // It repeats every line of every process on stdout, without limit; its own messages go to
    // stderr and to its log.
    command.stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(errors);
    kit::spawn::new_session(&mut command);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start the supervisor `{}`", binary.display()))?;
    drop(claim);
    wait_for_api(paths, client, child)
}

fn command(paths: &Paths, env: &Env, binary: &Path, socket: &Path) -> Command {
    let relative = |path: PathBuf| {
        path.strip_prefix(paths.root())
            .map(Path::to_path_buf)
            .unwrap_or(path)
    };
    let mut command = Command::new(binary);
    command
        .current_dir(paths.root())
        // Removes especially `PC_*`, which would change the stack.
        .env_clear()
        .envs(env.passed_on())
        .args(ARGUMENTS)
        .arg("-U")
        .arg("--unix-socket")
        .arg(socket)
        .arg("-L")
        .arg(relative(paths.supervisor_log()))
        .arg("-f")
        .arg(relative(paths.compose_file()));
    command
}

fn output_file(paths: &Paths) -> anyhow::Result<File> {
    files::create_private_dir(&paths.logs())?;
    let path = paths.supervisor_output();
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(files::PRIVATE_FILE_MODE)
        .open(&path)
        .with_context(|| format!("cannot open `{}`", path.display()))
}

fn wait_for_api(paths: &Paths, client: &Client, mut child: Child) -> anyhow::Result<Child> {
    let answers = || client.socket().exists() && client.is_live();
    let come = || -> anyhow::Result<Option<()>> {
        if answers() {
            return Ok(Some(()));
        }
        match child.try_wait().context("cannot wait for the supervisor")? {
            Some(status) => Err(ended(paths, status).into()),
            None => Ok(None),
        }
    };
    let deadline = Instant::now() + API_TIMEOUT;
    if let Waited::Done(()) = wait_until(deadline, POLL, &Interrupt::default(), come)? {
        return Ok(child);
    }
    // It may hang for ever: it is our child, so its handle can kill it.
    let _ = child.kill();
    let _ = child.wait();
    let message = format!("the supervisor did not answer within {API_TIMEOUT:?}");
    Err(Failure::new(Exit::Timeout, message)
        .hint(format!("{}, then try again", paths.command("down")))
        .into())
}

fn ended(paths: &Paths, status: ExitStatus) -> Failure {
    let words = last_words::of_all(paths);
    let message = format!("the supervisor ended while starting ({status}){words}");
    let hint = limits::hint(&words).unwrap_or_else(|| paths.command("render --check"));
    Failure::new(Exit::ServiceFailed, message).hint(hint)
}
