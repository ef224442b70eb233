//! Manifests: which load, and how each mistake is reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kit::manifest::{Source, parse};

/// A manifest in the format of services before this workspace, except its source.
const ORIGINAL: &str = r#"{
  "binaries": [
    {"name": "web", "version": "2.10.1", "source": "cargo-build", "path": "./cmd/web"},
    {"name": "tool", "version": "2.8.5", "source": "placeholder"}
  ],
  "process": {
    "command": "${dep.web}",
    "args": [],
    "env": {"WEB_DIR": "${data}/web", "MAIL": "${env.MAIL}"},
    "compose": {
      "availability": {"restart": "always"},
      "depends_on": {"nats": {"condition": "process_healthy"}},
      "readiness_probe": {
        "http_get": {"url": "http://127.0.0.1:8090/api/health"},
        "initial_delay_seconds": 3,
        "timeout": "5s",
        "interval": "5s"
      },
      "log": {"max_files": 10, "max_size": "20mb", "timestamps": true}
    }
  },
  "ports": {"primary": {"port": 8090, "protocol": "http"}},
  "config": {"backend": "x", "deployment": {"local": {"nodes": 1, "mode": "embedded"}}},
  "scalable": false,
  "scale_strategy": "infra"
}
"#;

#[test]
fn the_original_form_loads() {
    let document = parse(ORIGINAL).unwrap();
    assert_eq!(document.manifest.binaries[1].source, Source::Placeholder);
    assert_eq!(document.lines.of("process.env.MAIL"), 9);
    assert_eq!(document.lines.of("ports.primary.port"), 22);
    assert_eq!(
        document.lines.of("ports.other"),
        22,
        "the nearest value around it"
    );
}

#[test]
fn the_text_survives_a_round_trip() {
    let manifest = parse(ORIGINAL).unwrap().manifest;
    let again = parse(&serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
    assert_eq!(again.manifest, manifest);
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = parse(text).unwrap_err();
    let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, expected, "for {text}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    check(
        r#"{
  "binaries": [
    {"name": "a", "source": "go-build", "path": "./cmd/a"}
  ],
  "proces": {},
  "ports": {
    "http": {"port": 70000},
    "http": {"port": "x"}
  }
}"#,
        &[
            "line 1: `process` is missing",
            "line 3: `binaries[0].source` is `go-build`, but must be one of `cargo-build`, \
             `fetch`, `placeholder`; say `cargo-build`",
            "line 5: `proces` is not a known key; did you mean `process`? allowed here: $schema, \
             binaries, config, exports, listen, login, open, ports, process, \
             reserved_paths, routes, scalable, scale_strategy, secret_exports",
            "line 7: `ports.http.port` is 70000, but must be 1 to 65535",
            "line 8: `ports.http` is given twice, first on line 7",
            "line 8: `ports.http.port` must be a whole number, not a string",
        ],
    );
}

#[test]
fn what_a_schema_cannot_say() {
    check(
        r#"{
  "binaries": [
    {"name": "A", "source": "cargo-build"},
    {"name": "b", "source": "fetch"},
    {"name": "c", "source": "cargo-build", "path": "../c"},
    {"name": "c", "source": "placeholder"}
  ],
  "process": {
    "command": "x",
    "env": {"A-B": ""},
    "secrets": ["NO"],
    "compose": {
      "availability": {"backoff_seconds": 0},
      "readiness_probe": {"http_get": {"url": "https://x"}, "timeout": "5"},
      "shutdown": {"signal": 99, "timeout_seconds": 0},
      "log": {"max_size": "big"}
    }
  },
  "ports": {"a_b": {"port": 80}, "c": {"port": 80}}
}"#,
        &[
            "line 3: `binaries[0].name` is `A`, which may only hold a-z, 0-9 and `-`",
            "line 3: `binaries[0].path` is missing: a package to build, `./cmd/NAME`",
            "line 4: `binaries[1].version` is missing: a fetched program is pinned",
            "line 5: `binaries[2].path` must be a folder inside the workspace, `./cmd/NAME`",
            "line 6: `binaries[3].name` repeats `c`",
            "line 10: `process.env.A-B` is not a variable name: A-Z, a-z, 0-9 and `_`",
            "line 11: `process.secrets[0]` names `NO`, which `process.env` does not have",
            "line 13: `process.compose.availability.backoff_seconds` must be at least 1",
            "line 14: `process.compose.readiness_probe.http_get.url` must begin with `http://`",
            "line 14: `process.compose.readiness_probe.timeout` is `5`, but must be a duration \
             such as `5s`",
            "line 15: `process.compose.shutdown.signal` must be a signal, 1 to 31",
            "line 15: `process.compose.shutdown.timeout_seconds` must be at least 1",
            "line 16: `process.compose.log.max_size` is `big`, but must be a size such as `20mb`",
            "line 19: `ports.a_b` has a name that may only hold a-z, 0-9 and `-`",
            "line 19: `ports.c.port` is 80, which `ports.a_b` has already",
        ],
    );
}

