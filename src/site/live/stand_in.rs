//! Until the branch `plan` is merged.

use std::collections::BTreeMap;

use crate::site::plan::{CameraPlan, Node, Step, Value};

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn properties(properties: &BTreeMap<String, Value>) -> String {
    let text = properties.iter().filter_map(|(name, value)| match value {
        Value::Text(text) => Some(format!(" {name}={}", quote(text))),
        Value::Secret(_) => None,
    });
    text.collect()
}

fn node(node: &Node) -> String {
    format!("{} name={}{}", node.factory, node.name, properties(&node.properties))
}

/// The watchdog's chain.
pub fn chain(camera: &CameraPlan) -> String {
    camera.guarded.iter().map(node).collect::<Vec<_>>().join(" ! ")
}

/// What is built.
pub fn camera_description(camera: &CameraPlan) -> String {
    let mut parts: Vec<String> = camera
        .source
        .iter()
        .map(|step| match step {
            Step::Element(element) => node(element),
            Step::Caps(text) | Step::Launch(text) => text.clone(),
        })
        .collect();
    match &camera.watchdog {
        Some(watchdog) if !camera.guarded.is_empty() => {
            parts.push(format!("{} chain={}", node(watchdog), quote(&chain(camera))));
        }
        _ => parts.extend(camera.guarded.iter().map(node)),
    }
    parts.extend(camera.open.iter().map(node));
    parts.push("appsink name=feed".into());
    parts.join(" ! ")
}
