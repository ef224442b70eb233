//! The mark on a store directory that says in which mode it was written.
//!
//! A store of a standalone server that is opened by a cluster node loses its streams after 30 s
//! (measured with 2.15), so whoever opens a store looks at the mark first.

use std::path::Path;

use kit::{Exit, Failure};
use serde::{Deserialize, Serialize};

/// The file in the data directory.
const FILE: &str = "store.json";

/// How a store may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// By one server alone, which may be a leaf.
    Standalone,
    /// By a node of a cluster.
    Clustered,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    mode: Mode,
}

/// Marks the store as that of a standalone server, or refuses one that is marked otherwise.
pub(crate) fn open_standalone(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join(FILE);
    let new = || {
        Ok(Mark {
            mode: Mode::Standalone,
        })
    };
    let mark: Mark = kit::secret::load_or_create(&path, new)?;
    if mark.mode == Mode::Standalone {
        return Ok(());
    }
    let message = format!(
        "`{}` is the store of a cluster node, and a standalone server would damage it",
        data_dir.display()
    );
    let hint = "point NATS_DATA_DIR at another directory";
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_opened_only_in_its_own_mode() {
        let dir = tempfile::tempdir().unwrap();
        open_standalone(dir.path()).unwrap();
        open_standalone(dir.path()).unwrap();
        std::fs::write(dir.path().join(FILE), r#"{"mode":"clustered"}"#).unwrap();
        let error = open_standalone(dir.path()).unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        std::fs::write(dir.path().join(FILE), r#"{"mode":"else"}"#).unwrap();
        assert!(open_standalone(dir.path()).is_err());
    }
}
