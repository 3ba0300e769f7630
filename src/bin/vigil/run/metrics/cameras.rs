//! Metrics of cameras and of outputs.

use std::collections::BTreeMap;
use std::fmt::Error;

use gstvigil::site::status::{CameraStatus, OutputStatus, State};
use gstvigil::telemetry::histogram::LATENCY_BOUNDS_NS;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use serde_json::Value;

use super::Figures;
use super::write::{Bins, Labels, family, flag, gauge, one_of};

/// The words of states.
const STATES: [(State, &str); 6] = [
    (State::Disabled, "disabled"),
    (State::Starting, "starting"),
    (State::Playing, "playing"),
    (State::Lost, "lost"),
    (State::Ended, "ended"),
    (State::Failed, "failed"),
];
/// Modes of watchdogs.
const MODES: [&str; 3] = ["analysing", "bypassing", "recovering"];
/// Parts of the analysis whose times `vigilinfer` tells in `stats`.
const PARTS: [&str; 5] = ["pre", "queue", "run", "post", "total"];
/// The same of watchdogs, and what it is called here.
const CHAIN: (&str, &str) = ("chain-time", "chain");

impl Figures {
    /// A value of each camera.
    fn each<M>(&self, value: impl Fn(&CameraStatus) -> M) -> Vec<(Labels, M)> {
        self.cameras.iter().map(|camera| (vec![("camera", camera.id.clone())], value(camera))).collect()
    }

    pub(super) fn encode_cameras(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let up = self.each(|camera| flag(camera.state == State::Playing));
        family(encoder, "vigil_camera_up", "Whether the camera's pictures come (0 or 1)", up)?;
        let states = self.cameras.iter().flat_map(|camera| {
            STATES.iter().map(|(state, word)| {
                let labels = vec![("camera", camera.id.clone()), ("state", (*word).to_owned())];
                (labels, flag(camera.state == *state))
            })
        });
        family(encoder, "vigil_camera_state", "The camera's state: 1 for the one that it is in", states)?;
        let frames = self.each(|camera| ConstCounter::new(camera.frames));
        family(encoder, "vigil_camera_frames", "Frames out of the camera's pipeline", frames)?;
        let fps = self.each(|camera| gauge(camera.fps));
        family(encoder, "vigil_camera_frames_per_second", "Frames a second over the last few seconds", fps)?;
        let reconnects = self.each(|camera| ConstCounter::new(camera.reconnects));
        family(encoder, "vigil_camera_reconnects", "How often the camera was tried again", reconnects)?;
        let age = |camera: &CameraStatus| camera.last_frame_age_ns.map(|age| gauge(age as f64 / 1e9));
        let ages = self.each(age).into_iter().filter_map(|(labels, age)| Some((labels, age?)));
        family(encoder, "vigil_camera_last_frame_age_seconds", "Age of the camera's last frame", ages)
    }

    pub(super) fn encode_outputs(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let of_cameras = self.cameras.iter().map(|camera| ("camera", &camera.id, &camera.outputs));
        let of_tiles = self.tiles.iter().map(|tile| ("tile", &tile.name, &tile.outputs));
        let all: Vec<(Labels, &OutputStatus)> = of_cameras
            .chain(of_tiles)
            .flat_map(|(what, name, outputs)| {
                (0..).zip(outputs).map(move |(number, output): (usize, _)| {
                    let labels = [(what, name.clone()), ("output", number.to_string()), ("kind", output.kind.clone())];
                    (Labels::from(labels), output)
                })
            })
            .collect();
        let outputs = || all.iter().map(|(labels, output)| (labels.clone(), *output));
        let frames = outputs().map(|(labels, output)| (labels, ConstCounter::new(output.frames)));
        family(encoder, "vigil_output_frames", "Frames that were handed to the output", frames)?;
        let dropped = outputs().map(|(labels, output)| (labels, ConstCounter::new(output.dropped)));
        family(encoder, "vigil_output_dropped_frames", "Frames that the output had no time for", dropped)?;
        let failing = outputs().map(|(labels, output)| (labels, flag(!output.error.is_empty())));
        family(encoder, "vigil_output_failing", "Whether something is wrong with the output (0 or 1)", failing)
    }

    /// What all stages of a camera together say of the way of a frame through its analysis.
    pub(super) fn encode_analysis(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let modes = self.cameras.iter().flat_map(|camera| {
            let mode = camera.stages.values().filter(|stats| stats.get("frames-in").is_some());
            let mode = mode.filter_map(|stats| stats.get("mode")?.as_str()).next();
            let labels = vec![("camera", camera.id.clone())];
            mode.map(|mode| one_of(&labels, "mode", &MODES, mode)).unwrap_or_default()
        });
        let help = "Mode of the camera's watchdog: 1 for the one that it is in";
        family(encoder, "vigil_camera_mode", help, modes)?;
        let ages = self.each(result_age).into_iter().filter_map(|(labels, age)| Some((labels, gauge(age?))));
        let help = "Age of the newest frame that the model looked at";
        family(encoder, "vigil_camera_result_age_seconds", help, ages)?;
        let latencies = self.cameras.iter().flat_map(|camera| {
            latencies(camera)
                .into_iter()
                .map(|(part, bins)| (vec![("camera", camera.id.clone()), ("part", part.to_owned())], bins))
        });
        let help = "Time that a frame spent in a part of the analysis";
        family(encoder, "vigil_latency_seconds", help, latencies)
    }
}

/// How long ago the frame came in that the model looked at last, seconds; with several models, of the one that has not looked for the
/// longest time. What a pipeline said that is gone does not age, but no result is newer than the camera's last frame.
fn result_age(camera: &CameraStatus) -> Option<f64> {
    let ages = camera.stages.values().filter_map(|stats| stats.get("result-age")?.as_u64());
    ages.max().map(|age| age.max(camera.last_frame_age_ns.unwrap_or(0)) as f64 / 1e9)
}

/// Histograms of times by part. Those of several models are counted together.
fn latencies(camera: &CameraStatus) -> BTreeMap<&'static str, Bins> {
    let mut all = BTreeMap::<&str, (Vec<u64>, u64)>::new();
    for stats in camera.stages.values() {
        for (field, part) in PARTS.map(|part| (part, part)).into_iter().chain([CHAIN]) {
            let number = |field: &str| stats.get(field).and_then(Value::as_u64);
            let counts = stats.get(format!("{field}-buckets")).and_then(Value::as_array);
            let (Some(counts), Some(sum_ns)) = (counts, number(&format!("{field}-sum"))) else { continue };
            let counts: Vec<u64> = counts.iter().filter_map(Value::as_u64).collect();
            // Those of another version's element say nothing that is known.
            if counts.len() != LATENCY_BOUNDS_NS.len() + 1 {
                continue;
            }
            let (known, sum) = all.entry(part).or_insert_with(|| (vec![0; counts.len()], 0));
            known.iter_mut().zip(counts).for_each(|(known, count)| *known = known.saturating_add(count));
            *sum = sum.saturating_add(sum_ns);
        }
    }
    let bounds = || LATENCY_BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9);
    all.into_iter().map(|(part, (counts, sum))| (part, Bins::cumulative(bounds(), &counts, sum as f64 / 1e9))).collect()
}
