//! The server's configuration file. Pure: settings and credentials in, text out.
//!
//! It is JSON, which nats-server reads. What a reload cannot add is there from the first day:
//! the JetStream domain, `leafnodes.reconnect` with an empty list of remotes, the websocket, the
//! system account and the lame-duck times.

use serde_json::{Value, json};

use crate::credentials::{Credentials, Login};
use crate::settings::Settings;

/// The server's name, by which we know that our own server answers.
pub(crate) const SERVER_NAME: &str = "nats";
/// The JetStream domain: streams stay reachable under it when the server becomes a leaf.
const DOMAIN: &str = "core";

/// The configuration file.
pub(crate) fn render(settings: &Settings, credentials: &Credentials) -> String {
    let app = settings.login.as_ref().unwrap_or(&credentials.app);
    let mut config = json!({
        "server_name": SERVER_NAME,
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
        config["jetstream"] = json!({"store_dir": settings.data_dir, "domain": DOMAIN});
        config["accounts"]["APP"]["jetstream"] = json!("enabled");
    }
    if settings.login.is_none() {
        config["no_auth_user"] = json!(credentials.app.user);
    }
    format!("{config:#}\n")
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
    use crate::settings::tests::settings;

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
  "no_auth_user": "app",
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
        assert_eq!(render(&settings(&[]).unwrap(), &credentials()), expected);
    }

    #[test]
    fn with_credentials_nobody_comes_in_without() {
        let settings = settings(&[
            ("NATS_HOST", "::"),
            ("NATS_USER", "u\"1"),
            ("NATS_PASSWORD", "$p\\"),
        ]);
        let text = render(&settings.unwrap(), &credentials());
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["no_auth_user"], Value::Null);
        assert_eq!(config["listen"], "[::]:4222");
        assert_eq!(config["http"], "127.0.0.1:8222");
        let user = &config["accounts"]["APP"]["users"][0];
        assert_eq!(*user, json!({"user": "u\"1", "password": "$p\\"}));
    }

    #[test]
    fn without_jetstream() {
        let settings = Settings {
            jetstream: false,
            ..settings(&[]).unwrap()
        };
        let text = render(&settings, &credentials());
        assert!(!text.contains("jetstream"), "{text}");
    }
}
