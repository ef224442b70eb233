//! YAML in which every string is double-quoted and no byte is `$`.
//!
//! process-compose substitutes variables in the raw text of its file before it parses it, and a bad
//! substitution ends even a running supervisor. No YAML library allows a choice of the quoting, so
//! the text is written here; `compose` verifies it by parsing it with a library.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value as a block document.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    node(&mut text, value, 0);
    text
}

fn node(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(text, depth);
                text.push_str(&plain_or_quoted(key));
                text.push(':');
                inner(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(text, depth);
                text.push('-');
                inner(text, item, depth + 1);
            }
        }
        scalar => {
            indent(text, depth);
            text.push_str(&scalar_text(scalar));
            text.push('\n');
        }
    }
}

/// Writes what follows a key or a dash: a scalar on the same line, a block on the next ones.
fn inner(text: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        node(text, value, depth);
    } else {
        text.push(' ');
        text.push_str(&scalar_text(value));
        text.push('\n');
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => quote(value),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// Quotes a key if needed: names that users choose may parse as a number or a boolean.
fn plain_or_quoted(key: &str) -> String {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let plain = key.len() > 3 && key.chars().all(word) && !matches!(key, "true" | "false" | "null");
    if plain { key.to_owned() } else { quote(key) }
}

/// Writes a double-quoted scalar. `$` and everything that is not printable is escaped.
fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for char in value.chars() {
        match char {
            '"' => text.push_str("\\\""),
            // Not as two backslashes: the substitution removes one before the end of a string.
            '\\' => text.push_str("\\x5c"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '$' => text.push_str("\\x24"),
            // Not printable in YAML, or a line break for some parsers.
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{a0}' => push(&mut text, "x", char, 2),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                push(&mut text, "u", char, 4);
            }
            char => text.push(char),
        }
    }
    text.push('"');
    text
}

fn push(text: &mut String, letter: &str, char: char, width: usize) {
    let code = u32::from(char);
    write!(text, "\\{letter}{code:0width$x}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn block_style() {
        let value = json!({"list": ["a$b", {"deep": [], "x": {}}], "number": 1, "true": true});
        let expected = "list:\n  - \"a\\x24b\"\n  -\n    deep: []\n    \"x\": {}\nnumber: 1\n\
                        \"true\": true\n";
        assert_eq!(write(&value), expected);
    }

    proptest! {
        #[test]
        fn any_string_survives_and_no_dollar_stands(
            key in "[^\u{0}]{1,20}",
            value in "\\PC{0,40}|.{0,40}|[\u{0}-\u{ff}]{0,40}",
        ) {
            let document = json!({"list": [value], key.clone(): value});
            let text = write(&document);
            prop_assert!(!text.contains('$'));
            let parsed: Value = serde_yaml::from_str(&text).expect("valid YAML");
            prop_assert_eq!(parsed, document);
        }
    }
}
