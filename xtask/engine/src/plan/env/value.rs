//! PURE: whether the parsed value of a line of `.env` is what its author meant.
//!
//! The parser has the rules of a shell: it removes quotes and backslashes, replaces `$NAME`, and `
//! #` begins a comment. Owns the rules for what was meant. Must not show a value, only compare it.

/// How the parser changed a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// It is empty now.
    Emptied,
    /// A part was cut off at a `#`.
    Cut,
    /// It names a variable that is not set, or one of the shell.
    Replaced,
    /// Quotes or backslashes were removed, or it was joined with the following text.
    Altered,
}

impl Change {
    /// Returns what a message says about the change.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Emptied => "is empty, as `#` begins a comment",
            Self::Cut => "ends at the `#`, which begins a comment",
            Self::Replaced => "is another one than the line says, as `$` begins a variable",
            Self::Altered => "is another one than the line says, as quotes and `\\` have a meaning",
        }
    }
}

/// The variables that a name after `$` can refer to.
pub(crate) struct Names<'a> {
    /// Whether a line above in the file sets a variable.
    pub(crate) above: &'a dyn Fn(&str) -> bool,
    /// Whether the environment has a variable.
    pub(crate) environment: &'a dyn Fn(&str) -> bool,
}

/// Compares the text after `=` with the parsed value.
pub(crate) fn change(raw: &str, parsed: &str, names: &Names<'_>) -> Option<Change> {
    let raw = raw.trim();
    if raw == parsed || is_comment(raw) {
        return None;
    }
    if raw.starts_with('#') {
        return Some(Change::Emptied);
    }
    // One pair of quotes around the whole text means that everything in it is intended.
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
        // A password may contain a blank and a `#`.
        Some((_, false)) => return Some(Change::Cut),
        None => raw,
    };
    if kept == parsed {
        return None;
    }
    if kept.contains('$') && !kept.contains(['\'', '"', '\\']) {
        return replaced(kept, names);
    }
    // Authors of `\ `, `\$` and escaped quotes know what a backslash does.
    let plain = !kept.contains(['\'', '"', '$']) || kept.contains('\\');
    let meant = plain && !kept.contains("\\n") && !kept.contains("\\\\") && escapes_all(kept);
    (!meant || unescaped(kept) != parsed).then_some(Change::Altered)
}

/// Whether the whole text is a comment that looks like one: `# text`.
fn is_comment(raw: &str) -> bool {
    raw.strip_prefix('#')
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// Returns the text before a comment after a blank, and whether that looks like one: `# text`.
fn comment(raw: &str) -> Option<(&str, bool)> {
    let at = raw.find([' ', '\t'])?;
    let (kept, rest) = raw.split_at(at);
    let rest = rest.trim_start();
    rest.starts_with('#').then(|| (kept, is_comment(rest)))
}

/// Returns the text and the quote if one pair of quotes contains everything but a comment.
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

/// Removes the backslashes.
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

/// Whether every quote and every `$` is escaped by a backslash.
fn escapes_all(text: &str) -> bool {
    let mut escaped = false;
    text.chars().all(|c| {
        let fine = escaped || !matches!(c, '\'' | '"' | '$');
        escaped = c == '\\' && !escaped;
        fine
    })
}

/// Returns a change unless every named variable is intended: `${NAME}` that is set, or `$NAME` that
/// is set above in the file. `$NAME` of the environment may be part of a password.
fn replaced(text: &str, names: &Names<'_>) -> Option<Change> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let escaped = rest[..at].ends_with('\\');
        rest = &rest[at + 1..];
        if escaped {
            continue;
        }
        // The parser's rule for names: no `_` without braces.
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

    /// Parses a line as in a `.env` whose line above sets `ABOVE`.
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
        // A backslash at the end is removed; a quote that the next line closes is refused.
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
