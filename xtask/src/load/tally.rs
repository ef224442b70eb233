//! PURE: the counts of a client, and the comparison of acknowledged with stored data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The counts of one client.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Client {
    /// Successful operations.
    pub operations: u64,
    /// The longest time without one, in milliseconds.
    pub longest_gap_ms: f64,
    /// Attempts that were repeated after a failure.
    pub retried: u64,
    /// Operations that were given up.
    pub errors: u64,
    /// The error of the first failed attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Connections that were lost without being closed by the client.
    pub disconnected: u64,
    /// Acknowledged items that are missing.
    pub lost: u64,
    /// Items that are stored more than once.
    pub duplicated: u64,
}

impl Client {
    /// Whether every request was done, exactly once.
    pub fn is_faultless(&self) -> bool {
        self.errors == 0 && self.lost == 0 && self.duplicated == 0
    }
}

/// Counts while a client is at work.
#[derive(Debug)]
pub(super) struct Tally {
    client: Client,
    last: Instant,
    longest: Duration,
}

impl Tally {
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            client: Client::default(),
            last: now,
            longest: Duration::ZERO,
        }
    }

    /// Counts a successful operation. Returns whether it is the first one, whose waiting time does
    /// not count: the client has only started.
    pub(super) fn done(&mut self, now: Instant) -> bool {
        let is_first = self.client.operations == 0;
        self.client.operations += 1;
        if !is_first {
            self.longest = self.longest.max(now.duration_since(self.last));
        }
        self.last = now;
        is_first
    }

    /// Counts a failed attempt that is repeated.
    pub(super) fn retry(&mut self, error: String) {
        self.client.retried += 1;
        self.client.first_error.get_or_insert(error);
    }

    /// Counts an operation that is given up.
    pub(super) fn give_up(&mut self, error: String) {
        self.client.errors += 1;
        self.client.first_error.get_or_insert(error);
    }

    /// Counts a lost connection.
    pub(super) fn disconnected(&mut self) {
        self.client.disconnected += 1;
    }

    /// Returns the counts of a client that ended when nothing more was expected.
    pub(super) fn end_with_the_last(self) -> Client {
        let last = self.last;
        self.end(last)
    }

    /// Returns the counts. `now` ends the last gap.
    pub(super) fn end(mut self, now: Instant) -> Client {
        let longest = self.longest.max(now.duration_since(self.last));
        self.client.longest_gap_ms = longest.as_secs_f64() * 1000.0;
        self.client
    }
}

/// How often each number was found.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<u64, u64>);

impl Found {
    pub(super) fn add(&mut self, number: u64) {
        *self.0.entry(number).or_default() += 1;
    }

    /// Returns how many of the acknowledged numbers are missing.
    pub(super) fn lost(&self, acknowledged: &BTreeSet<u64>) -> u64 {
        let lost = |number: &&u64| !self.0.contains_key(number);
        acknowledged.iter().filter(lost).count() as u64
    }

    /// Returns how many numbers were found more than once.
    pub(super) fn duplicated(&self) -> u64 {
        self.0.values().filter(|count| **count > 1).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_answers_or_at_the_end() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut tally = Tally::begin(begin);
        assert!(tally.done(at(500)), "the first one");
        assert!(!tally.done(at(510)));
        tally.retry("cut".to_owned());
        tally.retry("refused".to_owned());
        tally.done(at(540));
        let client = tally.end(at(545));
        assert_eq!((client.operations, client.retried), (3, 2));
        assert!((client.longest_gap_ms - 30.0).abs() < 0.001);
        assert_eq!(client.first_error.as_deref(), Some("cut"));
        assert!(client.is_faultless());

        let mut tally = Tally::begin(begin);
        tally.done(at(1));
        tally.give_up("silent".to_owned());
        let client = tally.end(at(101));
        assert!((client.longest_gap_ms - 100.0).abs() < 0.001);
        assert!(!client.is_faultless());
    }

    #[test]
    fn only_what_was_acknowledged_can_be_lost() {
        let mut found = Found::default();
        for number in [1, 2, 2, 5, 5, 5] {
            found.add(number);
        }
        assert_eq!(found.lost(&[1, 2, 3, 4].into()), 2);
        assert_eq!(found.duplicated(), 2);
        assert_eq!(Found::default().lost(&BTreeSet::new()), 0);
    }
}
