//! The nats wrapper: runs the service `nats` until a stop is requested.

use std::process::ExitCode;

/// The manifest that this build of the service belongs to, without its topology (see `build.rs`).
const MANIFEST: &str = include_str!(concat!(env!("OUT_DIR"), "/service.json"));

fn main() -> ExitCode {
    wrapper::main(
        MANIFEST,
        |lookup| service_nats::Settings::from_env(MANIFEST, lookup),
        service_nats::check,
        service_nats::run,
    )
}
