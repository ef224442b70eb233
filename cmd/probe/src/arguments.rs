//! The command line of the probe, parsed by hand: a parser crate would double its start time.

use std::path::PathBuf;
use std::time::Duration;

use kit::http::Endpoint;
use kit::{Exit, Failure};

const USAGE: &str = "probe http URL [--status N] --limit SECONDS, \
                     probe tcp HOST:PORT --limit SECONDS, or probe lock FILE --limit SECONDS";

/// What to poll and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) target: Target,
    pub(crate) limit: Duration,
}

/// What to poll.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A page, ready with this status or, without one, with any from 200 to 299.
    Http {
        endpoint: Endpoint,
        path: String,
        status: Option<u16>,
    },
    /// A port, ready when it accepts a connection.
    Tcp(Endpoint),
    /// A file, ready while a process holds its lock.
    Lock(PathBuf),
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Probe> {
    let kind = arguments.next().ok_or_else(|| usage("no argument"))?;
    let place = arguments.next().ok_or_else(|| usage("no address"))?;
    let (mut limit, mut status) = (None, None);
    while let Some(option) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| usage(&format!("no value for `{option}`")))?;
        let bad = || usage(&format!("bad value `{value}` for `{option}`"));
        match option.as_str() {
            "--limit" => limit = Some(seconds(&value).ok_or_else(bad)?),
            "--status" if kind == "http" => status = Some(value.parse().map_err(|_| bad())?),
            _ => return Err(usage(&format!("unknown option `{option}`")).into()),
        }
    }
    Ok(Probe {
        target: target(&kind, &place, status)?,
        limit: limit.ok_or_else(|| usage("no `--limit`"))?,
    })
}

fn target(kind: &str, place: &str, status: Option<u16>) -> Result<Target, Failure> {
    let bad = || usage(&format!("bad address `{place}`"));
    match kind {
        "http" => {
            let (endpoint, path) = Endpoint::from_url(place).ok_or_else(bad)?;
            Ok(Target::Http {
                endpoint,
                path,
                status,
            })
        }
        "tcp" => Endpoint::from_authority(place)
            .map(Target::Tcp)
            .ok_or_else(bad),
        "lock" => Ok(Target::Lock(place.into())),
        _ => Err(usage(&format!("unknown kind of probe `{kind}`"))),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (!duration.is_zero()).then_some(duration)
}

fn usage(problem: &str) -> Failure {
    Failure::new(Exit::Usage, problem).hint(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> anyhow::Result<Probe> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn good_lines() {
        let endpoint = Endpoint::tcp("127.0.0.1", 8222);
        assert_eq!(
            parse_line("http http://127.0.0.1:8222/healthz --status 204 --limit 59.8").unwrap(),
            Probe {
                target: Target::Http {
                    endpoint: endpoint.clone(),
                    path: "/healthz".to_owned(),
                    status: Some(204),
                },
                limit: Duration::from_millis(59_800),
            }
        );
        assert_eq!(
            parse_line("tcp 127.0.0.1:8222 --limit 1").unwrap(),
            Probe {
                target: Target::Tcp(endpoint),
                limit: Duration::from_secs(1),
            }
        );
        assert_eq!(
            parse_line("lock .core-stack/x.lock --limit 1").unwrap(),
            Probe {
                target: Target::Lock(".core-stack/x.lock".into()),
                limit: Duration::from_secs(1),
            }
        );
    }

    #[test]
    fn bad_lines_are_usage_errors() {
        for line in [
            "",
            "http",
            "http http://h/",
            "http https://h/ --limit 1",
            "http http://h/ --limit",
            "http http://h/ --limit 0",
            "http http://h/ --limit -1",
            "http http://h/ --limit x",
            "http http://h/ --limit 1 --status x",
            "tcp h:1 --limit 1 --status 200",
            "tcp h --limit 1",
            "udp h:1 --limit 1",
            "lock --limit 1",
            "lock f --limit 1 --status 200",
        ] {
            let error = parse_line(line).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Usage, "{line}");
        }
    }
}
