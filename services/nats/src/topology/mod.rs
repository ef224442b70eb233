//! Which NATS servers there are and how they are joined: what is asked for, and what is fixed.
//!
//! PURE but for [`read`]: a specification is checked ([`spec`]), and with the durable facts
//! ([`facts`]) it says which nodes there are and by which addresses they find each other. The
//! orchestration and the wrappers share it. Must not start or reload anything.

pub mod facts;
pub mod spec;

use std::io;
use std::path::Path;

use anyhow::Context as _;
use kit::{Exit, Failure};

use crate::credentials::Login;
pub use facts::{Facts, Node, Origin, Role};
pub use spec::{HubSpoke, Profile, Spec};

/// The service whose processes a topology describes, and the name of its first server.
pub const SERVICE: &str = "nats";
/// The file with the durable facts, below the data directory of the instance.
pub const FILE: &str = "nats/topology.json";
/// The configuration file of a server, in its state directory.
pub const CONFIG_FILE: &str = "nats.conf";
/// The outcome of the last reload of a server, in its state directory.
pub const RELOAD_REPORT: &str = "reload.json";

/// Reads the durable facts. Without a file there is one server alone.
pub fn read(path: &Path) -> anyhow::Result<Facts> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            // The parser's own message could quote a password.
            let message = format!(
                "`{}` does not hold a topology (line {})",
                path.display(),
                error.line()
            );
            let hint = "restore it: it knows ports and passwords of the nodes";
            Failure::new(Exit::Invalid, message).hint(hint).into()
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Facts::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// The user of the account APP in the text of a server's configuration file, as the wrapper
/// writes it: what a client comes in with while that server runs.
pub fn app_login(config: &str) -> Option<Login> {
    let mut config: serde_json::Value = serde_json::from_str(config).ok()?;
    serde_json::from_value(config["accounts"]["APP"]["users"][0].take()).ok()
}

/// The addresses of the remotes in the text of a server's configuration file, as the wrapper
/// writes it.
pub fn remotes_in(config: &str) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let remotes = config["leafnodes"]["remotes"].as_array().into_iter();
    let urls = remotes
        .flatten()
        .filter_map(|remote| remote["urls"].as_array());
    let urls = urls.flatten().filter_map(|url| url.as_str());
    urls.map(str::to_owned).collect()
}
