//! A checkout with its own services, whose supervisor is the fake.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kit::files;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Fake;
use crate::base::interrupt::Interrupt;
use crate::base::poll::holds_by;
use crate::base::ui::Ui;
use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::operations::converge::Description;
use crate::operations::inputs::{Inputs, Selection};
use crate::operations::up::{self, Mode, Prepared, UpOptions, UpReport};
use crate::plan::binaries::Installed;
use crate::plan::env::Env;
use crate::supervisor::BINARY;
use crate::supervisor::operation::{Operation, Wait};
use crate::supervisor::state::Phase;

/// Holds the alive lock in place of the supervisor. The shell is replaced by `exec`, so that the
/// recorded process id is right.
const HOLDER: &str = "#!/bin/sh\necho $$ > holder.new\nmv holder.new holder\nexec sleep 60\n";

/// How long any step of a test may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Held by tests that start programs: a program that starts while another test passes on its alive
/// lock would inherit that, too.
static SPAWNING: Mutex<()> = Mutex::new(());

/// The checkout.
pub(crate) struct Bed {
    pub(crate) fake: Fake,
    pub(crate) ctx: Ctx,
    _dir: TempDir,
    _spawning: Option<MutexGuard<'static, ()>>,
}

impl Bed {
    /// Creates a checkout without services.
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
        Self {
            fake,
            ctx,
            _dir: dir,
            _spawning: None,
        }
    }

    /// Starts the stack without a program, regardless of the ports of its services.
    pub(crate) fn boot(&self) -> Inputs {
        let inputs = self.begin();
        let client = self.ctx.client().unwrap();
        let is_up = || {
            let states = client.processes().unwrap_or_default();
            let mut all = states.values();
            !states.is_empty() && all.all(|state| state.phase() == Phase::Ready)
        };
        assert!(holds_by(
            Instant::now() + LIMIT,
            Duration::from_millis(1),
            is_up
        ));
        inputs
    }

    /// Starts the stack like [`Bed::boot`], and waits for none of its processes.
    pub(crate) fn begin(&self) -> Inputs {
        let mut inputs = Inputs::load(&self.ctx).unwrap();
        inputs.topology.complete().unwrap();
        inputs.topology.write(&self.ctx.paths).unwrap();
        files::create_private_dir(&self.ctx.paths.state()).unwrap();
        Description::of(&self.ctx.paths, &inputs)
            .unwrap()
            .write(&self.ctx)
            .unwrap();
        Applied::of(&inputs).save(&self.ctx.paths).unwrap();
        self.fake.boot(&self.ctx.paths.alive_lock());
        inputs
    }

    /// Creates a checkout with `services`: the name of each, and what it needs healthy.
    pub(crate) fn with(services: &[(&str, &[&str])]) -> Self {
        let bed = Self::new();
        for (name, needs) in services {
            bed.service(name, needs, &json!({}));
        }
        bed
    }

    /// Creates a checkout like [`Bed::with`] for a test that starts programs, such as a supervisor.
    pub(crate) fn spawning(services: &[(&str, &[&str])]) -> Self {
        // The failure of another test must not fail this one.
        let spawning = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            _spawning: Some(spawning),
            ..Self::with(services)
        }
    }

    /// Creates a checkout like [`Bed::with`] whose stack is running.
    pub(crate) fn running(services: &[(&str, &[&str])]) -> Self {
        let bed = Self::with(services);
        bed.boot();
        bed
    }

    /// Writes a service with a probe. `env` is its environment.
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

    /// Does what `up` does, without building anything.
    pub(crate) fn up(&self) -> anyhow::Result<UpReport> {
        self.converge(&options(), &Interrupt::default())
    }

    /// Converges with `options`.
    pub(crate) fn converge(
        &self,
        options: &UpOptions,
        interrupt: &Interrupt,
    ) -> anyhow::Result<UpReport> {
        self.converge_with(self.installed(), options, interrupt)
    }

    /// Converges with `options` and other binaries.
    pub(crate) fn converge_with(
        &self,
        installed: BTreeMap<String, Installed>,
        options: &UpOptions,
        interrupt: &Interrupt,
    ) -> anyhow::Result<UpReport> {
        let (paths, ui) = (&self.ctx.paths, &self.ctx.ui);
        let operation = Operation::begin(paths, ui, "up", options.lock, interrupt)?;
        let mut inputs = Inputs::load_for(&self.ctx, &options.selection)?;
        inputs.topology.complete()?;
        let prepared = Prepared {
            inputs,
            installed,
            operation,
        };
        up::up(&self.ctx, options, prepared, interrupt, |_, _| {})
    }

    /// Returns the binaries of the stack.
    pub(crate) fn installed(&self) -> BTreeMap<String, Installed> {
        let supervisor = Installed {
            path: self.ctx.paths.root().join(BINARY),
            version: None,
            sha256: String::new(),
            source: "archive".to_owned(),
        };
        [(BINARY.to_owned(), supervisor)].into()
    }
}

/// Returns the options of a test's convergence.
pub(crate) fn options() -> UpOptions {
    UpOptions {
        mode: Mode::Up,
        selection: Selection::All,
        timeout: LIMIT,
        lock: Wait::For(LIMIT),
        move_streams: false,
    }
}
