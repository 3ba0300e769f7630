//! From a description to the plan of what is built.

mod paths;
mod source;
mod uri;

pub use paths::absolute_text;
pub use uri::{Origin, shown, without_secrets};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::catalog::{Catalog, PropertyInfo, PropertyKind};
use super::convert::{as_written, for_camera, is_own, value_text};
use super::description::{Camera, Profile, Properties, Scalar, Stage, Tile};
use super::merge::{camera_options, profile_of};
use super::output::Output;
use super::plan::{CameraPlan, Node, Plan, Policy, RESERVED, TilePlan, Value};
use super::problem::Problems;
use super::read::Document;
use super::units::Span;
use crate::secret::Secret;

/// The element around guarded stages.
pub const WATCHDOG: &str = "vigilwatchdog";
/// The element that runs models.
const INFER: &str = "vigilinfer";
/// The element that writes records.
const EXPORT: &str = "vigilexport";
/// The element that compares predictions with what is usual.
const DRIFT: &str = "vigildrift";
/// Elements that show and tell that the analysis is off, and the one that must not forget when it is replaced: they stand behind the watchdog
/// unless the description says otherwise.
const OPEN: [&str; 3] = ["vigiloverlay", EXPORT, DRIFT];
/// A camera that sends no picture for so long is lost.
const SILENT_AFTER: Span = Span::from_secs(5);

/// The plan of a description: for each camera what it says itself, else its profile, else the defaults, else what serves
/// a gateway. Paths are absolute, `{camera}` is replaced, values are as launch lines have them.
///
/// An element that the machine lacks is in the plan all the same, with its properties as they are written: its camera cannot be
/// built. Which elements of the site's own choice are not there is told with the plan; what [`check`](super::check) tells is not told again.
///
/// # Errors
/// All that no plan can be made from. A description that may start by [`check`](super::check) has none here.
pub fn resolve(document: &Document, catalog: &dyn Catalog) -> Result<(Plan, Problems), Problems> {
    let folder = std::path::absolute(&document.folder).unwrap_or_else(|_| document.folder.clone());
    let mut resolving =
        Resolving { document, catalog, folder, problems: Problems::default(), lacks: Problems::default() };
    let description = &document.description;
    let cameras = description.camera.keys().filter_map(|id| Some((id.clone(), resolving.camera(id)?))).collect();
    let tiles = description.tile.iter().map(|(name, tile)| (name.clone(), resolving.tile(name, tile))).collect();
    let mut api = description.api.clone();
    api.token = api.token.map(|token| resolving.secret(token));
    let mut rtsp = description.rtsp.clone();
    rtsp.password = rtsp.password.map(|password| resolving.secret(password));
    if let Some(super::units::TextOrSecret::Secret(secret)) = rtsp.user {
        rtsp.user = Some(super::units::TextOrSecret::Secret(resolving.secret(secret)));
    }
    let mut telemetry = description.telemetry.clone();
    telemetry.uri = telemetry.uri.map(|uri| paths::absolute_uri(&resolving.folder, &uri));
    telemetry.spool = telemetry.spool.map(|spool| resolving.folder.join(spool));
    let Resolving { mut problems, lacks, .. } = resolving;
    if problems.has_errors() {
        problems.append(lacks);
        return Err(problems);
    }
    Ok((Plan { name: description.name.clone(), api, rtsp, telemetry, cameras, tiles }, lacks))
}

/// How a stage is named: as it says, or as its element without `vigil`.
pub fn stage_name(stage: &Stage) -> &str {
    let element = stage.element.strip_prefix("vigil").filter(|rest| !rest.is_empty()).unwrap_or(&stage.element);
    stage.name.as_deref().unwrap_or(element)
}

/// Whether the watchdog guards a stage.
pub fn is_guarded(stage: &Stage) -> bool {
    stage.guarded.unwrap_or(!OPEN.contains(&stage.element.as_str()))
}

/// A description on its way to a plan.
struct Resolving<'a> {
    document: &'a Document,
    catalog: &'a dyn Catalog,
    folder: PathBuf,
    /// What is wrong with the description.
    problems: Problems,
    /// What the machine lacks.
    lacks: Problems,
}

