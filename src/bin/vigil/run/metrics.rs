//! Figures for Prometheus: read from the site when they are asked for, so that nothing is counted twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Error;
use std::sync::Arc;

use gstvigil::site::status::{CameraStatus, OutputStatus, State, TileStatus};
use gstvigil::telemetry::processor_time;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::shared::Shared;

/// Figures of the process.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Process {
    /// Memory that is in use, bytes.
    pub resident_memory_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and connections.
    pub open_files: u64,
    /// Processor time since the start, nanoseconds.
    pub processor_time_ns: u64,
}

impl Process {
    /// As it is now; zeros where the system does not tell.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            resident_memory_bytes: field("VmRSS:").unwrap_or_default().saturating_mul(1024),
            threads: field("Threads:").unwrap_or_default(),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            processor_time_ns: u64::try_from(processor_time().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// Fields of `stats` that count since the element was made. Everything else in `stats` is no counter.
const COUNTED: &[&str] = &[
    ALL_ABANDONED,
    "analysed",
    "absent",
    "bypassed",
    "bytes",
    "created",
    "dropped",
    "dropped-non-finite",
    "dropped-values",
    "duplicates",
    "engine-restarts",
    "errors",
    "established",
    "frames",
    "frames-in",
    "frames-out",
    "fresh",
    "held",
    "held-budget",
    "held-busy",
    "held-interval",
    "held-turn",
    "late",
    "objects",
    "predicted",
    "restarts",
    "swallowed",
    "swaps",
    "swaps-confirmed",
    "swaps-rejected",
    "swaps-rolled-back",
    "untouched",
    "updated",
    "without-result",
    "written",
];
/// Chains that a watchdog has abandoned in all. The name of a counter ends in `_total` by itself, and without it it is another field's.
const ALL_ABANDONED: &str = "abandoned-total";
/// Fields of `stats` that say how things are.
const STANDING: &[&str] =
    &["abandoned", "confirmed", "engine-batch", "exhausted", "in-flight", "live", "lost", "pictures-per-run"];
/// Fields of `stats` that are times end with one of these, nanoseconds.
const TIMES: &[&str] = &["-median", "-p99", "-max"];

/// All figures, in the OpenMetrics text format.
///
/// # Errors
/// If the text cannot be written.
pub fn text(shared: &Arc<Shared>) -> Result<String, Error> {
    let report = shared.report().clone();
    let figures = Figures {
        cameras: shared.site.cameras(),
        tiles: shared.site.tiles(),
        process: Process::now(),
        abandoned: gstvigil::engine::lanes::abandoned_runs(),
        started: shared.started_ns as f64 / 1e9,
        ready: shared.is_ready(),
        reloads: report.reloads,
        taken: report.reading.is_none_or(|reading| reading.taken),
        lacks: report.lacks.len(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Figures {
    cameras: Vec<CameraStatus>,
    tiles: Vec<TileStatus>,
    process: Process,
    abandoned: usize,
    started: f64,
    ready: bool,
    reloads: [u64; 2],
    taken: bool,
    lacks: usize,
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Writes one metric with all of its samples.
fn family<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<'static>, M)>,
) -> Result<(), Error> {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, M::TYPE)?;
    samples.try_for_each(|(labels, value)| value.encode(metric.encode_family(&labels)?))
}

/// Writes a metric that there is one of.
fn single<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: M,
) -> Result<(), Error> {
    value.encode(encoder.encode_descriptor(name, help, None, M::TYPE)?)
}

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}

fn flag(value: bool) -> ConstGauge<f64> {
    gauge(f64::from(value))
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        self.encode_gateway(encoder)?;
        self.encode_cameras(encoder)?;
        self.encode_outputs(encoder)?;
        self.encode_stages(encoder)
    }
}

impl Figures {
    fn encode_gateway(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let build = [(vec![("version", gstvigil::VERSION.to_owned())], gauge(1.0))];
        family(encoder, "vigil_build_info", "Vigil's version", build)?;
        single(encoder, "vigil_ready", "Whether all cameras were started (0 or 1)", flag(self.ready))?;
        single(encoder, "vigil_cameras", "Cameras of the site", gauge(self.cameras.len() as f64))?;
        let readings = [("taken", self.reloads[0]), ("refused", self.reloads[1])]
            .map(|(result, count)| (vec![("result", result.to_owned())], ConstCounter::new(count)));
        family(encoder, "vigil_description_readings", "How often the description was read", readings)?;
        let help = "Whether what the description says is what runs (0 or 1)";
        single(encoder, "vigil_description_taken", help, flag(self.taken))?;
        let help = "Runs of engines in this process that were abandoned and have not come back";
        single(encoder, "vigil_abandoned_runs", help, gauge(self.abandoned as f64))?;
        let help = "Things that the machine lacks for what runs";
        single(encoder, "vigil_machine_lacks", help, gauge(self.lacks as f64))?;
        single(encoder, "process_start_time_seconds", "Start of the process, Unix time", gauge(self.started))?;
        let memory = gauge(self.process.resident_memory_bytes as f64);
        single(encoder, "process_resident_memory_bytes", "Memory in use", memory)?;
        single(encoder, "process_threads", "Threads", gauge(self.process.threads as f64))?;
        single(encoder, "process_open_fds", "Open files and connections", gauge(self.process.open_files as f64))?;
        let time = ConstCounter::new(self.process.processor_time_ns as f64 / 1e9);
        single(encoder, "process_cpu_seconds", "Processor time", time)
    }

    /// A value of each camera.
    fn each<M>(&self, value: impl Fn(&CameraStatus) -> M) -> Vec<(Labels<'static>, M)> {
        self.cameras.iter().map(|camera| (vec![("camera", camera.id.clone())], value(camera))).collect()
    }

