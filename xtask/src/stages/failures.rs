//! PURE: finds failures in the output of tests.

use crate::ci::clean;

/// Most lines that are kept; more failing tests have one cause.
const LINES_MAX: usize = 200;
/// Lines after a panic that belong to it: the expected and the actual value.
const AFTER_PANIC: usize = 2;

/// The failures, line by line. The output arrives in blocks of any size.
#[derive(Debug, Default)]
pub(super) struct Failures {
    lines: Vec<String>,
    begun: Vec<u8>,
    after: usize,
}

impl Failures {
    pub(super) fn read(&mut self, block: &[u8]) {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = clean(&String::from_utf8_lossy(&self.begun));
                self.begun.clear();
                self.judge(line.trim_end().to_owned());
            }
        }
    }

    fn judge(&mut self, line: String) {
        let is_panic = line.starts_with("thread ") && line.contains(" panicked at ");
        if is_panic {
            self.after = AFTER_PANIC + 1;
        }
        let is_failure = line.starts_with("test ") && line.ends_with(" FAILED")
            || line.starts_with("error: test failed");
        if (is_failure || self.after > 0) && self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
        self.after = self.after.saturating_sub(1);
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_test_is_found_wherever_its_output_is_cut() {
        let output = "running 2 tests\n\
            test good ... ok\n\
            test tests::bad ... FAILED\n\
            \n\
            ---- tests::bad stdout ----\n\
            thread 'tests::bad' (7) panicked at src/lib.rs:1:1:\n\
            left: 1\n\
            right: \u{e4}\n\
            note: run with `RUST_BACKTRACE=1`\n\
            error: test failed, to rerun pass `--lib`\n";
        let expected = [
            "test tests::bad ... FAILED",
            "thread 'tests::bad' (7) panicked at src/lib.rs:1:1:",
            "left: 1",
            "right: \u{e4}",
            "error: test failed, to rerun pass `--lib`",
        ];
        for size in [1, 7, output.len()] {
            let mut failures = Failures::default();
            output
                .as_bytes()
                .chunks(size)
                .for_each(|block| failures.read(block));
            assert_eq!(failures.lines(), expected, "blocks of {size}");
        }
    }
}
