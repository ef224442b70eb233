//! The basis of the tests: separate checkouts, commands with deadlines, clients, and the proof that
//! nothing is left.
//!
//! Must not know what is tested.

mod beside;
mod binaries;
mod command;
pub(crate) mod http;
mod leftovers;
mod missing;
pub(crate) mod nats;
mod normalise;
mod ports;
pub(crate) mod processes;
pub(crate) mod publisher;
mod sandbox;

use std::fmt::Debug;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use expect_test::expect_file;

pub(crate) use binaries::fetch;
pub(crate) use command::{Run, Running};
pub(crate) use missing::tell_missing;
pub(crate) use sandbox::{Sandbox, fake_program, stranger};

/// Poll interval of conditions.
const POLL: Duration = Duration::from_millis(10);

/// Limit of steps that take milliseconds, on a machine under load.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Polls until `look` returns something, or fails the test with `what` was awaited.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Polls until `look` returns something, at most `limit`.
pub(crate) fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Fails unless `text` equals `expected/NAME.txt`; `UPDATE_EXPECT=1` writes that file.
#[track_caller]
pub(crate) fn expected(name: &str, text: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/expected");
    let file = expect_file![directory.join(format!("{name}.txt"))];
    file.assert_eq(&format!("{}\n", text.trim_end()));
}

/// Fails with both sides in full and readable: texts of several lines keep them.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better without `&`"
)]
pub(crate) fn same<T: Debug + PartialEq>(what: &str, actual: T, expected: T) {
    assert!(
        actual == expected,
        "{what}\n--- expected\n{expected:#?}\n--- actual\n{actual:#?}"
    );
}
