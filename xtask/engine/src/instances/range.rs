//! Finds free ports.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::TcpListener;
use std::ops::RangeInclusive;

use kit::{Exit, Failure};

use crate::checkout::paths::Paths;
use crate::plan::env::Env;

/// The variable with another range: `FIRST-LAST`.
pub(crate) const RANGE_VARIABLE: &str = "CORE_PORTS_RANGE";
/// The range of ports: below those that Linux (32768) and macOS (49152) assign to outgoing
/// connections, and above most others.
const RANGE: RangeInclusive<u16> = 30_000..=32_699;
/// Instances begin at multiples of this, so that two of them rarely try the same ports.
const STRIDE: u16 = 50;

/// Returns all ports that may be assigned: of the first of `variables` that is set, in their order,
/// else of our own range, from a position that depends on the instance.
pub(crate) fn candidates(
    env: &Env,
    variables: &[&str],
    paths: &Paths,
) -> anyhow::Result<Box<dyn Iterator<Item = u16>>> {
    let set = |name: &&&str| env.non_empty(name).is_some();
    let Some(variable) = variables.iter().find(set) else {
        return Ok(Box::new(own_range(paths)));
    };
    let text = env.non_empty(variable).unwrap_or_default();
    let range = text.split_once('-').and_then(|(first, last)| {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        Some(port(first)?..=port(last)?)
    });
    if let Some(range) = range.filter(|range| !range.is_empty()) {
        return Ok(Box::new(range));
    }
    let message = format!("`{variable}` must be two ports, such as 30000-30099");
    Err(Failure::new(Exit::Invalid, message)
        .hint(format!("leave it out, or {variable}=30000-30099"))
        .into())
}

fn own_range(paths: &Paths) -> impl Iterator<Item = u16> + use<> {
    let mut hasher = DefaultHasher::new();
    (paths.root(), paths.instance()).hash(&mut hasher);
    let count = RANGE.end() - RANGE.start() + 1;
    let steps = hasher.finish() % u64::from(count / STRIDE);
    let offset = u16::try_from(steps).unwrap_or(0) * STRIDE;
    (0..count).map(move |index| RANGE.start() + (offset + index) % count)
}

/// Whether a server could listen on the port now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_port_of_the_range_is_looked_at_once() {
        for root in ["/a", "/b"] {
            let paths = Paths::new(root.into());
            let ports: BTreeSet<u16> = own_range(&paths).collect();
            assert_eq!(ports.len(), RANGE.len());
            assert!(ports.iter().all(|port| RANGE.contains(port)));
        }
    }

    #[test]
    fn a_range_can_be_given() {
        let paths = Paths::new("/a".into());
        let given = |text: &str| {
            let env = Env::from_pairs([("SECOND", text)]);
            candidates(&env, &["FIRST", "SECOND"], &paths).map(Iterator::collect::<Vec<u16>>)
        };
        assert_eq!(given("7-9").unwrap(), [7, 8, 9]);
        for bad in ["7", "9-7", "0-3", "a-b", "1-70000"] {
            let error = given(bad).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid, "{bad}");
        }
    }
}
