//! process-compose: its REST types and client, launching, waiting for health, stopping, and the
//! proof that no process is left.
//!
//! Only this module starts, stops or reloads processes. It uses the rendered file unchanged and
//! must not read manifests.

pub mod alive;
pub mod answers;
mod api_error;
pub mod client;
pub(crate) mod control;
#[cfg(test)]
pub(crate) mod fake;
mod last_words;
pub mod launch;
pub mod listening;
pub(crate) mod lost;
pub mod operation;
pub mod ours;
pub mod own_log;
pub mod programs;
pub(crate) mod proof;
pub mod reload;
pub mod runs;
mod secrets;
pub mod settings;
mod settled;
pub mod socket;
pub(crate) mod starts;
pub mod state;
pub mod stop;
pub mod stops;
mod suspended;
pub mod timing;
pub mod wait;

use crate::checkout::context::Ctx;
use client::Client;

/// The name of process-compose in `.dep/`.
pub const BINARY: &str = "process-compose";

impl Ctx {
    /// Whether any process of this instance is running. It may be reachable without a lock, if its
    /// directory was deleted.
    pub fn is_running(&self) -> anyhow::Result<bool> {
        Ok(alive::is_held(&self.paths.alive_lock())? || self.client()?.is_reachable())
    }

    /// Returns a client of this instance's supervisor, whether it is running or not.
    pub fn client(&self) -> anyhow::Result<Client> {
        let client = Client::new(socket::path(&self.env, &self.paths.state())?)?;
        Ok(client.with_runs(self.paths.runs()))
    }
}
