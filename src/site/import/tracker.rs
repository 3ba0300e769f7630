//! `[tracker]` and the file of its low-level library: properties of `vigiltrack`.

use super::config::{Config, Group};
use super::findings::{Findings, Level};
use super::nvinfer::duration;
use crate::site::description::{Properties, Scalar};

/// Reads the properties of `vigiltrack`, and whether identities are drawn; `None` where there is no tracker.
pub(super) fn read(config: &mut Config, fps: f64, findings: &mut Findings) -> Option<(Properties, bool)> {
    let mut group = config.take("tracker")?;
    if !group.enabled(false) {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
        return None;
    }
    let shown = group.flag("display-tracking-id").unwrap_or(true);
    let mut properties = Properties::new();
    if let Some(entry) = group.text("ll-config-file") {
        // Several files, one for each sub-batch, are separated by `;`.
        let files = entry.items();
        if files.len() > 1 {
            findings.add(Level::Changed, &entry, "all cameras are followed alike, by the first one");
        }
        match files.first().map(|file| Config::read(&config.resolve(file))) {
            Some(Ok(file)) => low_level(file, fps, &mut properties, findings),
            Some(Err(text)) => findings.add(Level::Lost, &entry, text),
            None => {}
        }
    }
    group.rest(findings);
    Some((properties, shown))
}

/// What the library's file says.
fn low_level(mut file: Config, fps: f64, properties: &mut Properties, findings: &mut Findings) {
    let mut base = file.take("BaseConfig");
    let mut targets = file.take("TargetManagement");
    let mut matching = file.take("DataAssociator");
    let mut put = |key: &str, value: Scalar| drop(properties.insert(key.into(), value));
    let fraction = |group: &mut Option<Group>, key: &str, findings: &mut Findings| {
        group.as_mut()?.number::<f64>(key, findings).map(|(value, _)| value.clamp(0.0, 1.0))
    };
    let least = fraction(&mut base, "minDetectorConfidence", findings);
    let sure = fraction(&mut matching, "tentativeDetectorConfidence", findings);
    if let Some(least) = least {
        put("low-confidence", Scalar::Float(least));
    }
    // What is surer than this is matched first; it cannot be less than what is looked at at all.
    if let Some(sure) = sure.or(least.filter(|least| *least > 0.3)) {
        put("high-confidence", Scalar::Float(sure.max(least.unwrap_or(0.0))));
    }
    if let Some(same) = matching.as_mut().and_then(|group| group.flag("checkClassMatch")) {
        put("class-aware", Scalar::Bool(same));
    }
    if let Some(group) = &mut targets {
        if let Some((frames, _)) = group.number::<i64>("probationAge", findings) {
            put("min-hits", Scalar::Integer(frames.clamp(1, 1000)));
        }
        let kept = group.number::<f64>("maxShadowTrackingAge", findings).filter(|(frames, _)| *frames > 0.0);
        let shown = group.flag("outputShadowTracks").unwrap_or(false);
        if let Some((frames, entry)) = kept {
            let time = duration(frames / fps);
            let text = format!("it counts frames: at {fps} frames a second that is `max-lost-time = \"{time}\"`");
            findings.add(Level::Changed, &entry, text);
            if shown {
                put("coast-time", Scalar::Text(time.clone()));
            }
            put("max-lost-time", Scalar::Text(time));
        }
    }
    let looks = file.take("ReID").map(|mut group| {
        let on = group.number::<i64>("reidType", findings).filter(|(kind, _)| *kind != 0);
        if let Some((_, entry)) = on {
            let text = "for identities by appearance add a second `vigilinfer` with a model of embeddings before \
                        `vigiltrack`, and set its `appearance-weight` (0.5)";
            findings.add(Level::Lost, &entry, text);
        }
        group
    });
    for group in [base, targets, matching, looks].into_iter().flatten().chain(file.rest()) {
        group.rest(findings);
    }
}
