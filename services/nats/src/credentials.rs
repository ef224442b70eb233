//! Users and passwords of the server: those it makes up itself and keeps.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The user that clients without credentials become.
pub(crate) const APP_USER: &str = "app";
/// The user of the system account.
pub(crate) const SYSTEM_USER: &str = "sys";
/// The file in the data directory.
const FILE: &str = "credentials.json";

/// A user and its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// What is generated once and kept beside the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) app: Login,
    pub(crate) sys: Login,
}

/// Reads the credentials in `data_dir`, or generates them there.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<Credentials> {
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
