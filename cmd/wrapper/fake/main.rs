//! A wrapper whose server is a shell script, to observe every fault from outside.
//!
//! `FAKE_DIR` is its directory, `FAKE_SCRIPT` the script, which runs there and is ready once the
//! file `ready` exists. `FAKE_RESPAWNS` is the number of further starts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kit::Lifecycle;
use kit::claim::Claim;
use kit::env::{Lookup, Reader};
use kit::server::{self, Launch, ServerHandle, Upstream};
use kit::settings::Environment;

const READY_LIMIT: Duration = Duration::from_secs(2);

struct Settings {
    directory: PathBuf,
    script: String,
    respawns_max: usize,
}

struct Fake {
    directory: PathBuf,
}

impl Upstream for Fake {
    fn address(&self) -> String {
        "fake://here".to_owned()
    }

    async fn is_ready(&mut self) -> anyhow::Result<bool> {
        anyhow::ensure!(
            !self.directory.join("foreign").exists(),
            "a stranger answers"
        );
        Ok(self.directory.join("ready").exists())
    }

    async fn reload(
        &mut self,
        _server: &ServerHandle,
        _environment: &Environment,
    ) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.directory.join("wanted"))?)
    }
}

fn settings(lookup: Lookup<'_>) -> anyhow::Result<Settings> {
    let mut reader = Reader::new(lookup);
    let settings = Settings {
        directory: reader.path("FAKE_DIR"),
        script: reader.required("FAKE_SCRIPT"),
        respawns_max: reader
            .optional("FAKE_RESPAWNS")
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
    };
    reader.finish("fake", settings)
}

async fn run(lifecycle: Lifecycle, settings: Settings) -> anyhow::Result<u8> {
    let Some(claim) = Claim::take(&lifecycle, &settings.directory).await? else {
        return Ok(0);
    };
    let launch = Launch {
        name: "fake",
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), settings.script],
        env: vec![("FAKE_GIVEN", "given".to_owned())],
        working_dir: Some(settings.directory.clone()),
        stdin: None,
        ready_limit: READY_LIMIT,
        respawns_max: settings.respawns_max,
        reload_report: settings.directory.join("reload.json"),
    };
    let mut fake = Fake {
        directory: settings.directory,
    };
    server::run(&lifecycle, &claim, &launch, &mut fake).await
}

fn main() -> ExitCode {
    wrapper::main("{\"fake\": true}\n", settings, |_| Ok(()), run)
}
