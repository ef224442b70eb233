//! `init`: creates a new service, valid at once.
//!
//! Owns the files of a new service and their order: everything is rendered and checked first, a
//! directory appears as a whole, and a failure rolls back. Must not change an existing service.

mod files;
mod workspace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::names;
use kit::{Exit, Failure};
use service_nats::topology::Facts;

use engine::base::interrupt::Interrupt;
use engine::checkout::context::Ctx;
use engine::checkout::manifests;
use engine::instances::range;
use engine::operations::inputs::Inputs;
use engine::plan::binaries;
use engine::plan::stack::{self, Places, Service};
use engine::supervisor::operation::{Operation, Wait};
use files::{File, Values};

/// The range of ports for new services.
const PORTS: std::ops::RangeInclusive<u16> = 9000..=9999;
/// Mode of `Cargo.toml`: it is committed.
const CARGO_FILE_MODE: u32 = 0o644;
/// How long to wait for another command on this checkout: only a first `up` takes longer.
const LOCK_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);
/// Program names that have another meaning for cargo or the compiler.
const RESERVED: [&str; 14] = [
    "alloc",
    "async",
    "build",
    "core",
    "crate",
    "deps",
    "examples",
    "fn",
    "incremental",
    "main",
    "self",
    "std",
    "super",
    "test",
];

/// What a new service is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A manifest that serves the service's directory, to be changed.
    Manifest,
    /// A wrapper in Rust around a server: two packages of the workspace.
    Wrapper,
    /// A page that Vite serves.
    Vite,
    /// An API in Rust with axum: one package of the workspace.
    Axum,
    /// A worker in Python.
    Python,
}

impl Kind {
    #[cfg(test)]
    const ALL: [Self; 5] = [
        Self::Manifest,
        Self::Wrapper,
        Self::Vite,
        Self::Axum,
        Self::Python,
    ];

    /// Returns the directories that become packages of the workspace.
    fn packages(self, name: &str) -> Vec<String> {
        match self {
            Self::Wrapper => vec![format!("services/{name}"), format!("cmd/{name}")],
            Self::Axum => vec![format!("services/{name}")],
            Self::Manifest | Self::Vite | Self::Python => Vec::new(),
        }
    }
}

/// The request.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The name of the service.
    pub name: &'a str,
    /// What it is made from.
    pub kind: Kind,
    /// Its port.
    pub port: Option<u16>,
    /// Names of commands, which no service may have.
    pub commands: &'a [&'a str],
}

/// The result.
#[derive(Debug)]
pub struct Written {
    /// Files, relative to the root.
    pub files: Vec<String>,
    /// The next steps, one sentence each.
    pub next: Vec<String>,
}

