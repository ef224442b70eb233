//! A separate checkout for a test: `dep.lock`, tools on PATH, short limits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::dep::context::Context;
use crate::dep::ensure::ensure_in;
use crate::dep::limits::Limits;
use crate::dep::lock::{Artefact, Artefacts, Lock, Program};
use crate::dep::place::Place;
use crate::dep::update::{Update, update_in};
use crate::dep::upstreams::Upstreams;
use crate::dep::{Installed, Kind, Options, Request};
use engine::Ctx;
use engine::base::ui::Ui;
use engine::checkout::paths::Paths;
use engine::plan::env::Env;

/// The platform of the tests.
pub(crate) const PLATFORM: &str = "linux-amd64";

/// One upstream with every kind of source.
const TABLE: &str = r#"{
  "platforms": {
    "linux-amd64": {"os": "linux", "arch": "amd64", "wheel_tags": ["tag_a"]},
    "darwin-arm64": {"os": "darwin", "arch": "arm64", "wheel_tags": ["tag_b", "tag_c"]}
  },
  "programs": {
    "tool": {
      "release": {
        "base": "https://github.com/o/tool/releases/download/v{version}",
        "archive": "tool-{os}-{arch}.tar.gz",
        "file": "tool",
        "checksums": "sums-{version}.txt",
        "os_names": {"darwin": "mac"}
      },
      "wheel": {"package": "tool-bin", "file": "tool_bin-{version}.data/scripts/tool"},
      "go": {"module": "example.com/tool", "package": "example.com/tool/cmd", "ldflags": "-s"},
      "system": {"program": "tool", "args": ["--version"]}
    }
  }
}"#;

/// A checkout in a temporary directory.
pub(crate) struct Bed {
    dir: TempDir,
    pub(crate) paths: Paths,
    pub(crate) limits: Limits,
    pub(crate) options: Options,
    /// The path of our own program; one in `target/debug/` when it is `None`.
    pub(crate) program: Option<PathBuf>,
    vars: BTreeMap<String, String>,
}

impl Bed {
    /// Creates an empty checkout, with nothing on PATH.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("root"));
        fs::create_dir(paths.root()).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let path = dir.path().join("bin").to_str().unwrap().to_owned();
        let limits = Limits {
            connect: Duration::from_secs(5),
            stall: Duration::from_millis(300),
            download_total: Duration::from_secs(10),
            download_bytes: 1 << 20,
            unpacked_bytes: 1 << 20,
            lock_wait: Duration::from_secs(20),
            tool: Duration::from_mins(2),
            version: Duration::from_secs(10),
        };
        Self {
            dir,
            paths,
            limits,
            options: Options::default(),
            program: None,
            vars: BTreeMap::from([("PATH".to_owned(), path)]),
        }
    }

    /// Sets a variable.
    pub(crate) fn var(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    /// Sets the directory of the store.
    pub(crate) fn store(&mut self, directory: &std::path::Path) {
        self.var("CORE_STORE_DIR", directory.to_str().unwrap());
    }

    /// Unsets a variable.
    pub(crate) fn unset(&mut self, name: &str) {
        self.vars.remove(name);
    }

    /// Sets the mirror that replaces GitHub.
    pub(crate) fn mirror(&mut self, url: &str) {
        self.var("CORE_DEP_MIRROR", url);
    }

    /// Puts a shell script on PATH.
    pub(crate) fn tool(&self, name: &str, script: &str) -> PathBuf {
        let path = self.dir.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Writes a file below the root.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.paths.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Pins programs at version 1.0.0 for [`PLATFORM`].
    pub(crate) fn pin<const N: usize>(&self, programs: [(&str, Artefacts); N]) {
        let mut lock = Lock::empty();
        for (name, artefacts) in programs {
            let program = Program {
                version: "1.0.0".into(),
                platforms: BTreeMap::from([(PLATFORM.to_owned(), artefacts)]),
            };
            lock.programs.insert(name.to_owned(), program);
        }
        lock.store(&self.paths.dep_lock()).unwrap();
    }

    /// Calls `work` with a context.
    pub(crate) fn with_context<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let vars = self.vars.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let env = Env::from_pairs(vars);
        let (paths, ui, limits) = (self.paths.clone(), Ui::new(), self.limits.clone());
        let ctx = Ctx { paths, env, ui };
        let context = Context::with_limits(&ctx, &self.options, limits);
        let mut context = context.with_upstreams(serde_json::from_str::<Upstreams>(TABLE).unwrap());
        PLATFORM.clone_into(&mut context.platform);
        context.place = match &self.program {
            Some(program) => Place::of_program(program),
            None => Some(Place::dev(self.paths.root().join("target"))),
        };
        if let Some(program) = &self.program {
            context.program.clone_from(program);
        }
        work(&context)
    }

    /// Fetches programs at version 1.0.0.
    pub(crate) fn fetch(&self, names: &[&str]) -> anyhow::Result<BTreeMap<String, Installed>> {
        let request = |&name: &&str| Request {
            name: name.to_owned(),
            kind: Kind::Fetch {
                version: "1.0.0".into(),
            },
        };
        let requests: Vec<Request> = names.iter().map(request).collect();
        self.ensure(&requests)
    }

    /// Calls `ensure` for binaries.
    pub(crate) fn ensure(
        &self,
        requests: &[Request],
    ) -> anyhow::Result<BTreeMap<String, Installed>> {
        self.with_context(|context| ensure_in(context, requests))
    }

    /// Updates the pins of programs.
    pub(crate) fn update(&self, targets: &[&str]) -> anyhow::Result<Update> {
        let targets: Vec<String> = targets.iter().map(|&target| target.into()).collect();
        self.with_context(|context| update_in(context, &[], &targets))
    }

    /// Returns the content of `.dep/NAME`.
    pub(crate) fn installed(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.paths.dep().join(name)).ok()
    }
}

/// Returns a pin of the binary `tool`, or of `NAME` in `PACKAGE==VERSION`.
pub(crate) fn artefact(location: &str, download: Option<&[u8]>, binary: Option<&str>) -> Artefact {
    let wheel = !location.contains('/');
    let file = if wheel {
        "tool_bin-1.0.0.data/scripts/tool"
    } else {
        "tool"
    };
    let sha256 = |bytes: &[u8]| engine::base::digest::of_bytes(bytes);
    Artefact {
        location: location.to_owned(),
        file: file.to_owned(),
        download: download.map(sha256),
        binary: binary.map(|text| sha256(text.as_bytes())),
    }
}
