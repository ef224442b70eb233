//! Splits a command into words, with the quoting of a shell but without a shell.

/// Returns the words of a command, or what is wrong with it. An operator outside quotes is refused:
/// it would reach the program as an argument.
pub(super) fn split(command: &str) -> Result<Vec<String>, String> {
    if let Some(operator) = operator(command) {
        return Err(format!(
            "has the shell operator `{operator}`, but is run without a shell; \
             say `sh -c '...'` if you need one"
        ));
    }
    let words = shell_words::split(command).map_err(|_| "has an unclosed quote".to_owned())?;
    if words.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(words)
}

/// Returns the words as one line for `sh -c`, each quoted if needed.
pub fn join(words: &[String]) -> String {
    shell_words::join(words)
}

fn operator(command: &str) -> Option<char> {
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), close) if open == close => quote = None,
            (Some('"') | None, '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(char),
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n') => return Some(char),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_without_operators() {
        assert_eq!(
            split(r#"a 'b c' "d;e" f\&g"#).unwrap(),
            ["a", "b c", "d;e", "f&g"]
        );
        for bad in [
            "", "  ", "a | b", "a; b", "a && b", "a > b", "$(a)", "`a`", "'a",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn joined_words_split_again() {
        let words: Vec<String> = ["a b", "", "$x", "it's", "{{.X}}"].map(String::from).into();
        assert_eq!(shell_words::split(&join(&words)).unwrap(), words);
    }
}
