//! A configuration of deepstream-app: a description, and the models that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config::{Config, Group};
use super::findings::{Findings, Level};
use super::nvinfer::{Infer, name_of};
use super::sink::Sinks;
use super::source::Source;
use super::{analytics, gie, sink, source, tracker};
use crate::site::description::{
    Api, Camera, Description, FORMAT, Profile, Properties, Scalar, Stage, TelemetryTo, Tile, Watchdog,
};

/// The folder of bundles in the site's folder.
pub const BUNDLES: &str = "bundles";
/// The profile that all cameras have, as in DeepStream.
const PROFILE: &str = "main";
/// The tile's name.
const TILE: &str = "all";

/// What a configuration comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The site.
    pub description: Description,
    /// Where cameras were described, by id.
    pub from: BTreeMap<String, String>,
    /// Models: each is to be the bundle `bundles/NAME` beside the description.
    pub models: Vec<Infer>,
    /// What has no counterpart, or another one.
    pub findings: Findings,
}

/// Reads the configuration `path`; `fps` is what cameras are taken to give, for times that DeepStream counts in frames.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path, fps: f64) -> Result<Imported, String> {
    let mut config = Config::read(path)?;
    let mut findings = Findings::default();
    let name = path.file_stem().map_or_else(|| "site".to_owned(), |stem| name_of(&stem.to_string_lossy()));
    if let Some(application) = config.take("application") {
        application.rest(&mut findings);
    }
    let mut sources = source::read(&mut config, &mut findings);
    if let Some(mux) = config.take("streammux") {
        mux.rest(&mut findings);
    }
    let mut models = gie::read(&mut config, fps, &mut findings);
    names(&mut models);
    let tracking = tracker::read(&mut config, fps, &mut findings);
    analytics::read(&mut config, &mut findings);
    let overlay = overlay(&mut config, tracking.as_ref().is_none_or(|(_, shown)| *shown), &mut findings);
    let tile = tile(&mut config, fps, &mut findings);
    let mut sinks = sink::read(&mut config, tile.is_some(), sources.len(), &mut findings);
    if let Some((_, group)) = tile.as_ref().filter(|_| sinks.tile.is_empty()) {
        findings.group(Level::Unneeded, group, "no output takes the tile: it is left out");
    }
    repeat(&mut config, &mut sources, &mut findings);
    let stages = stages(&models, tracking.map(|(properties, _)| properties), overlay, sinks.export.take());
    for group in config.rest() {
        unknown(group, &mut findings);
    }
    let (description, from) = description(name, sources, stages, tile.map(|(tile, _)| tile), sinks);
    findings.sort();
    Ok(Imported { description, from, models, findings })
}

/// Gives each model a name of its own.
fn names(models: &mut [Infer]) {
    let mut taken = BTreeSet::new();
    for model in models {
        let name = model.name.clone();
        let mut number = 2;
        while !taken.insert(model.name.clone()) {
            model.name = format!("{name}-{number}");
            number += 1;
        }
    }
}

/// `[osd]`: properties of `vigiloverlay`; `None` where nothing is drawn.
fn overlay(config: &mut Config, tracks: bool, findings: &mut Findings) -> Option<Properties> {
    let mut group = config.take("osd")?;
    if !group.enabled(false) {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
        return None;
    }
    let mut properties = Properties::new();
    for (key, property) in
        [("display-bbox", "show-boxes"), ("display-text", "show-labels"), ("display-mask", "show-masks")]
    {
        if let Some(shown) = group.flag(key) {
            properties.insert(property.into(), Scalar::Bool(shown));
        }
    }
    for (key, property, most) in [("border-width", "line-width", 64), ("text-size", "text-size", 256)] {
        if let Some((pixels, _)) = group.number::<i64>(key, findings).filter(|(pixels, _)| *pixels > 0) {
            properties.insert(property.into(), Scalar::Integer(pixels.min(most)));
        }
    }
    if !group.is_on("show-clock") {
        group.set_aside(|key| key.starts_with("clock-"), "no clock is drawn (no show-clock)", findings);
    }
    if !tracks {
        properties.insert("show-tracks".into(), Scalar::Bool(false));
    }
    group.rest(findings);
    Some(properties)
}

/// `[tiled-display]`: the tile, without its outputs, and the group that it is from.
fn tile(config: &mut Config, fps: f64, findings: &mut Findings) -> Option<(Tile, Group)> {
    let mut group = config.take("tiled-display")?;
    if !group.enabled(false) {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0): outputs are those of single cameras");
        return None;
    }
    let mut number = |key: &str| group.number::<u32>(key, findings).map(|(n, _)| n).filter(|n| *n > 0);
    let usual = Tile::default();
    let (columns, rows) = (number("columns"), number("rows"));
    let size = [number("width").unwrap_or(usual.size[0]), number("height").unwrap_or(usual.size[1])];
    // Both 1 is what files have that leave the choice to DeepStream.
    let columns = if rows == Some(1) && columns == Some(1) { None } else { columns };
    let place = group.clone();
    group.rest(findings);
    let tile = Tile { columns, size, fps: fps.round().clamp(1.0, 120.0) as u32, ..usual };
    Some((tile, place))
}

