//! The settings of the service from its environment, as listed in `service.json`.

use std::net::IpAddr;
use std::path::PathBuf;

use kit::env::{Lookup, Reader, check_program};

use crate::superuser::Superuser;

/// Bounds of a password in characters: PocketBase's own, checked before anything is started.
const PASSWORD_MIN: usize = 8;
/// bcrypt takes 72 bytes; PocketBase refuses that many characters.
const PASSWORD_MAX: usize = 71;

const EMAIL: &str = "CORE_POCKETBASE_ADMIN_EMAIL";
const PASSWORD: &str = "CORE_POCKETBASE_ADMIN_PASSWORD";

/// The settings of the service, each one valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) server: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// The directory of the user's `pb_hooks`, `pb_migrations` and `pb_public`.
    pub(crate) user_dir: PathBuf,
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// The configured superuser; without one, a default one is created once.
    pub(crate) superuser: Option<Superuser>,
}

impl Settings {
    /// Reads and validates the environment; reports all problems at once.
    pub fn from_env(lookup: Lookup<'_>) -> anyhow::Result<Self> {
        let mut reader = Reader::new(lookup);
        let settings = Self {
            server: reader.path("POCKETBASE_SERVER_BIN"),
            data_dir: reader.path("POCKETBASE_DATA_DIR"),
            state_dir: reader.path("POCKETBASE_STATE_DIR"),
            user_dir: reader.path("POCKETBASE_USER_DIR"),
            host: reader.host("POCKETBASE_HOST"),
            port: reader.port("POCKETBASE_PORT"),
            superuser: superuser(&mut reader),
        };
        reader.finish("pocketbase", settings)
    }
}

/// Checks the files that the settings name: the server and the user's files.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    check_program(&settings.server, "POCKETBASE_SERVER_BIN")?;
    crate::compose::plan(&settings.user_dir).map(|_| ())
}

fn superuser(reader: &mut Reader<'_>) -> Option<Superuser> {
    let (email, password) = match (reader.optional(EMAIL), reader.optional(PASSWORD)) {
        (None, None) => return None,
        (Some(email), Some(password)) => (email, password),
        (Some(_), None) => {
            reader.problem(format!("{EMAIL} is set, so {PASSWORD} must be, too"));
            return None;
        }
        (None, Some(_)) => {
            reader.problem(format!("{PASSWORD} is set, so {EMAIL} must be, too"));
            return None;
        }
    };
    if !is_email(&email) {
        reader.problem(format!(
            "{EMAIL}: `{email}` is not an e-mail address that PocketBase takes \
             (its domain needs a dot: admin@core.local)"
        ));
    }
    let length = password.chars().count();
    // Bytes, too: bcrypt counts those.
    if length < PASSWORD_MIN || password.len() > PASSWORD_MAX {
        reader.problem(format!(
            "{PASSWORD} must have {PASSWORD_MIN} to {PASSWORD_MAX} characters, not {length}"
        ));
    }
    Some(Superuser { email, password })
}

/// Whether PocketBase accepts it, by conservative rules: `LOCAL@DOMAIN.TLD`.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let local_char = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    let local_fine = !local.is_empty()
        && local.chars().all(local_char)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..");
    let label = |label: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let top_fine = labels
        .last()
        .is_some_and(|top| top.starts_with(|c: char| c.is_ascii_alphabetic()));
    local_fine && labels.len() >= 2 && labels.into_iter().all(label) && top_fine
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kit::Exit;
    use kit::failure::exit_of;

    const BASE: &[(&str, &str)] = &[
        ("POCKETBASE_SERVER_BIN", "/dep/pocketbase-server"),
        ("POCKETBASE_DATA_DIR", "/data/pocketbase"),
        ("POCKETBASE_STATE_DIR", "/state/pocketbase"),
        ("POCKETBASE_USER_DIR", "/user"),
        ("POCKETBASE_HOST", "127.0.0.1"),
        ("POCKETBASE_PORT", "8090"),
        (EMAIL, ""),
        (PASSWORD, ""),
    ];

    pub(crate) fn settings(changes: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let lookup = |name: &str| {
            let all = changes.iter().chain(BASE);
            let found = all.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::from_env(&lookup)
    }

    fn problem(changes: &[(&str, &str)]) -> String {
        let error = settings(changes).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid);
        error.to_string()
    }

    #[test]
    fn one_without_the_other_names_the_other() {
        assert!(problem(&[(EMAIL, "a@b.c")]).contains("so CORE_POCKETBASE_ADMIN_PASSWORD must"));
        let text = problem(&[(PASSWORD, "hunter2hunter2")]);
        assert!(
            text.contains("so CORE_POCKETBASE_ADMIN_EMAIL must"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn password_length() {
        for (length, fine) in [(7, false), (8, true), (71, true), (72, false)] {
            let password = "x".repeat(length);
            let result = settings(&[(EMAIL, "a@b.c"), (PASSWORD, &password)]);
            assert_eq!(result.is_ok(), fine, "{length}");
        }
        let wide = "ä".repeat(40);
        assert!(settings(&[(EMAIL, "a@b.c"), (PASSWORD, &wide)]).is_err());
        assert!(!problem(&[(EMAIL, "a@b.c"), (PASSWORD, "hunter2")]).contains("hunter2"));
    }

    #[test]
    fn email_addresses() {
        for good in [
            "admin@core.local",
            "a@b.c",
            "first.last+tag@sub.example.org",
        ] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "admin@localhost",
            "a@b",
            "x@127.0.0.1",
            "a",
            "@b.c",
            "a@.c",
            "a@b.",
            "a b@c.d",
            "a@b@c.d",
            ".a@b.c",
            "a@-b.c",
        ] {
            assert!(!is_email(bad), "{bad}");
            problem(&[(EMAIL, bad), (PASSWORD, "long enough")]);
        }
    }

    #[test]
    fn defaults_have_no_superuser_of_their_own() {
        assert_eq!(settings(&[]).unwrap().superuser, None);
        assert!(settings(&[("POCKETBASE_HOST", "0.0.0.0")]).is_ok());
    }
}
