//! Changes of a running stack, against a supervisor that misbehaves.

use std::collections::BTreeMap;

use kit::Exit;
use kit::failure::exit_of;

use crate::supervisor::fake::bed::Bed;
use crate::supervisor::state::Change;
use crate::up::Outcome;

fn changed(outcome: &Outcome) -> BTreeMap<&str, &str> {
    match outcome {
        Outcome::Changed(changes) => changes
            .iter()
            .map(|(name, change)| (name.as_str(), change.as_str()))
            .collect(),
        _ => BTreeMap::new(),
    }
}

#[test]
fn what_changes_is_stopped_before_the_file_is_read() {
    let bed = Bed::running(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[])]);
    let d = bed.fake.pid("d");
    bed.change("a", &[]);
    bed.change("c", &["b"]);
    let report = bed.up().unwrap();
    assert_eq!(
        changed(&report.outcome),
        [("a", "updated"), ("c", "updated")].into()
    );
    assert_eq!(bed.fake.orders(), ["stop c", "stop a", "reload"]);
    assert!(bed.fake.lost().is_empty());
    assert_eq!(bed.fake.pid("d"), d);
}
