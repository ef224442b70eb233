//! The settings of the service from its environment, as listed in `service.json`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use kit::env::{Lookup, Reader, check_program};

use crate::credentials::Login;
use crate::topology::Role;

/// The name of the first server, by which we recognize its answer.
const SERVER_NAME: &str = "nats";
/// Its JetStream domain: streams stay reachable under it when it becomes a leaf.
const DOMAIN: &str = "core";
/// The JetStream domain of the hub.
const HUB_DOMAIN: &str = "hub";

/// The settings of the service, each one valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub(crate) server: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) host: IpAddr,
    pub(crate) client_port: u16,
    pub(crate) http_port: u16,
    pub(crate) leaf_port: u16,
    pub(crate) ws_port: u16,
    pub(crate) cluster_port: u16,
    /// The node of the topology.
    pub(crate) node: Node,
    /// The file with the durable facts of the topology.
    pub(crate) topology_file: PathBuf,
    /// Origins whose pages may open a websocket; never empty: an empty list would allow all.
    pub(crate) ws_allowed_origins: Vec<String>,
    /// The user of the account APP; without one, clients need no credentials.
    pub(crate) login: Option<Login>,
    /// Whether JetStream is on, from the manifest.
    pub(crate) jetstream: bool,
}

/// A node of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its role; `None` for the first server, which is part of every topology.
    pub(crate) role: Option<Role>,
    /// The name of the server.
    pub(crate) name: String,
    /// The JetStream domain.
    pub(crate) domain: String,
    /// Its region.
    pub(crate) region: Option<String>,
}

impl Settings {
    /// Reads and validates the environment, and the settings of the server in the manifest; reports
    /// all problems at once.
    pub fn from_env(manifest: &str, lookup: Lookup<'_>) -> anyhow::Result<Self> {
        let mut reader = Reader::new(lookup);
        let settings = Self {
            server: reader.path("NATS_SERVER_BIN"),
            data_dir: reader.path("NATS_DATA_DIR"),
            state_dir: reader.path("NATS_STATE_DIR"),
            host: reader.host("NATS_HOST"),
            client_port: reader.port("NATS_CLIENT_PORT"),
            http_port: reader.port("NATS_HTTP_PORT"),
            leaf_port: reader.port("NATS_LEAF_PORT"),
            ws_port: reader.port("NATS_WS_PORT"),
            cluster_port: reader.port("NATS_CLUSTER_PORT"),
            node: node(&mut reader),
            topology_file: reader.path("NATS_TOPOLOGY_FILE"),
            ws_allowed_origins: origins(&mut reader),
            login: login(&mut reader),
            jetstream: jetstream(manifest, &mut reader),
        };
        if !settings.host.is_loopback() && settings.login.is_none() {
            let host = settings.host;
            reader.problem(format!(
                "NATS_HOST is {host}, which others can reach: set NATS_USER and NATS_PASSWORD, too"
            ));
        }
        reader.finish("nats", settings)
    }

    /// Returns the address of a listener that only this machine reaches.
    pub(crate) fn local(port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }
}

/// Checks the files that the settings name.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    check_program(&settings.server, "NATS_SERVER_BIN")
}

fn node(reader: &mut Reader<'_>) -> Node {
    let role = match reader.optional("NATS_CLUSTER").as_deref() {
        None => {
            return Node {
                role: None,
                name: SERVER_NAME.to_owned(),
                domain: DOMAIN.to_owned(),
                region: None,
            };
        }
        Some("hub") => Role::Hub,
        Some("leaf") => Role::Leaf,
        Some(other) => {
            reader.problem(format!(
                "NATS_CLUSTER: `{other}` is neither `hub` nor `leaf`"
            ));
            Role::Leaf
        }
    };
    let name = reader.required("NATS_NODE_ID");
    let domain = match role {
        Role::Hub => HUB_DOMAIN.to_owned(),
        Role::Leaf => name.trim_start_matches("leaf-").to_owned(),
    };
    for (variable, value) in [
        ("NATS_NODE_ID", &name),
        ("NATS_REGION", &reader.required("NATS_REGION")),
    ] {
        if let Some(problem) = kit::names::problem(value).filter(|_| !value.is_empty()) {
            reader.problem(format!("{variable}: `{value}` {problem}"));
        }
    }
    Node {
        role: Some(role),
        name,
        domain,
        region: reader.optional("NATS_REGION"),
    }
}

/// Returns the origins that a user lists, or those of Caddy's pages at the start: the server
/// accepts no others while it runs, and Caddy lets its pages in by itself.
fn origins(reader: &mut Reader<'_>) -> Vec<String> {
    const NAME: &str = "NATS_WS_ALLOWED_ORIGINS";
    let pages = reader.optional("NATS_WS_PAGES");
    let text = match reader.optional(NAME).or(pages) {
        Some(text) => text,
        None => reader.required(NAME),
    };
    let origins: Vec<String> = text
        .split(',')
        .map(|origin| origin.trim().to_owned())
        .filter(|origin| !origin.is_empty())
        .collect();
    if origins.is_empty() && !text.is_empty() {
        reader.problem(format!("{NAME} names no origin"));
    }
    for origin in &origins {
        if !is_origin(origin) {
            reader.problem(format!(
                "{NAME}: `{origin}` is not an origin (http://localhost:2015)"
            ));
        }
    }
    origins
}

/// Whether it is `http[s]://HOST[:PORT]` and nothing more, as a browser sends it.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        !host.is_empty() && host.chars().all(plain)
    })
}

