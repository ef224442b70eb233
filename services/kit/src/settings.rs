//! The settings of a service: its environment, and below it a file with the settings that may
//! change while it runs.
//!
//! Owns the format of that file. Must not know what a setting means. The values may be secret, so
//! they are never part of an error.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use serde::{Deserialize, Serialize};

use crate::{Exit, Failure};

/// The variable with the path of the file. It is optional.
pub const FILE_VARIABLE: &str = "CORE_SETTINGS_FILE";
/// The name of the file, in the directory of the process below the state directory.
pub const FILE: &str = "settings.json";
/// The name of the report of a reload, beside it.
pub const REPORT: &str = "reload.json";

/// The content of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsFile {
    /// The id of these settings. A process reports by it which settings are in effect.
    pub id: String,
    /// The variables.
    pub env: BTreeMap<String, String>,
}

/// The environment of this process over the settings of its file. No `Debug`: it holds secrets.
pub struct Environment {
    file: Option<SettingsFile>,
}

impl Environment {
    /// Reads the file that the environment names, in its current state.
    pub fn read() -> anyhow::Result<Self> {
        let file = env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty());
        let file = file.map(|path| read(Path::new(&path))).transpose()?;
        Ok(Self { file })
    }

    /// Returns the value of a variable. The environment comes first.
    pub fn get(&self, name: &str) -> Option<String> {
        let below = || self.file.as_ref()?.env.get(name).cloned();
        env::var(name).ok().or_else(below)
    }

    /// Returns the id of the settings in the file, if there is one.
    pub fn id(&self) -> Option<&str> {
        self.file.as_ref().map(|file| file.id.as_str())
    }
}

fn read(path: &Path) -> anyhow::Result<SettingsFile> {
    let invalid = |what: String| Failure::new(Exit::Invalid, what);
    let shown = path.display();
    let text = fs::read(path)
        .map_err(|error| invalid(format!("cannot read the settings `{shown}`")).source(error))?;
    // The parser's error may repeat its input.
    serde_json::from_slice(&text)
        .map_err(|_| invalid(format!("the settings `{shown}` are damaged")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::exit_of;

    #[test]
    fn the_environment_lies_over_the_file() {
        let pairs = [("PATH", "below"), ("CORE_TEST_ONLY_HERE", "here")];
        let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let file = SettingsFile {
            id: "1".to_owned(),
            env: env.into(),
        };
        let environment = Environment { file: Some(file) };
        assert_eq!(environment.get("PATH"), env::var("PATH").ok());
        let here = environment.get("CORE_TEST_ONLY_HERE");
        assert_eq!(here.as_deref(), Some("here"));
        assert_eq!(environment.get("CORE_TEST_NOWHERE"), None);
        assert_eq!(environment.id(), Some("1"));
    }

    #[test]
    fn a_damaged_file_is_refused_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in [None, Some(r#"{"id": "1", "env": {"A": "hush" "#)] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let error = read(&path).err().unwrap();
            assert_eq!(exit_of(&error), Exit::Invalid);
            assert!(!format!("{error:#}").contains("hush"));
        }
    }
}
