//! The register: the instances on this machine, and the ports assigned to each.
//!
//! Owns the file, its directory and its lock. An entry is a lease while its instance is alive, and
//! a record of the last ports afterwards, until its checkout is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::failure::exit_of;
use kit::files::{self, FileLock};
use kit::{Exit, Failure, kept};
use serde::{Deserialize, Serialize};

use super::known::is_gone;
use crate::SCHEMA_VERSION;
use crate::base::interrupt::Interrupt;
use crate::base::poll::wait_until;
use crate::checkout::paths::Paths;
use crate::plan::env::{Env, Origin};
use crate::supervisor::socket;

/// The variable that sets another directory for the register.
pub const DIRECTORY_VARIABLE: &str = "CORE_REGISTER_DIR";
/// The directory, below the directory for the state of programs.
const DIRECTORY: &str = "core-stack";
/// The file in it. Another version of it would have another name.
const FILE: &str = "instances.json";
/// The lock that a process holds while it changes the file.
const LOCK: &str = "instances.lock";
/// How long to wait for that lock: it is held for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(1);

/// All instances that were ever started and whose checkout still exists.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    schema_version: u32,
    instances: Vec<Entry>,
    /// Why it could not be read.
    #[serde(skip)]
    damaged: Option<String>,
}

/// An instance that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The checkout, without links.
    pub checkout: PathBuf,
    /// Its name, as in [`Paths::instance`].
    pub instance: String,
    /// Its ports, by service or node and name: `nats.client`.
    pub ports: BTreeMap<String, u16>,
    /// The day of its last start, in UTC.
    pub used: String,
}

impl Entry {
    /// Returns its paths; `None` if its name is invalid.
    pub fn paths(&self) -> Option<Paths> {
        let checkout = Some(&self.checkout).filter(|path| path.is_absolute())?;
        Paths::new(checkout.clone())
            .of_instance(&self.instance)
            .ok()
    }

    /// Whether it still exists.
    pub fn exists(&self) -> bool {
        let paths = self.paths();
        paths.is_some_and(|paths| paths.root().is_dir() && !is_gone(&paths))
    }

    /// Whether it is running, or a command is running on it that may be about to start it.
    pub fn is_living(&self) -> bool {
        let is_held = |lock: &Path| FileLock::is_held(lock).unwrap_or(false);
        self.paths()
            .is_some_and(|paths| is_held(&paths.alive_lock()) || is_held(&paths.operation_lock()))
    }

    fn is_of(&self, paths: &Paths) -> bool {
        self.instance == paths.instance() && self.checkout == resolved(paths.root())
    }
}

/// The ports of all other instances.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// Descriptions of those that are alive, by each of their ports.
    pub living: BTreeMap<u16, String>,
    /// The names of those that are alive, by each of their ports.
    pub names: BTreeMap<u16, String>,
    /// The last ports of those that are not alive.
    pub resting: BTreeSet<u16>,
}

impl Register {
    /// Reads the register without a lock: the file is always replaced as a whole.
    pub fn read(env: &Env) -> anyhow::Result<Self> {
        let found = directories(env)
            .into_iter()
            .map(|directory| directory.join(FILE))
            .find(|file| file.exists());
        found.map_or_else(|| Ok(Self::default()), |file| load(&file))
    }

    /// Returns why the register could not be read, if its file is invalid.
    pub fn damaged(&self) -> Option<&str> {
        self.damaged.as_deref()
    }

    /// Returns all instances that still exist.
    pub fn existing(&self) -> impl Iterator<Item = &Entry> {
        self.instances.iter().filter(|entry| entry.exists())
    }

    /// Whether an instance is recorded, even if it does not exist any more.
    pub fn has(&self, paths: &Paths) -> bool {
        self.instances.iter().any(|entry| entry.is_of(paths))
    }

    /// Returns the ports that an instance received last.
    pub fn last(&self, paths: &Paths) -> BTreeMap<String, u16> {
        let entry = self.instances.iter().find(|entry| entry.is_of(paths));
        entry.map_or_else(BTreeMap::new, |entry| entry.ports.clone())
    }

    /// Returns the ports of all instances but this one.
    pub fn others(&self, paths: &Paths) -> Others {
        let mut others = Others::default();
        for entry in self.existing().filter(|entry| !entry.is_of(paths)) {
            if entry.is_living() {
                let (name, checkout) = (&entry.instance, entry.checkout.display());
                let who = format!("the instance `{name}` of `{checkout}`");
                let ports = entry.ports.values();
                others.living.extend(ports.map(|port| (*port, who.clone())));
                let ports = entry.ports.values();
                others.names.extend(ports.map(|port| (*port, name.clone())));
            } else {
                others.resting.extend(entry.ports.values());
            }
        }
        others
    }
}

/// The register, and the right to change it until it is dropped.
#[derive(Debug)]
pub struct Locked {
    register: Register,
    file: PathBuf,
    _lock: FileLock,
}

