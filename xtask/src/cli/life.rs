//! The clap types of the commands that operate a running stack.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use log_lines::{Level, Regex};
use rustix::process::Signal as Number;

use super::{LockOption, seconds};

/// Signals by name: those that the supervisor (1.120) hands on, which end at 22.
const SIGNALS: [(&str, Number); 17] = [
    ("HUP", Number::HUP),
    ("INT", Number::INT),
    ("QUIT", Number::QUIT),
    ("ABRT", Number::ABORT),
    ("KILL", Number::KILL),
    ("USR1", Number::USR1),
    ("USR2", Number::USR2),
    ("PIPE", Number::PIPE),
    ("ALRM", Number::ALARM),
    ("TERM", Number::TERM),
    ("CHLD", Number::CHILD),
    ("CONT", Number::CONT),
    ("STOP", Number::STOP),
    ("TSTP", Number::TSTP),
    ("TTIN", Number::TTIN),
    ("TTOU", Number::TTOU),
    ("TRAP", Number::TRAP),
];

/// The largest number that the supervisor hands on.
const SIGNAL_MAX: i32 = 22;

/// Show the logs of all processes, merged by time; works after `down`, too.
///
/// Output of a process cannot control the terminal: colours are removed, other control characters
/// are shown as `^[`, invalid bytes as `\xff`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show only these services or processes
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Follow new lines, through restarts and rotation, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show lines since: `90s`, `10m`, `1h30m`, `2d`, or a time like 2026-11-24T13:59:22Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<i64>,
    /// Show only the last LINES lines of all processes together
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Set the lowest level to show: trace, debug, info, warn, error or fatal
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) level: Option<Level>,
    /// Show only lines that match a regular expression; the prefix `(?i)` ignores case
    #[arg(long, value_name = "RE", value_parser = Regex::new)]
    pub(crate) grep: Option<Regex>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options that `restart`, `stop` and `start` share.
#[derive(Debug, Args)]
pub(crate) struct Life {
    /// Names of services (all their processes) or of processes
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Fail if the command is not done after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    pub(crate) timeout: u64,
    /// Whether to wait for another command.
    #[command(flatten)]
    pub(crate) lock: LockOption,
    /// Print the actions as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Restart services one at a time, and wait until they are healthy.
///
/// Dependents keep running unless `--with-dependents` is given. Dependencies that do not run are
/// started first.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Restart the dependents, too: stop them before, start them after the services
    #[arg(long)]
    pub(crate) with_dependents: bool,
    /// Options shared with `stop` and `start`.
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Stop services until the next `start`, `restart` or `up`.
///
/// Dependents keep running. `status` exits with code 4 meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Options shared with `restart` and `start`.
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Start services that are not running, with their dependencies, and wait until they are healthy.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Options shared with `restart` and `stop`.
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Send a signal to the processes of a service.
///
/// Only the program of the service receives it; for the services of Core, that is the wrapper. HUP
/// reloads the configuration; after TERM, the supervisor restarts the service.
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// Name of a service (all its processes) or of a process
    pub(crate) service: String,
    /// Name of the signal, with or without SIG, or its number, up to 22
    #[arg(value_name = "SIGNAL", value_parser = signal)]
    pub(crate) number: u8,
    /// Print the actions as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Open the terminal UI of process-compose for the running stack; leaving it stops nothing.
#[derive(Debug, Args)]
pub(crate) struct Attach {}

/// Milliseconds since the Unix epoch of a time, or of a duration before now.
pub(super) fn since(text: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    if let Some(seconds) = duration(text) {
        return Ok(now.saturating_sub(seconds.saturating_mul(1000)));
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "write a duration like 10m, or a time like 2026-11-24T13:59:22Z".to_owned())
}

/// Seconds of `1d2h3m4s`, parts of it, at least one.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut seconds = 0_i64;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(seconds)
}

fn level(text: &str) -> Result<Level, String> {
    let words = Level::ALL.map(Level::word).join(", ");
    Level::from_word(text.as_bytes()).ok_or_else(|| format!("levels are {words}"))
}

fn signal(text: &str) -> Result<u8, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == name);
    let number = named.map(|(_, signal)| signal.as_raw());
    let number = number.or_else(|| text.parse().ok());
    // The supervisor takes 0 for TERM and refuses what is above its limit.
    let number = number.filter(|number| (1..=SIGNAL_MAX).contains(number));
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| {
            let handed_on = |(_, signal): &&(&str, Number)| signal.as_raw() <= SIGNAL_MAX;
            let names: Vec<&str> = SIGNALS
                .iter()
                .filter(handed_on)
                .map(|(name, _)| *name)
                .collect();
            format!("signals are 1 to {SIGNAL_MAX}, and {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(duration(text), Some(seconds), "{text}");
        }
        for bad in [
            "",
            "10",
            "m",
            "10w",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(since("1970-01-01T01:00:01+01:00"), Ok(1000));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("HUP", 1),
            ("sigterm", 15),
            ("KILL", 9),
            ("9", 9),
            ("22", 22),
        ] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for bad in ["0", "-1", "23", "64", "SIG", "HUPP", ""] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
