//! Runs the server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kit::Lifecycle;
use kit::claim::{Claim, Port};
use kit::files::{PRIVATE_FILE_MODE, create_private_dir, free_name, write_if_changed};
use kit::http::{self, Endpoint, HttpError};
use kit::output::Output;
use kit::server::{self, Launch, Retirement, ServerHandle, Upstream, reachable};
use kit::settings::Environment;
use serde::Deserialize;

use crate::config;
use crate::credentials;
use crate::events::STREAM as EVENTS_STREAM;
use crate::reload;
use crate::settings::Settings;
use crate::store::{self, Mode};
use crate::topology::{self, CONFIG_FILE, RELOAD_REPORT, Role};

/// How long the server may take to become ready: it reads its whole store first. A million
/// messages take 0.3 to 1.2 s.
const READY_LIMIT: Duration = Duration::from_mins(5);
/// How long the server may take to disconnect its clients when it leaves the hub: its whole
/// lame-duck duration, and a little more.
const RETIRE_LIMIT: Duration = Duration::from_secs(33);
/// The directory with the streams of Core's account, in the server's data directory.
const EVENTS_STORE: &str = "jetstream/APP/streams";
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Runs the server until a stop is requested or it exits by itself. Returns the exit code.
pub async fn run(lifecycle: Lifecycle, settings: Settings) -> anyhow::Result<u8> {
    let Some(claim) = Claim::take(&lifecycle, &settings.data_dir).await? else {
        return Ok(0);
    };
    if has_retired(&settings)? {
        // If it exited, a supervisor would restart it. Its store is not opened.
        let output = Output::start(lifecycle.is_supervised());
        output.note(&format!("`{}` has left the hub", settings.node.name));
        lifecycle.cancelled().await;
        output.finish().await;
        return Ok(0);
    }
    let mode = match settings.node.role {
        Some(Role::Hub) => Mode::Clustered,
        None | Some(Role::Leaf) => Mode::Standalone,
    };
    store::open(&settings.data_dir, mode)?;
    create_private_dir(&settings.state_dir)?;
    let nats = Nats {
        config_file: settings.state_dir.join(CONFIG_FILE),
        monitor: Endpoint::tcp("127.0.0.1", settings.http_port),
        settings,
        aside: None,
    };
    let text = nats.render()?;
    write_if_changed(&nats.config_file, text.as_bytes(), PRIVATE_FILE_MODE)?;
    if !claim.check_ports(&lifecycle, &nats.ports()).await? {
        return Ok(0);
    }
    let launch = nats.launch();
    let mut nats = nats;
    let ended = server::run(&lifecycle, &claim, &launch, &mut nats).await;
    // It contains passwords, and the next start writes it again.
    let _ = std::fs::remove_file(&nats.config_file);
    ended
}

/// Whether the facts have a hub and this server is no longer in it.
fn has_retired(settings: &Settings) -> anyhow::Result<bool> {
    if settings.node.role != Some(Role::Hub) {
        return Ok(false);
    }
    let facts = topology::read(&settings.topology_file)?;
    let mut hub = facts.staying().into_iter().chain(facts.leaving());
    Ok(facts.hub_nodes() > 0 && !hub.any(|node| node.name == settings.node.name))
}

struct Nats {
    settings: Settings,
    config_file: PathBuf,
    monitor: Endpoint,
    /// The new path of the damaged stream of events.
    aside: Option<PathBuf>,
}

/// The server's answer about its health.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Health {
    error: String,
}

/// Whether Core's own stream of events is the only reason why the server is unhealthy.
fn says_that_events_are_damaged(health: &[u8]) -> bool {
    let health: Health = serde_json::from_slice(health).unwrap_or_default();
    health.error == format!("JetStream stream 'APP > {EVENTS_STREAM}' could not be recovered")
}

impl Nats {
    fn render(&self) -> anyhow::Result<String> {
        let credentials = credentials::load_or_create(&self.settings.data_dir)?;
        let facts = topology::read(&self.settings.topology_file)?;
        ensure!(
            self.settings.node.role.is_none() || !facts.nodes().is_empty(),
            "`{}` names no node, and `{}` is one",
            self.settings.topology_file.display(),
            self.settings.node.name
        );
        Ok(config::render(&self.settings, &credentials, &facts))
    }

