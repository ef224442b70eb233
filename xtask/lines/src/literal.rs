//! A text that every match of an expression contains.
//!
//! Finding it costs a fraction of matching the expression, and most lines do not have it. Must not
//! miss a match: when in doubt there is no such text.

/// Returns the longest text that is in everything `pattern` matches, as far as that is easily seen.
pub(crate) fn required(pattern: &str) -> Option<String> {
    let mut runs = Runs::default();
    let mut depth = 0;
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            // Flags may change what a letter matches.
            '(' if chars.peek() == Some(&'?') => return None,
            '(' => {
                runs.end();
                depth += 1;
            }
            ')' => depth -= 1,
            '|' if depth == 0 => return None,
            '[' => {
                runs.end();
                // A bracket right at the begin, or after `^`, is one of the class.
                chars.next_if_eq(&'^');
                chars.next_if_eq(&']');
                while let Some(char) = chars.next().filter(|char| *char != ']') {
                    match char {
                        '\\' => drop(chars.next()),
                        // A class in a class.
                        '[' => return None,
                        _ => {}
                    }
                }
            }
            '*' | '?' | '{' => {
                runs.drop_last();
                if char == '{' {
                    chars.by_ref().find(|char| *char == '}');
                }
            }
            '+' | '.' | '^' | '$' => runs.end(),
            '\\' => match chars.next()? {
                // The number of a character follows.
                'x' | 'u' | 'U' => return None,
                char if char.is_ascii_alphanumeric() => runs.end(),
                char => runs.push(char, depth),
            },
            char => runs.push(char, depth),
        }
    }
    // What stands for a damaged byte is not in the text itself.
    let usable = |run: &String| !run.is_empty() && !run.contains(char::REPLACEMENT_CHARACTER);
    Some(runs.longest()).filter(usable)
}

/// Runs of characters that stand for themselves, outside of groups.
#[derive(Default)]
struct Runs {
    longest: String,
    present: String,
}

impl Runs {
    fn push(&mut self, char: char, depth: i32) {
        if depth == 0 {
            self.present.push(char);
        }
    }

    /// Ends the present run without its last character, which may be absent.
    fn drop_last(&mut self) {
        self.present.pop();
        self.end();
    }

    fn end(&mut self) {
        let present = std::mem::take(&mut self.present);
        if present.len() > self.longest.len() {
            self.longest = present;
        }
    }

    fn longest(mut self) -> String {
        self.end();
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    #[test]
    fn every_match_has_it() {
        for (pattern, wanted, texts) in [
            ("plain text", Some("plain text"), &["a plain text."][..]),
            ("user (id|name)", Some("user "), &["user id", "user name"]),
            ("^a+bc$", Some("bc"), &["aabc"]),
            ("colou?r", Some("colo"), &["color", "colour"]),
            ("ab{0,2}cd", Some("cd"), &["acd", "abbcd"]),
            (r"a\.b\d+vxyz", Some("vxyz"), &["a.b7vxyz"]),
            (r"\[WRN\] late", Some("[WRN] late"), &["[WRN] late"]),
            ("[]x]yz[^]]w", Some("yz"), &["]yzaw", "xyz.w"]),
            ("(abc)?de", Some("de"), &["de", "abcde"]),
            ("(a(b)c)+d", Some("d"), &["abcabcd"]),
            (r"[\]a]bc", Some("bc"), &["]bc"]),
            ("ü+ber", Some("ber"), &["üüber"]),
            ("a|b", None, &["a", "b"]),
            ("(?i)abc", None, &["ABC"]),
            ("(?x) a b", None, &["ab"]),
            ("a*", None, &["", "b"]),
            (r"\w+", None, &["a"]),
            (r"\x41bc", None, &["Abc"]),
            ("x{0}", None, &["", "a"]),
            ("[[:alpha:]]bc", None, &["abc"]),
        ] {
            let found = required(pattern);
            assert_eq!(found.as_deref(), wanted, "{pattern}");
            let expression = Regex::new(pattern).unwrap();
            for text in texts {
                assert!(expression.is_match(text), "{pattern}: {text}");
                let has = found
                    .as_ref()
                    .is_none_or(|found| text.contains(found.as_str()));
                assert!(has, "{pattern}: {found:?} in {text}");
            }
        }
    }
}
