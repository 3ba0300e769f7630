//! What must be done to make one plan of another: as little as possible, so that cameras that are the same are not touched.

use std::collections::BTreeMap;

use super::description::{Api, RtspServer, TelemetryTo};
use super::output::Output;
use super::plan::{CameraPlan, Node, Plan, Step, TilePlan, Value};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The site has another name.
    Name(String),
    /// The gateway's HTTP interface is another.
    Api(Api),
    /// The RTSP server for outputs is another.
    Rtsp(RtspServer),
    /// Telemetry and events are sent elsewhere.
    Telemetry(TelemetryTo),
    /// A tile is no more.
    RemoveTile {
        /// Its name.
        name: String,
    },
    /// A camera is no more.
    RemoveCamera {
        /// Its id.
        id: String,
    },
    /// A camera is new.
    AddCamera {
        /// Its id.
        id: String,
        /// All of it.
        plan: Box<CameraPlan>,
    },
    /// A camera's pipeline, or what is done when it is away, is another: it is built anew. Whether it runs and where its
    /// pictures go are as before, unless [`Change::Enable`] or [`Change::Outputs`] says otherwise.
    RebuildCamera {
        /// Its id.
        id: String,
        /// What it becomes, all of it.
        plan: Box<CameraPlan>,
        /// What is different, in words.
        why: Vec<String>,
    },
    /// A property of a stage is set while frames flow. A `model` is thereby swapped.
    SetProperty {
        /// The camera's id.
        id: String,
        /// Name of the stage's node, or of the watchdog's.
        stage: String,
        /// The property.
        property: String,
        /// Its new value, as launch lines have it.
        value: String,
    },
    /// A camera is switched on or off.
    Enable {
        /// Its id.
        id: String,
        /// Whether it runs.
        enabled: bool,
    },
    /// A camera's pictures go elsewhere.
    Outputs {
        /// Its id.
        id: String,
        /// All its outputs.
        outputs: Vec<Output>,
    },
    /// A tile is new.
    AddTile {
        /// Its name.
        name: String,
        /// All of it.
        plan: TilePlan,
    },
    /// A tile is another.
    ChangeTile {
        /// Its name.
        name: String,
        /// All of it.
        plan: TilePlan,
    },
}

/// What makes `to` of `from`; nothing if they are the same. What is removed comes before what takes its place.
pub fn diff(from: &Plan, to: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    if from.name != to.name {
        changes.push(Change::Name(to.name.clone()));
    }
    if from.api != to.api {
        changes.push(Change::Api(to.api.clone()));
    }
    if from.rtsp != to.rtsp {
        changes.push(Change::Rtsp(to.rtsp.clone()));
    }
    if from.telemetry != to.telemetry {
        changes.push(Change::Telemetry(to.telemetry.clone()));
    }
    let gone = |name: &&String| !to.tiles.contains_key(*name);
    changes.extend(from.tiles.keys().filter(gone).map(|name| Change::RemoveTile { name: name.clone() }));
    let gone = |id: &&String| !to.cameras.contains_key(*id);
    changes.extend(from.cameras.keys().filter(gone).map(|id| Change::RemoveCamera { id: id.clone() }));
    for (id, plan) in &to.cameras {
        match from.cameras.get(id) {
            Some(before) => camera(id, before, plan, &mut changes),
            None => changes.push(Change::AddCamera { id: id.clone(), plan: Box::new(plan.clone()) }),
        }
    }
    for (name, plan) in &to.tiles {
        let (name, plan) = (name.clone(), plan.clone());
        match from.tiles.get(&name) {
            Some(before) if *before == plan => {}
            Some(_) => changes.push(Change::ChangeTile { name, plan }),
            None => changes.push(Change::AddTile { name, plan }),
        }
    }
    changes
}

/// What `plan` becomes with `changes`. A change of a camera or a tile that is not there changes nothing.
pub fn apply(changes: &[Change], plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for change in changes {
        match change.clone() {
            Change::Name(name) => plan.name = name,
            Change::Api(api) => plan.api = api,
            Change::Rtsp(rtsp) => plan.rtsp = rtsp,
            Change::Telemetry(telemetry) => plan.telemetry = telemetry,
            Change::RemoveTile { name } => drop(plan.tiles.remove(&name)),
            Change::RemoveCamera { id } => drop(plan.cameras.remove(&id)),
            Change::AddCamera { id, plan: camera } => drop(plan.cameras.insert(id, *camera)),
            Change::AddTile { name, plan: tile } => drop(plan.tiles.insert(name, tile)),
            Change::ChangeTile { name, plan: tile } => {
                plan.tiles.entry(name).and_modify(|before| *before = tile);
            }
            Change::RebuildCamera { id, .. }
            | Change::SetProperty { id, .. }
            | Change::Enable { id, .. }
            | Change::Outputs { id, .. } => {
                if let Some(camera) = plan.cameras.get_mut(&id) {
                    apply_to_camera(change, camera);
                }
            }
        }
    }
    plan
}

