//! Caddy's configuration. Pure: settings in, JSON out.

use std::path::Path;

use serde_json::{Value, json};

use crate::settings::Settings;

/// Caddy's control socket, relative to its working directory, the state directory: a socket's path
/// may not be longer than about 100 bytes.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";
/// Files with the addresses of the servers behind Caddy, in its working directory. It reads them
/// for each request, so another address needs no other configuration: loading one closes
/// connections, and once in a thousand times one that has just been accepted.
pub(crate) const POCKETBASE_ADDRESS: &str = "pocketbase.address";
pub(crate) const NATS_ADDRESS: &str = "nats.address";
/// Idle connections to PocketBase that are kept. Caddy keeps 32: beyond as many clients at once, it
/// opened and closed a connection for each request.
const IDLE_CONNECTIONS_MAX: u32 = 256;
/// Types that are compressed. Event streams are not: they must be sent at once.
const COMPRESSED_TYPES: [&str; 6] = [
    "application/json*",
    "text/html*",
    "text/css*",
    "text/javascript*",
    "application/javascript*",
    "image/svg+xml*",
];

/// Returns the text of the configuration file.
pub(crate) fn render(settings: &Settings) -> String {
    let config = json!({
        // In every configuration, reloads too: without it Caddy moves its admin API to a TCP port.
        "admin": {"listen": format!("unix/{ADMIN_SOCKET}"), "config": {"persist": false}},
        "storage": {"module": "file_system", "root": settings.data_dir.join("storage")},
        "logging": {"logs": logs(settings)},
        "apps": {"http": {
            // Longer streams are cut at a stop; without a limit they would block it for ever.
            "grace_period": "2s",
            "servers": {"core": {
                // The socket that the wrapper passes on.
                "listen": ["fd/0"],
                "protocols": ["h1"],
                "automatic_https": {"disable": true},
                "logs": {"default_logger_name": "access"},
                "routes": routes(settings),
            }},
        }},
    });
    format!("{config:#}\n")
}

fn logs(settings: &Settings) -> Value {
    json!({
        // Errors of requests are logged there, with the request, but without its headers: those are
        // in the access log. Caddy encodes the request for this log whether there is an error or
        // not, once in the server and once in the proxy.
        "default": {
            "level": "INFO",
            "exclude": ["http.log.access"],
            "encoder": encoder([
                ("request>uri", without_values()),
                ("request>headers", json!({"filter": "delete"})),
            ]),
        },
        "access": {
            "include": ["http.log.access.access"],
            "writer": {
                "output": "file",
                "filename": literal(&settings.data_dir.join("access.log")),
                "roll_size_mb": 50,
                "roll_keep": 5,
            },
            "encoder": encoder([
                ("request>uri", without_values()),
                ("request>headers>Referer", without_values()),
                ("resp_headers>Location", without_values()),
            ]),
        },
    })
}

/// Returns a JSON encoder with a filter for each of these fields.
fn encoder<const N: usize>(filters: [(&str, Value); N]) -> Value {
    let fields: serde_json::Map<String, Value> = filters
        .into_iter()
        .map(|(field, filter)| (field.to_owned(), filter))
        .collect();
    json!({"format": "filter", "wrap": {"format": "json"}, "fields": fields})
}

/// Returns the filter that removes the values of queries: tokens of files, codes and states of
/// logins, whatever their names. Caddy itself hides only Authorization and cookies. Referers and
/// redirects have queries, too.
fn without_values() -> Value {
    json!({
        "filter": "regexp",
        "regexp": r"([?&#;])([^=&#;\s]{1,64}=)?[^&#;\s]*",
        "value": "${1}${2}REDACTED",
    })
}

/// Returns a file name without placeholders of Caddy: a path may contain braces.
fn literal(path: &Path) -> String {
    path.to_string_lossy().replace('{', r"\{")
}

fn routes(settings: &Settings) -> Vec<Value> {
    let mut routes = vec![json!({
        "@id": "healthz",
        "match": [{"path": ["/healthz"]}],
        "handle": [{"handler": "static_response", "status_code": 200, "body": "ok"}],
        "terminal": true,
    })];
    // Core's own requests to PocketBase are not public, and have no limits.
    routes.push(json!({
        "@id": "core",
        "match": [{"path": ["/core/*"]}],
        "handle": [{"handler": "static_response", "status_code": 404}],
        "terminal": true,
    }));
    if settings.forwards_nats() {
        if !settings.nats_ws_pages.is_empty() {
            routes.push(nats_route_of_pages(settings));
        }
        routes.push(nats_route());
    }
    routes.push(pocketbase_route());
    routes
}

