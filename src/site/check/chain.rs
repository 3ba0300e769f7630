//! Profiles and what cameras make of them: elements, properties, models, and the classes that stages ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Checking;
use crate::bundle::contract::Task;
use crate::export::uri::SinkUri;
use crate::site::catalog::ElementInfo;
use crate::site::convert::{for_camera, is_own, model_text, value_text};
use crate::site::description::{Profile, Properties, Scalar, Stage};
use crate::site::merge::{camera_options, profile_of};
use crate::site::plan::RESERVED;
use crate::site::resolve::{WATCHDOG, absolute_text, is_guarded, stage_name};
use crate::site::surroundings::ModelFacts;
use crate::suggest::{did_you_mean, nearest};

const INFER: &str = "vigilinfer";

/// Most classes that a text lists.
const LISTED: usize = 12;

/// A property's value and the key where it is written.
type Written = (Scalar, String);

/// A stage as one camera has it.
struct Link<'a> {
    stage: &'a Stage,
    /// Its key.
    path: String,
    info: Option<Arc<ElementInfo>>,
    properties: BTreeMap<String, Written>,
    /// What is known of its model; `None` without one, or if it cannot be used.
    facts: Option<ModelFacts>,
}

impl Link<'_> {
    fn text(&self, property: &str) -> Option<(&str, &str)> {
        match self.properties.get(property) {
            Some((Scalar::Text(text), path)) => Some((text, path)),
            _ => None,
        }
    }
}

