//! Documents and sources avoid phrases that readers of this field stumble over.
//!
//! Owns the unambiguous part of the word list in docs/STYLE.md. Must not judge code blocks, which
//! show output, or CHANGELOG.md, which is history.

use crate::{Findings, text_files};

/// Phrases to avoid, and what to write instead.
const PHRASES: [(&str, &str); 8] = [
    ("is told", "receives, is reported"),
    ("are told", "receive, are reported"),
    ("is had", "is obtained, comes from"),
    ("are had", "are obtained, come from"),
    ("be had", "be obtained"),
    ("put right", "fix"),
    ("puts right", "fixes"),
    ("what was so", "the observed state"),
];

/// A process exits with a code: what to write instead of `ends with 3`.
const EXIT_CODE: &str = "exits with code";

/// The document that lists the phrases, and the source that does.
const STYLE: &str = "docs/STYLE.md";
const OWN: &str = "xtask/tests/tidy/words.rs";

#[test]
fn documents_and_sources_use_plain_words() {
    let mut findings = Findings::default();
    let mut files = 0;
    for file in text_files() {
        let is_document = file.path == "README.md"
            || file.path.starts_with("docs/") && file.has_extension("md") && file.path != STYLE;
        // Comments, and string literals, which become messages.
        let is_source = file.has_extension("rs") && file.path != OWN;
        if !is_document && !is_source {
            continue;
        }
        files += 1;
        for (line, phrase, instead) in found(&file.text) {
            let what = format!("`{phrase}`: write `{instead}`, see {STYLE}");
            findings.add(format!("{}:{line}", file.path), what);
        }
    }
    assert!(files > 100, "only {files} documents and sources");
    findings.finish();
}

/// Returns phrases to avoid with their lines and replacements. A phrase may continue on the next
/// line.
fn found(text: &str) -> Vec<(usize, String, &'static str)> {
    let words = words(text);
    let mut found = Vec::new();
    for (index, (line, word)) in words.iter().enumerate() {
        let rest = || words[index..].iter().map(|(_, word)| word.as_str());
        for (phrase, instead) in PHRASES {
            if phrase.split(' ').eq(rest().take(phrase.split(' ').count())) {
                found.push((*line, phrase.to_owned(), instead));
            }
        }
        let is_end = matches!(word.as_str(), "end" | "ends");
        let code = rest().nth(2).filter(|code| is_number(code));
        if let (true, Some("with"), Some(code)) = (is_end, rest().nth(1), code) {
            found.push((*line, format!("{word} with {code}"), EXIT_CODE));
        }
    }
    found
}

/// Returns the words outside code blocks, in lower case and without punctuation, with their lines.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let line = line.split_whitespace().map(bare);
            let line = line.filter(|word| !word.is_empty());
            words.extend(line.map(|word| (index + 1, word.to_lowercase())));
        }
    }
    words
}

/// Removes punctuation around a word and the target of a link: `16` of `[16](a.md),`.
fn bare(word: &str) -> &str {
    let word = word.split("](").next().unwrap_or(word);
    word.trim_matches(|char: char| !char.is_alphanumeric())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|char| char.is_ascii_digit())
}

#[test]
fn a_phrase_to_avoid_is_found() {
    for (text, expected) in [
        ("It ends with 3.", Some((1, "ends with 3"))),
        ("so it\nends with\n[16](a.md).", Some((2, "ends with 16"))),
        ("Both end with `0`", Some((1, "end with 0"))),
        ("/// Each thing is\n/// told, once.", Some((1, "is told"))),
        ("where none can be had", Some((1, "be had"))),
        ("`--fix` puts right", Some((1, "puts right"))),
        ("Finds what was so", Some((1, "what was so"))),
        ("exits with code 3, ends with its supervisor", None),
        ("this told us", None),
        ("```\nit ends with 3\n```\n", None),
    ] {
        let found = found(text);
        let found: Vec<(usize, &str)> = found
            .iter()
            .map(|(line, phrase, _)| (*line, phrase.as_str()))
            .collect();
        assert_eq!(found, Vec::from_iter(expected), "{text}");
    }
}