impl Locked {
    /// Takes the lock, waiting for a process that holds it.
    pub fn take(env: &Env) -> anyhow::Result<Self> {
        let directory = make_directory(env)?;
        let (file, path) = (directory.join(FILE), directory.join(LOCK));
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let claim = || FileLock::try_exclusive(&path);
        let lock = wait_until(deadline, LOCK_POLL, &Interrupt::default(), claim)?;
        let lock = lock.done().ok_or_else(|| {
            let path = path.display();
            let message = format!("waited {LOCK_TIMEOUT:?} for the lock `{path}`");
            let hint = "end the command that holds it, then run this one again";
            Failure::new(Exit::Timeout, message).hint(hint)
        })?;
        let mut register = load(&file)?;
        if let Some(why) = &mut register.damaged {
            let aside = kept::set_aside(&file)?;
            let aside = aside.display();
            *why = format!("{why}; it is in `{aside}` now, and a new register begins");
        } else {
            kept::mend::<Register>(&file, files::PRIVATE_FILE_MODE)?;
        }
        Ok(Self {
            register,
            file,
            _lock: lock,
        })
    }

    /// Returns the content of the register.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// Records the ports of an instance, and removes instances that are gone.
    pub fn remember(self, paths: &Paths, ports: &BTreeMap<String, u16>) -> anyhow::Result<()> {
        let entry = Entry {
            checkout: resolved(paths.root()),
            instance: paths.instance().to_owned(),
            ports: ports.clone(),
            used: today(),
        };
        self.replace(paths, Some(entry))
    }

    /// Removes an instance, and instances that are gone.
    pub fn forget(self, paths: &Paths) -> anyhow::Result<()> {
        self.replace(paths, None)
    }

