//! The settings of the service from its environment, as listed in `service.json`.

use std::path::PathBuf;

use anyhow::Context as _;
use engine::checkout::paths::Paths;
use kit::env::{Lookup, Reader};
use kit::http::Endpoint;

/// The settings of the service, each one valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of its locks.
    pub(crate) state_dir: PathBuf,
    /// The address of PocketBase, without Caddy in between: one part less that can fail.
    pub(crate) pocketbase: Endpoint,
    /// The checkout and the instance of this stack.
    pub(crate) paths: Paths,
}

impl Settings {
    /// Reads and validates the environment; reports all problems at once.
    pub fn from_env(lookup: Lookup<'_>) -> anyhow::Result<Self> {
        let root = std::env::current_dir().context("cannot find the current directory")?;
        let instance = lookup("CONTROLLER_INSTANCE").unwrap_or_default();
        let paths = Paths::new(root).of_instance(&instance)?;
        let mut reader = Reader::new(lookup);
        let settings = Self {
            state_dir: reader.path("CONTROLLER_STATE_DIR"),
            pocketbase: Endpoint::tcp(
                // A stack that an older version started does not set it.
                reader
                    .optional("CONTROLLER_POCKETBASE_HOST")
                    .unwrap_or_else(|| "127.0.0.1".to_owned()),
                reader.port("CONTROLLER_POCKETBASE_PORT"),
            ),
            paths,
        };
        reader.finish("controller", settings)
    }
}

/// Nothing that the settings name must exist before the start.
pub fn check(_settings: &Settings) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use kit::Exit;
    use kit::failure::exit_of;

    use super::*;

    #[test]
    fn what_is_missing_is_named_at_once() {
        let error = Settings::from_env(&|_| None).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid);
        let text = error.to_string();
        assert!(text.contains("CONTROLLER_STATE_DIR is not set"), "{text}");
        assert!(
            text.contains("CONTROLLER_POCKETBASE_PORT is not set"),
            "{text}"
        );
    }

    #[test]
    fn the_manifest_gives_all_of_them() {
        let manifest = kit::manifest::parse(crate::spec()).unwrap().manifest;
        let lookup = |name: &str| {
            let given = manifest.process.env.get(name)?;
            let given = given.replace("${host.pocketbase}", "::1");
            let given = given.replace("${port.pocketbase.http}", "8090");
            Some(given.replace("${env.CORE_INSTANCE:-}", "b"))
        };
        let settings = Settings::from_env(&lookup).unwrap();
        assert_eq!(settings.pocketbase, Endpoint::tcp("::1", 8090));
        assert_eq!(settings.paths.instance(), "b");
    }
}
