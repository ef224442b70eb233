//! The controller: runs the service `controller` until a stop is requested.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrapper::main(
        service_controller::spec(),
        service_controller::Settings::from_env,
        service_controller::check,
        service_controller::run,
    )
}
