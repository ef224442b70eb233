//! Names of services, processes, ports, regions and instances.
//!
//! One rule for all of them, so that a name can be a file, a host name, a subject and a key.

use serde::Serialize;

/// Longest name, in bytes: leaves room for suffixes such as `-leaf-nrt` within 63.
pub const NAME_LENGTH_MAX: usize = 52;

/// Returns what is wrong with a name, or `None` when it is a lower-case RFC 1123 label of at most
/// [`NAME_LENGTH_MAX`] characters.
pub fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > NAME_LENGTH_MAX {
        return Some("is longer than 52 characters");
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(allowed) {
        return Some("may only hold a-z, 0-9 and `-`");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Some("may not begin or end with `-`");
    }
    None
}

/// Returns the word as which a value is serialized: people and programs read the same.
pub fn word(value: impl Serialize) -> String {
    let word = serde_json::to_value(value).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// Returns the candidate most similar to `name`, if one is similar enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns a hint about an unknown name: the most similar of the `known` ones, or all of them after
/// the text `all`.
pub fn hint<'a>(name: &str, all: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    nearest(name, known.clone()).map_or_else(
        || format!("{all}: {}", known.collect::<Vec<_>>().join(", ")),
        |meant| format!("did you mean `{meant}`?"),
    )
}

/// Returns the end of a sentence about an unknown name: a similar one, if there is one.
pub fn or_meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let meant = nearest(name, known);
    meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "nats", "nats-leaf-nrt", "0", &"a".repeat(52)] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "ä",
            "a b",
            "a/b",
            &"a".repeat(53),
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn nearest_match() {
        assert_eq!(
            nearest("comand", ["command", "compose", "env"]),
            Some("command")
        );
        assert_eq!(nearest("zzz", ["command", "env"]), None);
    }
}
