//! A separate root beside the checkout: the same sources and binaries, other ports and data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cargo;
use engine::checkout::context::Ctx;
use engine::checkout::manifests;
use engine::checkout::paths::Paths;
use engine::instances::register::DIRECTORY_VARIABLE;
use engine::plan::stack;

/// Entries of the checkout that the sandbox does not share.
const OWN: [&str; 5] = [".core-stack", ".data", ".env", ".git", "target"];

/// The directory of its register of instances.
const REGISTER: &str = ".register";

/// The superuser of the sandbox, which exists as long as the benchmark.
const SUPERUSER: &str = "CORE_POCKETBASE_ADMIN_EMAIL=bench@core.local\n\
                         CORE_POCKETBASE_ADMIN_PASSWORD=only-for-the-benchmark\n";

/// A root that is removed with its content.
#[derive(Debug)]
pub(super) struct Sandbox {
    directory: TempDir,
    checkout: PathBuf,
    ctx: Ctx,
}

impl Sandbox {
    /// Creates a sandbox with the services of the checkout on free ports.
    pub(super) fn new(ctx: &Ctx) -> anyhow::Result<Self> {
        let directory = tempdir()?;
        for entry in fs::read_dir(ctx.paths.root()).context("cannot list the checkout")? {
            let entry = entry.context("cannot list the checkout")?;
            let name = entry.file_name();
            if !OWN.iter().any(|own| name == *own) {
                symlink(entry.path(), directory.path().join(&name)).context("cannot link")?;
            }
        }
        Self::begin(ctx, directory)
    }

    /// Creates one with other services, by name and text of the manifest, and the same binaries.
    pub(super) fn with_services(
        ctx: &Ctx,
        services: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let directory = tempdir()?;
        symlink(ctx.paths.dep(), directory.path().join(".dep")).context("cannot link")?;
        for name in [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo",
            "dep.lock",
            "xtask",
            "cmd",
        ] {
            symlink(ctx.paths.root().join(name), directory.path().join(name))
                .context("cannot link")?;
        }
        // The probe is built from it: without its sources it would count as outdated.
        let kit = Path::new("services/kit");
        fs::create_dir(directory.path().join("services")).context("cannot make a folder")?;
        symlink(ctx.paths.root().join(kit), directory.path().join(kit)).context("cannot link")?;
        for (name, text) in services {
            let folder = directory.path().join("services").join(name);
            fs::create_dir_all(&folder).context("cannot make a service")?;
            fs::write(folder.join(manifests::FILE), text).context("cannot write a manifest")?;
        }
        Self::begin(ctx, directory)
    }

    fn begin(ctx: &Ctx, directory: TempDir) -> anyhow::Result<Self> {
        let paths = Paths::new(directory.path().to_path_buf());
        // Like a user with a configured superuser: PocketBase then verifies the login each time.
        let mut dotenv = String::from(SUPERUSER);
        let mut held = Vec::new();
        for service in manifests::load(&paths)? {
            for port in service.document.manifest.ports.keys() {
                // All are held until all are chosen, so that none is chosen twice.
                let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
                let number = listener.local_addr().context("no free port")?.port();
                let variable = stack::port_variable(&service.name, port);
                writeln!(dotenv, "{variable}={number}").context("cannot write")?;
                held.push(listener);
            }
        }
        fs::write(paths.dotenv(), dotenv).context("cannot write `.env`")?;
        drop(held);
        let mut env = engine::plan::env::Env::load(&paths.dotenv())?;
        // Other running instances must not affect its ports.
        let register = paths.root().join(REGISTER).display().to_string();
        env.set(DIRECTORY_VARIABLE, &register);
        let checkout = ctx.paths.root().to_path_buf();
        Ok(Self {
            directory,
            checkout,
            ctx: Ctx {
                paths,
                env,
                ui: ctx.ui.clone(),
            },
        })
    }

    pub(super) fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Returns the number of a port of a service.
    pub(super) fn port(&self, service: &str, port: &str) -> anyhow::Result<u16> {
        let variable = stack::port_variable(service, port);
        let number = self.ctx.env.get(&variable);
        let number = number.with_context(|| format!("no port `{port}` of `{service}`"))?;
        number.parse().context("no port")
    }

    /// Sets a variable in `.env`.
    pub(super) fn dotenv(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = self.ctx.paths.dotenv();
        let text = fs::read_to_string(&path).context("cannot read `.env`")?;
        let own = format!("{name}=");
        let others = text.lines().filter(|line| !line.starts_with(&own));
        let mut text: String = others.map(|line| format!("{line}\n")).collect();
        writeln!(text, "{own}{value}").context("cannot write")?;
        fs::write(&path, text).context("cannot write `.env`")
    }

    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the program behind `cargo xtask ARGS`, for this root: measures the command without
    /// cargo.
    pub(super) fn direct(&self, args: &[&str]) -> anyhow::Result<Command> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.root())
            .env("CORE_ROOT", self.root())
            .env(DIRECTORY_VARIABLE, self.root().join(REGISTER));
        Ok(command)
    }

    /// Returns `cargo xtask ARGS` as a user types it, for this root.
    pub(super) fn xtask(&self, args: &[&str]) -> Command {
        let mut command = xtask(&self.checkout, self.root(), args);
        command.env(DIRECTORY_VARIABLE, self.root().join(REGISTER));
        command
    }
}

/// Returns `cargo xtask ARGS` of a checkout, as a user types it, for another root.
pub(super) fn xtask(checkout: &Path, root: &Path, args: &[&str]) -> Command {
    let mut command = cargo::command(cargo::program());
    command
        .arg("xtask")
        .args(args)
        .current_dir(checkout)
        .env("CORE_ROOT", root);
    command
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // After an error it still runs: a benchmark must leave nothing behind.
        let _ = self.xtask(&["down"]).output();
        for entry in fs::read_dir(self.ctx.paths.instances())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let _ = self.xtask(&["down", "--instance", &name]).output();
        }
    }
}

/// Returns a directory that is removed with its content.
pub(super) fn tempdir() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("core-bench-")
        .tempdir()
        .context("cannot make a directory")
}
