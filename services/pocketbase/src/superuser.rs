//! The first superuser: the one the user asks for, or one that is made up once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The account when nobody names one; PocketBase wants a dot in the domain.
const DEFAULT_EMAIL: &str = "admin@core.local";
/// The file in the data directory that holds the made-up password.
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

/// Where the made-up account is kept.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Reads the made-up account, if one was ever made up. A damaged file is none: it keeps nobody who
/// has named an account of their own from starting.
pub(crate) fn load(data_dir: &Path) -> Option<Superuser> {
    let text = std::fs::read(file(data_dir)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Reads the made-up account, or makes it up.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<Superuser> {
    kit::secret::load_or_create(&file(data_dir), || {
        Ok(Superuser {
            email: DEFAULT_EMAIL.to_owned(),
            password: kit::secret::generate()?,
        })
    })
}
