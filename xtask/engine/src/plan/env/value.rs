//! PURE: whether a value of `.env` is what its line says.
//!
//! The parser has the rules of a shell: quotes and backslashes go, `$NAME` is replaced, ` #` begins
//! a comment. Owns which of these were meant. A value is compared and never told.

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing is left of it.
    Emptied,
    /// A part was cut off at a `#`.
    Cut,
    /// It names a variable that is not set, or takes one of the shell's.
    Replaced,
    /// Quotes or backslashes went, or it was joined with what follows.
    Altered,
}

impl Change {
    /// What is told of it.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Emptied => "is empty, as `#` begins a comment",
            Self::Cut => "ends at the `#`, which begins a comment",
            Self::Replaced => "is another one than the line says, as `$` begins a variable",
            Self::Altered => "is another one than the line says, as quotes and `\\` have a meaning",
        }
    }
}

/// Where the names after a `$` come from.
pub(crate) struct Names<'a> {
    /// Whether a variable is given above in the file.
    pub(crate) above: &'a dyn Fn(&str) -> bool,
    /// Whether the environment has it.
    pub(crate) environment: &'a dyn Fn(&str) -> bool,
}

/// Compares what stands behind `=` with what was made of it.
pub(crate) fn change(raw: &str, parsed: &str, names: &Names<'_>) -> Option<Change> {
    let raw = raw.trim();
    if raw == parsed || is_comment(raw) {
        return None;
    }
    if raw.starts_with('#') {
        return Some(Change::Emptied);
    }
    // In quotes all is meant, as long as the quotes are one pair around all of it.
    if let Some((inner, quote)) = quoted(raw) {
        let meant = match quote {
            '\'' => inner == parsed,
            _ if inner.contains('$') => return replaced(inner, names),
            _ => unescaped(inner) == parsed,
        };
        return (!meant).then_some(Change::Altered);
    }
    let kept = match comment(raw) {
        Some((kept, true)) => kept,
        // A password may well have a `#` after a blank.
        Some((_, false)) => return Some(Change::Cut),
        None => raw,
    };
    if kept == parsed {
        return None;
    }
    if kept.contains('$') && !kept.contains(['\'', '"', '\\']) {
        return replaced(kept, names);
    }
    // `\ `, `\$` and escaped quotes are written by those who know what a backslash does.
    let plain = !kept.contains(['\'', '"', '$']) || kept.contains('\\');
    let meant = plain && !kept.contains("\\n") && !kept.contains("\\\\") && escapes_all(kept);
    (!meant || unescaped(kept) != parsed).then_some(Change::Altered)
}

/// Whether all of it is a comment that says so: `# text`.
fn is_comment(raw: &str) -> bool {
    raw.strip_prefix('#')
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// What stands before a comment behind a blank, and whether it looks like one: `# text`.
fn comment(raw: &str) -> Option<(&str, bool)> {
    let at = raw.find([' ', '\t'])?;
    let (kept, rest) = raw.split_at(at);
    let rest = rest.trim_start();
    rest.starts_with('#').then(|| (kept, is_comment(rest)))
}

/// The text within one pair of quotes that holds all of it, but for a comment.
fn quoted(raw: &str) -> Option<(&str, char)> {
    let quote = raw.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut escaped = false;
    for (index, c) in raw.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            let rest = raw[index + 1..].trim_start();
            let is_all = rest.is_empty() || rest.starts_with('#');
            return is_all.then(|| (&raw[1..index], quote));
        }
    }
    None
}

/// Without backslashes.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            c => plain.push(c),
        }
    }
    plain
}

/// Whether every quote and every `$` has a backslash.
fn escapes_all(text: &str) -> bool {
    let mut escaped = false;
    text.chars().all(|c| {
        let fine = escaped || !matches!(c, '\'' | '"' | '$');
        escaped = c == '\\' && !escaped;
        fine
    })
}

