//! The file with the settings that a process reloads while it runs. They are not in its entry,
//! because a change of the entry would restart the process.

use kit::settings::{FILE, SettingsFile};

use crate::base::digest;
use crate::plan::stack::{Places, Process};

/// Returns the path of a process's settings file, relative to the root.
pub fn file(places: &Places, process: &str) -> String {
    format!("{}/{process}/{FILE}", places.state)
}

/// Returns the content of a process's settings file, with secrets; `None` if it needs none.
pub fn render(process: &Process) -> anyhow::Result<Option<SettingsFile>> {
    if process.reloadable.is_empty() {
        return Ok(None);
    }
    let values = process.env.iter();
    let env = values
        .filter(|(name, _)| process.reloadable.contains(*name))
        .map(|(name, value)| (name.clone(), value.text.clone()))
        .collect();
    // Equal values have equal ids, also after a change that was reverted.
    let id = digest::of_bytes(&serde_json::to_vec(&env)?);
    Ok(Some(SettingsFile { id, env }))
}
