//! Finds all streams, by asking the servers or from their files on disk.

use std::collections::{BTreeMap, BTreeSet};

use service_nats::jetstream::StreamInfo;

use super::places::{Place, Places};

/// The streams of one place.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Streams that the place itself reported.
    pub(crate) streams: Vec<StreamInfo>,
    /// Streams of which only the name is known.
    pub(crate) unknown: BTreeSet<String>,
    /// Why only the name is known, if there are such.
    pub(crate) reason: Option<String>,
}

/// The streams of all places.
pub(crate) type Survey = BTreeMap<Place, Holding>;

impl Holding {
    /// Returns one of its streams.
    pub(crate) fn get(&self, name: &str) -> Option<&StreamInfo> {
        self.streams.iter().find(|stream| stream.name() == name)
    }

    /// Adds what the same place reported shortly before.
    fn widen(&mut self, before: &Self) {
        for stream in &mut self.streams {
            let earlier = before.get(stream.name());
            // A stream that was created again meanwhile is another one.
            if let Some(earlier) = earlier.filter(|earlier| earlier.created == stream.created) {
                let state = &mut stream.state;
                state.first_seq = state.first_seq.min(earlier.state.first_seq);
                state.messages = state.messages.max(earlier.state.messages);
            }
        }
    }

    /// Returns only what is on disk.
    pub(crate) fn on_disk(places: &Places<'_>, place: &Place, reason: String) -> Self {
        Self {
            streams: Vec::new(),
            unknown: places.on_disk(place),
            reason: Some(reason),
        }
    }
}

/// Asks every place. For a place that does not answer, its files are read.
///
/// Places that `stay` are asked before the others and again after them: their content is then
/// reported from the first message before to the last one after, so that a mirror that follows them
/// closely is recognised as having nothing else.
pub(crate) async fn survey(places: &Places<'_>, stay: &BTreeSet<Place>) -> Survey {
    let all = places.all();
    let (mut before, mut survey) = (Survey::new(), Survey::new());
    let staying = all.iter().filter(|place| stay.contains(place));
    let going = all.iter().filter(|place| !stay.contains(place));
    for place in staying.clone() {
        before.insert(place.clone(), look(places, place).await);
    }
    for place in going.chain(staying) {
        let mut holding = look(places, place).await;
        if let Some(before) = before.get(place) {
            holding.widen(before);
        }
        survey.insert(place.clone(), holding);
    }
    survey
}

async fn look(places: &Places<'_>, place: &Place) -> Holding {
    match ask(places, place).await {
        Ok(holding) => holding,
        Err(error) => Holding::on_disk(places, place, format!("{error:#}")),
    }
}

async fn ask(places: &Places<'_>, place: &Place) -> anyhow::Result<Holding> {
    let js = places.connect(place).await?;
    // The leader of the hub reports the names, the leader of each stream the rest. A stream without
    // a leader must not be overlooked.
    let names = js.stream_names().await?;
    let streams = js.streams().await?;
    let known: BTreeSet<&str> = streams.iter().map(StreamInfo::name).collect();
    let unknown: BTreeSet<String> = names
        .into_iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    let reason = (!unknown.is_empty()).then(|| "no server leads it".to_owned());
    Ok(Holding {
        streams,
        unknown,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::safe::tests::stream;
    use super::*;

    #[test]
    fn what_went_between_two_looks_counts() {
        let holding = |first, count| {
            let mut stream = stream(&json!({"name": "A"}), count);
            stream.state.first_seq = first;
            Holding {
                streams: vec![stream],
                ..Holding::default()
            }
        };
        let mut after = holding(9, 3);
        after.widen(&holding(5, 4));
        let state = &after.streams[0].state;
        assert_eq!((state.first_seq, state.messages, state.last_seq), (5, 4, 3));
    }
}
