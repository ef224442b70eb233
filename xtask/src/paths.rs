//! Where everything of a checkout lies, as named functions in one place.
//!
//! Owns the layout below the root. Must not create or read anything.

use std::env;
use std::path::{Path, PathBuf};

/// The directories and files of one checkout and its default instance. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

impl Paths {
    /// The layout below `root`, which must be absolute.
    pub fn new(root: PathBuf) -> Self {
        assert!(
            root.is_absolute(),
            "the root must be absolute: {}",
            root.display()
        );
        Self {
            data: root.join(".data"),
            state: root.join(".core-stack"),
            root,
        }
    }

    /// The checkout that is worked on: `CORE_ROOT` if set, else the workspace that cargo runs us
    /// from, else the one we were built in.
    pub fn discover() -> anyhow::Result<Self> {
        if let Some(root) = env::var_os("CORE_ROOT").filter(|root| !root.is_empty()) {
            return Ok(Self::new(std::path::absolute(root)?));
        }
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let package = std::path::absolute(package)?;
        let root = package.parent().unwrap_or(&package).to_path_buf();
        Ok(Self::new(root))
    }

    /// The layout of something that runs beside the default instance, in folders `name` of its
    /// data and its state.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self {
            root: self.root.clone(),
            data: self.data.join(name),
            state: self.state.join(name),
        }
    }

    /// The checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folders of services, each with a `service.json`.
    pub fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    /// The user's variables.
    pub fn dotenv(&self) -> PathBuf {
        self.root.join(".env")
    }

    /// Every upstream artefact with its digests.
    pub fn dep_lock(&self) -> PathBuf {
        self.root.join("dep.lock")
    }

    /// Installed binaries.
    pub fn dep(&self) -> PathBuf {
        self.root.join(".dep")
    }

    /// Generated files: may be deleted at any time while nothing runs.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// User data: never deleted without being asked for by name.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// The durable facts of the topology of NATS.
    pub fn topology(&self) -> PathBuf {
        self.data().join(service_nats::topology::FILE)
    }

    /// The secret that a token of the controller's account is had for, while PocketBase runs.
    pub fn controller_secret(&self) -> PathBuf {
        self.state().join("pocketbase/controller.json")
    }

    /// What process-compose is started with.
    pub fn compose_file(&self) -> PathBuf {
        self.state().join("process-compose.yaml")
    }

    /// The inputs that the running stack was made from.
    pub fn recorded(&self) -> PathBuf {
        self.state().join("inputs.json")
    }

    /// The running stack, resolved.
    pub fn applied(&self) -> PathBuf {
        self.state().join("applied.json")
    }

    /// Processes that a user stopped by name.
    pub fn stops(&self) -> PathBuf {
        self.state().join("stopped.json")
    }

    /// Log files, one a process.
    pub fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// process-compose's own log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.logs().join("process-compose.log")
    }

    /// What process-compose prints before its log is open.
    pub fn supervisor_output(&self) -> PathBuf {
        self.logs().join("process-compose.out")
    }

    /// The log of a process.
    pub fn process_log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Locked as long as anything of this instance lives: the descriptor is inherited.
    pub fn alive_lock(&self) -> PathBuf {
        self.state().join("alive.lock")
    }

    /// Held by the one command that changes this instance.
    pub fn operation_lock(&self) -> PathBuf {
        self.state().join("operation.lock")
    }

    /// Held by a `down` that waits for the operation lock: whoever has that gives up.
    pub fn down_lock(&self) -> PathBuf {
        self.state().join("down.lock")
    }
}
