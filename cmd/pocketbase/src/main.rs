//! The pocketbase wrapper: runs the service `pocketbase` until a stop is requested.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrapper::main(
        service_pocketbase::spec(),
        service_pocketbase::Settings::from_env,
        service_pocketbase::check,
        service_pocketbase::run,
    )
}
