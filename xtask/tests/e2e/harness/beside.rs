//! Sandboxes that share a machine: one register of instances, and ports that move.

use std::fs;
use std::path::PathBuf;

use super::sandbox::{MANIFEST, Sandbox, link, list};

/// How many ports of its block a sandbox reserves for ports that move.
const RANGE: u16 = 10;

impl Sandbox {
    /// Creates another checkout on the same machine, with the same services, `.env` and register of
    /// instances; its moved ports come from a separate range.
    pub(crate) fn beside(other: &Self) -> Self {
        let mut sandbox = Self::empty();
        let services = other.path("services");
        for name in list(&services) {
            let folder = services.join(&name);
            let folder = fs::canonicalize(&folder).unwrap_or(folder);
            if folder.join(MANIFEST).exists() {
                link(&folder, &sandbox.root.join("services").join(&name));
            }
        }
        sandbox.dotenv.clone_from(&other.dotenv);
        sandbox.register = Some(other.register());
        sandbox.range_of_ports();
        sandbox
    }

    /// Returns the directory of the register of instances.
    pub(crate) fn register(&self) -> PathBuf {
        let own = self.root.with_file_name("register");
        self.register.clone().unwrap_or(own)
    }

    /// Reserves a range of ports that no other test uses, for ports that move.
    pub(crate) fn range_of_ports(&mut self) {
        self.ports_that_move(RANGE);
    }

    /// Like `range_of_ports`, with `count` ports.
    pub(crate) fn ports_that_move(&mut self, count: u16) {
        let ports: Vec<u16> = (0..count).map(|_| self.block.take()).collect();
        if let [first, .., last] = ports.as_slice() {
            self.dotenv("CORE_PORTS_RANGE", &format!("{first}-{last}"));
        }
    }
}