/// Returns the placeholder that Caddy replaces by the text of a file, for each request.
fn dial(file: &str) -> String {
    format!("{{file.{file}}}")
}

/// Returns the route of NATS's websocket. `Host` and `Origin` pass unchanged: NATS decides by them
/// which pages may connect.
fn nats_route() -> Value {
    json!({
        "@id": "nats_ws",
        "match": [{"path": ["/nats", "/nats/*"]}],
        "handle": [
            {"handler": "rewrite", "strip_path_prefix": "/nats"},
            {
                "handler": "reverse_proxy",
                "upstreams": [{"dial": dial(NATS_ADDRESS)}],
                "stream_close_delay": "30s",
            },
        ],
        "terminal": true,
    })
}

/// Returns the route of NATS's websocket for our own pages, which we know: NATS accepts a
/// connection without an origin, and so needs no restart when our port changes.
fn nats_route_of_pages(settings: &Settings) -> Value {
    let mut route = nats_route();
    route["@id"] = json!("nats_ws_of_pages");
    route["match"][0]["header"] = json!({"Origin": settings.nats_ws_pages});
    route["handle"][1]["headers"] =
        json!({"request": {"delete": ["Origin", "Sec-Websocket-Origin"]}});
    route
}

fn pocketbase_route() -> Value {
    let types = COMPRESSED_TYPES;
    json!({
        "@id": "pocketbase",
        "handle": [
            {
                "handler": "headers",
                "response": {
                    "deferred": true,
                    "set": {
                        "X-Content-Type-Options": ["nosniff"],
                        "Referrer-Policy": ["strict-origin-when-cross-origin"],
                    },
                    "delete": ["Server"],
                },
            },
            {
                "handler": "encode",
                "encodings": {"zstd": {}, "gzip": {}},
                "prefer": ["zstd", "gzip"],
                "minimum_length": 512,
                "match": {"headers": {"Content-Type": types}},
            },
            {
                "@id": "pocketbase_proxy",
                "handler": "reverse_proxy",
                "upstreams": [{"dial": dial(POCKETBASE_ADDRESS)}],
                // Here, after Caddy has removed what the client's Connection header names. Set
                // before, a client could remove it, and would have our address.
                "headers": {"request": {"set": {"X-Real-Ip": ["{http.vars.client_ip}"]}}},
                // Covers a restart of PocketBase. No health checks: with one upstream they only
                // delay the moment when it is used again.
                "load_balancing": {"try_duration": "10s", "try_interval": "25ms"},
                // Streams, which have no length, are flushed at each write. All else has no flush
                // interval: headers and a short body are one write then, not two.
                "transport": {
                    "protocol": "http",
                    "dial_timeout": "1s",
                    "keep_alive": {"max_idle_conns_per_host": IDLE_CONNECTIONS_MAX},
                },
            },
        ],
        "terminal": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn config(changes: &[(&str, &str)]) -> Value {
        serde_json::from_str(&render(&settings(changes).unwrap())).unwrap()
    }

    fn ids(config: &Value) -> Vec<String> {
        let routes = config["apps"]["http"]["servers"]["core"]["routes"].as_array();
        let id = |route: &Value| route["@id"].as_str().unwrap().to_owned();
        routes.unwrap().iter().map(id).collect()
    }

    #[test]
    fn the_default_file() {
        let expected = include_str!("../tests/default.json");
        assert_eq!(render(&settings(&[]).unwrap()), expected);
    }

    #[test]
    fn braces_in_a_path_are_no_placeholders() {
        let config = config(&[("CADDY_DATA_DIR", "/a {{b}/data")]);
        let file = &config["logging"]["logs"]["access"]["writer"]["filename"];
        assert_eq!(file, r"/a \{\{b}/data/access.log");
    }

    #[test]
    fn nats_is_left_out_beyond_loopback() {
        let all = [
            "healthz",
            "core",
            "nats_ws_of_pages",
            "nats_ws",
            "pocketbase",
        ];
        assert_eq!(ids(&config(&[])), all);
        let open = ("CADDY_HOST", "0.0.0.0");
        assert_eq!(ids(&config(&[open])), ["healthz", "core", "pocketbase"]);
        let user = ("CADDY_NATS_WS_CREDENTIALS", "u");
        assert_eq!(ids(&config(&[open, user])), all);
        let none = ("CADDY_NATS_WS_PAGES", "");
        let without = ["healthz", "core", "nats_ws", "pocketbase"];
        assert_eq!(ids(&config(&[none])), without);
    }
}
