//! PURE: the destination of each stream whose place is removed, and the obstacles.

use std::collections::BTreeSet;

use serde_json::Value;
use service_nats::jetstream::StreamInfo;

use super::places::Place;
use super::safe::is_elsewhere;
use super::survey::Survey;

/// A stream that exists nowhere else and whose place is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    /// Its name.
    pub(crate) name: String,
    /// Its origin.
    pub(crate) from: Place,
    /// Its destination.
    pub(crate) to: Place,
}

/// What has to happen to streams before their places are removed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The moves, in the order of places and names.
    pub(crate) moves: Vec<Move>,
    /// Streams of which only the name is known.
    pub(crate) unknown: Vec<(Place, String)>,
    /// Descriptions of streams that cannot be moved.
    pub(crate) obstacles: Vec<String>,
}

/// Plans the moves. Streams that also exist elsewhere are not moved.
pub(crate) fn plan(survey: &Survey, stay: &BTreeSet<Place>) -> Plan {
    let to = if stay.contains(&Place::Hub) {
        Place::Hub
    } else {
        Place::First
    };
    let mut plan = Plan::default();
    let mut coming: Vec<(&Place, &StreamInfo)> = Vec::new();
    for (place, holding) in survey.iter().filter(|(place, _)| !stay.contains(place)) {
        for name in &holding.unknown {
            let reason = holding.reason.as_deref().unwrap_or("it is not known");
            let text = format!("`{name}` of {}: {reason}", place.shown());
            plan.obstacles.push(text);
            plan.unknown.push((place.clone(), name.clone()));
        }
        for stream in &holding.streams {
            if !is_elsewhere(place, stream, survey, stay) {
                coming.push((place, stream));
            }
        }
    }
    for (index, (place, stream)) in coming.iter().enumerate() {
        let others = coming
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let others: Vec<&StreamInfo> = others.map(|(_, (_, other))| *other).collect();
        if let Some(reason) = obstacle(stream, &others, survey, &to) {
            let text = format!("`{}` of {}: {reason}", stream.name(), place.shown());
            plan.obstacles.push(text);
        }
        plan.moves.push(Move {
            name: stream.name().to_owned(),
            from: (*place).clone(),
            to: to.clone(),
        });
    }
    plan
}

/// Returns why a stream cannot be moved, if it cannot.
fn obstacle(
    stream: &StreamInfo,
    others: &[&StreamInfo],
    survey: &Survey,
    to: &Place,
) -> Option<String> {
    if stream.config["sealed"] == true {
        return Some("it is sealed".to_owned());
    }
    if let Some(origin) = stream.config["mirror"]["name"].as_str() {
        return Some(format!(
            "it is a mirror of `{origin}` and holds what that does not"
        ));
    }
    let there = survey.get(to).map(|holding| &holding.streams[..]);
    let there: Vec<&StreamInfo> = there.into_iter().flatten().collect();
    if there.iter().any(|other| other.name() == stream.name()) {
        return Some(format!("{} has a stream of that name", to.shown()));
    }
    if others.iter().any(|other| other.name() == stream.name()) {
        return Some("two of that name would be moved".to_owned());
    }
    for other in there.iter().chain(others) {
        if overlap(&stream.subjects(), &other.subjects()) {
            return Some(format!("`{}` has the same subjects", other.name()));
        }
    }
    // Measured with 2.15: if its sources are set again, it copies all of them again.
    let source = stream.config["sources"][0]["name"].as_str();
    if let Some(name) = source {
        return Some(format!(
            "it collects from `{name}`, and would collect all of it again"
        ));
    }
    None
}

fn overlap(these: &[String], those: &[String]) -> bool {
    these
        .iter()
        .any(|this| those.iter().any(|that| collide(this, that)))
}

/// Whether one message could match both subjects, including wildcards.
fn collide(this: &str, that: &str) -> bool {
    let (mut these, mut those) = (this.split('.'), that.split('.'));
    loop {
        match (these.next(), those.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Returns the configuration of a stream at its destination.
pub(crate) fn at_destination(config: &Value, replicas_max: u64) -> Value {
    let mut config = config.clone();
    let replicas = config["num_replicas"].as_u64().unwrap_or(1);
    config["num_replicas"] = replicas.clamp(1, replicas_max).into();
    // Tags and clusters of one place have no meaning at another.
    if let Some(config) = config.as_object_mut() {
        config.remove("placement");
    }
    config
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::safe::tests::{stream, survey};
    use super::*;

    #[test]
    fn subjects_collide_as_the_server_sees_it() {
        for (a, b) in [
            ("a", "a"),
            ("a.*", "a.b"),
            ("a.>", "a.b.c"),
            (">", "x"),
            ("*.b", "a.*"),
        ] {
            assert!(collide(a, b) && collide(b, a), "{a} {b}");
        }
        for (a, b) in [("a", "b"), ("a.*", "a"), ("a.>", "a"), ("a.*.c", "a.b.d")] {
            assert!(!collide(a, b) && !collide(b, a), "{a} {b}");
        }
    }

    #[test]
    fn replicas_fit_the_destination() {
        let config = json!({"name": "A", "num_replicas": 3, "placement": {"tags": ["x"]}});
        let there = at_destination(&config, 1);
        assert_eq!(there, json!({"name": "A", "num_replicas": 1}));
        assert_eq!(at_destination(&config, 5)["num_replicas"], 3);
    }

    fn plain(name: &str, subject: &str) -> StreamInfo {
        stream(&json!({"name": name, "subjects": [subject]}), 1)
    }

    fn lhr() -> Place {
        Place::Leaf("nats-leaf-lhr".to_owned())
    }

    #[test]
    fn streams_go_to_the_hub_while_there_is_one() {
        let holdings = vec![
            (Place::First, vec![]),
            (Place::Hub, vec![plain("H", "h")]),
            (lhr(), vec![plain("L", "l")]),
        ];
        let survey = survey(holdings);
        let found = plan(&survey, &[Place::First, Place::Hub].into());
        assert_eq!(found.obstacles, [""; 0]);
        assert_eq!((found.moves.len(), &found.moves[0].to), (1, &Place::Hub));
        let found = plan(&survey, &[Place::First].into());
        assert_eq!(found.obstacles, [""; 0]);
        assert_eq!((found.moves.len(), &found.moves[1].to), (2, &Place::First));
    }

    #[test]
    fn what_stands_against_it_is_named() {
        let source = json!({"name": "S", "subjects": ["s"], "sources": [{"name": "Z"}]});
        let mirror = json!({"name": "M", "mirror": {"name": "A", "external": {"api": "x"}}});
        for (moved, expected) in [
            (plain("A", "x"), "`nats` has a stream of that name"),
            (plain("X", "a.b"), "`A` has the same subjects"),
            (
                stream(&json!({"name": "X", "sealed": true}), 1),
                "it is sealed",
            ),
            (stream(&mirror, 1), "a mirror of `A`"),
            (stream(&source, 1), "it collects from `Z`"),
        ] {
            let there = vec![plain("A", "a.*")];
            let survey = survey(vec![(Place::First, there), (Place::Hub, vec![moved])]);
            let found = plan(&survey, &[Place::First].into());
            let text = found.obstacles.join("\n");
            assert!(text.contains(expected), "{text}");
        }
        let twice = vec![
            (Place::Hub, vec![plain("A", "a")]),
            (lhr(), vec![plain("A", "b")]),
        ];
        let found = plan(&survey(twice), &[Place::First].into());
        assert_eq!(found.obstacles.len(), 2, "{:?}", found.obstacles);
    }
}
