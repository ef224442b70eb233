//! The manifest of a service: `services/NAME/service.json`.
//!
//! Owns the types (from which the JSON schema is derived), strict loading and the checks that one
//! manifest allows by itself. Must not resolve placeholders, read other manifests or do IO: xtask
//! does.

mod check;
mod document;
mod env_file;
mod lines;
mod routes;
mod schema;
mod shape;
mod types;
mod units;

pub use check::is_variable_name;
pub use document::{Document, parse};
pub use env_file::{EnvFile, EnvFiles};
pub use lines::{Lines, Problem};
pub use schema::schema;
pub use types::{
    Availability, Binary, Compose, Condition, Config, Dependency, EnvMap, ExecProbe, HttpGet, Log,
    Manifest, Port, Process, ReadinessProbe, Restart, Route, Shutdown, Source, TcpProbe,
};
pub use units::{megabytes, seconds};
