//! Runs the server.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kit::Lifecycle;
use kit::claim::{Claim, Port};
use kit::files::create_private_dir;
use kit::http::{self, Endpoint, HttpError};
use kit::server::{self, Launch, ServerHandle, Upstream, reachable};
use kit::settings::{Environment, REPORT};

use crate::admin;
use crate::config;
use crate::settings::Settings;

/// How long the server may take to become ready.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// How long one answer may take. Not short: our own socket accepts while Caddy starts, so the
/// request simply waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often Caddy is restarted within a minute when it exits by itself.
const RESPAWNS_MAX: usize = 5;
/// Connections that may wait while Caddy is restarted; the kernel may allow fewer.
const BACKLOG: i32 = 4096;
/// How much Caddy's heap may grow before it is collected, in percent of what is in use. That is few
/// MB, so with Go's default of 100 the collector took a tenth of Caddy's time under load. Measured:
/// 2 MB more memory idle, 5 MB after load; 400 would gain little more, for 17 MB.
const GOGC: &str = "200";

/// Runs the server until a stop is requested or it crashes too often. Returns the exit code.
pub async fn run(lifecycle: Lifecycle, settings: Settings) -> anyhow::Result<u8> {
    let Some(claim) = Claim::take(&lifecycle, &settings.data_dir).await? else {
        return Ok(0);
    };
    create_private_dir(&settings.state_dir)?;
    admin::write_addresses(&settings)?;
    let text = config::render(&settings);
    tokio::select! {
        result = admin::install(&settings, &text) => result?,
        () = lifecycle.cancelled() => return Ok(0),
    }
    let port = Port {
        variable: "CADDY_PORT",
        address: (settings.host, settings.port).into(),
    };
    let Some(listener) = claim.bind(&lifecycle, port).await? else {
        return Ok(0);
    };
    let launch = launch(&settings, listener)?;
    let address = reachable(settings.host, settings.port);
    let mut caddy = Caddy {
        endpoint: Endpoint::tcp(address.ip().to_string(), address.port()),
        settings,
    };
    server::run(&lifecycle, &claim, &launch, &mut caddy).await
}

fn launch(settings: &Settings, listener: TcpListener) -> anyhow::Result<Launch> {
    // The socket listens already; a second call only lengthens the queue.
    rustix::net::listen(&listener, BACKLOG).context("cannot lengthen the queue of the socket")?;
    let config_file = admin::config_file(settings).display().to_string();
    let mut env = admin::environment(settings);
    env.push(("GOGC", GOGC.to_owned()));
    Ok(Launch {
        name: "caddy",
        program: settings.server.clone(),
        args: vec!["run".to_owned(), "--config".to_owned(), config_file],
        env,
        working_dir: Some(settings.state_dir.clone()),
        stdin: Some(OwnedFd::from(listener)),
        ready_limit: READY_LIMIT,
        respawns_max: RESPAWNS_MAX,
        reload_report: settings.state_dir.join(REPORT),
    })
}

struct Caddy {
    settings: Settings,
    endpoint: Endpoint,
}

impl Upstream for Caddy {
    fn address(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// The socket is ours, so the server that answers is our child.
    async fn is_ready(&mut self) -> anyhow::Result<bool> {
        match http::get(&self.endpoint, "/healthz", ANSWER_LIMIT).await {
            Ok(response) if response.status == 200 => Ok(true),
            Ok(response) => bail!("`/healthz` answers with status {}", response.status),
            Err(HttpError::Refused(_) | HttpError::Broken { .. } | HttpError::Silent(_)) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Applies the current settings. The wrapper keeps the same socket.
    async fn reload(
        &mut self,
        _server: &ServerHandle,
        environment: &Environment,
    ) -> anyhow::Result<String> {
        let told = Settings::from_env(&|name: &str| environment.get(name))?;
        let settings = self.settings.with_changes_of(told);
        if let Err(error) = admin::apply(&settings, &config::render(&settings)).await {
            // It continues to forward to the old addresses.
            let _ = admin::write_addresses(&self.settings);
            return Err(error);
        }
        let applied = format!("PocketBase is at {}", settings.pocketbase);
        self.settings = settings;
        Ok(applied)
    }
}
