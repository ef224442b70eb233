//! The runner's command line and its signals, which become requests to `kit::runner`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use kit::failure::{describe, exit_of};
use kit::runner::{self, Order};
use kit::{Exit, Failure, Lifecycle};
use rustix::process::Signal;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

/// The first argument that turns the probe into a runner.
pub(crate) const ROLE: &str = "run";

const USAGE: &str = "probe run --name NAME --record FILE --signal N --grace SECONDS [--main-only] \
                     [--port HOST:PORT]... -- PROGRAM [ARGUMENT]...";

/// Signals that are passed on: their senders mean the program.
const PASSED_ON: [Signal; 5] = [
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match parse(arguments)
        .map_err(anyhow::Error::from)
        .and_then(|order| run(&order))
    {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", describe(&error));
            exit_of(&error).into()
        }
    }
}

/// Runs the program from this thread: the kernel's parent-death signal is bound to it.
fn run(order: &Order) -> anyhow::Result<u8> {
    let runtime = kit::runtime::current_thread()?;
    let result = runtime.block_on(async {
        let lifecycle = Lifecycle::supervised();
        wrapper::listen_for_stop(&lifecycle)?;
        let (sender, mut passed_on) = mpsc::unbounded_channel();
        for passed in PASSED_ON {
            let sender = sender.clone();
            let kind = SignalKind::from_raw(passed.as_raw());
            wrapper::on_signal(kind, move || {
                // After the program has exited, the receiver is gone.
                let _ = sender.send(passed);
            })?;
        }
        runner::run(order, &lifecycle, &mut passed_on).await
    });
    runtime.shutdown_background();
    result
}

/// Parses the arguments after the role.
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Order, Failure> {
    let (mut name, mut record, mut signal, mut grace) = (None, None, None, None);
    let (mut main_only, mut ports) = (false, Vec::new());
    while let Some(option) = arguments.next().filter(|option| option != "--") {
        let option = option.to_string_lossy().into_owned();
        if option == "--main-only" {
            main_only = true;
            continue;
        }
        let Some(value) = arguments.next() else {
            return Err(usage(&format!("no value for `{option}`")));
        };
        let text = value.to_string_lossy().into_owned();
        let bad = || usage(&format!("bad value `{text}` for `{option}`"));
        match option.as_str() {
            "--name" => name = Some(text),
            "--record" => record = Some(value.into()),
            "--signal" => {
                let number = text.parse().ok();
                signal = Some(number.and_then(Signal::from_named_raw).ok_or_else(bad)?);
            }
            "--grace" => {
                let seconds = text.parse().map_err(|_| bad())?;
                grace = Some(Duration::from_secs(seconds));
            }
            "--port" => ports.push(text.parse().map_err(|_| bad())?),
            _ => return Err(usage(&format!("unknown option `{option}`"))),
        }
    }
    let missing = |option: &str| usage(&format!("no `{option}`"));
    let command: Vec<OsString> = arguments.collect();
    if command.is_empty() {
        return Err(usage("no program"));
    }
    Ok(Order {
        name: name.ok_or_else(|| missing("--name"))?,
        record: record.ok_or_else(|| missing("--record"))?,
        signal: signal.ok_or_else(|| missing("--signal"))?,
        grace: grace.ok_or_else(|| missing("--grace"))?,
        main_only,
        ports,
        command,
    })
}

fn usage(problem: &str) -> Failure {
    Failure::new(Exit::Usage, problem).hint(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Order, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_whole_line() {
        let line = "--name web --record r.json --signal 15 --grace 10 --main-only \
                    --port 127.0.0.1:80 --port [::1]:80 -- npm run dev -- --x";
        let order = parse_line(line).unwrap();
        assert_eq!(order.command, ["npm", "run", "dev", "--", "--x"]);
        assert_eq!(order.ports.len(), 2);
        assert!(order.main_only);
        assert_eq!(order.signal, Signal::TERM);
    }

    #[test]
    fn bad_lines_are_usage_errors() {
        let whole = "--name web --record r --signal 15 --grace 10";
        for line in [
            "",
            "-- true",
            whole,
            &format!("{whole} --"),
            &format!("{whole} --port 80 -- true"),
            &format!("{whole} --signal 99 -- true"),
            &format!("{whole} --grace x -- true"),
            &format!("{whole} --other 1 -- true"),
            &format!("{whole} --grace"),
        ] {
            let error = parse_line(line).unwrap_err();
            assert_eq!(exit_of(&error.into()), Exit::Usage, "{line}");
        }
    }
}
