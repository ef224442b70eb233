//! PURE: where a message that a consumer delivers comes from, as its subject for acknowledgements
//! says.

use jiff::Timestamp;

/// Where a delivered message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number in the stream.
    pub(super) sequence: u64,
    /// Its number among the messages of the consumer.
    pub(super) delivered: u64,
    /// When it was stored.
    time: Timestamp,
}

impl Place {
    /// Parses the subject for acknowledgements,
    /// `$JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.DELIVERED.TIME.PENDING`, in newer servers with
    /// domain and account before the stream (ADR-15 of nats-io/nats-architecture-and-design).
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let words: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let first = match words.len() {
            7 => 3,
            9.. => 5,
            _ => return None,
        };
        Some(Self {
            sequence: words[first].parse().ok()?,
            delivered: words[first + 1].parse().ok()?,
            time: Timestamp::from_nanosecond(words[first + 2].parse().ok()?).ok()?,
        })
    }

    /// Returns when it was stored, as a server writes it elsewhere: RFC 3339 in UTC, without zeros
    /// at the end of a fraction.
    pub(super) fn time(&self) -> String {
        self.time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_subject_are_read() {
        let place = |reply| Place::parse(reply).map(|place| (place.sequence, place.delivered));
        assert_eq!(place("$JS.ACK.S.c.1.42.7.1700000000.0"), Some((42, 7)));
        let newer = "$JS.ACK.core.ACCHASH.S.c.1.42.7.1700000000.0.x";
        assert_eq!(place(newer), Some((42, 7)));
        assert_eq!(place("_INBOX.1"), None);
        assert_eq!(place("$JS.ACK.S.c.1.x.7.1700000000.0"), None);
        assert_eq!(place("$JS.ACK.S.c.1.42.7.x.0"), None);
    }

    #[test]
    fn times_are_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_500_000_000, "2000-02-29T00:00:00.5Z"),
            (1_795_528_762_375_000_010, "2026-11-24T13:59:22.37500001Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            let place = Place {
                sequence: 1,
                delivered: 1,
                time: Timestamp::from_nanosecond(nanoseconds).unwrap(),
            };
            assert_eq!(place.time(), expected);
        }
    }
}
