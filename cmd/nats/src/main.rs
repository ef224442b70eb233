//! The nats wrapper: runs the service `nats` until it is told to stop.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrapper::main(
        service_nats::spec(),
        service_nats::Settings::from_env,
        service_nats::check,
        service_nats::run,
    )
}
