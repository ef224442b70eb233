//! The caddy wrapper: runs the service `caddy` until a stop is requested.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrapper::main(
        service_caddy::spec(),
        service_caddy::Settings::from_env,
        service_caddy::check,
        service_caddy::run,
    )
}
