//! Users and passwords of the server: it generates and stores its own.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The user of clients without credentials.
pub(crate) const APP_USER: &str = "app";
/// The user of the system account.
pub(crate) const SYSTEM_USER: &str = "sys";
/// The file in the data directory.
const FILE: &str = "credentials.json";

/// A user and its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// Credentials that are generated once and stored beside the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user of clients without credentials, unless a user was configured.
    pub app: Login,
    /// The user of the system account.
    pub sys: Login,
}

/// Reads the credentials in `data_dir`, or generates them there.
pub fn load_or_create(data_dir: &Path) -> anyhow::Result<Credentials> {
    let new_login = |user: &str| -> anyhow::Result<Login> {
        Ok(Login {
            user: user.to_owned(),
            password: kit::secret::generate()?,
        })
    };
    kit::secret::load_or_create(&data_dir.join(FILE), || {
        Ok(Credentials {
            app: new_login(APP_USER)?,
            sys: new_login(SYSTEM_USER)?,
        })
    })
}

/// Copies credentials to a server that does not run, so that one login works for all.
pub fn share(credentials: &Credentials, data_dir: &Path) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(credentials)?;
    text.push(b'\n');
    let file = data_dir.join(FILE);
    kit::files::write_if_changed(&file, &text, kit::files::PRIVATE_FILE_MODE).map(drop)
}

/// Reads the credentials that the server in `data_dir` generated at its first start.
pub fn read(data_dir: &Path) -> anyhow::Result<Credentials> {
    kit::secret::load_or_create(&data_dir.join(FILE), || {
        anyhow::bail!("`{}` holds no `{FILE}`", data_dir.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let login = Login {
            user: "u".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert_eq!(format!("{login:?}"), "Login(u)");
    }
}
