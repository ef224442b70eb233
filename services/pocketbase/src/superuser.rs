//! The first superuser: the configured one, or one that is generated once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The account if none is configured; PocketBase requires a dot in the domain.
const DEFAULT_EMAIL: &str = "admin@core.local";
/// The file in the data directory with the generated password.
const FILE: &str = "superuser.json";

/// An account of a superuser.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Superuser {
    pub(crate) email: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Superuser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Superuser({})", self.email)
    }
}

/// Returns the file of the generated account.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Reads the generated account, if there is one. A damaged file counts as missing: a user who has
/// configured an account can still start.
pub(crate) fn load(data_dir: &Path) -> Option<Superuser> {
    let text = std::fs::read(file(data_dir)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Reads the generated account, or generates it.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<Superuser> {
    kit::secret::load_or_create(&file(data_dir), || {
        Ok(Superuser {
            email: DEFAULT_EMAIL.to_owned(),
            password: kit::secret::generate()?,
        })
    })
}