    fn encode_cameras(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
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

    fn encode_outputs(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let of_cameras = self.cameras.iter().map(|camera| ("camera", &camera.id, &camera.outputs));
        let of_tiles = self.tiles.iter().map(|tile| ("tile", &tile.name, &tile.outputs));
        let all: Vec<(Labels<'static>, &OutputStatus)> = of_cameras
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

    /// What stages and watchdogs say in `stats`, one metric for each field.
    fn encode_stages(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut values: BTreeMap<&str, Vec<(Labels<'static>, f64)>> = BTreeMap::new();
        for camera in &self.cameras {
            for (stage, stats) in &camera.stages {
                // What `vigilinfer` has under this name is the process's: it is told once.
                let of_process = |field: &str| field == "abandoned" && stats.get(ALL_ABANDONED).is_none();
                for (field, value) in stats.as_object().into_iter().flatten() {
                    let Some(value) = number(value).filter(|_| !of_process(field)) else { continue };
                    let labels = vec![("camera", camera.id.clone()), ("stage", stage.clone())];
                    values.entry(field.as_str()).or_default().push((labels, value));
                }
            }
        }
        let (counted, standing) = (BTreeSet::from_iter(COUNTED), BTreeSet::from_iter(STANDING));
        for (field, samples) in values {
            let name = if field == ALL_ABANDONED { "chains-abandoned" } else { field };
            let name = format!("vigil_stage_{}", name.replace('-', "_"));
            let help = format!("`{field}` of the stage's `stats`");
            if counted.contains(&field) {
                let samples = samples.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value as u64)));
                family(encoder, &name, &help, samples)?;
            } else if standing.contains(&field) {
                let samples = samples.into_iter().map(|(labels, value)| (labels, gauge(value)));
                family(encoder, &name, &help, samples)?;
            } else if TIMES.iter().any(|end| field.ends_with(end)) {
                let samples = samples.into_iter().map(|(labels, value)| (labels, gauge(value / 1e9)));
                family(encoder, &format!("{name}_seconds"), &help, samples)?;
            }
        }
        Ok(())
    }
}

/// The words of states.
const STATES: [(State, &str); 6] = [
    (State::Disabled, "disabled"),
    (State::Starting, "starting"),
    (State::Playing, "playing"),
    (State::Lost, "lost"),
    (State::Ended, "ended"),
    (State::Failed, "failed"),
];

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(*value)),
        value => value.as_f64(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_have_the_names_and_units_that_prometheus_expects() {
        let output = OutputStatus {
            kind: "rtsp".into(),
            target: "/gate".into(),
            active: false,
            frames: 5,
            dropped: 1,
            error: "no".into(),
        };
        let stats =
            json!({ "frames": 7, "run-p99": 2_500_000, "mode": "analysing", "since": 9, "abandoned": 4, "swaps": 3 });
        let watchdog = json!({ "exhausted": true, "abandoned": 1, "abandoned-total": 2 });
        let camera = CameraStatus {
            id: "gate".into(),
            state: State::Playing,
            since_ns: 1,
            reason: None,
            text: String::new(),
            uri: "test:ball".into(),
            profile: String::new(),
            size: [640, 360],
            frames: 12,
            fps: 25.0,
            last_frame_age_ns: Some(40_000_000),
            reconnects: 2,
            next_try_in_ns: None,
            stages: [("infer".to_owned(), stats), ("watchdog".to_owned(), watchdog)].into(),
            outputs: vec![output.clone()],
        };
        let tile = TileStatus { name: "all".into(), cameras: Vec::new(), size: [1, 1], outputs: vec![output] };
        let figures = Figures {
            cameras: vec![camera],
            tiles: vec![tile],
            process: Process::now(),
            abandoned: 4,
            started: 5.5,
            ready: true,
            reloads: [1, 2],
            taken: false,
            lacks: 2,
        };
        assert!(figures.process.threads > 0 && figures.process.resident_memory_bytes > 0);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(figures));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "vigil_ready 1.0",
            "vigil_machine_lacks 2.0",
            "vigil_description_readings_total{result=\"refused\"} 2",
            "vigil_camera_up{camera=\"gate\"} 1.0",
            "vigil_camera_state{camera=\"gate\",state=\"lost\"} 0.0",
            "vigil_camera_frames_total{camera=\"gate\"} 12",
            "vigil_camera_reconnects_total{camera=\"gate\"} 2",
            "vigil_camera_last_frame_age_seconds{camera=\"gate\"} 0.04",
            "vigil_output_failing{camera=\"gate\",output=\"0\",kind=\"rtsp\"} 1.0",
            "vigil_output_dropped_frames_total{tile=\"all\",output=\"0\",kind=\"rtsp\"} 1",
            "vigil_stage_frames_total{camera=\"gate\",stage=\"infer\"} 7",
            "vigil_stage_run_p99_seconds{camera=\"gate\",stage=\"infer\"} 0.0025",
            "vigil_stage_swaps_total{camera=\"gate\",stage=\"infer\"} 3",
            "vigil_stage_exhausted{camera=\"gate\",stage=\"watchdog\"} 1.0",
            "vigil_stage_chains_abandoned_total{camera=\"gate\",stage=\"watchdog\"} 2",
            "vigil_stage_abandoned{camera=\"gate\",stage=\"watchdog\"} 1.0",
            "vigil_abandoned_runs 4.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("vigil_stage_abandoned{")).count(), 1, "{text}");
        assert!(!text.contains("_total_total") && !text.contains("since") && !text.contains("mode"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
