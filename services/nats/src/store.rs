//! The mark on a store directory that records in which mode it was written.
//!
//! A store of a standalone server that is opened by a cluster node loses its streams after 30 s
//! (measured with 2.15), so the mark is checked before a store is opened.

use std::path::Path;

use kit::{Exit, Failure};
use serde::{Deserialize, Serialize};

/// The file in the data directory.
const FILE: &str = "store.json";

/// The mode in which a store may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// By one server alone, which may be a leaf.
    Standalone,
    /// By a node of a cluster.
    Clustered,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    mode: Mode,
}

impl Mode {
    /// Returns the kind of server that opens a store in this mode.
    fn owner(self) -> &'static str {
        match self {
            Self::Standalone => "a standalone server",
            Self::Clustered => "a cluster node",
        }
    }
}

/// Marks a new store with the mode, or returns an error if it has another mark.
pub(crate) fn open(data_dir: &Path, mode: Mode) -> anyhow::Result<()> {
    let path = data_dir.join(FILE);
    let mark: Mark = kit::secret::load_or_create(&path, || Ok(Mark { mode }))?;
    if mark.mode == mode {
        return Ok(());
    }
    let message = format!(
        "`{}` is the store of {}, and {} would damage it",
        data_dir.display(),
        mark.mode.owner(),
        mode.owner()
    );
    let hint = "point NATS_DATA_DIR at another directory";
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_opened_only_in_its_own_mode() {
        for (own, other) in [
            (Mode::Standalone, Mode::Clustered),
            (Mode::Clustered, Mode::Standalone),
        ] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), own).unwrap();
            open(dir.path(), own).unwrap();
            let error = open(dir.path(), other).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
            // A damaged mark is no other mark: its copy counts, and without one nothing is opened.
            std::fs::write(dir.path().join(FILE), r#"{"mode":"else"}"#).unwrap();
            assert!(open(dir.path(), other).is_err());
            open(dir.path(), own).unwrap();
            for name in [FILE, ".store.json.copy"] {
                std::fs::write(dir.path().join(name), r#"{"mode":"else"}"#).unwrap();
            }
            let error = open(dir.path(), own).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        }
    }
}