/// Writes a new service. An interrupt ends only the wait for another command: writing is completed.
pub fn init(ctx: &Ctx, wish: &Wish<'_>) -> anyhow::Result<Written> {
    check_name(ctx, wish)?;
    let wait = Wait::For(LOCK_TIMEOUT);
    let interrupt = Interrupt::watch()?;
    let _operation = Operation::begin(&ctx.paths, &ctx.ui, "init", wait, &interrupt)?;
    let services = manifests::read(&ctx.paths)?.map_err(manifests::invalid)?;
    let inputs = if services.is_empty() {
        None
    } else {
        Some(Inputs::load(ctx)?)
    };
    let packages = wish.kind.packages(wish.name);
    if !packages.is_empty() {
        check_program(ctx, inputs.as_ref(), wish.name)?;
    }
    if let (Kind::Python, Some(_)) = (wish.kind, wish.port) {
        let failure = usage("cannot set the port of a worker: it has none".to_owned());
        return Err(failure.hint("leave out `--port`").into());
    }
    let values = Values {
        name: wish.name,
        port: port(inputs.as_ref(), wish.port)?,
    };
    let service = files::service(&values, wish.kind);
    check(ctx, services, inputs.as_ref(), &service[0])?;
    let mut plan = Plan {
        folders: vec![(ctx.paths.services().join(wish.name), service)],
        cargo: None,
    };
    if wish.kind == Kind::Wrapper {
        let folder = ctx.paths.root().join("cmd").join(wish.name);
        plan.folders.insert(0, (folder, files::program(&values)));
    }
    if !packages.is_empty() {
        plan.cargo = Some(cargo(ctx, wish, &packages)?);
    }
    plan.write(ctx)?;
    Ok(plan.written(ctx, wish))
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn check_name(ctx: &Ctx, wish: &Wish<'_>) -> anyhow::Result<()> {
    let name = wish.name;
    if let Some(problem) = names::problem(name) {
        let failure = usage(format!("cannot name a service `{name}`: it {problem}"));
        return Err(failure.hint("choose another name").into());
    }
    if wish.commands.contains(&name) || name == "help" {
        let failure = usage(format!("cannot name a service `{name}`: that is a command"));
        return Err(failure.hint("choose another name").into());
    }
    let root = ctx.paths.root();
    let folders = [format!("services/{name}"), format!("cmd/{name}")];
    let wanted = if wish.kind == Kind::Wrapper { 2 } else { 1 };
    let folders = folders.iter().take(wanted);
    for folder in folders {
        if root.join(folder).symlink_metadata().is_ok() {
            let failure = usage(format!("cannot write a service to `{folder}`: it exists"));
            return Err(failure
                .hint("choose another name, or remove it first")
                .into());
        }
    }
    Ok(())
}

/// Checks that the program's name is new in `.dep/` and among all packages of the workspace.
fn check_program(ctx: &Ctx, inputs: Option<&Inputs>, name: &str) -> anyhow::Result<()> {
    let lock = fs::read_to_string(ctx.paths.root().join("Cargo.lock")).unwrap_or_default();
    let packages = workspace::packages(&lock);
    let mut binaries = match inputs {
        Some(inputs) => inputs.requests()?,
        None => binaries::tools()?,
    };
    binaries.extend(binaries::on_demand()?);
    let problem = if RESERVED.contains(&name) {
        "is reserved"
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "begins with a digit, as no package may"
    } else if packages.iter().any(|known| known == name) {
        "is that of a package already"
    } else if binaries.iter().any(|binary| binary.name == name) {
        "is that of a binary already"
    } else {
        return Ok(());
    };
    let failure = usage(format!(
        "cannot name a program `{name}`: the name {problem}"
    ));
    Err(failure.hint("choose another name").into())
}

/// Returns the requested port, unless it is taken by another service; else the first free one.
fn port(inputs: Option<&Inputs>, asked: Option<u16>) -> anyhow::Result<u16> {
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, process) in inputs.iter().flat_map(|inputs| &inputs.stack.processes) {
        owners.extend(
            process
                .ports
                .values()
                .map(|port| (port.port, name.as_str())),
        );
    }
    if let Some(port) = asked {
        let Some(owner) = owners.get(&port) else {
            return Ok(port);
        };
        let failure = usage(format!("cannot use the port {port}: `{owner}` has it"));
        let hint = "choose another one; `cargo xtask ports` shows all";
        return Err(failure.hint(hint).into());
    }
    let is_free = |port: &u16| !owners.contains_key(port) && range::is_free(*port);
    PORTS.into_iter().find(is_free).ok_or_else(|| {
        let (first, last) = (PORTS.start(), PORTS.end());
        let failure = usage(format!("no port from {first} to {last} is free"));
        failure.hint("choose one: --port NUMBER").into()
    })
}

/// Builds the stack with the new service: nothing is written that would be refused.
fn check(
    ctx: &Ctx,
    mut services: Vec<Service>,
    inputs: Option<&Inputs>,
    (path, text): &File,
) -> anyhow::Result<()> {
    let name = path.split('/').nth(1).unwrap_or_default();
    services.push(Service::parse(name, text).map_err(manifests::invalid)?);
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let places = Places::new(ctx.paths.root().to_path_buf());
    let facts = inputs.map_or_else(Facts::default, |inputs| inputs.topology.now.clone());
    let built = stack::build(&services, &ctx.env, &places)
        .and_then(|stack| stack::with_nodes(stack, &services, &ctx.env, &places, &facts));
    built.map(drop).map_err(manifests::invalid)
}

