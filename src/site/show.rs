//! A plan as text: launch lines, graphs, and what a change does, in words.

mod graph;
mod words;

pub use graph::{graphviz, mermaid};
pub use words::changes;

use super::plan::{CameraPlan, Node, Step, Value};

/// The end of each camera's pipeline: pictures go to its feed as they come, and whoever is late with one loses it.
const FEED: &str = "appsink name=feed caps=video/x-raw sync=false qos=false max-buffers=1 drop=true \
                    enable-last-sample=false wait-on-eos=false";

/// The pipeline of a camera as GStreamer's launch syntax has it: what is built. Secrets and authorities are left out; they
/// are set on the elements, which are found by the names of their nodes.
pub fn camera_description(camera: &CameraPlan) -> String {
    words(camera, false).join(" ")
}

/// The same for the eye: where a secret is set, it says where that is found. A line without any is what is built.
pub fn launch_line(camera: &CameraPlan) -> String {
    words(camera, true).join(" ")
}

/// A command for the shell that runs the camera's pipeline without its outputs.
pub fn shell_line(camera: &CameraPlan) -> String {
    let words: Vec<_> = words(camera, true).iter().map(|word| shell_word(word)).collect();
    format!("gst-launch-1.0 {}", words.join(" "))
}

/// The description of the stages that a camera's watchdog guards: its property `chain`.
pub fn chain_description(camera: &CameraPlan) -> String {
    let mut words = Vec::new();
    for node in &camera.guarded {
        link(&mut words);
        element(node, false, &mut words);
    }
    words.join(" ")
}

/// A text as a launch line has it behind `property=`. A text that ends in `\` cannot be written so that GStreamer's parser
/// understands it.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+%@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a launch line is made of: what stands between its spaces.
fn words(camera: &CameraPlan, shown: bool) -> Vec<String> {
    let mut words = Vec::new();
    for step in &camera.source {
        link(&mut words);
        match step {
            Step::Element(node) => element(node, shown, &mut words),
            Step::Caps(caps) => words.extend(["capsfilter".into(), format!("caps={}", quoted(caps))]),
            Step::Launch(fragment) => words.extend(fragment_words(fragment)),
        }
    }
    let watchdog = camera.watchdog.as_ref().filter(|_| !camera.guarded.is_empty());
    if let Some(watchdog) = watchdog {
        link(&mut words);
        element(watchdog, shown, &mut words);
        words.push(format!("chain={}", quoted(&chain_description(camera))));
    }
    let bare = if watchdog.is_none() { camera.guarded.as_slice() } else { &[] };
    for node in bare.iter().chain(&camera.open) {
        link(&mut words);
        element(node, shown, &mut words);
    }
    link(&mut words);
    words.extend(FEED.split(' ').map(str::to_owned));
    words
}

fn link(words: &mut Vec<String>) {
    if !words.is_empty() {
        words.push("!".into());
    }
}

fn element(node: &Node, shown: bool, words: &mut Vec<String>) {
    words.extend([node.factory.clone(), format!("name={}", quoted(&node.name))]);
    for (name, value) in &node.properties {
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Secret(place) if shown => place.to_string(),
            Value::Authority(file) if shown => format!("<file {}>", file.display()),
            Value::Secret(_) | Value::Authority(_) => continue,
        };
        words.push(format!("{name}={}", quoted(&text)));
    }
}

/// A user's fragment, cut where GStreamer's parser takes spaces for the end of a word.
fn fragment_words(fragment: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut escaped) = (Vec::new(), String::new(), None, false);
    for c in fragment.chars() {
        if c.is_whitespace() && quote.is_none() && !escaped {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            continue;
        }
        word.push(c);
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// A word for the shell, and for what `gst-launch-1.0` makes of it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+%@".contains(c);
    let only_mark = word == "!";
    if only_mark || (!word.is_empty() && word.chars().all(plain)) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
