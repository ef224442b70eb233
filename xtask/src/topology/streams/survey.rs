//! What streams there are, everywhere: asked of the servers, or looked up on disk.

use std::collections::{BTreeMap, BTreeSet};

use service_nats::jetstream::StreamInfo;

use super::places::{Place, Places};

/// The streams of one place.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Those that the place itself told of.
    pub(crate) streams: Vec<StreamInfo>,
    /// Those that are known by name alone.
    pub(crate) unknown: BTreeSet<String>,
    /// Why, if anything is.
    pub(crate) reason: Option<String>,
}

/// The streams of all places.
pub(crate) type Survey = BTreeMap<Place, Holding>;

impl Holding {
    /// One of its streams.
    pub(crate) fn get(&self, name: &str) -> Option<&StreamInfo> {
        self.streams.iter().find(|stream| stream.name() == name)
    }

    /// Only what is on disk.
    pub(crate) fn on_disk(places: &Places<'_>, place: &Place, reason: String) -> Self {
        Self {
            streams: Vec::new(),
            unknown: places.on_disk(place),
            reason: Some(reason),
        }
    }
}

/// Asks every place. One that does not answer is looked up on disk.
pub(crate) async fn survey(places: &Places<'_>) -> Survey {
    let mut survey = Survey::new();
    for place in places.all() {
        let holding = match ask(places, &place).await {
            Ok(holding) => holding,
            Err(error) => Holding::on_disk(places, &place, format!("{error:#}")),
        };
        survey.insert(place, holding);
    }
    survey
}

async fn ask(places: &Places<'_>, place: &Place) -> anyhow::Result<Holding> {
    let js = places.connect(place).await?;
    // Names come from whoever leads the hub, the rest from the leader of each stream, if it has
    // one: what has none must not be overlooked.
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
