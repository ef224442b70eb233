//! All paths of a checkout, as named functions in one place.
//!
//! Owns the layout below the root. Must not create or read anything.

use std::env;
use std::path::{Path, PathBuf};

use kit::{Exit, Failure, names};

pub(crate) use crate::plan::stack::INSTANCES;
use crate::plan::stack::{Places, RUN};

/// The name of the default instance where each instance needs a name.
pub const DEFAULT_INSTANCE: &str = "default";

/// The variable that names the instance. A manifest passes it on by `${env.CORE_INSTANCE:-}`,
/// whether the command line or the variable named the instance.
pub const INSTANCE_VARIABLE: &str = "CORE_INSTANCE";

/// Generated files of the default instance, relative to the root.
pub(crate) const STATE: &str = ".core-stack";

/// User data of the default instance, relative to the root.
pub(crate) const DATA: &str = ".data";

/// How deep this package is in the checkout: `xtask/engine`.
const BELOW_ROOT: usize = 2;

/// Our own program, kept in the state directory.
const KEPT: &str = "xtask";

/// The directories and files of one checkout and one of its instances. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
    /// The name of the instance; the default one has none.
    instance: Option<String>,
    /// The subdirectory of its data and its state, if only that is meant.
    part: Option<&'static str>,
}

impl Paths {
    /// Returns the default instance of the checkout at `root`, which must be absolute.
    pub fn new(root: PathBuf) -> Self {
        assert!(
            root.is_absolute(),
            "the root must be absolute: {}",
            root.display()
        );
        Self {
            root,
            instance: None,
            part: None,
        }
    }

    /// Returns another instance of the same checkout; the default one for an empty name and for
    /// [`DEFAULT_INSTANCE`]. A process that receives [`INSTANCE_VARIABLE`] finds its own stack by
    /// it. Fails if the name is invalid.
    pub fn of_instance(&self, name: &str) -> anyhow::Result<Self> {
        let instance = Some(name).filter(|name| !name.is_empty() && *name != DEFAULT_INSTANCE);
        if let Some(problem) = instance.and_then(names::problem) {
            let message = format!("the name of the instance `{name}` {problem}");
            let hint = format!("choose another one: {INSTANCE_VARIABLE}=NAME or --instance NAME");
            return Err(Failure::new(Exit::Invalid, message).hint(hint).into());
        }
        Ok(Self {
            root: self.root.clone(),
            instance: instance.map(str::to_owned),
            part: None,
        })
    }

    /// Returns the current checkout: `CORE_ROOT` if set, else the one that our program is kept in,
    /// else the workspace that cargo runs us from, else the one we were built in.
    pub fn discover() -> anyhow::Result<Self> {
        if let Some(root) = env::var_os("CORE_ROOT").filter(|root| !root.is_empty()) {
            return Ok(Self::new(std::path::absolute(root)?));
        }
        if let Some((root, _)) = kept_place() {
            return Ok(Self::new(root));
        }
        // The directory of the package `xtask`, which has the same name.
        if let Some(package) = env::var_os("CARGO_MANIFEST_DIR") {
            let package = std::path::absolute(package)?;
            return Ok(Self::new(
                package.parent().unwrap_or(&package).to_path_buf(),
            ));
        }
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.ancestors().nth(BELOW_ROOT).unwrap_or(package);
        Ok(Self::new(root.to_path_buf()))
    }

    /// Returns the layout of a stack that runs beside the instance, in subdirectories `part` of its
    /// data and its state.
    #[must_use]
    pub fn beside(&self, part: &'static str) -> Self {
        Self {
            part: Some(part),
            ..self.clone()
        }
    }

    /// Returns the root of the checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the name of the instance: [`DEFAULT_INSTANCE`] for the one without a name.
    pub fn instance(&self) -> &str {
        self.instance.as_deref().unwrap_or(DEFAULT_INSTANCE)
    }

    /// Whether this is the default instance.
    pub fn is_default(&self) -> bool {
        self.instance.is_none()
    }

    /// Returns the command line for a command on this instance, for people: `cargo xtask up`.
    pub fn command(&self, command: &str) -> String {
        let instance = self.instance.as_ref();
        let option = instance.map_or_else(String::new, |name| format!(" --instance {name}"));
        format!("cargo xtask {command}{option}")
    }