    /// Replaces the entry of an instance. Writes the file only if anything changes.
    fn replace(mut self, paths: &Paths, entry: Option<Entry>) -> anyhow::Result<()> {
        let mut instances: Vec<Entry> = self.register.existing().cloned().collect();
        instances.retain(|entry| !entry.is_of(paths));
        instances.extend(entry);
        instances.sort_by(|a, b| (&a.checkout, &a.instance).cmp(&(&b.checkout, &b.instance)));
        if instances != self.register.instances {
            self.register.instances = instances;
            self.register.schema_version = SCHEMA_VERSION;
            let text = serde_json::to_vec_pretty(&self.register)
                .context("cannot describe the instances")?;
            kept::write(&self.file, &text, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }
}

/// Returns the present day in the form of the register.
fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Returns a path without links, as far as it exists. One that is not UTF-8 cannot be stored: its
/// replacement does not exist, so such a checkout has no lease.
fn resolved(root: &Path) -> PathBuf {
    let path = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// Reads the file, or its copy. An invalid file does not prevent a start: without it, ports of
/// other instances are found in use.
fn load(file: &Path) -> anyhow::Result<Register> {
    let damaged = |why: String| Register {
        damaged: Some(why),
        ..Register::default()
    };
    match kept::read::<Register>(file) {
        Ok(None) => Ok(Register::default()),
        Ok(Some(register)) if register.schema_version == SCHEMA_VERSION => Ok(register),
        Ok(Some(register)) => Ok(damaged(format!(
            "`{}` is of version {}, which this Core does not know",
            file.display(),
            register.schema_version
        ))),
        Err(error) if exit_of(&error) == Exit::Invalid => Ok(damaged(format!("{error:#}"))),
        Err(error) => Err(error),
    }
}

/// Returns possible directories of the register, the best first. Only the process environment
/// counts: all checkouts have to agree.
fn directories(env: &Env) -> Vec<PathBuf> {
    let told = |name: &str| {
        let value = env
            .non_empty(name)
            .filter(|value| Path::new(value).is_absolute());
        let value = value.filter(|_| env.origin(name) == Some(Origin::Process));
        value.map(PathBuf::from)
    };
    if let Some(own) = told(DIRECTORY_VARIABLE) {
        return vec![own];
    }
    let home = told("HOME").map(|home| home.join(".local").join("state"));
    let state = told("XDG_STATE_HOME").or(home);
    let mut all: Vec<PathBuf> = state.into_iter().map(|path| path.join(DIRECTORY)).collect();
    // Without a writable home, the register lasts until the machine restarts.
    all.push(socket::temporary_directory());
    all
}

/// Creates and returns the first directory that is writable.
fn make_directory(env: &Env) -> anyhow::Result<PathBuf> {
    let directories = directories(env);
    let temporary = socket::temporary_directory();
    let mut failed = None;
    for directory in directories {
        let made = if directory == temporary {
            socket::make_private(&directory)
        } else {
            files::create_private_dir(&directory)
        };
        match made {
            Ok(()) => return Ok(directory),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.context("there is no place for the register of instances")?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    struct Bed {
        directory: tempfile::TempDir,
        env: Env,
    }

    impl Bed {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let register = directory.path().join("register");
            let env = Env::from_pairs([(DIRECTORY_VARIABLE, register.to_str().unwrap())]);
            Self { directory, env }
        }

        fn instance(&self, checkout: &str, name: &str) -> Paths {
            let root = self.directory.path().join(checkout);
            let paths = Paths::new(root).of_instance(name).unwrap();
            files::create_private_dir(&paths.logs()).unwrap();
            paths
        }

        fn remember(&self, paths: &Paths, port: u16) {
            let ports = [("a.http".to_owned(), port)].into();
            Locked::take(&self.env)
                .unwrap()
                .remember(paths, &ports)
                .unwrap();
        }

        fn read(&self) -> Register {
            Register::read(&self.env).unwrap()
        }
    }

    #[test]
    fn an_entry_is_a_lease_as_long_as_a_lock_is_held() {
        let bed = Bed::new();
        let (one, two) = (bed.instance("x", ""), bed.instance("x", "two"));
        bed.remember(&one, 1);
        bed.remember(&two, 2);
        assert_eq!(bed.read().last(&two)["a.http"], 2);
        let others = bed.read().others(&one);
        assert!(others.living.is_empty());
        assert_eq!(others.resting, [2].into());
        for lock in [two.alive_lock(), two.operation_lock()] {
            let held = FileLock::try_exclusive(&lock).unwrap();
            let others = bed.read().others(&one);
            let who = &others.living[&2];
            assert!(who.starts_with("the instance `two` of"), "{who}");
            assert!(bed.read().others(&two).living.is_empty(), "its own");
            drop(held);
        }
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let bed = Bed::new();
        let (one, two) = (bed.instance("x", ""), bed.instance("y", "two"));
        bed.remember(&two, 2);
        fs::remove_dir_all(two.root()).unwrap();
        assert_eq!(bed.read().existing().count(), 0);
        assert!(bed.read().others(&one).resting.is_empty());
        bed.remember(&one, 1);
        assert_eq!(bed.read().instances.len(), 1);
    }

    #[test]
    fn an_instance_that_is_forgotten_takes_no_other_with_it() {
        let bed = Bed::new();
        let (one, two) = (bed.instance("x", ""), bed.instance("x", "two"));
        let held = [&one, &two].map(|paths| FileLock::try_exclusive(&paths.alive_lock()).unwrap());
        bed.remember(&one, 1);
        bed.remember(&two, 2);
        assert!(bed.read().has(&two));
        Locked::take(&bed.env).unwrap().forget(&two).unwrap();
        assert!(!bed.read().has(&two));
        assert_eq!(bed.read().last(&one)["a.http"], 1);
        drop(held);
    }

    #[test]
    fn nobody_loses_an_entry_to_somebody_else() {
        let bed = Bed::new();
        let all: Vec<Paths> = (0..8).map(|n| bed.instance(&format!("c{n}"), "")).collect();
        thread::scope(|scope| {
            for (port, paths) in (1..).zip(&all) {
                let bed = &bed;
                scope.spawn(move || bed.remember(paths, port));
            }
        });
        for (port, paths) in (1..).zip(&all) {
            assert_eq!(bed.read().last(paths)["a.http"], port);
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_named_and_keeps_nothing_from_starting() {
        for damaged in ["", "{}", "{\"schema_version\": 1, \"inst", "[1]", "\u{0}"] {
            let bed = Bed::new();
            let one = bed.instance("x", "");
            bed.remember(&one, 1);
            let file = bed.directory.path().join("register").join(FILE);
            fs::write(&file, damaged).unwrap();
            assert_eq!(bed.read().last(&one)["a.http"], 1, "by its copy");
            fs::write(file.with_file_name(format!(".{FILE}.copy")), damaged).unwrap();
            let told = bed.read().damaged().unwrap().to_owned();
            assert!(told.contains(file.to_str().unwrap()), "{told}");
            let locked = Locked::take(&bed.env).unwrap();
            let told = locked.register().damaged().unwrap();
            assert!(told.contains("instances.json.damaged"), "{told}");
            locked
                .remember(&one, &[("a.http".to_owned(), 2)].into())
                .unwrap();
            assert_eq!(bed.read().last(&one)["a.http"], 2);
            assert_eq!(bed.read().damaged(), None);
        }
    }

    #[test]
    fn another_version_is_not_taken_for_ours() {
        let bed = Bed::new();
        let one = bed.instance("x", "");
        bed.remember(&one, 1);
        let file = bed.directory.path().join("register").join(FILE);
        fs::write(&file, r#"{"schema_version": 9, "instances": []}"#).unwrap();
        let told = bed.read().damaged().unwrap_or_default().to_owned();
        assert!(told.contains("version 9"), "{told}");
    }

    #[test]
    fn it_is_the_users_own_wherever_that_can_be_written() {
        let home = tempfile::tempdir().unwrap();
        let text = home.path().to_str().unwrap();
        let env = Env::from_pairs([("HOME", text)]);
        let expected = home.path().join(".local/state/core-stack");
        assert_eq!(make_directory(&env).unwrap(), expected);
        let env = Env::from_pairs([("HOME", text), ("XDG_STATE_HOME", text)]);
        assert_eq!(make_directory(&env).unwrap(), home.path().join(DIRECTORY));
        let env = Env::from_pairs([("HOME", "/dev/null/nowhere")]);
        assert_eq!(make_directory(&env).unwrap(), socket::temporary_directory());
    }
}
