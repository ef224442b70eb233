//! PURE: variables as text that a shell, a `.env` parser or GitHub Actions reads back unchanged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Variables by name. Names are valid in a shell: letters, digits and `_`.
pub type Variables = BTreeMap<String, String>;

/// The prefix of the delimiter of a value in a file of GitHub Actions.
const DELIMITER: &str = "END_OF_VALUE";

/// Renders lines for `eval` in any POSIX shell.
pub fn shell(variables: &Variables) -> String {
    let quoted = |value: &str| value.replace('\'', r"'\''");
    lines(variables, |name, value| {
        format!("export {name}='{}'\n", quoted(value))
    })
}

/// Renders lines of a `.env` file.
pub fn dotenv(variables: &Variables) -> String {
    lines(variables, |name, value| {
        // Parsers treat a `\` before a quote as part of an escape.
        if value.contains(['\'', '\\']) {
            format!("{name}=\"{}\"\n", escaped(value))
        } else {
            format!("{name}='{value}'\n")
        }
    })
}

/// Escapes a value for double quotes, where `\`, `"` and `$` are special.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for char in value.chars() {
        if matches!(char, '\\' | '"' | '$') {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

/// Renders entries of the file that `GITHUB_ENV` names, each with a delimiter that its value does
/// not contain. Format:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
pub fn github(variables: &Variables) -> String {
    lines(variables, |name, value| {
        let end = delimiter(value);
        format!("{name}<<{end}\n{value}\n{end}\n")
    })
}

fn delimiter(value: &str) -> String {
    let mut number = 0_u64;
    loop {
        let candidate = format!("{DELIMITER}_{number}");
        if !value.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

fn lines(variables: &Variables, line: impl Fn(&str, &str) -> String) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        write!(text, "{}", line(name, value)).expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn one(value: &str) -> Variables {
        [("A_1".to_owned(), value.to_owned())].into()
    }

    /// Returns the value that GitHub Actions reads: the lines up to the delimiter.
    fn read_github(text: &str) -> String {
        let (head, rest) = text.split_once('\n').unwrap();
        let end = head.strip_prefix("A_1<<").unwrap();
        let mut lines = rest.split('\n').take_while(|line| *line != end);
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| format!("{text}\n{line}"))
    }

    fn read_dotenv(text: &str) -> String {
        let mut pairs = dotenvy::from_read_iter(text.as_bytes());
        pairs.next().unwrap().unwrap().1
    }

    fn read_shell(text: &str) -> String {
        let script = format!("{text}printf %s \"$A_1\"");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn each_format_is_read_back_unchanged() {
        for value in [
            "",
            "nats://127.0.0.1:4222",
            "it's $HOME `id` $(id) \\ \"x\"",
            "two\nlines\n",
            "END_OF_VALUE_0\nEND_OF_VALUE_1",
            "x\"$(id)'",
            "\\",
        ] {
            let variables = one(value);
            assert_eq!(read_shell(&shell(&variables)), value);
            assert_eq!(read_dotenv(&dotenv(&variables)), value);
            assert_eq!(read_github(&github(&variables)), value);
        }
    }

    #[test]
    fn plain_values_look_plain() {
        let variables = one("http://127.0.0.1:1/");
        assert_eq!(shell(&variables), "export A_1='http://127.0.0.1:1/'\n");
        assert_eq!(dotenv(&variables), "A_1='http://127.0.0.1:1/'\n");
        let github = github(&variables);
        assert_eq!(
            github,
            "A_1<<END_OF_VALUE_0\nhttp://127.0.0.1:1/\nEND_OF_VALUE_0\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back(value in "[ -~\n]{0,40}") {
            prop_assert_eq!(read_dotenv(&dotenv(&one(&value))), value.clone());
            prop_assert_eq!(read_github(&github(&one(&value))), value);
        }
    }
}
