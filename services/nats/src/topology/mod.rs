//! The NATS servers and their connections: the requested specification and the durable facts.
//!
//! PURE except [`read`]: a specification is checked ([`spec`]), and with the durable facts
//! ([`facts`]) it determines the nodes and the addresses by which they find each other. The
//! orchestration and the wrappers share it. Must not start or reload anything.

pub mod facts;
pub mod spec;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use kit::{Exit, Failure, kept};

use crate::credentials::Login;
pub use facts::{Facts, Node, Origin, Role};
pub use spec::{HubSpoke, Profile, Spec};

/// The service whose processes a topology describes, and the name of its first server.
pub const SERVICE: &str = "nats";
/// The file with the durable facts, below the data directory of the instance.
pub const FILE: &str = "nats/topology.json";
/// The configuration file of a server, in its state directory.
pub const CONFIG_FILE: &str = "nats.conf";
/// The report of a server's last reload, in its state directory.
pub const RELOAD_REPORT: &str = "reload.json";

/// Reads the durable facts, which are stored twice. Without a file there is one server alone.
pub fn read(path: &Path) -> anyhow::Result<Facts> {
    let found = kept::read(path).map_err(|error| {
        let message = format!("`{}` does not hold a topology", path.display());
        let hint = "restore it: it knows ports and passwords of the nodes";
        Failure::new(Exit::Invalid, message)
            .source(error)
            .hint(hint)
    })?;
    Ok(found.unwrap_or_default())
}

/// Returns address and login of the account APP from the text of a server's configuration file as
/// the wrapper writes it: valid while that server runs, whatever the environment says now.
pub fn entrance(config: &str) -> Option<(SocketAddr, Login)> {
    entrance_of("APP", config)
}

/// Returns address and login of the system account, in the same way.
pub fn system_entrance(config: &str) -> Option<(SocketAddr, Login)> {
    entrance_of("SYS", config)
}

fn entrance_of(account: &str, config: &str) -> Option<(SocketAddr, Login)> {
    let mut config: serde_json::Value = serde_json::from_str(config).ok()?;
    let mut address: SocketAddr = config["listen"].as_str()?.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let login = config["accounts"][account]["users"][0].take();
    Some((address, serde_json::from_value(login).ok()?))
}

/// Returns the addresses of the remotes in the text of a server's configuration file, as the
/// wrapper writes it.
pub fn remotes_in(config: &str) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let remotes = config["leafnodes"]["remotes"].as_array().into_iter();
    let urls = remotes.flatten().map(|remote| &remote["urls"]);
    urls.flat_map(strings).collect()
}

/// Returns the addresses of hub nodes in the text of a hub node's configuration file.
pub fn routes_in(config: &str) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    strings(&config["cluster"]["routes"])
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .filter_map(|text| text.as_str())
        .map(str::to_owned)
        .collect()
}