fn apply_to_camera(change: &Change, camera: &mut CameraPlan) {
    match change {
        Change::RebuildCamera { plan, .. } => {
            let outputs = std::mem::take(&mut camera.outputs);
            *camera = CameraPlan { enabled: camera.enabled, outputs, ..(**plan).clone() };
        }
        Change::SetProperty { stage, property, value, .. } => {
            if let Some(node) = camera.stage_mut(stage) {
                node.properties.insert(property.clone(), Value::Text(value.clone()));
            }
        }
        Change::Enable { enabled, .. } => camera.enabled = *enabled,
        Change::Outputs { outputs, .. } => camera.outputs.clone_from(outputs),
        _ => {}
    }
}

/// What makes `to` of a camera that was `from`.
fn camera(id: &str, from: &CameraPlan, to: &CameraPlan, changes: &mut Vec<Change>) {
    let mut why = Vec::new();
    for (differs, what) in [
        (from.shown_uri != to.shown_uri || from.source != to.source, source(from, to)),
        (from.decoder_threads != to.decoder_threads, "decoder threads".to_owned()),
        (from.policy != to.policy, "what is done when it is away".to_owned()),
        (from.profile != to.profile, format!("profile \"{}\"", to.profile)),
    ] {
        if differs {
            why.push(what);
        }
    }
    let set = stages(id, from, to, &mut why);
    if why.is_empty() {
        changes.extend(set);
    } else {
        changes.push(Change::RebuildCamera { id: id.into(), plan: Box::new(to.clone()), why });
    }
    if from.outputs != to.outputs {
        changes.push(Change::Outputs { id: id.into(), outputs: to.outputs.clone() });
    }
    if from.enabled != to.enabled {
        changes.push(Change::Enable { id: id.into(), enabled: to.enabled });
    }
}

/// In words, what is different about the source.
fn source(from: &CameraPlan, to: &CameraPlan) -> String {
    if from.shown_uri != to.shown_uri {
        return format!("source {}", to.shown_uri);
    }
    let nodes = |plan: &CameraPlan| -> BTreeMap<String, BTreeMap<String, Value>> {
        let nodes = plan.source.iter().filter_map(|step| match step {
            Step::Element(node) => Some((node.name.clone(), node.properties.clone())),
            Step::Caps(_) | Step::Launch(_) => None,
        });
        nodes.collect()
    };
    let (before, after) = (nodes(from), nodes(to));
    let mut names: Vec<String> = Vec::new();
    for (name, properties) in &after {
        match before.get(name) {
            Some(old) => names.extend(differing(old, properties).map(|property| format!("{name}.{property}"))),
            None => names.push(name.clone()),
        }
    }
    names.extend(before.keys().filter(|name| !after.contains_key(*name)).cloned());
    if names.is_empty() { "source".into() } else { format!("source ({})", names.join(", ")) }
}

/// Names of properties that are not the same.
fn differing<'a>(
    from: &'a BTreeMap<String, Value>,
    to: &'a BTreeMap<String, Value>,
) -> impl Iterator<Item = &'a String> {
    let changed = to.iter().filter(|(name, value)| from.get(*name) != Some(value)).map(|(name, _)| name);
    changed.chain(from.keys().filter(|name| !to.contains_key(*name)))
}

/// Properties that are set while frames flow; to `why`, in words, what makes a new pipeline necessary.
fn stages(id: &str, from: &CameraPlan, to: &CameraPlan, why: &mut Vec<String>) -> Vec<Change> {
    let names = |plan: &CameraPlan| {
        let of =
            |nodes: &[Node]| nodes.iter().map(|node| (node.name.clone(), node.factory.clone())).collect::<Vec<_>>();
        (plan.watchdog.is_some(), of(&plan.guarded), of(&plan.open))
    };
    if names(from) != names(to) {
        why.push(if from.watchdog.is_some() == to.watchdog.is_some() { "stages" } else { "watchdog" }.into());
        return Vec::new();
    }
    let mut set = Vec::new();
    for (before, after) in from.stages().zip(to.stages()) {
        if before.live != after.live || before.factory != after.factory || before.name != after.name {
            why.push(after.name.clone());
            continue;
        }
        for property in differing(&before.properties, &after.properties) {
            match (before.live.contains(property), after.properties.get(property)) {
                (true, Some(Value::Text(value))) => set.push(Change::SetProperty {
                    id: id.into(),
                    stage: after.name.clone(),
                    property: property.clone(),
                    value: value.clone(),
                }),
                // What it is without a word, only a new element knows.
                _ => why.push(format!("{}.{property}", after.name)),
            }
        }
    }
    set
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
