//! End-to-end tests: the real command, the real process-compose, the real servers.
//!
//! Each test has its own checkout with free ports (see `harness`), so they run in parallel. They
//! wait for conditions with deadlines and never for a time; durations are asserted only where the
//! product promises a bound.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "the logs of a failed test")]
mod harness;

mod addresses;
mod answers;
mod backup;
mod backup_faults;
mod bad_environment;
mod bad_manifest;
mod caddy;
mod ci;
mod clean;
mod command_line;
mod complaints;
mod container;
mod controller;
mod custom;
mod damaged;
mod doctor;
mod environment;
mod ephemeral;
mod exit_codes;
mod failing;
mod foreground;
mod grown;
mod in_place;
mod init;
mod instances;
mod jetstream;
mod jobs;
mod last_words;
mod life;
mod lifecycle;
mod logs;
mod nats_cli;
mod nats_run;
#[cfg(target_os = "linux")]
mod new_binary;
mod observe;
mod older_data;
mod operations;
mod pocketbase;
mod probe;
mod record;
mod record_faults;
mod recovery;
mod render;
mod routes;
mod scripts;
mod stages;
mod streams;
#[cfg(target_os = "linux")]
mod stubborn;
mod topology;
mod topology_ask;
mod topology_shrink;
mod view;
mod your_app;
