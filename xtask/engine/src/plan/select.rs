//! Resolves the arguments of a command line to processes.

use std::collections::BTreeSet;

use kit::{Exit, Failure, names};

use crate::plan::stack::Stack;

/// Returns the processes that `words` name, each once, in the order of the words. The name of a
/// service selects all its processes in start order; the name of another process, or
/// `SERVICE/PROCESS`, selects that process. `further` processes are known by name only. An unknown
/// name is a wrong command line.
pub fn processes(
    stack: &Stack,
    further: &BTreeSet<String>,
    words: &[String],
) -> anyhow::Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for word in words {
        for name in named(stack, further, word)? {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

fn named(stack: &Stack, further: &BTreeSet<String>, word: &str) -> anyhow::Result<Vec<String>> {
    let service_of = |name: &String| stack.processes[name].service.as_str();
    let own = stack.order.iter().filter(|name| service_of(name) == word);
    let own: Vec<String> = own.cloned().collect();
    if !own.is_empty() {
        return Ok(own);
    }
    if stack.processes.contains_key(word) || further.contains(word) {
        return Ok(vec![word.to_owned()]);
    }
    if let Some((service, name)) = word.split_once('/')
        && let Some(process) = stack.processes.get(name)
        && process.service == service
    {
        return Ok(vec![name.to_owned()]);
    }
    let services = stack.processes.values().map(|process| &process.service);
    let known: BTreeSet<&str> = services
        .chain(stack.processes.keys())
        .chain(further)
        .map(String::as_str)
        .collect();
    let hint = names::hint(word, "known here", known.iter().copied());
    let message = format!("`{word}` is neither a service nor a process");
    Err(Failure::new(Exit::Usage, message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::stack::fixture;

    fn stack() -> Stack {
        let names = ["nats-hub-2", "nats", "caddy"];
        let mut stack = fixture::stack(names.map(|name| (name, json!({}))));
        let node = stack.processes.get_mut("nats-hub-2").unwrap();
        "nats".clone_into(&mut node.service);
        stack
    }

    #[test]
    fn services_processes_and_what_was_meant() {
        let further = ["old".to_owned()].into();
        let select = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            processes(&stack(), &further, &words)
        };
        assert_eq!(select(&["nats"]).unwrap(), ["nats-hub-2", "nats"]);
        assert_eq!(select(&["nats/nats"]).unwrap(), ["nats"]);
        let several = ["old", "nats-hub-2", "caddy", "nats"];
        assert_eq!(
            select(&several).unwrap(),
            ["old", "nats-hub-2", "caddy", "nats"]
        );
        for (word, hint) in [
            ("cady", "did you mean `caddy`?"),
            ("caddy/nats", "did you mean `caddy`?"),
            ("zzz", "known here: caddy, nats, nats-hub-2, old"),
        ] {
            let error = select(&[word]).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Usage);
            let text = kit::failure::describe(&error);
            assert!(text.contains(&format!("`{word}` is neither")), "{text}");
            assert!(text.ends_with(hint), "{text}");
        }
    }
}
