//! The server's configuration file. Pure: settings, credentials and topology in, text out.
//!
//! It is JSON, which nats-server reads. Settings that a reload cannot add are there from the start:
//! the JetStream domain, `leafnodes.reconnect` with an empty list of remotes, the websocket, the
//! system account and the lame-duck times.

use serde_json::{Value, json};

use crate::credentials::{Credentials, Login};
use crate::events::denied_subjects;
use crate::settings::Settings;
use crate::topology::facts::{LEAF_USER, ROUTE_USER};
use crate::topology::{Facts, Role};

/// The user of clients without credentials. It has no password: every local client may use it.
const ANYBODY: &str = "local";

/// The name of the hub's cluster.
const CLUSTER_NAME: &str = "hub";

/// Returns the text of the configuration file.
pub(crate) fn render(settings: &Settings, credentials: &Credentials, facts: &Facts) -> String {
    let app = settings.login.as_ref().unwrap_or(&credentials.app);
    let node = &settings.node;
    let mut config = json!({
        "server_name": node.name,
        // Each address in full: an unset host would be 0.0.0.0.
        "listen": address(settings.host, settings.client_port),
        "http": local(settings.http_port),
        "leafnodes": {
            "listen": local(settings.leaf_port),
            "reconnect": "250ms",
            "remotes": [],
        },
        "websocket": {
            "listen": local(settings.ws_port),
            "no_tls": true,
            "allowed_origins": settings.ws_allowed_origins,
        },
        "accounts": {
            "APP": account(app),
            "SYS": account(&credentials.sys),
        },
        "system_account": "SYS",
        "lame_duck_duration": "30s",
        "lame_duck_grace_period": "1s",
    });
    if settings.jetstream {
        config["jetstream"] = json!({"store_dir": settings.data_dir, "domain": node.domain});
        config["accounts"]["APP"]["jetstream"] = json!("enabled");
    }
    if settings.login.is_none() {
        // Not the first user, which is Core itself: see `entrance`.
        let anybody = json!({
            "user": ANYBODY,
            "permissions": {"publish": {"deny": denied_subjects()}},
        });
        if let Value::Array(users) = &mut config["accounts"]["APP"]["users"] {
            users.push(anybody);
        }
        config["no_auth_user"] = json!(ANYBODY);
    }
    if let Some(region) = &node.region {
        config["server_tags"] = json!([format!("region:{region}")]);
    }
    match node.role {
        Some(Role::Hub) => join_hub(&mut config, settings, facts),
        // The first server and the leaves find the hub in the same way.
        None | Some(Role::Leaf) => config["leafnodes"]["remotes"] = remotes(facts),
    }
    format!("{config:#}\n")
}

fn join_hub(config: &mut Value, settings: &Settings, facts: &Facts) {
    config["cluster"] = json!({
        "name": CLUSTER_NAME,
        "listen": local(settings.cluster_port),
        "authorization": {"user": ROUTE_USER, "password": facts.route_password},
        "routes": facts.route_urls(),
    });
    let leaf = json!({
        "user": LEAF_USER,
        "password": facts.leaf_password,
        "allowed_connection_types": ["LEAFNODE", "LEAFNODE_WS"],
    });
    if let Value::Array(users) = &mut config["accounts"]["APP"]["users"] {
        users.push(leaf);
    }
}

/// Returns the hub as one remote with several addresses; empty without a hub.
fn remotes(facts: &Facts) -> Value {
    match facts.leaf_urls() {
        urls if urls.is_empty() => json!([]),
        urls => json!([{"urls": urls, "account": "APP"}]),
    }
}

fn account(login: &Login) -> Value {
    json!({"users": [{"user": login.user, "password": login.password}]})
}

fn address(host: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(host, port).to_string()
}