fn login(reader: &mut Reader<'_>) -> Option<Login> {
    let user = reader.optional("NATS_USER");
    let password = reader.optional("NATS_PASSWORD");
    let (user, password) = match (user, password) {
        (None, None) => return None,
        (Some(user), Some(password)) => (user, password),
        (Some(_), None) => {
            reader.problem("NATS_USER is set, so NATS_PASSWORD must be, too");
            return None;
        }
        (None, Some(_)) => {
            reader.problem("NATS_PASSWORD is set, so NATS_USER must be, too");
            return None;
        }
    };
    for (name, value) in [("NATS_USER", &user), ("NATS_PASSWORD", &password)] {
        // nats-server's own syntax has no escape for most of them.
        if value.chars().any(char::is_control) {
            reader.problem(format!("{name} holds a control character"));
        }
    }
    if user == crate::credentials::SYSTEM_USER {
        reader.problem(format!(
            "NATS_USER: `{user}` is the name of the system user"
        ));
    }
    Some(Login { user, password })
}

/// Reads `config.jetstream` of the manifest; on by default.
fn jetstream(manifest: &str, reader: &mut Reader<'_>) -> bool {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    match manifest.pointer("/config/jetstream") {
        None => true,
        Some(serde_json::Value::Bool(on)) => *on,
        Some(_) => {
            reader.problem("`config.jetstream` of the manifest is neither true nor false");
            true
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kit::Exit;
    use kit::failure::exit_of;

    const BASE: &[(&str, &str)] = &[
        ("NATS_SERVER_BIN", "/dep/nats-server"),
        ("NATS_DATA_DIR", "/data/nats"),
        ("NATS_STATE_DIR", "/state/nats"),
        ("NATS_HOST", "127.0.0.1"),
        ("NATS_CLIENT_PORT", "4222"),
        ("NATS_HTTP_PORT", "8222"),
        ("NATS_LEAF_PORT", "7422"),
        ("NATS_WS_PORT", "8443"),
        ("NATS_CLUSTER_PORT", "6222"),
        ("NATS_TOPOLOGY_FILE", "/data/nats/topology.json"),
        ("NATS_WS_ALLOWED_ORIGINS", ""),
        (
            "NATS_WS_PAGES",
            "http://127.0.0.1:2015,http://localhost:2015",
        ),
        ("NATS_USER", ""),
        ("NATS_PASSWORD", ""),
    ];

    pub(crate) fn settings(changes: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let lookup = |name: &str| {
            let all = changes.iter().chain(BASE);
            let found = all.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::from_env("{}", &lookup)
    }

    fn problem(changes: &[(&str, &str)]) -> String {
        let error = settings(changes).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid);
        error.to_string()
    }

    #[test]
    fn defaults_need_no_credentials_on_loopback() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.login, None);
        assert!(settings.jetstream);
        assert_eq!(settings.ws_allowed_origins.len(), 2);
    }

    #[test]
    fn user_and_password_go_together() {
        assert!(problem(&[("NATS_USER", "u")]).contains("NATS_PASSWORD must be, too"));
        let text = problem(&[("NATS_PASSWORD", "hunter2")]);
        assert!(text.contains("NATS_USER must be, too"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(problem(&[("NATS_USER", "u"), ("NATS_PASSWORD", "a\nb")]).contains("control"));
        assert!(problem(&[("NATS_USER", "sys"), ("NATS_PASSWORD", "b")]).contains("system user"));
    }

    #[test]
    fn the_network_needs_credentials() {
        assert!(problem(&[("NATS_HOST", "0.0.0.0")]).contains("set NATS_USER and NATS_PASSWORD"));
        let open = [
            ("NATS_HOST", "0.0.0.0"),
            ("NATS_USER", "u"),
            ("NATS_PASSWORD", "p"),
        ];
        assert!(settings(&open).is_ok());
    }

    /// Returns the further settings of a node of a topology.
    pub(crate) fn node_of(
        cluster: &'static str,
        id: &'static str,
    ) -> [(&'static str, &'static str); 3] {
        [
            ("NATS_CLUSTER", cluster),
            ("NATS_NODE_ID", id),
            ("NATS_REGION", "iad"),
        ]
    }

    #[test]
    fn a_node_has_a_role_a_name_and_a_region() {
        assert_eq!(settings(&[]).unwrap().node.name, "nats");
        let leaf = settings(&node_of("leaf", "leaf-lhr-2")).unwrap().node;
        assert_eq!(
            (leaf.role, leaf.domain.as_str()),
            (Some(Role::Leaf), "lhr-2")
        );
        let hub = settings(&node_of("hub", "hub-1")).unwrap().node;
        assert_eq!((hub.role, hub.domain.as_str()), (Some(Role::Hub), "hub"));
        assert!(problem(&node_of("spoke", "a")).contains("neither `hub` nor `leaf`"));
        assert!(problem(&node_of("hub", "A")).contains("NATS_NODE_ID: `A` may only"));
        let text = problem(&[("NATS_CLUSTER", "hub")]);
        assert!(
            text.contains("NATS_NODE_ID is not set") && text.contains("NATS_REGION is"),
            "{text}"
        );
    }

    #[test]
    fn origins_are_checked() {
        for bad in [
            "*",
            "localhost:2015",
            "http://a/b",
            ",",
            "http://",
            "http://u@h",
        ] {
            problem(&[("NATS_WS_ALLOWED_ORIGINS", bad)]);
        }
        problem(&[("NATS_WS_PAGES", "")]);
        let good = [(
            "NATS_WS_ALLOWED_ORIGINS",
            "https://a.example , http://[::1]:1",
        )];
        assert_eq!(
            settings(&good).unwrap().ws_allowed_origins,
            ["https://a.example", "http://[::1]:1"]
        );
    }
}
