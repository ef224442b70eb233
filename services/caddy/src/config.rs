//! Caddy's configuration. Pure: settings in, JSON out.

use std::path::Path;

use serde_json::{Value, json};

use crate::pages::{self, PAGES, START};
use crate::routes::{ANY_HOST, LEAF, ORIGINS, ROUTES, SOME, SOME_OF_HOSTS};
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
/// The addresses of this machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Paths that a route of a service for `/` does not take: those of PocketBase, besides the paths
/// above. `reserved_paths` of the manifest has them, too.
const OUR_PATHS: [&str; 4] = ["/api", "/api/*", "/_", "/_/*"];
/// Segments of the longest path of a route.
const SEGMENTS_MAX: usize = 3;
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
                "errors": errors(settings),
            }},
        }},
    });
    format!("{config:#}\n")
}

fn logs(settings: &Settings) -> Value {
    // Errors of requests are logged with the request, but without its headers: those are in the
    // access log. Caddy encodes the request for this log whether there is an error or not, once in
    // the server and once in the proxy.
    let without_headers = encoder([
        ("request>uri", without_values()),
        ("request>headers", json!({"filter": "delete"})),
    ]);
    json!({
        "default": {
            "level": "INFO",
            "exclude": ["http.log.access", "http.log.error"],
            "encoder": without_headers,
        },
        // Caddy takes an error for which there is a page for a detail.
        "errors": {"level": "DEBUG", "include": ["http.log.error"], "encoder": without_headers},
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
        routes.push(nats_route_of_pages());
        routes.push(nats_route());
    }
    routes.push(routes_of_services(
        "routes_of_hosts",
        SOME_OF_HOSTS,
        "{http.request.host}",
    ));
    routes.push(routes_of_services("routes", SOME, ANY_HOST));
    routes.push(pocketbase_route());
    routes
}

/// Returns the placeholder that Caddy replaces by the text of a file, for each request.
fn dial(file: &str) -> String {
    format!("{{file.{file}}}")
}

/// Returns the handler that names the server that a request is for, for the page of an error.
fn service(name: &str) -> Value {
    json!({"handler": "vars", "service": name})
}

/// Returns the route of NATS's websocket. `Host` and `Origin` pass unchanged: NATS decides by them
/// which pages may connect.
fn nats_route() -> Value {
    json!({
        "@id": "nats_ws",
        "match": [{"path": ["/nats", "/nats/*"]}],
        "handle": [
            service("nats"),
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

/// Returns the route of NATS's websocket for pages that we know, of which there is a file each:
/// NATS accepts a connection without an origin, and so needs no restart when their ports change.
fn nats_route_of_pages() -> Value {
    let mut route = nats_route();
    route["@id"] = json!("nats_ws_of_pages");
    route["match"][0]["header"] = json!({"Origin": ["*"]});
    route["match"][0]["file"] =
        json!({"root": ORIGINS, "try_files": ["/{http.request.header.Origin}"]});
    route["handle"][2]["headers"] =
        json!({"request": {"delete": ["Origin", "Sec-Websocket-Origin"]}});
    route
}

/// Returns the route that finds those of other services among the files of the routing table, for a
/// `host`, if there is the file `mark`. The matched file's name says all about one.
fn routes_of_services(id: &str, mark: &str, host: &str) -> Value {
    let found = |tries: Vec<String>| json!({"root": ROUTES, "try_files": tries});
    let depths = (1..=SEGMENTS_MAX).rev().map(|depth| {
        let segments = (0..depth).map(|index| format!("/{{http.request.uri.path.{index}}}"));
        format!("/{host}{}/{LEAF}/*", segments.collect::<String>())
    });
    let root = format!("/{host}/{LEAF}/*");
    let name = format!("^/[^/]+(.*?)/{LEAF}/(keep|strip),([^,/]+),([^/]+)$");
    json!({
        "@id": id,
        "match": [{"file": found(vec![format!("/{mark}")])}],
        "handle": [{"handler": "subroute", "routes": [{
            // The first that matches counts: the longest path.
            "match": [
                {"file": found(depths.collect())},
                {"file": found(vec![root]), "not": [{"path": OUR_PATHS}]},
            ],
            // Matchers of one set are tried in any order, so this one has a route of its own.
            "handle": [{"handler": "subroute", "routes": [{
                "match": [{"vars_regexp": {"{http.matchers.file.relative}": {
                    "name": "route", "pattern": name,
                }}}],
                "handle": to_service(),
                "terminal": true,
            }]}],
        }]}],
    })
}

/// Returns the handlers of a request for the service of the matched route.
fn to_service() -> Value {
    json!([
        service("{http.regexp.route.3}"),
        {"handler": "subroute", "routes": [{
            "match": [{"vars": {"{http.regexp.route.2}": ["strip"]}}],
            "handle": [{"handler": "rewrite", "strip_path_prefix": "{http.regexp.route.1}"}],
        }]},
        {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": "{http.regexp.route.4}"}],
            // Covers the moment in which a server of development starts again.
            "load_balancing": {"try_duration": "2s", "try_interval": "25ms"},
            "stream_close_delay": "5m",
            "transport": transport(),
        },
    ])
}

/// Returns how requests reach a server.
fn transport() -> Value {
    json!({
        "protocol": "http",
        "dial_timeout": "1s",
        "keep_alive": {"max_idle_conns_per_host": IDLE_CONNECTIONS_MAX},
    })
}

/// Returns the routes of requests for which PocketBase finds nothing: a page for people on this
/// machine at `/`, where nobody has put one yet, and no icon, which browsers ask for by themselves.
fn of_nothing() -> Value {
    json!([
        {
            "match": [{
                "path": ["/"], "method": ["GET"], "header": {"Accept": ["*text/html*"]},
                "remote_ip": {"ranges": LOOPBACK},
            }],
            "handle": [
                {"handler": "rewrite", "uri": format!("/{START}")},
                {"handler": "headers", "response": {"set": {"Cache-Control": ["no-store"]}}},
                {"handler": "file_server", "root": PAGES},
            ],
            "terminal": true,
        },
        {
            "match": [{"path": ["/favicon.ico"]}],
            "handle": [{"handler": "static_response", "status_code": 204}],
            "terminal": true,
        },
        {"handle": [{"handler": "copy_response"}]},
    ])
}

fn pocketbase_route() -> Value {
    let types = COMPRESSED_TYPES;
    json!({
        "@id": "pocketbase",
        "handle": [
            service("pocketbase"),
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
                "transport": transport(),
                "handle_response": [{"match": {"status_code": [404]}, "routes": of_nothing()}],
            },
        ],
        "terminal": true,
    })
}

/// Returns the routes of errors: a server does not answer. People on this machine see a page.
fn errors(settings: &Settings) -> Value {
    let answer = |content: &str, body: String| {
        json!([{
            "handler": "static_response",
            "status_code": "{http.error.status_code}",
            "headers": {
                "Content-Type": [content], "Cache-Control": ["no-store"], "Retry-After": ["1"],
            },
            "body": body,
        }])
    };
    let body = "{\"status\":{http.error.status_code},\"service\":\"{http.vars.service}\",\
                \"message\":\"{http.vars.service} does not answer\"}\n";
    let is_down = json!({"{http.error.status_code}": {"pattern": "^50[234]$"}});
    json!({"routes": [
        {
            "match": [{
                "vars_regexp": is_down,
                "header": {"Accept": ["*text/html*"]},
                "remote_ip": {"ranges": LOOPBACK},
            }],
            "handle": answer("text/html; charset=utf-8", pages::down(settings)),
            "terminal": true,
        },
        {
            "match": [{"vars_regexp": is_down}],
            "handle": answer("application/json", body.to_owned()),
            "terminal": true,
        },
    ]})
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
    fn no_route_takes_our_paths() {
        let manifest: Value = serde_json::from_str(crate::spec()).unwrap();
        let reserved = manifest["reserved_paths"].as_array().unwrap();
        for path in OUR_PATHS.iter().filter(|path| !path.ends_with('*')) {
            assert!(reserved.contains(&json!(path)), "{path}");
        }
        let config = config(&[]);
        let routes = config["apps"]["http"]["servers"]["core"]["routes"].as_array();
        let before = routes
            .unwrap()
            .iter()
            .take_while(|route| route["@id"] != "routes_of_hosts");
        for route in before {
            let path = route["match"][0]["path"][0].as_str().unwrap();
            let path = path.trim_end_matches("/*");
            assert!(reserved.contains(&json!(path)), "{path}");
        }
    }

    #[test]
    fn nats_is_left_out_beyond_loopback() {
        let all = [
            "healthz",
            "core",
            "nats_ws_of_pages",
            "nats_ws",
            "routes_of_hosts",
            "routes",
            "pocketbase",
        ];
        assert_eq!(ids(&config(&[])), all);
        let open = ("CADDY_HOST", "0.0.0.0");
        let without = ["healthz", "core", "routes_of_hosts", "routes", "pocketbase"];
        assert_eq!(ids(&config(&[open])), without);
        let user = ("CADDY_NATS_WS_CREDENTIALS", "u");
        assert_eq!(ids(&config(&[open, user])), all);
    }
}
