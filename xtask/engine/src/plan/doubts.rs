//! PURE: doubtful entries of `.env` and of files that manifests name: values that differ from their
//! lines, and names that no program reads. Reports file, line and name; must never show a value.

use std::collections::BTreeSet;

use kit::names;
use kit::{Exit, Failure};

use super::env::file::{self, EnvFile};
use super::env::{Entry, Env, Origin};
use crate::plan::stack::Service;

/// Variables that Core itself reads from `.env`.
const OWN: [&str; 7] = [
    "CORE_DEP_MIRROR",
    "CORE_INSTANCE",
    "CORE_PORTS",
    "CORE_PORTS_RANGE",
    "CORE_PROFILE",
    "CORE_TOPOLOGY_NATS",
    "CORE_TOPOLOGY_PORTS",
];

/// Variables that Core reads only from the environment.
const ENVIRONMENT_ONLY: [&str; 5] = [
    "CORE_ALWAYS_CARGO",
    "CORE_OFFLINE",
    "CORE_REGISTER_DIR",
    "CORE_ROOT",
    "CORE_STORE_DIR",
];

/// The file of the user's variables, for messages.
const DOTENV: &str = ".env";

/// The prefix of variables of ports: `CORE_PORT_SERVICE_NAME`. Wrong ones are refused elsewhere.
const PORTS: &str = "CORE_PORT_";

/// Prefixes of names that look like ours.
const OURS: [&str; 4] = ["CORE_", "NATS_", "POCKETBASE_", "CADDY_"];

/// Refuses a value that is read and that differs from its line.
pub fn refuse(env: &Env, services: &[Service]) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    if env.dotenv.iter().any(|entry| entry.change.is_some()) {
        let read = read(services);
        let wrong = counting(env).filter(|entry| read.contains(&entry.name));
        lines.extend(wrong.filter_map(|entry| changed(DOTENV, entry)));
    }
    lines.extend(changed_in_files(env, services));
    let message = match lines.as_slice() {
        [] => return Ok(()),
        [only] => format!("invalid input: {only}"),
        many => format!(
            "invalid input, {} problems:\n  {}",
            many.len(),
            many.join("\n  ")
        ),
    };
    Err(Failure::new(Exit::Invalid, message).hint(HINT).into())
}

/// How to write a value so that it is not changed.
const HINT: &str = "put the value into single quotes: NAME='a value'; \
                    `${NAME}` stands for a variable";

/// Returns warnings about these files that do not prevent a start, one per line.
pub fn warnings(env: &Env, services: &[Service]) -> Vec<String> {
    let files: BTreeSet<&EnvFile> = services.iter().flat_map(|s| &s.env_files).collect();
    let lines = files.into_iter().flat_map(|file| {
        let lines = file.lines.iter();
        lines.filter_map(|(entry, _)| replaced(&file.path, entry))
    });
    let mut warnings = of_dotenv(env, services);
    warnings.extend(lines);
    warnings
}

fn of_dotenv(env: &Env, services: &[Service]) -> Vec<String> {
    if env.dotenv.is_empty() {
        return Vec::new();
    }
    let read = read(services);
    let mut warnings: Vec<String> = env
        .dotenv
        .iter()
        .filter(|entry| !read.contains(&entry.name))
        .filter_map(|entry| changed(DOTENV, entry))
        .map(|told| format!("{told}; put it into single quotes"))
        .collect();
    for entry in &env.dotenv {
        match replaced(DOTENV, entry) {
            Some(told) => warnings.push(told),
            None => warnings.extend(unread(entry, &read, services)),
        }
    }
    warnings
}

/// Returns the entries whose values are used.
fn counting(env: &Env) -> impl Iterator<Item = &Entry> {
    let counts = |entry: &&Entry| {
        entry.replaced_by.is_none() && env.origin(&entry.name) == Some(Origin::DotEnv)
    };
    env.dotenv.iter().filter(counts)
}

/// Returns the doubtful values that processes receive from files, each once.
fn changed_in_files(env: &Env, services: &[Service]) -> BTreeSet<String> {
    let of_service = |service: &Service| {
        let process = &service.document.manifest.process;
        let found = file::effective(process, &service.env_files, env);
        let changed = found
            .values()
            .filter_map(|from| changed(from.path, from.entry));
        changed.collect::<Vec<String>>()
    };
    services.iter().flat_map(of_service).collect()
}