/// Whether every variable that is named is one that was meant: `${NAME}` that is set, or `$NAME`
/// that stands above in the file. `$NAME` of the shell may be a part of a password.
fn replaced(text: &str, names: &Names<'_>) -> Option<Change> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let escaped = rest[..at].ends_with('\\');
        rest = &rest[at + 1..];
        if escaped {
            continue;
        }
        // The parser's names: no `_` without braces.
        let braced = rest.strip_prefix('{');
        let braced = braced.map(|inner| inner.split('}').next().unwrap_or_default());
        let plain = || {
            let end = rest.find(|c: char| !c.is_alphanumeric());
            &rest[..end.unwrap_or(rest.len())]
        };
        let (name, braces) = (braced.unwrap_or_else(plain), braced.is_some());
        let meant = (names.above)(name) || braces && (names.environment)(name);
        if !meant {
            return Some(Change::Replaced);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a line as `.env` does, below one that sets `ABOVE`.
    fn of(line: &str) -> Result<Option<Change>, ()> {
        let text = format!("ABOVE=1\n{line}\n");
        let pairs: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
        let pairs = pairs.map_err(drop)?;
        let (_, raw) = line.split_once('=').unwrap();
        let names = Names {
            above: &|name| name == "ABOVE",
            environment: &|name| name == "HOME",
        };
        Ok(change(raw, &pairs[1].1, &names))
    }

    #[test]
    fn what_was_meant_is_silent() {
        for line in [
            "A=",
            "A=1",
            "A=a#b",
            "A= a ",
            "A='x $y # \\ \"'",
            "A=\"two words\"",
            "A=\"a\\nb\"",
            "A=\"a\\\"b\\$c\"",
            "A=a # b",
            "A= # b",
            "A=#",
            "A='a' #b",
            "A=\"a\"\t# b",
            "A=a\\ b",
            "A=a\\$b",
            "A=$ABOVE",
            "A=http://${ABOVE}:1",
            "A=${HOME}/x",
            "A=http://x/?a=b&c=%20",
            "A=ä",
            "A=''",
            "A=\"\"",
            "A=[1,2]",
        ] {
            assert_eq!(of(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_was_not_is_told() {
        for (line, expected) in [
            (r#"X={"a":"b"}"#, Change::Altered),
            (r#"X=["a"]"#, Change::Altered),
            ("X=#abc", Change::Emptied),
            ("X=##", Change::Emptied),
            ("X=longpass$word99", Change::Replaced),
            ("X=\"long$word99 x\"", Change::Replaced),
            ("X=$HOME", Change::Replaced),
            ("X=a$HOME/b", Change::Replaced),
            ("X=a${NOT_SET}b", Change::Replaced),
            ("X=a$", Change::Replaced),
            ("X=a$$b", Change::Replaced),
            ("X=pass #word", Change::Cut),
            ("X=a'b'c", Change::Altered),
            ("X=it''s", Change::Altered),
            ("X='a'b", Change::Altered),
            ("X=\"a\"b", Change::Altered),
            ("X=C:\\new", Change::Altered),
            ("X=DOMAIN\\\\user", Change::Altered),
            ("X=a'$ABOVE'", Change::Altered),
        ] {
            assert_eq!(of(line), Ok(Some(expected)), "{line}");
        }
        // A backslash at the end is gone; a quote that the next line closes is refused.
        assert_eq!(of("X=abc\\"), Ok(Some(Change::Altered)));
        assert_eq!(of("X='abc\\'\nY='d'"), Err(()));
    }

    #[test]
    fn nothing_else_is_silent() {
        use proptest::prelude::*;
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(4_000)
        };
        proptest!(config, |(value in "[a-b '\"#$\\\\n{}=]{0,8}")| {
            if let Ok(None) = of(&format!("X={value}")) {
                let text = format!("X={value}\n");
                let pairs: Vec<_> = dotenvy::from_read_iter(text.as_bytes()).flatten().collect();
                let parsed = &pairs[0].1;
                let trimmed = value.trim();
                let within_quotes = trimmed.starts_with(['\'', '"']);
                let escaped = trimmed.contains('\\');
                let commented = trimmed.contains("# ") || trimmed.ends_with('#');
                prop_assert!(
                    trimmed == parsed || within_quotes || escaped || commented,
                    "{text:?} became {parsed:?}"
                );
            }
        });
    }
}