/// `[tests]`: whether files begin anew.
fn repeat(config: &mut Config, sources: &mut [Source], findings: &mut Findings) {
    let Some(mut group) = config.take("tests") else { return };
    if group.flag("file-loop").unwrap_or(false) {
        let is_file = |source: &&mut Source| source.camera.uri.as_ref().is_some_and(|uri| uri.starts_with("file:"));
        sources.iter_mut().filter(is_file).for_each(|source| source.camera.repeat = Some(true));
    }
    group.rest(findings);
}

/// A group that nothing was made of.
fn unknown(mut group: Group, findings: &mut Findings) {
    let (level, text) = match group.name.as_str() {
        "pre-process" => (Level::Lost, "regions of interest are not analysed on their own: the whole picture is"),
        "message-converter" => (Level::Changed, "records have the form `vigil/1`: docs/records.md"),
        "img-save" => {
            (Level::Lost, "pictures of objects are not saved: an output `kind = \"snapshot\"` saves whole frames")
        }
        "ds-example" => (Level::Lost, "DeepStream's example has no counterpart: any element can be a stage"),
        "audio-transform" | "audio-classifier" => (Level::Lost, "Vigil has no audio"),
        name if name.starts_with("secondary-pre-process") => {
            (Level::Lost, "regions of interest are not analysed on their own")
        }
        name if name.starts_with("message-consumer") => {
            (Level::Lost, "commands come by `/api/v1` of `vigil run`, not from a broker")
        }
        name if name.starts_with("dewarper") => {
            (Level::Lost, "pictures are not dewarped: put an element that does it into the camera's `launch`")
        }
        _ => (Level::Lost, "Vigil does not know this group of DeepStream's; it is left out"),
    };
    if group.enabled(true) {
        findings.group(level, &group, text);
    } else {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
    }
}

/// DeepStream's order: first model, tracker, further models, drawing, messages.
fn stages(
    models: &[Infer],
    tracking: Option<Properties>,
    overlay: Option<Properties>,
    export: Option<Properties>,
) -> Vec<Stage> {
    let stage = |element: &str, name: Option<String>, properties: Properties| Stage {
        name,
        element: element.into(),
        guarded: None,
        properties,
    };
    let model = |model: &Infer, name| {
        let mut properties = model.properties.clone();
        properties.insert("model".into(), Scalar::Text(format!("{BUNDLES}/{}", model.name)));
        stage("vigilinfer", name, properties)
    };
    let mut stages: Vec<Stage> = models.iter().filter(|m| !m.secondary).map(|m| model(m, None)).collect();
    stages.extend(tracking.map(|properties| stage("vigiltrack", None, properties)));
    let second = models.iter().filter(|m| m.secondary).enumerate();
    stages.extend(second.map(|(number, m)| model(m, Some(format!("secondary{number}")))));
    stages.extend(overlay.map(|properties| stage("vigiloverlay", None, properties)));
    stages.extend(export.map(|properties| stage("vigilexport", None, properties)));
    stages
}

fn description(
    name: String,
    sources: Vec<Source>,
    stages: Vec<Stage>,
    tile: Option<Tile>,
    mut sinks: Sinks,
) -> (Description, BTreeMap<String, String>) {
    let mut defaults = Camera::default();
    let mut profile = BTreeMap::new();
    if !stages.is_empty() {
        defaults.profile = Some(PROFILE.into());
        let main = Profile { stage: stages, watchdog: Watchdog::default(), camera: Camera::default() };
        profile.insert(PROFILE.to_owned(), main);
    }
    let ids: Vec<String> = sources.iter().map(|source| source.id.clone()).collect();
    let (mut camera, mut from) = (BTreeMap::new(), BTreeMap::new());
    for (place, mut source) in sources.into_iter().enumerate() {
        source.camera.output = sinks.cameras.remove(&place);
        from.insert(source.id.clone(), source.from);
        camera.insert(source.id, source.camera);
    }
    let output = std::mem::take(&mut sinks.tile);
    let tile = tile.filter(|_| !output.is_empty()).map(|tile| (TILE.to_owned(), Tile { cameras: ids, output, ..tile }));
    let description = Description {
        format: FORMAT,
        name,
        include: Vec::new(),
        api: Api::default(),
        rtsp: sinks.rtsp.unwrap_or_default(),
        telemetry: TelemetryTo::default(),
        defaults,
        profile,
        camera,
        tile: tile.into_iter().collect(),
    };
    (description, from)
}