    fn ports(&self) -> Vec<Port> {
        let settings = &self.settings;
        let local = |variable, port| Port {
            variable,
            address: Settings::local(port),
        };
        let mut ports = vec![
            Port {
                variable: "NATS_CLIENT_PORT",
                address: (settings.host, settings.client_port).into(),
            },
            local("NATS_HTTP_PORT", settings.http_port),
            local("NATS_LEAF_PORT", settings.leaf_port),
            local("NATS_WS_PORT", settings.ws_port),
        ];
        if settings.node.role == Some(Role::Hub) {
            ports.push(local("NATS_CLUSTER_PORT", settings.cluster_port));
        }
        ports
    }

    /// Moves Core's own stream of events aside when the server cannot read it and so never gets
    /// healthy: the next publisher creates it again. The server has none of its files open.
    fn set_events_aside(&mut self, health: &[u8]) -> anyhow::Result<()> {
        if self.aside.is_some() || !says_that_events_are_damaged(health) {
            return Ok(());
        }
        let data = &self.settings.data_dir;
        let stream = data.join(EVENTS_STORE).join(EVENTS_STREAM);
        let aside = free_name(&data.join(format!("{EVENTS_STREAM}.damaged")));
        fs::rename(&stream, &aside)
            .with_context(|| format!("cannot move `{}` out of the way", stream.display()))?;
        self.aside = Some(aside);
        Ok(())
    }

    fn launch(&self) -> Launch {
        Launch {
            name: "nats",
            program: self.settings.server.clone(),
            args: vec!["-c".to_owned(), self.config_file.display().to_string()],
            env: Vec::new(),
            working_dir: None,
            stdin: None,
            ready_limit: READY_LIMIT,
            respawns_max: 0,
            reload_report: self.settings.state_dir.join(RELOAD_REPORT),
        }
    }
}

impl Upstream for Nats {
    fn address(&self) -> String {
        let settings = &self.settings;
        format!("tcp://{}", reachable(settings.host, settings.client_port))
    }

    async fn is_ready(&mut self) -> anyhow::Result<bool> {
        let health = match self.settings.node.role {
            // A lone hub node waits for the others, which only start once it is ready.
            Some(Role::Hub) => "/healthz?js-server-only=true",
            None | Some(Role::Leaf) => "/healthz",
        };
        match http::get(&self.monitor, health, ANSWER_LIMIT).await {
            Ok(response) if response.status == 200 => {}
            // 500 while it reads its store.
            Ok(response) => {
                self.set_events_aside(&response.body)?;
                return Ok(false);
            }
            // Refused before it listens.
            Err(HttpError::Refused(_) | HttpError::Broken { .. } | HttpError::Silent(_)) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let Ok(varz) = reload::varz(&self.monitor).await else {
            return Ok(false);
        };
        let name = varz.server_name;
        if name != self.settings.node.name {
            bail!("another NATS server, `{name}`, answers at {}", self.monitor);
        }
        Ok(true)
    }

    fn note(&self) -> Option<String> {
        let aside = self.aside.as_ref()?;
        Some(format!(
            "the stream `{EVENTS_STREAM}` was damaged and begins anew; what there was of it is in \
             `{}`, and nothing needs it",
            aside.display()
        ))
    }

    fn retirement(&mut self) -> anyhow::Result<Option<Retirement>> {
        let limit = RETIRE_LIMIT;
        Ok(has_retired(&self.settings)?.then_some(Retirement { limit }))
    }

    async fn reload(
        &mut self,
        server: &ServerHandle,
        _environment: &Environment,
    ) -> anyhow::Result<String> {
        let text = self.render()?;
        let bin = &self.settings.server;
        reload::apply(bin, &self.config_file, &text, &self.monitor, server).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_of_events_is_set_aside() {
        let says = |error: &str| {
            let health = serde_json::json!({"status": "unavailable", "error": error});
            says_that_events_are_damaged(health.to_string().as_bytes())
        };
        assert!(says(
            "JetStream stream 'APP > CORE_EVENTS' could not be recovered"
        ));
        assert!(!says(
            "JetStream stream 'APP > CORE_EVENTS_2' could not be recovered"
        ));
        assert!(!says(
            "JetStream stream 'APP > ORDERS' could not be recovered"
        ));
        assert!(!says(
            "JetStream has not established contact with a meta leader"
        ));
        assert!(!says_that_events_are_damaged(b"<html>"));
    }
}
