//! The names that complete an argument: services, processes, nodes, instances.
//!
//! Only reads the disk: a shell waits for it.

use std::collections::BTreeSet;
use std::fs;

use engine::checkout::applied::Applied;
use engine::checkout::paths::Paths;
use engine::instances::known;
use engine::operations::follow;
use engine::plan::stack::manifest_file;

/// The option whose value is an instance.
const INSTANCE: &str = "--instance";
/// Options of several commands that take a value.
const WITH_VALUES: [&str; 8] = [
    "--timeout",
    "--ports",
    "--profile",
    "--since",
    "--tail",
    "--level",
    "--grep",
    "--format",
];

/// All names.
pub(super) struct World<'a> {
    paths: &'a Paths,
}

impl<'a> World<'a> {
    pub(super) fn new(paths: &'a Paths) -> Self {
        Self { paths }
    }

    fn services(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.paths.services()).into_iter().flatten();
        let names = entries
            .flatten()
            .filter_map(|it| it.file_name().into_string().ok());
        let is_service = |name: &String| self.paths.root().join(manifest_file(name)).is_file();
        names.filter(is_service).collect()
    }

    /// Returns the processes of the running or last stack: nodes of NATS are processes.
    fn processes(&self) -> BTreeSet<String> {
        let applied = Applied::load(self.paths);
        let stack = applied
            .into_iter()
            .flat_map(|applied| applied.stack.processes);
        let mut names: BTreeSet<String> = stack.map(|(name, _)| name).collect();
        names.extend(self.services());
        names
    }

    /// Returns these, and the processes with a log.
    fn logged(&self) -> BTreeSet<String> {
        let mut names = self.processes();
        names.extend(follow::processes(self.paths));
        names
    }

    fn instances(&self) -> BTreeSet<String> {
        known::names(self.paths).into_iter().collect()
    }
}

/// Returns the instance that a command line names before its last argument.
pub(super) fn instance(words: &[String]) -> Option<&str> {
    let (_, before) = words.split_last()?;
    let mut words = before
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "=");
    while let Some(word) = words.next() {
        if word == INSTANCE {
            return words.next();
        }
        if let Some(name) = word
            .strip_prefix(INSTANCE)
            .and_then(|it| it.strip_prefix('='))
        {
            return Some(name);
        }
    }
    None
}

/// Returns names for the last of `words`; the shell keeps those that match its beginning.
pub(super) fn candidates(words: &[String], world: &World<'_>) -> Vec<String> {
    let Some((last, before)) = words.split_last() else {
        return Vec::new();
    };
    // bash splits `--instance=b` into three words.
    let before: Vec<&str> = before
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "=")
        .collect();
    if before.last() == Some(&INSTANCE) {
        return world.instances().into_iter().collect();
    }
    if last.starts_with('-') {
        // The script completes options.
        return Vec::new();
    }
    let mut positional = Vec::new();
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if *word == INSTANCE || WITH_VALUES.contains(word) {
            words.next();
        } else if !word.starts_with('-') {
            positional.push(*word);
        }
    }
    let names = match positional.as_slice() {
        [] | ["up", ..] | ["explain" | "open"] => world.services(),
        ["logs", ..] => world.logged(),
        ["restart" | "stop" | "start", ..] | ["signal"] => world.processes(),
        ["topology", "set"] => [service_nats::topology::SERVICE.to_owned()].into(),
        [service] if world.services().contains(*service) => {
            ["command", "run", "spec"].map(str::to_owned).into()
        }
        _ => BTreeSet::new(),
    };
    let is_new = |name: &String| !positional.contains(&name.as_str());
    names.into_iter().filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_they_mean_something() {
        let directory = tempfile::tempdir().unwrap();
        let checkout = Paths::new(directory.path().to_path_buf());
        for service in ["caddy", "nats"] {
            let folder = checkout.services().join(service);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("service.json"), "{broken").unwrap();
        }
        fs::create_dir(checkout.services().join("kit")).unwrap();
        let beta = checkout.of_instance("beta").unwrap();
        fs::create_dir_all(beta.logs()).unwrap();
        fs::write(beta.operation_lock(), "").unwrap();
        fs::write(beta.process_log("nats-hub-1"), "").unwrap();
        let ask = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let paths = checkout.of_instance(instance(&words).unwrap_or_default());
            candidates(&words, &World::new(&paths.unwrap())).join(" ")
        };
        for (line, expected) in [
            ("", "caddy nats"),
            ("up c", "caddy nats"),
            ("up --timeout 5 nats ", "caddy"),
            ("logs -f ", "caddy nats"),
            ("logs --instance beta ", "caddy nats nats-hub-1"),
            ("--instance = beta logs ", "caddy nats nats-hub-1"),
            ("logs --instance=beta ", "caddy nats nats-hub-1"),
            ("down --instance ", "beta"),
            ("down --instance = b", "beta"),
            ("signal nats ", ""),
            ("topology set ", "nats"),
            ("nats ", "command run spec"),
            ("kit ", ""),
            ("up --", ""),
            ("down ", ""),
        ] {
            assert_eq!(ask(line), expected, "{line}");
        }
    }
}
