//! Shared by all wrapper binaries: arguments, signals, errors, exit codes.
//!
//! Owns the translation of signals into requests to the service's lifecycle, and the one place that
//! prints an error. Must not know what a service does with a request.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use kit::env::Lookup;
use kit::failure::{describe, exit_of};
use kit::parent::{ParentWatch, SUPERVISED_VARIABLE};
use kit::settings::Environment;
use kit::{Exit, Failure, Lifecycle};
use tokio::signal::unix::{SignalKind, signal};

/// The command in a wrapper's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    Check,
    Spec,
}

/// The `main` of a wrapper: without arguments it runs the service, with `check` it reports whether
/// its environment is valid, with `spec` it prints the manifest it was built with.
pub fn main<S>(
    spec: &str,
    settings: impl FnOnce(Lookup<'_>) -> anyhow::Result<S>,
    check: impl FnOnce(&S) -> anyhow::Result<()>,
    run: impl AsyncFnOnce(Lifecycle, S) -> anyhow::Result<u8>,
) -> ExitCode {
    let told = || {
        let environment = Environment::read()?;
        let settings = settings(&|name: &str| environment.get(name))?;
        check(&settings)?;
        Ok((environment, settings))
    };
    let result = order(std::env::args().skip(1)).and_then(|order| match order {
        Order::Spec => print(spec),
        Order::Check => told().map(|_| 0),
        Order::Run => {
            let (environment, settings) = told()?;
            serve(&environment, settings, run)
        }
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // If stderr has no reader, only the exit code is left.
            let _ = writeln!(std::io::stderr(), "{}", describe(&error));
            exit_of(&error).into()
        }
    }
}

fn order(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Order> {
    let first = arguments.next();
    let order = match first.as_deref() {
        None => Some(Order::Run),
        Some("check") => Some(Order::Check),
        Some("spec") => Some(Order::Spec),
        Some(_) => None,
    };
    let unknown = arguments
        .next()
        .or(if order.is_none() { first } else { None });
    match (order, unknown) {
        (Some(order), None) => Ok(order),
        (_, argument) => {
            let message = format!("unknown argument `{}`", argument.unwrap_or_default());
            let hint = "no argument runs the service; `check` and `spec` are the others";
            Err(Failure::new(Exit::Usage, message).hint(hint).into())
        }
    }
}

/// Runs the service on this thread: the kernel's parent-death signal is bound to it.
fn serve<S>(
    environment: &Environment,
    settings: S,
    run: impl AsyncFnOnce(Lifecycle, S) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    let runtime = kit::runtime::current_thread()?;
    let lifecycle = if environment.get(SUPERVISED_VARIABLE).as_deref() == Some("1") {
        Lifecycle::supervised()
    } else {
        Lifecycle::new()
    };
    let lifecycle = lifecycle.with_settings(environment.id());
    let result = runtime.block_on(async {
        listen(&lifecycle)?;
        run(lifecycle, settings).await
    });
    // Background tasks must not delay the exit.
    runtime.shutdown_background();
    result
}

/// Turns signals, and under the supervisor the end of the parent, into requests.
fn listen(lifecycle: &Lifecycle) -> anyhow::Result<()> {
    // Closing a terminal sends SIGHUP to its foreground programs: no request to reload.
    let hang_up_stops = !lifecycle.is_supervised() && std::io::stdin().is_terminal();
    let requests = lifecycle.clone();
    on_signal(SignalKind::hangup(), move || {
        if hang_up_stops {
            requests.stop();
        } else {
            requests.reload();
        }
    })?;
    listen_for_stop(lifecycle)
}

/// Turns INT and TERM, and under the supervisor the end of the parent, into requests to stop.
pub fn listen_for_stop(lifecycle: &Lifecycle) -> anyhow::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let requests = lifecycle.clone();
        on_signal(kind, move || requests.stop())?;
    }
    if lifecycle.is_supervised() {
        let watch = ParentWatch::process_and_output().context("cannot watch the supervisor")?;
        let lifecycle = lifecycle.clone();
        tokio::spawn(async move {
            watch.gone().await;
            lifecycle.orphan();
        });
    }
    Ok(())
}

/// Calls `request` for each signal of a kind.
pub fn on_signal(kind: SignalKind, request: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let mut signals = signal(kind).context("cannot listen for signals")?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            request();
        }
    });
    Ok(())
}

fn print(text: impl fmt::Display) -> anyhow::Result<u8> {
    write!(std::io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> anyhow::Result<Order> {
        order(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn orders() {
        assert_eq!(parse(&[]).unwrap(), Order::Run);
        assert_eq!(parse(&["check"]).unwrap(), Order::Check);
        assert_eq!(parse(&["spec"]).unwrap(), Order::Spec);
        for bad in [&["run"][..], &["check", "x"], &["--help"]] {
            let error = parse(bad).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Usage);
            let last = bad.last().unwrap();
            assert_eq!(error.to_string(), format!("unknown argument `{last}`"));
        }
    }
}
