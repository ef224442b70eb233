//! A checkout with services of its own, whose supervisor is the fake.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Fake;
use crate::context::Ctx;
use crate::dep::{self, Installed};
use crate::env::Env;
use crate::inputs::{Inputs, Selection};
use crate::interrupt::Interrupt;
use crate::paths::Paths;
use crate::supervisor::BINARY;
use crate::supervisor::operation::{Operation, Wait};
use crate::ui::Ui;
use crate::up::{self, Mode, Options, Outcome, Prepared};

/// What holds the alive lock in the place of the supervisor. The shell stays, so that a copy of its
/// process id is right.
const HOLDER: &str = "#!/bin/sh\necho $$ > holder.new\nmv holder.new holder\nexec sleep 60\n";

/// The checkout.
pub(crate) struct Bed {
    pub(crate) fake: Fake,
    pub(crate) ctx: Ctx,
    dir: TempDir,
}

impl Bed {
    /// A checkout without services.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bed").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let run = root.join("run");
        fs::create_dir(&run).unwrap();
        let path = std::env::var("PATH").unwrap();
        let env = [
            ("XDG_RUNTIME_DIR", run.to_str().unwrap()),
            ("XDG_STATE_HOME", run.to_str().unwrap()),
            ("PATH", path.as_str()),
        ];
        let ctx = Ctx {
            paths: Paths::new(root.clone()),
            env: Env::from_pairs(env),
            ui: Ui::new(),
        };
        let program = root.join(BINARY);
        fs::write(&program, HOLDER).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let socket = ctx.client().unwrap().socket().to_owned();
        let fake = Fake::new(&socket, &ctx.paths.compose_file(), &root.join("holder"));
        Self { fake, ctx, dir }
    }

    /// A checkout with a service for each of `services`: its name, and what it needs healthy.
    pub(crate) fn with(services: &[(&str, &[&str])]) -> Self {
        let bed = Self::new();
        for (name, needs) in services {
            bed.service(name, needs, &json!({}));
        }
        bed
    }

    /// The same, and it runs.
    pub(crate) fn running(services: &[(&str, &[&str])]) -> Self {
        let bed = Self::with(services);
        assert_eq!(bed.up().unwrap().outcome, Outcome::Started);
        assert_eq!(bed.fake.orders(), [""; 0]);
        bed
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a service with a probe. `env` changes it.
    pub(crate) fn service(&self, name: &str, needs: &[&str], env: &Value) {
        let needs = needs
            .iter()
            .map(|name| (*name, json!({"condition": "process_healthy"})));
        let needs: BTreeMap<&str, Value> = needs.collect();
        self.manifest(
            name,
            &json!({"process": {
                "command": "true",
                "env": env,
                "compose": {
                    "depends_on": needs,
                    "readiness_probe": {"exec": {"command": "true"}},
                },
            }}),
        );
    }

    /// Changes a service.
    pub(crate) fn change(&self, name: &str, needs: &[&str]) {
        self.service(name, needs, &json!({"CHANGED": "yes"}));
    }

    /// Writes a manifest.
    pub(crate) fn manifest(&self, name: &str, manifest: &Value) {
        let folder = self.ctx.paths.root().join("services").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("service.json"), manifest.to_string()).unwrap();
    }

    /// Removes a service.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_dir_all(self.ctx.paths.root().join("services").join(name)).unwrap();
    }

    /// What `up` does, without building anything.
    pub(crate) fn up(&self) -> anyhow::Result<up::Report> {
        self.converge(&options(), &Interrupt::default())
    }

    /// The same, as `options` say.
    pub(crate) fn converge(
        &self,
        options: &Options,
        interrupt: &Interrupt,
    ) -> anyhow::Result<up::Report> {
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        let operation = Operation::begin(paths, ui, "up", options.lock, interrupt)?;
        let mut inputs = Inputs::load_for(&self.ctx, &options.selection)?;
        inputs.topology.complete()?;
        let prepared = Prepared {
            inputs,
            installed: self.installed(),
            operation,
        };
        up::up(&self.ctx, options, prepared, interrupt, |_, _| {})
    }

    fn installed(&self) -> BTreeMap<String, Installed> {
        let supervisor = Installed {
            path: self.ctx.paths.root().join(BINARY),
            version: None,
            sha256: String::new(),
            source: "archive".to_owned(),
        };
        [(BINARY.to_owned(), supervisor)].into()
    }
}

/// What a test converges with.
pub(crate) fn options() -> Options {
    Options {
        mode: Mode::Up,
        selection: Selection::All,
        timeout: Duration::from_secs(10),
        lock: Wait::No,
        dep: dep::Options::default(),
        move_streams: false,
    }
}
