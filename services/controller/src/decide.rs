//! PURE: decides what to do about a record.

use engine::operations::change::Change;
use engine::topology::record::{Record, State};
use serde_json::Value;
use service_nats::topology::{Origin, SERVICE, Spec, spec};

use crate::stack::World;

/// The prefix of the keys of a specification in messages.
const AT: &str = "spec";

/// The action to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Wait: another command is changing the stack. Check again soon.
    Later,
    /// Write the topology that the manifests require into the record.
    Declare(Spec),
    /// Apply it to the stack.
    Apply(Change),
    /// Report that it is the running topology.
    Confirm,
    /// Report why it cannot be applied.
    Refuse(String),
}

/// Decides about a record, while no change of ours is running.
pub(crate) fn decide(record: &Record, world: &World) -> Step {
    let refused = record.is_current() && record.status.state == State::Failed;
    if let Some(why) = no_topology(&record.service, world) {
        return if refused {
            Step::Nothing
        } else {
            Step::Refuse(why)
        };
    }
    let spec = match record.origin {
        Origin::Manifest => {
            let follows = world.origin == Origin::Manifest;
            if world.busy && follows && world.spec != world.declared {
                // In the middle of an `up`: the facts or the manifests are outdated.
                return Step::Later;
            }
            if !is(&record.spec, &world.declared) {
                return Step::Declare(world.declared.clone());
            }
            world.declared.clone()
        }
        Origin::User => match asked(record) {
            Ok(spec) => spec,
            Err(_) if refused => return Step::Nothing,
            Err(why) => {
                return Step::Refuse(format!("error: {why}\nhint: see docs/topology.md"));
            }
        },
    };
    let runs = world.spec == spec && world.origin == record.origin;
    let apply = Step::Apply(Change {
        spec,
        origin: record.origin,
        move_streams: record.move_streams,
    });
    match (record.status.state, record.is_current()) {
        (State::Applied, true) if runs => Step::Nothing,
        // The running topology did not change: a newer record requests it again, or it was applied
        // in another way.
        (State::Applied | State::Failed, _) if runs => Step::Confirm,
        (State::Failed, true) => Step::Nothing,
        // Also a change that a controller did not finish: how far it came is unknown.
        _ => apply,
    }
}