    /// Returns a path for output: relative to the root.
    pub fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }

    /// Returns the directories of the instance for building and rendering a stack.
    pub fn places(&self) -> Places {
        Places {
            data: self.relative(DATA),
            state: self.relative(STATE),
            ..Places::new(self.root.clone())
        }
    }

    /// Returns a directory of the instance, relative to the root.
    fn relative(&self, base: &str) -> String {
        let mut path = base.to_owned();
        let instance = self.instance.iter().flat_map(|name| [INSTANCES, name]);
        for folder in instance.chain(self.part) {
            path.push('/');
            path.push_str(folder);
        }
        path
    }

    /// The generated files of the named instances of this checkout.
    pub fn instances(&self) -> PathBuf {
        self.root.join(STATE).join(INSTANCES)
    }

    /// The directories of services, each with a `service.json`.
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

    /// Generated files: may be deleted at any time while no stack is running.
    pub fn state(&self) -> PathBuf {
        self.root.join(self.relative(STATE))
    }

    /// User data: deleted only by an explicit request.
    pub fn data(&self) -> PathBuf {
        self.root.join(self.relative(DATA))
    }

    /// The durable facts of the topology of NATS.
    pub fn topology(&self) -> PathBuf {
        self.data().join(service_nats::topology::FILE)
    }

    /// The secret that is exchanged for a token of the controller's account while PocketBase runs.
    pub fn controller_secret(&self) -> PathBuf {
        self.state().join("pocketbase/controller.json")
    }

    /// The file that process-compose runs.
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

    /// Processes that a change has stopped and not started again.
    pub fn under_way(&self) -> PathBuf {
        self.state().join("under-way.json")
    }

    /// The notes of runners on what they run, one file per process while any part of it runs.
    pub fn runs(&self) -> PathBuf {
        self.state().join(RUN)
    }

    /// The note of a process's runner.
    pub fn run(&self, process: &str) -> PathBuf {
        self.runs().join(process)
    }

    /// The identity of the present start of the stack.
    pub fn start(&self) -> PathBuf {
        self.state().join("start")
    }

    /// The state of `.env` for which a warning was printed that others can read it.
    pub fn dotenv_note(&self) -> PathBuf {
        self.state().join("dotenv-mode")
    }

    /// The program that started the stack: it works without cargo.
    pub fn kept(&self) -> PathBuf {
        self.state().join(KEPT)
    }

    /// Returns the command line for a command on this instance without cargo, from the root.
    pub fn command_without_cargo(&self, command: &str) -> String {
        let program = self.shown(&self.kept());
        let instance = self.instance.as_ref();
        let option = instance.map_or_else(String::new, |name| format!(" --instance {name}"));
        format!("{program} {command}{option}")
    }

    /// Log files, one per process.
    pub fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// process-compose's own log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.logs().join("process-compose.log")
    }

    /// The earlier content of its log, from before it was emptied.
    pub fn supervisor_log_before(&self) -> PathBuf {
        self.logs().join("process-compose.old")
    }

    /// What process-compose prints on stderr: fatal errors, and a little before its log is open.
    pub fn supervisor_output(&self) -> PathBuf {
        self.logs().join("process-compose.out")
    }

    /// The log of a process.
    pub fn process_log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Locked while any process of this instance is alive: the descriptor is inherited.
    pub fn alive_lock(&self) -> PathBuf {
        self.state().join("alive.lock")
    }

    /// Held by the one command that changes this instance.
    pub fn operation_lock(&self) -> PathBuf {
        self.state().join("operation.lock")
    }

    /// Held by a `down` that waits for the operation lock: the holder of that then gives up.
    pub fn down_lock(&self) -> PathBuf {
        self.state().join("down.lock")
    }
}

/// Returns the checkout and the instance in whose state `program` is kept.
fn place_of(program: &Path) -> Option<(PathBuf, Option<String>)> {
    let directory = program.parent()?;
    if program.file_name()? != KEPT {
        return None;
    }
    if directory.file_name()? == STATE {
        return Some((directory.parent()?.to_path_buf(), None));
    }
    let above = directory.parent()?;
    let name = directory.file_name()?.to_str()?.to_owned();
    let is_named = above.file_name()? == INSTANCES && above.parent()?.file_name()? == STATE;
    let root = above.parent()?.parent()?.to_path_buf();
    is_named.then_some((root, Some(name)))
}

/// Returns the checkout and the instance in whose state our own program is kept.
fn kept_place() -> Option<(PathBuf, Option<String>)> {
    place_of(&env::current_exe().ok()?)
}

/// Returns the instance in whose state our own program is kept, unless it is the default one.
pub(crate) fn kept_instance() -> Option<String> {
    kept_place()?.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_instance_has_state_and_data_of_its_own() {
        let default = Paths::new("/checkout".into());
        let named = default.of_instance("b").unwrap();
        for (path, expected) in [
            (default.state(), "/checkout/.core-stack"),
            (default.data(), "/checkout/.data"),
            (named.state(), "/checkout/.core-stack/instances/b"),
            (named.data(), "/checkout/.data/instances/b"),
            (named.dep(), "/checkout/.dep"),
        ] {
            assert_eq!(path, Path::new(expected));
        }
        assert_eq!(named.places().data, ".data/instances/b");
        assert_eq!(named.command("up"), "cargo xtask up --instance b");
        assert_eq!(
            named.shown(&named.logs()),
            ".core-stack/instances/b/logs",
            "from the root"
        );
    }

    #[test]
    fn the_default_instance_has_a_name_to_be_called_by() {
        let named = Paths::new("/checkout".into()).of_instance("b").unwrap();
        for name in ["", DEFAULT_INSTANCE] {
            let default = named.of_instance(name).unwrap();
            assert!(default.is_default());
            assert_eq!(default.instance(), DEFAULT_INSTANCE);
            assert_eq!(default.command("up"), "cargo xtask up");
        }
    }

    #[test]
    fn a_bad_name_is_refused() {
        for name in ["B", "../b", "b/c", "-b", "b c"] {
            let error = Paths::new("/checkout".into()).of_instance(name).err();
            assert_eq!(kit::failure::exit_of(&error.unwrap()), Exit::Invalid);
        }
    }

    #[test]
    fn a_kept_program_knows_its_checkout_by_its_place() {
        let found = |path: &str| place_of(Path::new(path));
        let root = PathBuf::from("/a/b");
        assert_eq!(found("/a/b/.core-stack/xtask"), Some((root.clone(), None)));
        let named = Some((root, Some("n".to_owned())));
        assert_eq!(found("/a/b/.core-stack/instances/n/xtask"), named);
        for other in ["/a/b/target/debug/xtask", "/a/.core-stack/other", "/xtask"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