fn changed(file: &str, entry: &Entry) -> Option<String> {
    let (line, name, told) = (entry.line, &entry.name, entry.change?.told());
    Some(format!("`{file}`:{line}: the value of `{name}` {told}"))
}

/// Returns a warning for a line that a later one replaces.
fn replaced(file: &str, entry: &Entry) -> Option<String> {
    let (at, name, line) = (entry.line, &entry.name, entry.replaced_by?);
    let told = format!("`{file}`:{at}: `{name}` has no effect, as line {line} sets it again");
    Some(told)
}

/// Returns a warning for a name that looks like ours and that is not read.
fn unread(entry: &Entry, read: &BTreeSet<String>, services: &[Service]) -> Option<String> {
    let (line, name) = (entry.line, entry.name.as_str());
    let looks_ours = OURS.iter().any(|begin| name.starts_with(begin));
    let exported = |service: &Service| {
        let manifest = &service.document.manifest;
        manifest.exports.contains_key(name) || manifest.secret_exports.contains_key(name)
    };
    if !looks_ours
        || read.contains(name)
        || name.starts_with(PORTS)
        || services.iter().any(exported)
    {
        return None;
    }
    let at = format!("`.env`:{line}: nothing reads `{name}`");
    if ENVIRONMENT_ONLY.contains(&name) {
        return Some(format!("{at} from a file; set it in the environment"));
    }
    let known = read.iter().map(String::as_str);
    Some(match names::nearest(name, known) {
        Some(meant) => format!("{at}; did you mean `{meant}`?"),
        None => format!("{at}; docs/configuration.md has all variables"),
    })
}

/// Returns every variable that Core or a manifest reads.
fn read(services: &[Service]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = OWN.iter().map(ToString::to_string).collect();
    found.extend(kit::spawn::PASSED_VARIABLES.iter().map(ToString::to_string));
    for service in services {
        let passed = &service.document.manifest.process.env_passthrough;
        found.extend(passed.iter().cloned());
        for rest in service.document.text.split("${env.").skip(1) {
            let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
            found.insert(rest.chars().take_while(plain).collect());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Vec<Service> {
        let text = r#"{"process": {"command": "x", "env": {
            "A": "${env.NATS_HOST:-127.0.0.1}", "B": "${env.MINE:-}"
        }}, "exports": {"NATS_URL": "x"}}"#;
        vec![Service::parse("nats", text).unwrap()]
    }

    fn env(text: &str) -> Env {
        let mut env = Env::default();
        env.add_dotenv(
            crate::plan::env::dotenv::parse(text, &|name| std::env::var_os(name).is_some())
                .unwrap(),
        );
        env
    }

    #[test]
    fn what_is_read_is_refused_and_the_rest_is_told() {
        let env = env("\n# c\nMINE=a$secret\nOTHER={\"secret\":1}\n");
        let error = refuse(&env, &services()).unwrap_err();
        let told = kit::failure::describe(&error);
        assert!(told.contains("`.env`:3: the value of `MINE`"), "{told}");
        let warnings = warnings(&env, &services());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("`.env`:4: the value of `OTHER`"),
            "{warnings:?}"
        );
        assert!(!format!("{told}{warnings:?}").contains("secret"));
    }

    #[test]
    fn a_value_of_the_environment_counts() {
        let mut env = env("MINE=a$secret\n");
        env.set("MINE", "x");
        refuse(&env, &services()).unwrap();
    }

    #[test]
    fn names_that_nothing_reads() {
        let told = |line: &str| warnings(&env(line), &services());
        for (line, expected) in [
            ("NATS_HOTS=1", "did you mean `NATS_HOST`?"),
            ("CORE_PROFIL=local", "did you mean `CORE_PROFILE`?"),
            ("CORE_ROOT=/x", "set it in the environment"),
            (
                "POCKETBASE_ZZZ=1",
                "docs/configuration.md has all variables",
            ),
            (
                "MINE=1\nMINE=2",
                "`.env`:1: `MINE` has no effect, as line 2 sets it again",
            ),
        ] {
            let told = told(line);
            assert_eq!(told.len(), 1, "{line}: {told:?}");
            assert!(told[0].ends_with(expected), "{line}: {told:?}");
        }
        for line in [
            "NATS_URL=x",
            "NATS_HOST=::1",
            "OTHER=1",
            "CORE_PORT_NATS_CLIENT=1",
            "MINE=1\nMINE=1",
        ] {
            assert_eq!(told(line), [""; 0], "{line}");
        }
    }
}