/// Returns the topology that a user requests, or everything that is wrong with it.
fn asked(record: &Record) -> Result<Spec, String> {
    if let Some(problem) = &record.problem {
        return Err(problem.clone());
    }
    spec::from_json(&record.spec.to_string(), AT).map_err(|problems| {
        let lines = problems.iter();
        let lines = lines.map(|problem| format!("`{}` {}", problem.path, problem.message));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Returns why a service can have no record; `None` when it can.
fn no_topology(service: &str, world: &World) -> Option<String> {
    let problem = if !world.services.contains(service) {
        format!("there is no service `{service}`")
    } else if service != SERVICE {
        format!("`{service}` has no topology")
    } else {
        return None;
    };
    Some(format!(
        "error: {problem}\nhint: `{SERVICE}` has one; delete this record"
    ))
}

/// Whether the specification of a record equals `spec`, in any notation.
fn is(value: &Value, spec: &Spec) -> bool {
    spec::from_json(&value.to_string(), AT).is_ok_and(|read| read == *spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hub(nodes: u32) -> Spec {
        let text = json!({"topology": "hub-spoke", "hub_nodes": nodes}).to_string();
        spec::from_json(&text, AT).unwrap()
    }

    fn world(spec: &Spec, origin: Origin, declared: &Spec) -> World {
        World {
            services: ["nats", "caddy"].map(str::to_owned).into(),
            spec: spec.clone(),
            origin,
            declared: declared.clone(),
            busy: false,
        }
    }

    /// Returns a record of generation 5.
    fn record(origin: Origin, spec: &Value, about: u64, state: State) -> Record {
        let status = json!({"generation": about, "state": state});
        let record = json!({"id": "x", "service": "nats", "origin": origin, "spec": spec,
            "generation": 5, "status": status});
        serde_json::from_value(record).unwrap()
    }

    fn apply(spec: &Spec, origin: Origin) -> Step {
        Step::Apply(Change {
            spec: spec.clone(),
            origin,
            move_streams: false,
        })
    }

    /// Returns the rows of a table: the name of a case, its words, and the step that is expected.
    fn rows<const N: usize>(table: &str) -> impl Iterator<Item = (&str, [&str; N], Step)> {
        let lines = table.lines().filter(|line| line.contains('|'));
        lines.map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let name = cells.next().unwrap();
            let cells: Vec<&str> = cells.collect();
            let (step, words) = cells.split_last().unwrap();
            (name, words.try_into().unwrap(), step_of(step))
        })
    }

    fn step_of(words: &str) -> Step {
        match words {
            "nothing" => Step::Nothing,
            "confirm" => Step::Confirm,
            "later" => Step::Later,
            "declare three" => Step::Declare(hub(3)),
            "apply a user's" => apply(&hub(3), Origin::User),
            "apply manifest's" => apply(&hub(3), Origin::Manifest),
            other => panic!("no step `{other}`"),
        }
    }

    fn spec_of(word: &str) -> Spec {
        match word {
            "alone" => Spec::SingleNode,
            "three" => hub(3),
            "five" => hub(5),
            other => panic!("no topology `{other}`"),
        }
    }

    fn parsed<T: serde::de::DeserializeOwned>(word: &str) -> T {
        serde_json::from_value(json!(word)).unwrap()
    }

    #[test]
    fn a_user_s_record() {
        let three = hub(3);
        // The generation that its status is about, its state, what runs, and by whom.
        for (name, [about, state, runs, by], expected) in rows(
            "nothing to do                   | 5 | applied  | three | user     | nothing
             new                             | 4 | applied  | alone | user     | apply a user's
             new, and never looked at        | 0 | pending  | alone | manifest | apply a user's
             the same, but now a user's      | 4 | applied  | three | manifest | apply a user's
             back to what runs               | 4 | failed   | three | user     | confirm
             there and back again            | 3 | applied  | three | user     | confirm
             refused: not again              | 5 | failed   | alone | user     | nothing
             refused, then changed           | 4 | failed   | alone | user     | apply a user's
             refused, and there nevertheless | 5 | failed   | three | user     | confirm
             killed in the middle            | 5 | applying | alone | user     | apply a user's
             killed at the end               | 5 | applying | three | user     | apply a user's
             killed, then changed            | 4 | applying | three | user     | apply a user's
             other facts                     | 5 | applied  | five  | user     | apply a user's
             facts of the manifest           | 5 | applied  | three | manifest | apply a user's",
        ) {
            let about = about.parse().unwrap();
            let record = record(Origin::User, &json!(three), about, parsed(state));
            for busy in [false, true] {
                let world = World {
                    busy,
                    ..world(&spec_of(runs), parsed(by), &Spec::SingleNode)
                };
                assert_eq!(decide(&record, &world), expected, "{name}");
            }
        }
    }

    #[test]
    fn a_record_of_the_manifest_follows_it() {
        // What it says, its state, what runs, by whom, and whether `up` is at work.
        for (name, [written, state, runs, by, busy], expected) in rows(
            "nothing to do        | three | applied  | three | manifest | idle | nothing
             edited and applied   | alone | applied  | three | manifest | idle | declare three
             while `up` works     | alone | applied  | alone | manifest | busy | later
             `up` died            | three | applied  | alone | manifest | idle | apply manifest's
             given back           | alone | applied  | alone | user     | idle | declare three
             given back, declared | three | applied  | alone | user     | busy | apply manifest's
             given back, the same | three | applied  | three | user     | idle | apply manifest's
             killed in the middle | three | applying | three | manifest | idle | apply manifest's
             refused: not again   | three | failed   | alone | user     | idle | nothing",
        ) {
            let record = record(Origin::Manifest, &json!(spec_of(written)), 5, parsed(state));
            let world = World {
                busy: busy == "busy",
                ..world(&spec_of(runs), parsed(by), &hub(3))
            };
            assert_eq!(decide(&record, &world), expected, "{name}");
        }
    }

    #[test]
    fn a_bad_specification_is_refused_once_with_all_that_is_wrong() {
        let world = world(&Spec::SingleNode, Origin::User, &Spec::SingleNode);
        let bad = json!({"topology": "hub-spoke", "hub_nodes": 4, "leaf_regions": "lhr"});
        let step = decide(&record(Origin::User, &bad, 4, State::Applied), &world);
        let Step::Refuse(why) = step else {
            panic!("{step:?}")
        };
        assert!(why.starts_with("error: `spec.hub_nodes` is 4"), "{why}");
        assert!(
            why.contains("\n`spec.leaf_regions` must be a list"),
            "{why}"
        );
        assert!(why.ends_with("\nhint: see docs/topology.md"), "{why}");
        let again = record(Origin::User, &bad, 5, State::Failed);
        assert_eq!(decide(&again, &world), Step::Nothing);
        for garbage in [
            json!(null),
            json!(""),
            json!([1]),
            json!("single-node"),
            json!(3),
        ] {
            let step = decide(&record(Origin::User, &garbage, 4, State::Applied), &world);
            assert!(matches!(step, Step::Refuse(_)), "{garbage}: {step:?}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_once_unless_the_manifest_decides() {
        let world = world(&Spec::SingleNode, Origin::Manifest, &hub(3));
        let unreadable = |origin, state| {
            let about = if state == State::Failed { 5 } else { 4 };
            let mut record = record(origin, &json!(null), about, state);
            record.problem = Some("`spec` cannot be understood: why".to_owned());
            record
        };
        let step = decide(&unreadable(Origin::User, State::Applied), &world);
        let Step::Refuse(why) = step else {
            panic!("{step:?}")
        };
        assert!(
            why.starts_with("error: `spec` cannot be understood: why"),
            "{why}"
        );
        let again = decide(&unreadable(Origin::User, State::Failed), &world);
        assert_eq!(again, Step::Nothing);
        let manifest = decide(&unreadable(Origin::Manifest, State::Applied), &world);
        assert_eq!(manifest, Step::Declare(hub(3)));
    }

    #[test]
    fn other_services_have_no_topology() {
        let world = world(&Spec::SingleNode, Origin::User, &Spec::SingleNode);
        for (service, why) in [
            ("natz", "error: there is no service `natz`"),
            ("caddy", "error: `caddy` has no topology"),
        ] {
            let mut other = record(Origin::User, &json!(Spec::SingleNode), 0, State::Pending);
            other.service = service.to_owned();
            let step = decide(&other, &world);
            assert!(
                matches!(&step, Step::Refuse(text) if text.starts_with(why)),
                "{step:?}"
            );
            other.status = other.status.next(5, State::Failed, String::new(), None);
            assert_eq!(decide(&other, &world), Step::Nothing);
        }
    }

    #[test]
    fn the_form_of_a_specification_does_not_matter() {
        let full = json!({"topology": "hub-spoke", "hub_region": "local", "hub_nodes": 3,
            "leaf_regions": [], "leaf_nodes_per_region": 1});
        assert!(is(&full, &hub(3)));
        assert!(!is(&full, &hub(5)));
        assert!(!is(&json!(null), &Spec::SingleNode));
    }
}