impl Resolving<'_> {
    fn error(&mut self, key: &str, text: impl Into<String>) {
        self.problems.error(&self.document.places, key, text);
    }

    fn camera(&mut self, id: &str) -> Option<CameraPlan> {
        let description = &self.document.description;
        let options = camera_options(description, id);
        let profile = match (&options.profile, profile_of(description, &options)) {
            (Some(name), None) => {
                self.error(&format!("camera.{id}.profile"), format!("there is no profile \"{name}\""));
                None
            }
            (_, profile) => profile,
        };
        let analysed = profile.is_some_and(|(_, profile)| !profile.stage.is_empty());
        let source = source::source(self, id, &options, analysed);
        let (watchdog, guarded, open) = match profile {
            Some((name, profile)) => self.stages(id, &options, name, profile),
            None => Default::default(),
        };
        let outputs = options.output.iter().flatten().map(|output| self.output(output, id)).collect();
        let reconnect = options.reconnect.clone().unwrap_or_default();
        let source = source?;
        Some(CameraPlan {
            enabled: options.enabled.unwrap_or(true),
            profile: profile.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            shown_uri: source.shown,
            source: source.steps,
            watchdog,
            guarded,
            open,
            decoder_threads: source::decoder_threads(&options),
            policy: Policy {
                silent_after: options.silent_after.unwrap_or(SILENT_AFTER).0,
                reconnect_first: reconnect.first.0,
                reconnect_most: reconnect.most.0.max(reconnect.first.0),
                ends: source.ends,
                repeats: source.repeats,
                no_signal: options.no_signal.unwrap_or_default(),
            },
            outputs,
        })
    }

    /// The watchdog, the stages that it guards, and those behind it.
    fn stages(
        &mut self,
        id: &str,
        options: &Camera,
        profile_name: &str,
        profile: &Profile,
    ) -> (Option<Node>, Vec<Node>, Vec<Node>) {
        let (mut guarded, mut open) = (Vec::new(), Vec::new());
        let mut names: Vec<&str> = RESERVED.to_vec();
        for (n, stage) in profile.stage.iter().enumerate() {
            let key = format!("profile.{profile_name}.stage.{n}");
            let name = stage_name(stage);
            if RESERVED.contains(&name) {
                self.error(
                    &key,
                    format!("a stage cannot be called \"{name}\": the camera has an element of this name"),
                );
            } else if names.contains(&name) {
                self.error(&key, format!("two stages are called \"{name}\": give one a `name`"));
            }
            names.push(name);
            let node = self.stage(id, options, &key, stage);
            if !is_guarded(stage) {
                open.push(node);
            } else if open.is_empty() {
                guarded.push(node);
            } else {
                self.error(&key, "stages that the watchdog guards come before those that it does not");
            }
        }
        if !profile.watchdog.enabled || guarded.is_empty() {
            return (None, guarded, open);
        }
        let mut properties = profile.watchdog.properties.clone();
        properties.extend(options.watchdog.clone());
        let key = |name: &str| match options.watchdog.contains_key(name) {
            true => format!("camera.{id}.watchdog.{name}"),
            false => format!("profile.{profile_name}.watchdog.{name}"),
        };
        let watchdog = self.node(id, "watchdog", WATCHDOG, &properties, key);
        (Some(watchdog), guarded, open)
    }

    fn stage(&mut self, id: &str, options: &Camera, key: &str, stage: &Stage) -> Node {
        let name = stage_name(stage);
        let own = options.stage.get(name);
        let mut properties = stage.properties.clone();
        properties.extend(own.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        let key = |property: &str| match own.is_some_and(|own| own.contains_key(property)) {
            true => format!("camera.{id}.stage.{name}.{property}"),
            false => format!("{key}.{property}"),
        };
        let mut default = |property: &str, value: &str| {
            properties.entry(property.into()).or_insert_with(|| Scalar::Text(value.into()));
        };
        match stage.element.as_str() {
            // A camera's video never waits for the analysis.
            INFER => default("when-busy", "hold"),
            EXPORT => default("camera", "{camera}"),
            DRIFT => {
                default("camera", "{camera}");
                // A camera that comes back goes on where it was.
                if let Some(state) = crate::paths::state_dir() {
                    let file = if name == "drift" { format!("{id}.json") } else { format!("{id}-{name}.json") };
                    let folder = state.join("drift").join(&self.document.description.name);
                    default("baseline", &folder.join(file).display().to_string());
                }
            }
            _ => {}
        }
        self.node(id, name, &stage.element, &properties, key)
    }

    /// An element with its properties. `key` tells where a property is written.
    fn node(
        &mut self,
        id: &str,
        name: &str,
        factory: &str,
        properties: &Properties,
        key: impl Fn(&str) -> String,
    ) -> Node {
        let element = self.catalog.element(factory);
        let mut values = BTreeMap::new();
        for (property, value) in properties {
            let value = for_camera(value, id);
            let text = match &element {
                _ if is_own(factory, property) => Err(not_to_be_set(factory, property)),
                // Nobody knows what it would make of the value.
                None => Ok(as_written(&value)),
                Some(element) => match element.property(property) {
                    None => Err(not_to_be_set(factory, property)),
                    Some(info) => value_text(&value, info).and_then(|text| {
                        let text = absolute_text(&self.folder, factory, property, &text);
                        written(text, info)
                    }),
                },
            };
            match text {
                Ok(text) => drop(values.insert(property.clone(), Value::Text(text))),
                Err(why) => self.error(&key(property), why),
            }
        }
        let properties = element.iter().flat_map(|element| &element.properties);
        let live = properties.filter(|property| property.writable && property.in_playing);
        let live = live.map(|property| property.name.clone()).filter(|property| !is_own(factory, property)).collect();
        Node { factory: factory.into(), name: name.into(), properties: values, live }
    }

    fn tile(&mut self, name: &str, tile: &Tile) -> TilePlan {
        let known = &self.document.description.camera;
        let unknown: Vec<_> = tile.cameras.iter().filter(|id| !known.contains_key(*id)).collect();
        for id in unknown {
            self.error(&format!("tile.{name}.cameras"), format!("there is no camera \"{id}\""));
        }
        let cameras = if tile.cameras.is_empty() { known.keys().cloned().collect() } else { tile.cameras.clone() };
        let square = (1..).find(|columns: &usize| columns * columns >= cameras.len()).unwrap_or(1);
        TilePlan {
            columns: tile.columns.unwrap_or(u32::try_from(square).unwrap_or(u32::MAX)).max(1),
            cameras,
            size: tile.size,
            fps: tile.fps,
            outputs: tile.output.iter().map(|output| self.output(output, name)).collect(),
        }
    }

    /// An output of the camera or tile `name`, with absolute paths.
    fn output(&self, output: &Output, name: &str) -> Output {
        let mut output = output.clone();
        match &mut output {
            Output::File { path, .. } | Output::Snapshot { path, .. } | Output::Hls { folder: path, .. } => {
                *path = self.absolute(Path::new(&path.to_string_lossy().replace("{camera}", name)));
            }
            Output::Rtsp { mount, .. } => *mount = mount.replace("{camera}", name),
            Output::Display {} => {}
        }
        output
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    fn secret(&self, secret: Secret) -> Secret {
        match secret {
            Secret::File(path) => Secret::File(self.absolute(&path)),
            Secret::Env(name) => Secret::Env(name),
        }
    }
}

fn not_to_be_set(factory: &str, property: &str) -> String {
    format!("{factory} has no property \"{property}\" that a description may set")
}

/// A property's text, if GStreamer's parser gives it back as it is.
fn written(text: String, info: &PropertyInfo) -> Result<String, String> {
    if text.ends_with('\\') {
        return Err("a value cannot end in \\: GStreamer's launch lines do not take it".into());
    }
    if info.kind == PropertyKind::Text && (text == "NULL" || (text.starts_with('"') && text.ends_with('"'))) {
        return Err(format!(
            "GStreamer's launch lines do not take {text} for a text: with quotes at both ends, and NULL, it means another"
        ));
    }
    Ok(text)
}

#[cfg(test)]
pub(crate) mod tests;
