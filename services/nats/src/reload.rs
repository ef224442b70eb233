//! Applies a new configuration file to the running server, and verifies it.
//!
//! nats-server refuses a whole reload for one change it cannot make, and only logs that. The proof
//! is the digest: `nats-server -t` prints it for a file, `/varz` shows it once it is in effect.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kit::files::{PRIVATE_FILE_MODE, write_atomically};
use kit::http::{self, Endpoint};
use kit::server::ServerHandle;
use kit::{Exit, Failure};
use tokio::process::Command;
use tokio::time::Instant;

/// How long the check of a file may take.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// How long the server may take to apply a file; measured: 1 to 4 ms.
const APPLY_LIMIT: Duration = Duration::from_secs(5);
/// Poll interval of `/varz` meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long one answer of `/varz` may take.
const VARZ_LIMIT: Duration = Duration::from_secs(1);
/// The log line of the server when it refuses.
const REFUSAL: &str = "Failed to reload server configuration";

/// The fields of `/varz` that are used.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Varz {
    pub(crate) server_name: String,
    #[serde(default)]
    pub(crate) config_digest: String,
}

/// Reads `/varz`.
pub(crate) async fn varz(monitor: &Endpoint) -> anyhow::Result<Varz> {
    let response = http::get(monitor, "/varz", VARZ_LIMIT).await?;
    if response.status != 200 {
        bail!("`/varz` answered with status {}", response.status);
    }
    serde_json::from_slice(&response.body).context("cannot read `/varz`")
}

/// Replaces the file `live` by `text` and makes the server read it. If the server refuses, the old
/// file is restored. Returns the digest that is in effect.
pub(crate) async fn apply(
    server_bin: &Path,
    live: &Path,
    text: &str,
    monitor: &Endpoint,
    server: &ServerHandle,
) -> anyhow::Result<String> {
    let candidate = live.with_extension("new");
    write_atomically(&candidate, text.as_bytes(), PRIVATE_FILE_MODE)?;
    let digest = match digest_of(server_bin, &candidate).await {
        Ok(digest) => digest,
        Err(error) => {
            let _ = std::fs::remove_file(&candidate);
            return Err(error);
        }
    };
    let old = std::fs::read(live).with_context(|| format!("cannot read `{}`", live.display()))?;
    std::fs::rename(&candidate, live)
        .with_context(|| format!("cannot replace `{}`", live.display()))?;
    server.tail().clear();
    server.hang_up()?;
    match wait_for(&digest, monitor, server).await {
        Ok(()) => Ok(digest),
        Err(error) => {
            // Disk and server must agree again: the next start reads this file.
            write_atomically(live, &old, PRIVATE_FILE_MODE)?;
            // A server that was only slow may still load the new file: it then reloads the old one.
            let _ = server.hang_up();
            Err(
                Failure::new(Exit::ReloadFailed, "the old configuration stays in effect")
                    .source(error)
                    .into(),
            )
        }
    }
}

/// Returns the digest that the server will show for this file, or why it would refuse it.
async fn digest_of(server_bin: &Path, file: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(server_bin);
    command.arg("-t").arg("-c").arg(file);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(CHECK_LIMIT, command.output())
        .await
        .context("the check of the configuration did not end")?
        .with_context(|| format!("cannot run `{}`", server_bin.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the new configuration is invalid: {}", text.trim());
    }
    let digest = digest_in(&text).context("the check of the configuration names no digest")?;
    Ok(digest.to_owned())
}

/// Parses the digest in `configuration file FILE is valid (DIGEST)`.
fn digest_in(text: &str) -> Option<&str> {
    let (_, end) = text.rsplit_once("is valid (")?;
    end.split_once(')').map(|(digest, _)| digest)
}

/// Returns the reason in a log line about a refused reload.
fn refusal_in(line: &str) -> Option<&str> {
    let (_, reason) = line.split_once(REFUSAL)?;
    Some(reason.trim_start_matches(':').trim())
}

async fn wait_for(digest: &str, monitor: &Endpoint, server: &ServerHandle) -> anyhow::Result<()> {
    let deadline = Instant::now() + APPLY_LIMIT;
    loop {
        let seen = varz(monitor).await;
        if seen.as_ref().is_ok_and(|varz| varz.config_digest == digest) {
            return Ok(());
        }
        let line = server.tail().find(REFUSAL);
        if let Some(reason) = line.as_deref().and_then(refusal_in) {
            bail!("the server refused it: {reason}");
        }
        if Instant::now() > deadline {
            seen?;
            bail!(
                "the server did not take it within {} s",
                APPLY_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_prints_is_understood() {
        let valid = "nats-server: configuration file /a (b)/n.conf is valid (sha256:12ab)\n";
        assert_eq!(digest_in(valid), Some("sha256:12ab"));
        assert_eq!(
            digest_in("nats-server: configuration file n.conf is valid"),
            None
        );
        let line = "[1] 2026/01/01 00:00:00.000000 [ERR] Failed to reload server configuration: \
                    config reload not supported for LameDuckDuration: old=30s, new=40s";
        let reason = "config reload not supported for LameDuckDuration: old=30s, new=40s";
        assert_eq!(refusal_in(line), Some(reason));
        assert_eq!(
            refusal_in("[INF] Reloaded server configuration (sha256:1)"),
            None
        );
    }
}
