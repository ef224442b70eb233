//! Limits on times and sizes. Tests use smaller ones.

use std::time::Duration;

/// The limits of one `ensure`.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// To connect to a host, including name resolution.
    pub(super) connect: Duration,
    /// Without a byte from a connected host.
    pub(super) stall: Duration,
    /// For one download.
    pub(super) download_total: Duration,
    /// Size of one download.
    pub(super) download_bytes: u64,
    /// Size of a binary in an archive, and of everything that is unpacked to find it.
    pub(super) unpacked_bytes: u64,
    /// For another process to install the same binary.
    pub(super) lock_wait: Duration,
    /// For one run of cargo, pip or go.
    pub(super) tool: Duration,
    /// For a program to print its version.
    pub(super) version: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            stall: Duration::from_secs(20),
            download_total: Duration::from_mins(10),
            download_bytes: 256 << 20,
            unpacked_bytes: 1 << 30,
            lock_wait: Duration::from_mins(30),
            tool: Duration::from_mins(30),
            version: Duration::from_secs(5),
        }
    }
}