/// Returns `Cargo.toml` and its new text.
fn cargo(ctx: &Ctx, wish: &Wish<'_>, packages: &[String]) -> anyhow::Result<(PathBuf, String)> {
    let path = ctx.paths.root().join("Cargo.toml");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
    // The program of a wrapper uses its library.
    let library = (wish.kind == Kind::Wrapper).then_some(wish.name);
    let new = workspace::add(&text, packages, library).ok_or_else(|| {
        let message = "cannot add packages to `Cargo.toml`: it is written in another form";
        let hint = "choose a service without a program in Rust, or give `members` and \
                    `[workspace.dependencies]` lines as Core has them";
        Failure::new(Exit::Invalid, message).hint(hint)
    })?;
    Ok((path, new))
}

/// Everything to create, in this order: a program without its service has no effect, a missing
/// member of the workspace would break every call of cargo.
struct Plan {
    folders: Vec<(PathBuf, Vec<File>)>,
    cargo: Option<(PathBuf, String)>,
}

impl Plan {
    /// Writes all files or none.
    fn write(&self, ctx: &Ctx) -> anyhow::Result<()> {
        let mut made = Vec::new();
        let result = self.try_write(ctx, &mut made);
        if result.is_err() {
            for folder in made {
                // The first error is the one to report.
                let _ = fs::remove_dir_all(folder);
            }
        }
        result
    }

    fn try_write(&self, ctx: &Ctx, made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
        for (folder, files) in &self.folders {
            let parent = folder.parent().unwrap_or(ctx.paths.root());
            let context = || format!("cannot write `{}`", folder.display());
            fs::create_dir_all(parent).with_context(context)?;
            // Hidden, on the same file system, and removed if anything fails.
            let stage = tempfile::Builder::new()
                .prefix(".init-")
                .tempdir_in(parent)
                .with_context(context)?;
            let whole = stage.path().join("whole");
            for (path, text) in files {
                let inside = ctx.paths.root().join(path);
                let inside = inside.strip_prefix(folder).unwrap_or(Path::new(path));
                let file = whole.join(inside);
                let write = || {
                    fs::create_dir_all(file.parent().unwrap_or(&whole))?;
                    fs::write(&file, text)
                };
                write().with_context(context)?;
            }
            fs::rename(&whole, folder).with_context(context)?;
            made.push(folder.clone());
        }
        if let Some((path, text)) = &self.cargo {
            kit::files::write_atomically(path, text.as_bytes(), CARGO_FILE_MODE)?;
        }
        Ok(())
    }

    fn written(&self, ctx: &Ctx, wish: &Wish<'_>) -> Written {
        let files = self.folders.iter().flat_map(|(_, files)| files);
        let mut files: Vec<String> = files.map(|(path, _)| path.clone()).collect();
        let name = wish.name;
        let mut next = Vec::new();
        if self.cargo.is_some() {
            files.push("Cargo.toml".to_owned());
            next.push("`Cargo.lock` follows with the next build".to_owned());
        }
        let has =
            |program: &str| which::which_in(program, ctx.env.get("PATH"), ctx.paths.root()).is_ok();
        match wish.kind {
            Kind::Manifest if !has("python3") => next.push(format!(
                "there is no `python3` here: put your own program into services/{name}/service.json"
            )),
            Kind::Vite => next.push(format!(
                "install its packages with `npm install --prefix services/{name}`"
            )),
            Kind::Python => next.push(format!(
                "install its packages with `python3 -m venv services/{name}/.venv` and \
                 `services/{name}/.venv/bin/pip install -r services/{name}/requirements.txt`"
            )),
            Kind::Manifest | Kind::Wrapper | Kind::Axum => {}
        }
        next.push(format!(
            "start it with `cargo xtask up`, or alone: `cargo xtask {name} run`"
        ));
        Written { files, next }
    }
}
