//! The file with the settings that a process takes while it runs. They are not in its entry, whose
//! change would be a restart.

use kit::settings::{FILE, SettingsFile};

use crate::base::digest;
use crate::plan::stack::{Places, Process};

/// Where the file of a process lies, seen from the root.
pub fn file(places: &Places, process: &str) -> String {
    format!("{}/{process}/{FILE}", places.state)
}

/// What the file of a process says, secrets and all; `None` when it needs none.
pub fn render(process: &Process) -> anyhow::Result<Option<SettingsFile>> {
    if process.reloadable.is_empty() {
        return Ok(None);
    }
    let values = process.env.iter();
    let env = values
        .filter(|(name, _)| process.reloadable.contains(*name))
        .map(|(name, value)| (name.clone(), value.text.clone()))
        .collect();
    // The same values have the same name, also after a way there and back.
    let id = digest::of_bytes(&serde_json::to_vec(&env)?);
    Ok(Some(SettingsFile { id, env }))
}
