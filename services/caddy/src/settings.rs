//! The settings of the service from its environment, as listed in `service.json`.

use std::net::IpAddr;
use std::path::PathBuf;

use kit::env::{Lookup, Reader, check_program};
use kit::http::Endpoint;

use crate::routes::Route;

/// The settings of the service, each one valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) server: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// The instance it belongs to, for commands that it shows; none for the default one.
    pub(crate) instance: Option<String>,
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// The address of PocketBase.
    pub(crate) pocketbase: Endpoint,
    /// The address of NATS for websockets.
    pub(crate) nats_ws: Endpoint,
    /// Origins of our own pages, which may connect to NATS whatever its settings.
    pub(crate) nats_ws_pages: Vec<String>,
    /// Whether NATS requires credentials.
    pub(crate) nats_has_credentials: bool,
    /// The routes of other services.
    pub(crate) routes: Vec<Route>,
}

impl Settings {
    /// Reads and validates the environment; reports all problems at once.
    pub fn from_env(lookup: Lookup<'_>) -> anyhow::Result<Self> {
        let mut reader = Reader::new(lookup);
        let settings = Self {
            server: reader.path("CADDY_SERVER_BIN"),
            data_dir: reader.path("CADDY_DATA_DIR"),
            state_dir: reader.path("CADDY_STATE_DIR"),
            instance: reader.optional("CADDY_INSTANCE"),
            host: reader.host("CADDY_HOST"),
            port: reader.port("CADDY_PORT"),
            pocketbase: reader.endpoint("CADDY_POCKETBASE"),
            nats_ws: reader.endpoint("CADDY_NATS_WS"),
            nats_ws_pages: pages(&mut reader),
            nats_has_credentials: reader.optional("CADDY_NATS_WS_CREDENTIALS").is_some(),
            routes: routes(&mut reader),
        };
        reader.finish("caddy", settings)
    }

    /// Returns these settings with those of `told` that can change while Caddy runs.
    pub(crate) fn with_changes_of(&self, told: Self) -> Self {
        Self {
            pocketbase: told.pocketbase,
            nats_ws: told.nats_ws,
            nats_ws_pages: told.nats_ws_pages,
            nats_has_credentials: told.nats_has_credentials,
            routes: told.routes,
            ..self.clone()
        }
    }

    /// Whether NATS may be reached through us: not from the network without credentials.
    pub(crate) fn forwards_nats(&self) -> bool {
        self.host.is_loopback() || self.nats_has_credentials
    }
}

/// Parses the routes, as xtask resolves them from all manifests.
fn routes(reader: &mut Reader<'_>) -> Vec<Route> {
    const NAME: &str = "CADDY_ROUTES";
    let text = reader.optional(NAME).unwrap_or_else(|| "[]".to_owned());
    serde_json::from_str(&text).unwrap_or_else(|error| {
        reader.problem(format!("{NAME}: is no list of routes: {error}"));
        Vec::new()
    })
}

/// Parses origins, separated by commas. Whatever is none cannot be the name of a file.
fn pages(reader: &mut Reader<'_>) -> Vec<String> {
    let text = reader.optional("CADDY_NATS_WS_PAGES").unwrap_or_default();
    let origins = text.split(',').map(str::trim);
    origins
        .filter(|origin| is_origin(origin))
        .map(str::to_owned)
        .collect()
}

/// Whether a text has the form `SCHEME://HOST` or `SCHEME://HOST:PORT`.
fn is_origin(text: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    text.split_once("://").is_some_and(|(scheme, host)| {
        let scheme_is_good = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase());
        scheme_is_good
            && host.bytes().any(|b| b.is_ascii_alphanumeric())
            && host.bytes().all(harmless)
    })
}

/// Checks the files that the settings name.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    check_program(&settings.server, "CADDY_SERVER_BIN")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kit::Exit;
    use kit::failure::exit_of;

    const BASE: &[(&str, &str)] = &[
        ("CADDY_SERVER_BIN", "/dep/caddy-server"),
        ("CADDY_DATA_DIR", "/data/caddy"),
        ("CADDY_STATE_DIR", "/state/caddy"),
        ("CADDY_INSTANCE", ""),
        ("CADDY_HOST", "127.0.0.1"),
        ("CADDY_PORT", "2015"),
        ("CADDY_POCKETBASE", "127.0.0.1:8090"),
        ("CADDY_NATS_WS", "127.0.0.1:8443"),
        (
            "CADDY_NATS_WS_PAGES",
            "http://127.0.0.1:2015,http://localhost:2015",
        ),
        ("CADDY_NATS_WS_CREDENTIALS", ""),
        ("CADDY_ROUTES", ""),
    ];

    pub(crate) fn settings(changes: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let lookup = |name: &str| {
            let all = changes.iter().chain(BASE);
            let found = all.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::from_env(&lookup)
    }

    #[test]
    fn nats_is_not_forwarded_from_the_network_without_credentials() {
        let forwards = |changes| settings(changes).unwrap().forwards_nats();
        assert!(forwards(&[]));
        assert!(!forwards(&[("CADDY_HOST", "0.0.0.0")]));
        assert!(!forwards(&[("CADDY_HOST", "::")]));
        let user = ("CADDY_NATS_WS_CREDENTIALS", "u");
        assert!(forwards(&[("CADDY_HOST", "0.0.0.0"), user]));
    }

    #[test]
    fn bad_values_are_refused() {
        let error = settings(&[("CADDY_POCKETBASE", "8090"), ("CADDY_PORT", "x")]).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid);
        assert_eq!(
            error.to_string(),
            "the settings of `caddy` are invalid:\n  \
             CADDY_PORT: `x` is not a port (1 to 65535)\n  \
             CADDY_POCKETBASE: `8090` is not of the form HOST:PORT"
        );
    }
}
