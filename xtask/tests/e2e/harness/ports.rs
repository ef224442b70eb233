//! Ports that no other test, in this process or another one, uses at the same time.
//!
//! A block of ports is reserved by locking a file for it. The blocks are below the range from which
//! the kernel takes the ports of outgoing connections.

use std::net::TcpListener;

use kit::files::{FileLock, create_private_dir};

const FIRST: u16 = 10_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 400;

/// Ports that are reserved until this is dropped.
#[derive(Debug)]
pub(super) struct PortBlock {
    next: u16,
    end: u16,
    _lock: FileLock,
}

impl PortBlock {
    pub(super) fn reserve() -> Self {
        let user = rustix::process::getuid().as_raw();
        let directory = std::env::temp_dir().join(format!("core-e2e-ports-{user}"));
        create_private_dir(&directory).expect("the temporary directory can be written to");
        // Each process starts at another block, so that locks rarely conflict.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for index in (0..BLOCKS).map(|offset| (start + offset) % BLOCKS) {
            let lock = FileLock::try_exclusive(&directory.join(format!("{index}.lock")));
            let first = FIRST + index * BLOCK;
            let end = first + BLOCK;
            if let Some(lock) = lock.expect("a lock file can be made")
                && (first..end).all(is_free)
            {
                return Self {
                    next: first,
                    end,
                    _lock: lock,
                };
            }
        }
        panic!("no {BLOCK} free ports side by side");
    }

    /// Returns the next unused port.
    pub(super) fn take(&mut self) -> u16 {
        assert!(self.next < self.end, "a test needs more than {BLOCK} ports");
        self.next += 1;
        self.next - 1
    }
}

/// Whether a server could listen there now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
