//! Metrics of stages: one for each field of `stats` that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use serde_json::Value;

use super::Figures;
use super::write::{Labels, family, gauge};

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
    "records",
    "restarts",
    "samples",
    "swallowed",
    "swaps",
    "swaps-confirmed",
    "swaps-rejected",
    "swaps-rolled-back",
    "untouched",
    "updated",
    "windows",
    "without-result",
    "written",
];
/// Chains that a watchdog has abandoned in all. The name of a counter ends in `_total` by itself, and without it it is another field's.
const ALL_ABANDONED: &str = "abandoned-total";
/// Fields of `stats` that say how things are.
const STANDING: &[&str] = &[
    "abandoned",
    "confirmed",
    "engine-batch",
    "engine-users",
    "exhausted",
    "forced",
    "in-flight",
    "learned",
    "live",
    "lost",
    "nodes-on-cpu",
    "pictures-per-run",
];
/// What `vigildrift` counts of frames that a model looked at, under the names of the model's own stage. Both would count twice; what
/// `vigildrift` knows of them is in `vigil_model_*`.
const OF_THE_MODEL: &[&str] = &["fresh", "objects"];
/// Fields of `stats` that begin so are the time that a watchdog has spent in the mode that follows, nanoseconds.
const IN_MODE: &str = "time-";
/// Fields of `stats` that are times end with one of these, nanoseconds.
const TIMES: &[&str] = &["-median", "-p95", "-p99", "-max"];

impl Figures {
    /// What stages and watchdogs say in `stats`, one metric for each field.
    pub(super) fn encode_stages(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut values: BTreeMap<&str, Vec<(Labels, f64)>> = BTreeMap::new();
        for camera in &self.cameras {
            for (stage, stats) in &camera.stages {
                // What `vigilinfer` has under this name is the process's: it is told once.
                let of_process = |field: &str| field == "abandoned" && stats.get(ALL_ABANDONED).is_none();
                let is_drift = stats.get("recent-predictions").is_some();
                let of_others = |field: &str| of_process(field) || is_drift && OF_THE_MODEL.contains(&field);
                for (field, value) in stats.as_object().into_iter().flatten() {
                    let Some(value) = number(value).filter(|_| !of_others(field)) else { continue };
                    let labels = vec![("camera", camera.id.clone()), ("stage", stage.clone())];
                    values.entry(field.as_str()).or_default().push((labels, value));
                }
            }
        }
        let (counted, standing) = (BTreeSet::from_iter(COUNTED), BTreeSet::from_iter(STANDING));
        let mut modes = Vec::new();
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
            } else if let Some(mode) = field.strip_prefix(IN_MODE) {
                modes.extend(samples.into_iter().map(|(mut labels, value)| {
                    labels.push(("mode", mode.to_owned()));
                    (labels, ConstCounter::new(value / 1e9))
                }));
            }
        }
        family(encoder, "vigil_stage_mode_seconds", "Time that the watchdog has spent in each mode", modes)
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(*value)),
        value => value.as_f64(),
    }
}
