//! The lower bound: the servers alone, one after the other, each polled until healthy.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::http::{self, Endpoint};
use rustix::process::{Pid, Signal, kill_process};

use super::servers::Server;
use super::timing::millis;

/// How long a server may take to become healthy.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

/// Poll interval.
const POLL: Duration = Duration::from_millis(1);

/// Starts the servers one after the other and returns milliseconds until the last was healthy.
pub(super) fn run(servers: &[Server]) -> anyhow::Result<f64> {
    let runtime = kit::runtime::current_thread()?;
    let mut running = Running(Vec::new());
    let begun = Instant::now();
    for server in servers {
        running.0.push(spawn(server)?);
        runtime.block_on(healthy(server))?;
    }
    Ok(millis(begun))
}

/// Servers that are stopped in reverse order when this is dropped.
pub(super) struct Running(pub(super) Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for mut child in self.0.drain(..).rev() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
    }
}

pub(super) fn spawn(server: &Server) -> anyhow::Result<Child> {
    Command::new(&server.command[0])
        .args(&server.command[1..])
        .env_clear()
        .envs(&server.env)
        .current_dir(&server.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{}`", server.name))
}

/// Whether a server is healthy now.
pub(super) async fn answers(server: &Server) -> bool {
    let Some((endpoint, path)) = Endpoint::from_url(&server.url) else {
        return false;
    };
    let answer = http::get(&endpoint, &path, POLL * 1000).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

pub(super) async fn healthy(server: &Server) -> anyhow::Result<()> {
    let deadline = Instant::now() + HEALTHY_TIMEOUT;
    loop {
        if answers(server).await {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("`{}` did not become healthy by itself", server.name);
        }
        tokio::time::sleep(POLL).await;
    }
}
