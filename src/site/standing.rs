//! How a camera stands among its peers, as it is told: by events, by the API, by `vigil fleet watch`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::drift::{CameraKey, PeerReport, PeerState, Stretch};

/// How a camera stands among its peers: cameras with the same profile and model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PeerStanding")]
pub struct Standing {
    /// `unknown`: it has not said enough; `alone`: it has too few peers; `normal`: as they are; `odd`: not as they are.
    #[schemars(with = "String", extend("enum" = ["unknown", "alone", "normal", "odd"]))]
    pub state: PeerState,
    /// How far it is away from them. 0: at the median; 1 or more: as far as is odd. The state follows once that has lasted.
    pub score: f64,
    /// The others that it was compared with.
    pub peers: usize,
    /// Over which time: `newest`: the newest windows of `vigildrift`, an hour with its defaults; `long`: 6 to 12 hours.
    #[schemars(with = "String", extend("enum" = ["newest", "long"]))]
    pub stretch: Stretch,
    /// The figure in which it differs most, or why it was not compared, in words.
    pub text: String,
}

impl From<&PeerReport> for Standing {
    fn from(report: &PeerReport) -> Self {
        let (state, score, peers, stretch) = (report.state, report.score, report.peers, report.stretch);
        let text = match (report.evidence(), state) {
            (text, _) if !text.is_empty() => text,
            (_, PeerState::Alone) => "it has too few peers of its profile and model now".to_owned(),
            _ => "it has not said enough to be compared".to_owned(),
        };
        Self { state, score, peers, stretch, text }
    }
}

/// Of a report, with these fields more.
fn object(report: &PeerReport, more: &[(&str, &str)]) -> Map<String, Value> {
    let standing = serde_json::to_value(Standing::from(report)).unwrap_or_default();
    let mut fields = if let Value::Object(fields) = standing { fields } else { Map::new() };
    fields.extend(more.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))));
    fields
}

/// What an event `vigil-peers` of the camera's own gateway tells: the standing, and the state before.
pub fn event(report: &PeerReport) -> Value {
    object(report, &[("before", report.before.as_str())]).into()
}

/// The standing of a camera among those of many gateways: with what names it, and its model.
pub fn named(report: &PeerReport) -> Map<String, Value> {
    let CameraKey { gateway, camera, profile } = &report.key;
    object(report, &[("gateway", gateway), ("camera", camera), ("profile", profile), ("digest", &report.digest)])
}

/// The report of a camera that was odd, and about which nothing is known any more.
pub fn forgotten(key: &CameraKey, digest: &str) -> PeerReport {
    PeerReport {
        key: key.clone(),
        digest: digest.to_owned(),
        state: PeerState::Unknown,
        before: PeerState::Odd,
        score: 0.0,
        peers: 0,
        aspect: None,
        figure: None,
        stretch: Stretch::Newest,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_places_tell_the_same_of_a_camera() {
        let key = CameraKey { gateway: "yard".into(), camera: "gate".into(), profile: "street".into() };
        let mut report = PeerReport { state: PeerState::Alone, peers: 2, ..forgotten(&key, "ab") };
        let told = json!({ "state": "alone", "score": 0.0, "peers": 2, "stretch": "newest",
            "text": "it has too few peers of its profile and model now" });
        assert_eq!(serde_json::to_value(Standing::from(&report)).unwrap(), told);
        let with = |more: Value| {
            let both = told.as_object().unwrap().iter().chain(more.as_object().unwrap());
            Value::Object(both.map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        assert_eq!(event(&report), with(json!({ "before": "odd" })));
        let names = json!({ "gateway": "yard", "camera": "gate", "profile": "street", "digest": "ab" });
        assert_eq!(Value::from(named(&report)), with(names));
        report.state = PeerState::Unknown;
        assert_eq!(Standing::from(&report).text, "it has not said enough to be compared");
    }

    #[test]
    fn its_schema_has_the_words_that_there_are() {
        let schema = schemars::schema_for!(Standing);
        let words = |field: &str| schema.as_value()["properties"][field]["enum"].as_array().unwrap().clone();
        for state in [PeerState::Unknown, PeerState::Alone, PeerState::Normal, PeerState::Odd] {
            assert!(words("state").contains(&json!(state)), "{state:?}");
        }
        for stretch in [Stretch::Newest, Stretch::Long] {
            assert!(words("stretch").contains(&json!(stretch)), "{stretch:?}");
        }
    }
}
