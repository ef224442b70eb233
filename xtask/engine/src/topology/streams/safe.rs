//! PURE: which streams of places that are removed exist nowhere else.

use std::collections::BTreeSet;

use serde_json::Value;
use service_nats::jetstream::{StreamInfo, StreamState};

use super::places::Place;
use super::survey::Survey;

/// Keys of a mirror that exclude a part of its origin.
const PARTIAL: [&str; 4] = [
    "filter_subject",
    "subject_transforms",
    "opt_start_seq",
    "opt_start_time",
];

/// Whether the content of a stream also exists at a place that stays.
pub(crate) fn is_elsewhere(
    place: &Place,
    stream: &StreamInfo,
    survey: &Survey,
    stay: &BTreeSet<Place>,
) -> bool {
    let origin = || {
        let mirror = &stream.config["mirror"];
        let home = stay.iter().find(|home| is_api(mirror, home))?;
        survey.get(home)?.get(mirror["name"].as_str()?)
    };
    if origin().is_some_and(|origin| covers(&origin.state, &stream.state)) {
        return true;
    }
    let kept = stay.iter().filter_map(|home| survey.get(home));
    let mut kept = kept.flat_map(|holding| &holding.streams);
    kept.any(|copy| is_whole_copy(copy, place, stream))
}

/// Whether a configuration of a mirror or source refers to this place.
fn is_api(origin: &Value, place: &Place) -> bool {
    origin["external"]["api"].as_str() == Some(&place.api())
}

/// Whether `copy` mirrors all of a stream and is complete.
fn is_whole_copy(copy: &StreamInfo, place: &Place, stream: &StreamInfo) -> bool {
    let mirror = &copy.config["mirror"];
    let is_partial = PARTIAL.iter().any(|key| match &mirror[key] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    });
    let in_sync = copy.mirror.as_ref().is_some_and(|mirror| mirror.lag == 0);
    mirror["name"].as_str() == Some(stream.name())
        && is_api(mirror, place)
        && !is_partial
        && in_sync
        && covers(&copy.state, &stream.state)
}

/// Whether `whole` has at least the messages of `part`. Equal messages have equal numbers in both.
fn covers(whole: &StreamState, part: &StreamState) -> bool {
    part.messages == 0
        || (whole.first_seq <= part.first_seq
            && whole.last_seq >= part.last_seq
            && whole.messages >= part.messages)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::super::survey::Holding;
    use super::*;

    /// Returns a stream with this many messages.
    pub(crate) fn stream(config: &Value, messages: u64) -> StreamInfo {
        let lag = config["lag"].as_u64().unwrap_or_default();
        let mirror = config["mirror"]["name"].as_str();
        let mirror = mirror.map(|name| json!({"name": name, "lag": lag}));
        let info = json!({
            "config": config,
            "state": {"messages": messages, "first_seq": 1, "last_seq": messages},
            "mirror": mirror,
        });
        serde_json::from_value(info).unwrap()
    }

    /// Returns the survey of these holdings.
    pub(crate) fn survey(holdings: Vec<(Place, Vec<StreamInfo>)>) -> Survey {
        let holding = |(place, streams)| {
            let holding = Holding {
                streams,
                ..Holding::default()
            };
            (place, holding)
        };
        holdings.into_iter().map(holding).collect()
    }

    #[test]
    fn a_mirror_is_elsewhere_when_its_origin_has_all_of_it() {
        let mirror = |api: &str, count| {
            let config = json!({"name": "A", "mirror": {"name": "A", "external": {"api": api}}});
            stream(&config, count)
        };
        let origin = stream(&json!({"name": "A", "subjects": ["a"]}), 5);
        let survey = survey(vec![(Place::First, vec![origin])]);
        let stay = [Place::First].into();
        let check = |mirror: &StreamInfo| is_elsewhere(&Place::Hub, mirror, &survey, &stay);
        assert!(check(&mirror("$JS.core.API", 5)));
        assert!(check(&mirror("$JS.core.API", 4)));
        assert!(!check(&mirror("$JS.core.API", 6)), "the origin began anew");
        assert!(!check(&mirror("$JS.lhr.API", 5)), "its origin goes, too");
        assert!(!check(&stream(&json!({"name": "A"}), 5)));
    }

    #[test]
    fn a_copy_counts_when_it_is_whole_and_in_sync() {
        let leaf = Place::Leaf("nats-leaf-lhr".to_owned());
        let own = stream(&json!({"name": "A", "subjects": ["a"]}), 5);
        let check = |more: Value, count| {
            let mut config = json!({"name": "COPY",
                "mirror": {"name": "A", "external": {"api": "$JS.lhr.API"}}});
            for (key, value) in more.as_object().unwrap() {
                if key == "lag" {
                    config["lag"] = value.clone();
                } else {
                    config["mirror"][key] = value.clone();
                }
            }
            let survey = survey(vec![(Place::Hub, vec![stream(&config, count)])]);
            is_elsewhere(&leaf, &own, &survey, &[Place::First, Place::Hub].into())
        };
        assert!(check(json!({}), 5));
        assert!(!check(json!({"lag": 1}), 5));
        assert!(!check(json!({}), 4));
        assert!(!check(json!({"filter_subject": "a.b"}), 5));
        assert!(!check(json!({"opt_start_seq": 3}), 5));
        assert!(!check(json!({"external": {"api": "$JS.nrt.API"}}), 5));
    }
}