impl Checking<'_> {
    /// What is wrong with profiles whoever uses them, and with what each camera makes of its profile.
    pub(super) fn profiles(&mut self) {
        let description = self.description;
        for (name, profile) in &description.profile {
            self.name(&format!("profile.{name}"), name, "a profile");
            self.stages(name, profile);
            let keys = profile.camera.stage.keys();
            self.overrides(&format!("profile.{name}.camera.stage"), keys, Some(profile));
            if profile.camera.profile.is_some() {
                self.error(
                    &format!("profile.{name}.camera.profile"),
                    "a profile cannot choose another one for its cameras",
                );
            }
            // As it is for a camera that says nothing.
            self.chain(name, profile, None);
        }
        self.overrides("defaults.stage", description.defaults.stage.keys(), None);
        for (id, camera) in &description.camera {
            let options = camera_options(description, id);
            match profile_of(description, &options) {
                Some((name, profile)) => {
                    self.overrides(&format!("camera.{id}.stage"), camera.stage.keys(), Some(profile));
                    self.chain(name, profile, Some(id));
                }
                None if options.profile.is_none() && !camera.stage.is_empty() => {
                    self.error(&format!("camera.{id}.stage"), "it has no `profile` whose stages these could be");
                }
                None => {}
            }
        }
    }

    /// Names, order and kinds of a profile's stages.
    fn stages(&mut self, profile_name: &str, profile: &Profile) {
        let mut names = BTreeSet::new();
        let mut open = false;
        for (number, stage) in profile.stage.iter().enumerate() {
            let path = format!("profile.{profile_name}.stage.{number}");
            let name = stage_name(stage);
            let at = if stage.name.is_some() { format!("{path}.name") } else { format!("{path}.element") };
            self.name(&at, name, "a stage");
            if RESERVED.contains(&name) {
                self.error(&at, format!("a stage cannot be called \"{name}\": the camera has an element of this name"));
            } else if !names.insert(name) {
                self.error(&at, format!("two stages are called \"{name}\": give one a `name`"));
            }
            if is_guarded(stage) && open {
                self.error(&path, "stages that the watchdog guards come before those that it does not");
            }
            open |= !is_guarded(stage);
            let at = format!("{path}.element");
            let Some(info) = self.element(&at, &stage.element) else { continue };
            if stage.element == WATCHDOG {
                self.error(
                    &at,
                    "the watchdog around the stages is there already: its properties are the profile's `watchdog`",
                );
            } else if !info.filter {
                let text = format!(
                    "`{}` cannot be a stage: a stage takes raw video on one pad and gives it on another",
                    stage.element
                );
                self.error(&at, text);
            }
        }
    }

    /// Stages that are named where their properties are changed. Without a `profile`, those of all.
    fn overrides<'n>(&mut self, path: &str, names: impl Iterator<Item = &'n String>, profile: Option<&Profile>) {
        let profiles = || profile.into_iter().chain(self.description.profile.values().filter(|_| profile.is_none()));
        let known: BTreeSet<&str> = profiles().flat_map(|profile| &profile.stage).map(stage_name).collect();
        let wrong: Vec<&String> = names.filter(|name| !known.contains(name.as_str())).collect();
        // A list of stages with a mistake in it is empty here, and has been told.
        if known.is_empty()
            && self.document.places.0.keys().any(|key| key.starts_with("profile.") && key.ends_with(".stage"))
        {
            return;
        }
        for name in wrong {
            let help = match known.is_empty() {
                true => "the profile has no stages".to_owned(),
                false => did_you_mean(name, known.iter().copied(), "there are"),
            };
            self.error(&format!("{path}.{name}"), format!("there is no stage \"{name}\"; {help}"));
        }
    }

    /// The chain of the camera `id`, or of a camera that says nothing.
    fn chain(&mut self, profile_name: &str, profile: &Profile, id: Option<&str>) {
        let mut links: Vec<Link> = Vec::new();
        for (number, stage) in profile.stage.iter().enumerate() {
            let path = format!("profile.{profile_name}.stage.{number}");
            let properties = self.effective(profile_name, profile, id, stage, &path);
            let info = self.catalog.element(&stage.element);
            let mut link = Link { stage, path, info, properties, facts: None };
            self.properties(&link.stage.element, link.info.as_deref(), &link.properties, id);
            self.needs(&mut link, id);
            self.classes(&link, &links);
            links.push(link);
        }
        let guarded = profile.stage.iter().any(is_guarded);
        if profile.watchdog.enabled && guarded {
            let watchdog = self.watchdog(profile_name, profile, id);
            let info = self.element(&format!("profile.{profile_name}.watchdog"), WATCHDOG);
            self.properties(WATCHDOG, info.as_deref(), &watchdog, id);
        }
    }

    /// A stage's properties, each from where it is said nearest to the camera.
    fn effective(
        &self,
        profile_name: &str,
        profile: &Profile,
        id: Option<&str>,
        stage: &Stage,
        path: &str,
    ) -> BTreeMap<String, Written> {
        let name = stage_name(stage);
        let camera = id.and_then(|id| Some((format!("camera.{id}.stage.{name}"), self.description.camera.get(id)?)));
        let layers = [
            Some((path.to_owned(), &stage.properties)),
            self.description.defaults.stage.get(name).map(|own| (format!("defaults.stage.{name}"), own)),
            profile.camera.stage.get(name).map(|own| (format!("profile.{profile_name}.camera.stage.{name}"), own)),
            camera.and_then(|(path, camera)| Some((path, camera.stage.get(name)?))),
        ];
        layered(layers)
    }

    fn watchdog(&self, profile_name: &str, profile: &Profile, id: Option<&str>) -> BTreeMap<String, Written> {
        let camera = id.and_then(|id| Some((format!("camera.{id}.watchdog"), self.description.camera.get(id)?)));
        layered([
            Some((format!("profile.{profile_name}.watchdog"), &profile.watchdog.properties)),
            Some(("defaults.watchdog".into(), &self.description.defaults.watchdog)),
            Some((format!("profile.{profile_name}.camera.watchdog"), &profile.camera.watchdog)),
            camera.map(|(path, camera)| (path, &camera.watchdog)),
        ])
    }

    /// Values against what the element's class says.
    fn properties(
        &mut self,
        factory: &str,
        info: Option<&ElementInfo>,
        properties: &BTreeMap<String, Written>,
        id: Option<&str>,
    ) {
        let Some(info) = info else { return };
        for (name, (value, path)) in properties {
            if is_own(factory, name) {
                self.error(path, format!("the site itself sets `{name}` of `{factory}`"));
                continue;
            }
            let Some(property) = info.property(name) else {
                let known = || info.properties.iter().filter(|p| p.writable).map(|p| p.name.as_str());
                let help = match nearest(name, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("`gst-inspect-1.0 {factory}` shows what it has"),
                };
                self.error(path, format!("`{factory}` has no property `{name}`; {help}"));
                continue;
            };
            if let Err(why) = value_text(&for_camera(value, id.unwrap_or("{camera}")), property) {
                self.error(path, why);
            }
        }
    }

    /// Files and models that Vigil's own elements need.
    fn needs(&mut self, link: &mut Link, id: Option<&str>) {
        let folder = self.document.folder.clone();
        let absolute = |name: &str, text: &str| {
            absolute_text(&folder, &link.stage.element, name, &text.replace("{camera}", id.unwrap_or("{camera}")))
        };
        match link.stage.element.as_str() {
            INFER => {
                for name in ["model", "fallback-model", "shadow-model"] {
                    let Some((model, path)) = link.text(name).filter(|(model, _)| !model.is_empty()) else { continue };
                    let model = model_text(&folder, &model.replace("{camera}", id.unwrap_or_default()));
                    let found = self.around.model(&model);
                    let path = path.to_owned();
                    match found {
                        Ok(facts) => {
                            facts.warnings.iter().for_each(|warning| self.may_lack(&path, warning.clone()));
                            if name == "model" {
                                link.facts = Some(facts);
                            }
                        }
                        Err(why) => self.lack(&path, why),
                    }
                }
                let has_model = link.properties.contains_key("model");
                if !has_model
                    && (id.is_some() || self.is_unused(link))
                    && !self.is_written(&format!("{}.model", link.path))
                {
                    self.error(
                        &link.path,
                        "it has no `model`: a bundle, an .onnx file, or the name of an installed bundle",
                    );
                }
                let files =
                    link.text("ort-library").map(|(text, path)| (absolute("ort-library", text), path.to_owned()));
                let keys =
                    link.text("public-keys").map(|(text, path)| (absolute("public-keys", text), path.to_owned()));
                let keys =
                    keys.iter().flat_map(|(list, path)| list.split(',').map(|file| (file.to_owned(), path.clone())));
                for (file, path) in files.into_iter().chain(keys).filter(|(file, _)| !file.is_empty()) {
                    self.file(&path, file.as_ref());
                }
            }
            "vigiloverlay" => {
                if let Some((font, path)) = link.text("font").filter(|(font, _)| !font.is_empty()) {
                    self.file(path, absolute("font", font).as_ref());
                }
            }
            "vigildrift" => {
                let baseline = link.text("baseline").filter(|(file, _)| !file.is_empty());
                if let (Some((file, path)), Some(id)) = (baseline, id) {
                    self.baseline(path, id, &absolute("baseline", file));
                }
            }
            "vigilexport" => match link.text("uri") {
                Some((uri, path)) => {
                    let path = path.to_owned();
                    match absolute("uri", uri).parse::<SinkUri>() {
                        Ok(SinkUri::File(options)) if id.is_some() => {
                            self.target(&path, id.unwrap_or_default(), format!("the file {}", options.path.display()));
                            if let Some(folder) = options.path.parent() {
                                self.folder(&path, folder);
                            }
                        }
                        Ok(_) => {}
                        Err(why) => self.error(&path, why.to_string()),
                    }
                }
                None if self.is_written(&format!("{}.uri", link.path)) => {}
                None => self.error(
                    &link.path,
                    "it has no `uri`: where records go, such as \"file:records/{camera}.jsonl\" or \"stdout:\"",
                ),
            },
            _ => {}
        }
    }

    /// The file in which a camera keeps what is usual: no two can share one.
    fn baseline(&mut self, key: &str, id: &str, file: &str) {
        let target = format!("the baseline {file}");
        match self.targets.get(&target) {
            Some(first) if first == id => {
                self.error(key, format!("two stages of \"{id}\" keep what is usual in the file {file}"));
            }
            Some(first) => {
                let text = format!(
                    "\"{first}\" and \"{id}\" keep what is usual in the same file {file}; {{camera}} in it keeps them apart"
                );
                self.error(key, text);
            }
            None => drop(self.targets.insert(target, id.into())),
        }
    }

    /// Whether no camera has the profile of this stage: then nobody else tells what is missing.
    fn is_unused(&self, link: &Link) -> bool {
        let of = |id: &String| camera_options(self.description, id).profile;
        let mut used = self.description.camera.keys().filter_map(of);
        !used.any(|name| link.path.starts_with(&format!("profile.{name}.stage.")))
    }

    /// Whether what a stage asks of the stages before it can be.
    fn classes(&mut self, link: &Link, before: &[Link]) {
        let models: Vec<&Link> = before.iter().filter(|link| link.stage.element == INFER).collect();
        let tasks: Vec<Option<Task>> =
            models.iter().map(|link| link.facts.as_ref().and_then(|facts| facts.task)).collect();
        let finds = |task: &Option<Task>| task.is_none_or(|task| !matches!(task, Task::Classify | Task::Embed));
        let objects = tasks.iter().any(finds);
        let on_objects = link.text("inference-region").is_some_and(|(region, _)| region == "objects");
        match link.stage.element.as_str() {
            INFER if on_objects && !objects => {
                let path = link.text("inference-region").map_or(link.path.as_str(), |(_, path)| path);
                self.error(path, "it looks at objects, and no stage before it finds any");
            }
            "vigiltrack" if !objects => self.warn(&link.path, "it follows objects, and no stage before it finds any"),
            _ => {}
        }
        let Some((list, path)) = link.text("object-class").filter(|_| link.stage.element == INFER) else { return };
        if !on_objects {
            return self.warn(path, "it has no effect without inference-region = \"objects\"");
        }
        // One model whose classes are not known here may have all of them.
        let known: Option<Vec<&Vec<String>>> =
            models.iter().map(|link| link.facts.as_ref().and_then(|facts| facts.labels.as_ref())).collect();
        let Some(known) = known.filter(|known| !known.is_empty()) else { return };
        let labels: Vec<&str> = known.into_iter().flatten().map(String::as_str).collect();
        let unknown = list.split(',').map(str::trim).filter(|class| !class.is_empty() && !labels.contains(class));
        for class in unknown {
            let help = match nearest(class, labels.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    let more = if labels.len() > LISTED { ", …" } else { "" };
                    format!("they have: {}{more}", labels.iter().take(LISTED).copied().collect::<Vec<_>>().join(", "))
                }
            };
            self.error(path, format!("the models before it have no class \"{class}\"; {help}"));
        }
    }
}

/// Properties of several places, the nearest last.
fn layered<const N: usize>(layers: [Option<(String, &Properties)>; N]) -> BTreeMap<String, Written> {
    let mut merged = BTreeMap::new();
    for (path, properties) in layers.into_iter().flatten() {
        for (name, value) in properties {
            merged.insert(name.clone(), (value.clone(), format!("{path}.{name}")));
        }
    }
    merged
}
