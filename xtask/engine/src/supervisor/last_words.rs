//! What the supervisor reported about itself: why it ended, and why it cannot start a process.
//!
//! It writes fatal errors to stderr, other errors only to its log (process-compose 1.120.0). Only
//! reads.

use crate::checkout::logs;
use crate::checkout::paths::Paths;

/// Its levels of errors in log lines.
const ERRORS: [&str; 4] = [" ERR ", " FTL ", " PNC ", " FATAL "];

/// Prefix of the lines that it writes to stderr on each start, before it opens its log: where it
/// has searched for its own settings.
const BEGIN: &str = "{\"level\":\"debug\"";

/// Number of log lines that are shown: later errors are usually consequences of earlier ones.
const LINES: usize = 3;

/// Returns its last errors, each on its own line and indented, so that they can follow a message.
pub(super) fn of_all(paths: &Paths) -> String {
    let is_said = |line: &str| !line.starts_with(BEGIN);
    let fatal = logs::tail_of(&paths.supervisor_output(), 0, logs::TAIL_LINES, is_said);
    if !fatal.is_empty() {
        return fatal;
    }
    let mut errors = logs::matching(&paths.supervisor_log(), is_error);
    errors.truncate(LINES);
    errors.iter().map(|line| format!("\n  | {line}")).collect()
}

/// Returns why it could not start a process the last time.
pub(super) fn of_process(paths: &Paths, name: &str) -> Option<String> {
    let about = format!(" for process {name} ");
    let lines = logs::matching(&paths.supervisor_log(), |line| {
        is_error(line) && format!("{line} ").contains(&about)
    });
    reason(lines.last()?)
}

fn is_error(line: &str) -> bool {
    ERRORS.iter().any(|level| line.contains(level))
}

/// Returns the value of `error=`, which is quoted if it contains blanks.
fn reason(line: &str) -> Option<String> {
    let (_, rest) = line.rsplit_once(" error=")?;
    let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let word = || rest.split(' ').next().unwrap_or(rest);
    Some(quoted.map_or_else(word, |(reason, _)| reason).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LOG: &str = "26-11-30 09:00:00.000 INF Process Compose v1.120.0\n\
        26-11-30 09:00:00.100 \x1b[31mERR\x1b[0m Failed to run command [\"sh x\"] for process web \
        \x1b[36merror=\x1b[0m\x1b[31m\"fork/exec /bin/sh: argument list too long\"\x1b[0m\n\
        26-11-30 09:00:00.200 ERR Failed to run command [\"sh -c y\"] for process webs error=EOF\n";

    #[test]
    fn the_reason_of_the_process_itself() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned());
        assert_eq!(of_all(&paths), "");
        assert_eq!(of_process(&paths, "web"), None);
        fs::create_dir_all(paths.logs()).unwrap();
        fs::write(paths.supervisor_log(), LOG).unwrap();
        let reason = of_process(&paths, "web");
        let expected = "fork/exec /bin/sh: argument list too long";
        assert_eq!(reason.as_deref(), Some(expected));
        assert_eq!(of_process(&paths, "webs").as_deref(), Some("EOF"));
        assert_eq!(of_process(&paths, "we"), None);
    }

    #[test]
    fn what_is_fatal_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned());
        fs::create_dir_all(paths.logs()).unwrap();
        fs::write(paths.supervisor_log(), LOG).unwrap();
        let words = of_all(&paths);
        assert_eq!(words.lines().filter(|line| !line.is_empty()).count(), 2);
        assert!(words.contains("argument list too long"), "{words}");
        let begin = "{\"level\":\"debug\",\"message\":\"Path not found\"}\n";
        fs::write(paths.supervisor_output(), begin).unwrap();
        assert_eq!(
            of_all(&paths),
            words,
            "what it says on each start is no reason"
        );
        let fatal = format!("{begin}fatal error: out of memory\n");
        fs::write(paths.supervisor_output(), fatal).unwrap();
        assert_eq!(of_all(&paths), "\n  | fatal error: out of memory");
    }
}
