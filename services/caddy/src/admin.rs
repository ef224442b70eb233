//! Checks a configuration and applies it to the running Caddy.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kit::files::{PRIVATE_FILE_MODE, write_atomically, write_if_changed};
use kit::http::{self, Endpoint};
use kit::{Exit, Failure};
use serde_json::Value;
use tokio::process::Command;

use crate::config::{ADMIN_SOCKET, NATS_ADDRESS, POCKETBASE_ADDRESS};
use crate::settings::Settings;
use crate::{pages, routes};

/// How long the check of a configuration may take; measured: 30 ms.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// How long Caddy may take to load a configuration; measured: 2 ms.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// Returns the path of the configuration file: its content was always accepted by Caddy.
pub(crate) fn config_file(settings: &Settings) -> PathBuf {
    settings.state_dir.join("caddy.json")
}

/// Returns Caddy's directories for each call of it: by default it uses the home directory.
pub(crate) fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    let inside = |name: &str| settings.data_dir.join(name).display().to_string();
    vec![
        ("XDG_DATA_HOME", inside("share")),
        ("XDG_CONFIG_HOME", inside("config")),
    ]
}

/// Writes where the servers behind Caddy are, and the routes to them. Caddy reads this for each
/// request.
pub(crate) fn write_addresses(settings: &Settings) -> anyhow::Result<()> {
    routes::write(settings)?;
    pages::write(settings)?;
    let addresses = [
        (POCKETBASE_ADDRESS, &settings.pocketbase),
        (NATS_ADDRESS, &settings.nats_ws),
    ];
    for (file, address) in addresses {
        let text = address.to_string();
        write_if_changed(
            &settings.state_dir.join(file),
            text.as_bytes(),
            PRIVATE_FILE_MODE,
        )?;
    }
    Ok(())
}

/// Writes the configuration file unless its content is equal, after Caddy has checked it.
pub(crate) async fn install(settings: &Settings, text: &str) -> anyhow::Result<()> {
    let live = config_file(settings);
    if std::fs::read(&live).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let candidate = live.with_extension("new.json");
    write_atomically(&candidate, text.as_bytes(), PRIVATE_FILE_MODE)?;
    if let Err(error) = validate(settings, &candidate).await {
        let _ = std::fs::remove_file(&candidate);
        return Err(error);
    }
    std::fs::rename(&candidate, &live)
        .with_context(|| format!("cannot replace `{}`", live.display()))
}

async fn validate(settings: &Settings, file: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(&settings.server);
    command.arg("validate").arg("--config").arg(file);
    command.current_dir(&settings.state_dir);
    command.envs(environment(settings));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(CHECK_LIMIT, command.output())
        .await
        .context("the check of Caddy's configuration did not end")?
        .with_context(|| format!("cannot run `{}`", settings.server.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().last().unwrap_or_default();
    let message = format!("Caddy refuses its configuration: {reason}");
    Err(Failure::new(Exit::Invalid, message).into())
}

/// Applies settings and the configuration made from them to the running Caddy. After an error the
/// old configuration is restored, but not the old addresses.
pub(crate) async fn apply(settings: &Settings, text: &str) -> anyhow::Result<()> {
    write_addresses(settings)?;
    // The same text as before is no change for Caddy.
    load(settings, text).await
}

/// Applies `text` to the running Caddy; after an error the old file is restored.
async fn load(settings: &Settings, text: &str) -> anyhow::Result<()> {
    let live = config_file(settings);
    let old = std::fs::read(&live).with_context(|| format!("cannot read `{}`", live.display()))?;
    install(settings, text).await?;
    let result = match post(settings, text).await {
        Ok(()) => prove(settings, text).await,
        refused => refused,
    };
    if let Err(error) = result {
        write_atomically(&live, &old, PRIVATE_FILE_MODE)?;
        // If the new one was refused, the old one still applies; otherwise this restores it. A
        // Caddy that does not answer reads it at its next start.
        let _ = post(settings, &String::from_utf8_lossy(&old)).await;
        let what = "the old configuration stays in effect";
        return Err(Failure::new(Exit::ReloadFailed, what).source(error).into());
    }
    Ok(())
}

async fn post(settings: &Settings, text: &str) -> anyhow::Result<()> {
    let endpoint = Endpoint::Unix(short_path(&settings.state_dir.join(ADMIN_SOCKET)));
    let headers = [("Content-Type", "application/json")];
    let body = Some(text.as_bytes());
    let response = http::request(&endpoint, "POST", "/load", &headers, body, LOAD_LIMIT).await?;
    if response.status != 200 {
        let reason = String::from_utf8_lossy(&response.body);
        bail!("Caddy answered {}: {}", response.status, reason.trim());
    }
    Ok(())
}

/// Checks whether the configuration of the running Caddy is the one that it was given.
async fn prove(settings: &Settings, text: &str) -> anyhow::Result<()> {
    let endpoint = Endpoint::Unix(short_path(&settings.state_dir.join(ADMIN_SOCKET)));
    let response = http::get(&endpoint, "/config/", LOAD_LIMIT).await?;
    let running: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let given: Value = serde_json::from_str(text).context("the configuration is no JSON")?;
    if running != given {
        bail!("Caddy runs another configuration than it was given");
    }
    Ok(())
}

/// Returns a relative path if possible: an absolute one may be too long for a socket.
fn short_path(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::failure::exit_of;

    fn settings(state_dir: &Path) -> Settings {
        let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-caddy");
        Settings {
            server: PathBuf::from(fake),
            state_dir: state_dir.to_owned(),
            ..crate::settings::tests::settings(&[]).unwrap()
        }
    }

    fn calls(dir: &Path) -> usize {
        let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
        text.lines().count()
    }

    #[tokio::test]
    async fn only_a_changed_configuration_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        install(&settings, "one").await.unwrap();
        install(&settings, "one").await.unwrap();
        assert_eq!(calls(dir.path()), 1);
        install(&settings, "two").await.unwrap();
        assert_eq!(calls(dir.path()), 2);
        let live = std::fs::read_to_string(config_file(&settings)).unwrap();
        assert_eq!(live, "two");
    }

    #[tokio::test]
    async fn a_refused_configuration_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        install(&settings, "one").await.unwrap();
        let error = install(&settings, "bad").await.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid);
        let expected = r#"Caddy refuses its configuration: {"msg":"no such module"}"#;
        assert_eq!(error.to_string(), expected);
        let live = std::fs::read_to_string(config_file(&settings)).unwrap();
        assert_eq!(live, "one");
        assert!(!config_file(&settings).with_extension("new.json").exists());
    }

    #[tokio::test]
    async fn a_reload_that_cannot_reach_caddy_restores_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        install(&settings, "one").await.unwrap();
        let error = load(&settings, "two").await.unwrap_err();
        assert_eq!(exit_of(&error), Exit::ReloadFailed);
        let live = std::fs::read_to_string(config_file(&settings)).unwrap();
        assert_eq!(live, "one");
    }
}
