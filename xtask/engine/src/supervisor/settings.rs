//! The settings that processes reload while they run: their files, and which processes of the
//! running stack have to reload.
//!
//! The report of a process says which settings it has loaded: a file alone proves nothing. Must not
//! start or stop anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kit::files;
use kit::settings::{FILE, REPORT, SettingsFile};

use crate::checkout::paths::Paths;
use crate::plan::render::settings;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;
use crate::supervisor::reload::{self, ReloadReport};
use crate::supervisor::state::States;

/// How long a reload may take. Longer than the limits of our own wrappers together: Caddy has 10 s
/// for the check of its configuration, 10 s to load it and 10 s to show it.
const RELOAD_LIMIT: Duration = Duration::from_secs(32);

/// The settings of every process that reloads them from a file.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    processes: BTreeMap<String, SettingsFile>,
}

impl Settings {
    /// Returns the settings of a stack.
    pub(crate) fn of(stack: &Stack) -> anyhow::Result<Self> {
        let mut processes = BTreeMap::new();
        for (name, process) in &stack.processes {
            if let Some(file) = settings::render(process)? {
                processes.insert(name.clone(), file);
            }
        }
        Ok(Self { processes })
    }

    /// Reads the present files of these processes.
    pub(crate) fn read(&self, paths: &Paths) -> Self {
        let read = |name: &String| {
            let text = fs::read(file(paths, name)).ok()?;
            Some((name.clone(), serde_json::from_slice(&text).ok()?))
        };
        Self {
            processes: self.processes.keys().filter_map(read).collect(),
        }
    }

    /// Writes the files.
    pub(crate) fn write(&self, paths: &Paths) -> anyhow::Result<()> {
        for (name, settings) in &self.processes {
            let path = file(paths, name);
            if let Some(directory) = path.parent() {
                files::create_private_dir(directory)?;
            }
            let text = serde_json::to_vec(settings)?;
            files::write_for_this_run(&path, &text, files::PRIVATE_FILE_MODE)?;
        }
        Ok(())
    }

    /// Returns the processes of `states` that run with other settings than these, and the names of
    /// the variables that differ. `before` are the earlier settings in the files.
    pub(crate) fn stale(
        &self,
        paths: &Paths,
        before: &Self,
        states: &States,
    ) -> BTreeMap<String, Vec<String>> {
        let stale = |(name, wanted): (&String, &SettingsFile)| {
            let state = states.get(name).filter(|state| state.is_running)?;
            let old = before.processes.get(name);
            let is_current = match ReloadReport::of(&report(paths, name), state) {
                Some(report) => report.settings.as_ref() == Some(&wanted.id),
                None => old == Some(wanted),
            };
            (!is_current).then(|| (name.clone(), differences(old, wanted)))
        };
        self.processes.iter().filter_map(stale).collect()
    }

    /// Makes a running process reload its settings from its file.
    pub(crate) fn reload(paths: &Paths, client: &Client, name: &str) -> anyhow::Result<()> {
        reload::reload(client, name, &report(paths, name), RELOAD_LIMIT)
    }
}

/// Returns the names of variables that differ. Values may be secret and are left out.
fn differences(old: Option<&SettingsFile>, new: &SettingsFile) -> Vec<String> {
    let differs = |name: &&String| old.and_then(|old| old.env.get(*name)) != new.env.get(*name);
    let gone = old.into_iter().flat_map(|old| old.env.keys());
    let gone = gone.filter(|name| !new.env.contains_key(*name));
    let names = new.env.keys().filter(differs).chain(gone);
    names.map(|name| format!("environment.{name}")).collect()
}

fn file(paths: &Paths, process: &str) -> PathBuf {
    paths.state().join(process).join(FILE)
}

fn report(paths: &Paths, process: &str) -> PathBuf {
    paths.state().join(process).join(REPORT)
}