fn local(port: u16) -> String {
    Settings::local(port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{node_of, settings};
    use crate::topology::facts::tests::hub_of_three;
    use crate::topology::{entrance, remotes_in, routes_in, system_entrance};

    fn credentials() -> Credentials {
        let login = |user: &str, password: &str| Login {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        Credentials {
            app: login("app", "capp"),
            sys: login("sys", "csys"),
        }
    }

    #[test]
    fn the_default_file() {
        let expected = r#"{
  "accounts": {
    "APP": {
      "jetstream": "enabled",
      "users": [
        {
          "password": "capp",
          "user": "app"
        },
        {
          "permissions": {
            "publish": {
              "deny": [
DENIED
              ]
            }
          },
          "user": "local"
        }
      ]
    },
    "SYS": {
      "users": [
        {
          "password": "csys",
          "user": "sys"
        }
      ]
    }
  },
  "http": "127.0.0.1:8222",
  "jetstream": {
    "domain": "core",
    "store_dir": "/data/nats"
  },
  "lame_duck_duration": "30s",
  "lame_duck_grace_period": "1s",
  "leafnodes": {
    "listen": "127.0.0.1:7422",
    "reconnect": "250ms",
    "remotes": []
  },
  "listen": "127.0.0.1:4222",
  "no_auth_user": "local",
  "server_name": "nats",
  "system_account": "SYS",
  "websocket": {
    "allowed_origins": [
      "http://127.0.0.1:2015",
      "http://localhost:2015"
    ],
    "listen": "127.0.0.1:8443",
    "no_tls": true
  }
}
"#;
        let denied = denied_subjects().into_iter();
        let denied: Vec<String> = denied
            .map(|subject| format!("                \"{subject}\""))
            .collect();
        let expected = expected.replace("DENIED", &denied.join(",\n"));
        let text = render(&settings(&[]).unwrap(), &credentials(), &Facts::default());
        assert_eq!(text, expected);
    }

    #[test]
    fn with_credentials_nobody_comes_in_without() {
        let settings = settings(&[
            ("NATS_HOST", "::"),
            ("NATS_USER", "u\"1"),
            ("NATS_PASSWORD", "$p\\"),
        ]);
        let text = render(&settings.unwrap(), &credentials(), &Facts::default());
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["no_auth_user"], Value::Null);
        assert_eq!(config["listen"], "[::]:4222");
        assert_eq!(config["http"], "127.0.0.1:8222");
        let user = &config["accounts"]["APP"]["users"][0];
        assert_eq!(*user, json!({"user": "u\"1", "password": "$p\\"}));
    }

    #[test]
    fn clients_of_this_machine_find_their_way_by_the_file() {
        let settings = settings(&[
            ("NATS_HOST", "0.0.0.0"),
            ("NATS_USER", "u"),
            ("NATS_PASSWORD", "p"),
        ]);
        let text = render(&settings.unwrap(), &credentials(), &Facts::default());
        let (address, login) = entrance(&text).unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:4222");
        assert_eq!((&*login.user, &*login.password), ("u", "p"));
        let (same, login) = system_entrance(&text).unwrap();
        assert_eq!(same, address);
        assert_eq!((&*login.user, &*login.password), ("sys", "csys"));
        assert_eq!(entrance("{}"), None);
    }

    #[test]
    fn without_jetstream() {
        let settings = Settings {
            jetstream: false,
            ..settings(&[]).unwrap()
        };
        let text = render(&settings, &credentials(), &Facts::default());
        assert!(!text.contains("jetstream"), "{text}");
    }

    fn parsed(changes: &[(&str, &str)], facts: &Facts) -> (Value, String) {
        let text = render(&settings(changes).unwrap(), &credentials(), facts);
        (serde_json::from_str(&text).unwrap(), text)
    }

    #[test]
    fn a_hub_node_knows_its_peers_and_lets_leaves_in() {
        let (config, text) = parsed(&node_of("hub", "hub-1"), &hub_of_three());
        let cluster = &config["cluster"];
        assert_eq!(cluster["listen"], "127.0.0.1:6222");
        assert_eq!(cluster["authorization"]["password"], "croute");
        assert_eq!(routes_in(&text), hub_of_three().route_urls());
        assert_eq!(config["jetstream"]["domain"], "hub");
        let leaf = &config["accounts"]["APP"]["users"][2];
        assert_eq!(leaf["user"], "leaf");
        assert_eq!(leaf["allowed_connection_types"][0], "LEAFNODE");
        assert_eq!(remotes_in(&text), [""; 0]);
    }

    #[test]
    fn the_first_server_differs_only_by_its_remotes() {
        let (mut joined, text) = parsed(&[], &hub_of_three());
        let (alone, _) = parsed(&[], &Facts::default());
        assert_eq!(remotes_in(&text), hub_of_three().leaf_urls());
        joined["leafnodes"]["remotes"] = json!([]);
        assert_eq!(joined, alone);
    }

    #[test]
    fn a_leaf_has_the_domain_of_its_region() {
        let (config, text) = parsed(&node_of("leaf", "leaf-lhr"), &hub_of_three());
        assert_eq!(config["jetstream"]["domain"], "lhr");
        assert_eq!(config["cluster"], Value::Null);
        assert_eq!(remotes_in(&text).len(), 3);
    }
}
