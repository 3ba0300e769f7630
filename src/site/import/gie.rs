//! `[primary-gie]` and `[secondary-gieN]`: the models of an application.

use super::config::{Config, Group};
use super::findings::{Findings, Level};
use super::nvinfer::{self, Infer};
use crate::site::description::Scalar;

/// Reads all models, the primary one first.
pub(super) fn read(config: &mut Config, fps: f64, findings: &mut Findings) -> Vec<Infer> {
    let primary = config.take("primary-gie");
    let mut groups: Vec<(Group, bool)> = primary.into_iter().map(|group| (group, false)).collect();
    groups.extend(config.take_numbered("secondary-gie").into_iter().map(|(_, group)| (group, true)));
    let mut models: Vec<Infer> = Vec::new();
    for (group, secondary) in groups {
        models.extend(one(group, secondary, config, fps, findings));
    }
    for place in 0..models.len() {
        let Some(model) = models.get(place).filter(|model| model.secondary) else { continue };
        let found_by = |other: &&Infer| match model.operates_on {
            Some(id) => other.id == Some(id),
            None => !other.secondary,
        };
        let labels = models.iter().find(found_by).and_then(|other| other.labels.clone());
        if let (Some(labels), Some(model)) = (labels, models.get_mut(place)) {
            model.look_at(&labels);
        }
    }
    models
}

/// A model; what the application's group says is before what its own file says.
fn one(mut group: Group, secondary: bool, config: &Config, fps: f64, findings: &mut Findings) -> Option<Infer> {
    if !group.enabled(false) {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
        return None;
    }
    if let Some((_, entry)) = group.number::<i64>("plugin-type", findings).filter(|(kind, _)| *kind == 1) {
        let text = "models of a Triton server are not asked: export the model to ONNX, and make a bundle with \
                    `vigil bundle new`";
        findings.add(Level::Lost, &entry, text);
        return None;
    }
    let file = group.text("config-file").or_else(|| group.text("config-file-path"));
    let Some(file) = file else {
        findings.group(Level::Lost, &group, "it has no `config-file`: there is no model");
        return None;
    };
    let mut model = match nvinfer::read(&config.resolve(&file.value), fps, findings) {
        Ok(model) => model,
        Err(text) => {
            findings.add(Level::Lost, &file, text);
            return None;
        }
    };
    if secondary && !model.secondary {
        model.secondary = true;
        model.properties.insert("inference-region".into(), Scalar::Text("objects".into()));
    }
    if let Some((id, _)) = group.number::<i64>("gie-unique-id", findings) {
        model.id = Some(id);
    }
    if let Some((id, _)) = group.number::<i64>("operate-on-gie-id", findings).filter(|(id, _)| *id >= 0) {
        model.operates_on = Some(id);
    }
    if let Some(entry) = group.text("operate-on-class-ids") {
        model.operates_on_classes = entry.items().iter().filter_map(|id| id.parse().ok()).collect();
    }
    if let Some((interval, _)) = group.number::<i64>("interval", findings) {
        match interval {
            ..=0 => drop(model.properties.remove("interval")),
            frames => drop(model.properties.insert("interval".into(), Scalar::Integer(frames.min(10_000)))),
        }
    }
    if let Some(entry) = group.text("labelfile-path") {
        let text = "labels are those of the model's own file: give others with `vigil import nvinfer`";
        findings.add(Level::Changed, &entry, text);
    }
    group.rest(findings);
    Some(model)
}