#[test]
fn single_mistakes() {
    let process = r#""process": {"command": "x", "compose": "#;
    for (text, expected) in [
        ("", "line 1: is empty; a manifest is a JSON object"),
        ("[]", "line 1: must be an object, not an array"),
        (
            r#"{"process": null}"#,
            "line 1: `process` must be an object, not null",
        ),
        (
            r#"{"process": {"command": 1}}"#,
            "line 1: `process.command` must be a string, not a number",
        ),
        (
            r#"{"process": {"command": "a\u0000b"}}"#,
            "line 1: `process.command` holds a NUL character, which no process can be given",
        ),
        (
            r#"{"process": {"command": "x"}, "config": {"a": {"b": 1, "b": 2}}}"#,
            "line 1: `config.a.b` is given twice, first on line 1",
        ),
        (
            r#"{"process": {"command": "x"}, "ports": {"p": {"port": 0}}}"#,
            "line 1: `ports.p.port` is 0, but must be 1 to 65535",
        ),
        (
            &format!(r#"{{{process}{{"liveness_probe": {{}}}}}}}}"#),
            "line 1: `process.compose.liveness_probe` is not supported: it does nothing for a \
             process that is not a daemon; use `readiness_probe`",
        ),
        (
            &format!(r#"{{{process}{{"readiness_probe": {{"period_seconds": 5}}}}}}}}"#),
            "line 1: `process.compose.readiness_probe` must have exactly one of `http_get`, `tcp`, \
             `lock` and `exec`",
        ),
        (
            &format!(r#"{{{process}{{"depends_on": {{"a": {{"condition": "healthy"}}}}}}}}}}"#),
            "line 1: `process.compose.depends_on.a.condition` is `healthy`, but must be one of \
             `process_healthy`, `process_started`, `process_completed`, \
             `process_completed_successfully`",
        ),
    ] {
        check(text, &[expected]);
    }
    let problems = parse("{\n  \"process\": {,}\n}").unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("line 2: not valid JSON"),
        "{}",
        problems[0]
    );
}

#[test]
fn files_with_variables_have_three_forms() {
    for (files, expected) in [
        (r#""a""#, "a"),
        (r#"{"path": "b", "optional": true}"#, "b?"),
        (r#"["a", {"path": "b", "optional": true}]"#, "a b?"),
        (r#"[{"path": "a"}]"#, "a"),
        ("[]", ""),
    ] {
        let text = format!(r#"{{"process": {{"command": "x", "env_file": {files}}}}}"#);
        let manifest = parse(&text).unwrap().manifest;
        let again = parse(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again.manifest, manifest);
        let files = manifest.process.env_file.0.iter();
        let shown =
            files.map(|file| format!("{}{}", file.path, ["", "?"][usize::from(file.optional)]));
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn mistakes_about_variables_from_elsewhere() {
    check(
        r#"{
  "process": {
    "command": "x",
    "env": {"A": ""},
    "env_file": ["", "${state}/x", {"path": "x", "optinal": true}, 1]
  }
}"#,
        &[
            "line 5: `process.env_file[2].optinal` is not a known key; did you mean `optional`? \
             allowed here: optional, path",
            "line 5: `process.env_file[3]` must be a string or an object, not a number",
        ],
    );
    check(
        r#"{"process": {"command": "x", "env_file": true}}"#,
        &["line 1: `process.env_file` must be a string, an object or an array, not a boolean"],
    );
    check(
        r#"{
  "process": {
    "command": "x",
    "env": {"A": ""},
    "env_file": ["", "${state}/x", "x", "x"],
    "env_passthrough": ["SSH_*", "A", "B", "B"],
    "use_secrets": [
      "A",
      "B",
      "C"
    ]
  },
  "exports": {"D": ""},
  "secret_exports": {"D": "", "E-F": ""}
}"#,
        &[
            "line 5: `process.env_file[0]` is empty",
            "line 5: `process.env_file[1]` may not contain a placeholder",
            "line 5: `process.env_file[3]` repeats `x`",
            "line 6: `process.env_passthrough[0]` is `SSH_*`, which is not a variable name: \
             A-Z, a-z, 0-9 and `_`",
            "line 6: `process.env_passthrough[1]` names `A`, which `process.env` sets",
            "line 6: `process.env_passthrough[3]` names `B`, as `process.env_passthrough[2]` does",
            "line 8: `process.use_secrets[0]` names `A`, which `process.env` sets",
            "line 9: `process.use_secrets[1]` names `B`, as `process.env_passthrough[2]` does",
            "line 14: `secret_exports.D` is one of `exports`, too, which everybody can read",
            "line 14: `secret_exports.E-F` is not a variable name: A-Z, a-z, 0-9 and `_`",
        ],
    );
}
