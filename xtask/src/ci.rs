//! PURE: output that a CI system shows in sections and as annotations.
//!
//! Owns the formats, and escapes foreign text so that it cannot be a command of GitHub Actions: its
//! runner executes lines of a job's output. Must not print.

use std::fmt::Write as _;

use engine::plan::env::Env;

/// The system that reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Another one: plain headings.
    Other,
}

impl System {
    /// Returns the system whose variables are set.
    pub fn of(env: &Env) -> Self {
        match (env.get("GITHUB_ACTIONS"), env.get("GITLAB_CI")) {
            (Some("true"), _) => Self::GitHub,
            (_, Some("true")) => Self::GitLab,
            _ => Self::Other,
        }
    }

    /// Returns a section of `text`, which may contain anything. `id` is unique in the output,
    /// `seconds` is the time since 1970, `token` is an unguessable word.
    pub fn section(self, title: &str, id: &str, seconds: u64, token: &str) -> Section {
        let title = clean(title).replace('\n', " ");
        let (begin, end) = match self {
            Self::GitHub => (
                format!("::group::{}\n::stop-commands::{token}", data(&title)),
                format!("::{token}::\n::endgroup::"),
            ),
            Self::GitLab => {
                let name = format!("core_{id}");
                (
                    format!("\x1b[0Ksection_start:{seconds}:{name}\r\x1b[0K{title}"),
                    format!("\x1b[0Ksection_end:{seconds}:{name}\r\x1b[0K"),
                )
            }
            Self::Other => (format!("== {title}"), String::new()),
        };
        Section { begin, end }
    }

    /// Returns `text` outside of any section. It may contain anything, and is never a command.
    pub fn outside(self, text: &str, token: &str) -> String {
        match self {
            Self::GitHub => format!("::stop-commands::{token}\n{text}\n::{token}::"),
            Self::GitLab | Self::Other => text.to_owned(),
        }
    }
}

/// The lines before and after a section; an empty text is no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Before it.
    pub begin: String,
    /// After it.
    pub end: String,
}

/// An error with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// A file of the repository.
    pub file: Option<String>,
    /// A line of it, from 1.
    pub line: Option<usize>,
    /// Its subject, in a few words.
    pub title: String,
    /// The error.
    pub message: String,
}

impl Annotation {
    /// Returns the command of GitHub Actions for it. Format:
    /// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
    pub fn github(&self) -> String {
        let mut properties = String::new();
        let mut add = |name: &str, value: &str| {
            let begin = if properties.is_empty() { ' ' } else { ',' };
            write!(properties, "{begin}{name}={}", property(value))
                .expect("writing to a string cannot fail");
        };
        if let Some(file) = &self.file {
            add("file", file);
        }
        if let Some(line) = self.line {
            add("line", &line.to_string());
        }
        add("title", &self.title);
        format!("::error{properties}::{}", data(&clean(&self.message)))
    }
}

/// Returns text without control characters but line breaks: it cannot end a section.
pub fn clean(text: &str) -> String {
    let kept = |c: &char| *c == '\n' || !c.is_control();
    text.chars().filter(kept).collect()
}

/// Escapes the text of a command, on one line.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes the value of a command's property.
fn property(text: &str) -> String {
    data(&clean(text)).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line_whatever_it_says() {
        let annotation = Annotation {
            file: Some("services/a,b/service.json".to_owned()),
            line: Some(7),
            title: "a: 100%".to_owned(),
            message: "50%\n::set-env name=X::y\r\x1b[0K".to_owned(),
        };
        assert_eq!(
            annotation.github(),
            "::error file=services/a%2Cb/service.json,line=7,title=a%3A 100%25\
             ::50%25%0A::set-env name=X::y[0K"
        );
    }

    #[test]
    fn sections() {
        let section = |system: System| system.section("log of `a`\n::x::", "2", 99, "tok");
        let github = section(System::GitHub);
        assert_eq!(
            github.begin,
            "::group::log of `a` ::x::\n::stop-commands::tok"
        );
        assert_eq!(github.end, "::tok::\n::endgroup::");
        let gitlab = section(System::GitLab);
        assert_eq!(
            gitlab.begin,
            "\x1b[0Ksection_start:99:core_2\r\x1b[0Klog of `a` ::x::"
        );
        assert_eq!(gitlab.end, "\x1b[0Ksection_end:99:core_2\r\x1b[0K");
        assert_eq!(section(System::Other).begin, "== log of `a` ::x::");
        let outside = System::GitHub.outside("::x::", "tok");
        assert_eq!(outside, "::stop-commands::tok\n::x::\n::tok::");
        assert_eq!(System::GitLab.outside("x", "tok"), "x");
    }

    #[test]
    fn systems_are_told_by_their_variables() {
        let of = |pairs: &[(&str, &str)]| System::of(&Env::from_pairs(pairs.iter().copied()));
        assert_eq!(of(&[("GITHUB_ACTIONS", "true")]), System::GitHub);
        assert_eq!(of(&[("GITLAB_CI", "true")]), System::GitLab);
        assert_eq!(of(&[("CI", "true")]), System::Other);
    }
}
