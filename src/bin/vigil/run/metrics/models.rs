//! Metrics of models: which one a camera uses, what it finds, whether that is as usual.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Error;

use gstvigil::drift::{CONFIDENCE_BINS, COUNT_EDGES, PeerState, State, Summary};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use serde_json::Value;

use super::Figures;
use super::write::{Bins, Labels, family, gauge, one_of};

const DRIFT_STATES: [&str; 4] =
    [State::Unknown.as_str(), State::Learning.as_str(), State::Stable.as_str(), State::Drifting.as_str()];
const PEER_STATES: [&str; 4] =
    [PeerState::Unknown.as_str(), PeerState::Alone.as_str(), PeerState::Normal.as_str(), PeerState::Odd.as_str()];

fn of_camera(id: &str) -> Labels {
    vec![("camera", id.to_owned())]
}

/// How many objects there are of each label. Those whose label is not counted by name are `other`, as are those of that name.
fn by_label(summary: &Summary) -> BTreeMap<&str, u64> {
    let mut counts: BTreeMap<&str, u64> = summary.classes().collect();
    let other = counts.entry("other").or_default();
    *other = other.saturating_add(summary.other());
    counts
}

/// Confidence, in bins of equal width. Bins are closed below, so that a confidence of exactly a bound counts as above it.
fn confidences(summary: &Summary) -> Bins {
    let (counts, sum) = summary.confidences();
    let bounds = (1..).map(|bin| f64::from(bin) / CONFIDENCE_BINS as f64);
    // The last bin ends at 1, above which there is nothing.
    Bins { bins: bounds.zip(counts.iter().copied()).chain([(f64::INFINITY, 0)]).collect(), sum }
}

/// Objects on a frame.
fn frame_objects(summary: &Summary) -> Bins {
    let bounds = COUNT_EDGES.iter().skip(1).map(|edge| edge.saturating_sub(1) as f64).chain([f64::INFINITY]);
    Bins { bins: bounds.zip(summary.frame_counts().iter().copied()).collect(), sum: summary.objects() as f64 }
}

impl Figures {
    /// The first stage of each camera that has this field, and the field's text.
    fn stages_with<'a>(&'a self, field: &'a str) -> impl Iterator<Item = (&'a str, &'a Value, &'a str)> {
        self.cameras.iter().filter_map(move |camera| {
            let found = |stats: &'a Value| Some((camera.id.as_str(), stats, stats.get(field)?.as_str()?));
            camera.stages.values().find_map(found)
        })
    }

    pub(super) fn encode_models(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let infos: BTreeSet<Labels> = self
            .cameras
            .iter()
            .flat_map(|camera| {
                camera.stages.values().filter_map(|stats| {
                    let text = |field: &str| stats.get(field).and_then(Value::as_str).map(str::to_owned);
                    let (model, provider) = (text("model")?, text("provider")?);
                    let release = text("release").unwrap_or_default();
                    let labels = [("model", model), ("release", release), ("provider", provider)];
                    Some(of_camera(&camera.id).into_iter().chain(labels).collect())
                })
            })
            .collect();
        let infos = infos.into_iter().map(|labels| (labels, gauge(1.0)));
        family(encoder, "vigil_model_info", "Model of the camera: 1 for the one that it uses", infos)?;

        let summaries: Vec<(&str, Summary)> = self
            .stages_with("predictions")
            .filter_map(|(camera, _, text)| Some((camera, serde_json::from_str(text).ok()?)))
            .collect();
        let all = || summaries.iter().map(|(camera, summary)| (of_camera(camera), summary));
        let objects = all().flat_map(|(labels, summary)| {
            by_label(summary).into_iter().map(move |(label, count)| {
                (labels.iter().cloned().chain([("label", label.to_owned())]).collect(), ConstCounter::new(count))
            })
        });
        family(encoder, "vigil_model_objects", "Objects that the model found, by label", objects)?;
        let empty = all().map(|(labels, summary)| (labels, ConstCounter::new(summary.empty_frames())));
        family(encoder, "vigil_model_empty_frames", "Frames on which the model found nothing", empty)?;
        let confidence = all().map(|(labels, summary)| (labels, confidences(summary)));
        let help = "Confidence of the objects that the model found (0 to 1)";
        family(encoder, "vigil_model_confidence_ratio", help, confidence)?;
        let found = all().map(|(labels, summary)| (labels, frame_objects(summary)));
        family(encoder, "vigil_model_frame_objects", "Objects that the model found on a frame", found)
    }

    pub(super) fn encode_drift(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let drifts = || {
            self.stages_with("predictions").filter_map(|(camera, stats, _)| {
                Some((camera, stats.get("state")?.as_str()?, stats.get("score")?.as_f64()?))
            })
        };
        let scores = drifts().map(|(camera, _, score)| (of_camera(camera), gauge(score)));
        let help = "How far the model's predictions are from the baseline: 1 or more is drift";
        family(encoder, "vigil_drift_score", help, scores)?;
        let states = drifts().flat_map(|(camera, state, _)| one_of(&of_camera(camera), "state", &DRIFT_STATES, state));
        let help = "Whether the model's predictions are as they used to be: 1 for the state that holds";
        family(encoder, "vigil_drift_state", help, states)?;
        let scores = self.peers.iter().map(|(camera, report)| (of_camera(camera), gauge(report.score)));
        family(encoder, "vigil_peer_score", "How far the camera is from its peers: 1 or more is odd", scores)?;
        let states = self
            .peers
            .iter()
            .flat_map(|(camera, report)| one_of(&of_camera(camera), "state", &PEER_STATES, report.state.as_str()));
        let help = "How the camera stands among its peers: 1 for the state that holds";
        family(encoder, "vigil_peer_state", help, states)
    }
}
