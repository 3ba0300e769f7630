//! What a site is made of: a plain value, that pipelines are built from, that is printed, and that is compared with
//! another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::description::{Api, NoSignal, RtspServer, TelemetryTo};
use super::output::Output;
use crate::secret::Secret;

/// What a site is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The site's name.
    pub name: String,
    /// The gateway's HTTP interface.
    pub api: Api,
    /// The RTSP server for outputs.
    pub rtsp: RtspServer,
    /// Where telemetry and events are sent.
    pub telemetry: TelemetryTo,
    /// Cameras by id.
    pub cameras: BTreeMap<String, CameraPlan>,
    /// Tiles by name.
    pub tiles: BTreeMap<String, TilePlan>,
}

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// As GStreamer's launch lines write it, before any quoting: `5000000000`, `tcp`, `rtsp://…`.
    Text(String),
    /// To be found elsewhere; it is set on the element and shows in no launch line.
    Secret(Secret),
    /// A PEM file of certificate authorities, for a property that takes a `GTlsDatabase`; launch lines cannot have one.
    Authority(PathBuf),
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its factory.
    pub factory: String,
    /// Its name: unique within its camera.
    pub name: String,
    /// Its properties, by name.
    pub properties: BTreeMap<String, Value>,
    /// Names of properties that may change while frames flow; known for stages and the watchdog only.
    pub live: BTreeSet<String>,
}

/// One part of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An element.
    Element(Node),
    /// A caps filter.
    Caps(String),
    /// A launch fragment of the user's.
    Launch(String),
}

/// A camera's pipeline: `source ! watchdog(guarded) ! open ! feed`.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraPlan {
    /// Whether it runs.
    pub enabled: bool,
    /// The profile's name; empty without one.
    pub profile: String,
    /// Where it comes from, as it may be shown: without secrets.
    pub shown_uri: String,
    /// From the camera to raw video, decoder and frame rate limit included.
    pub source: Vec<Step>,
    /// The watchdog, without its `chain`; `None`: guarded stages stand open.
    pub watchdog: Option<Node>,
    /// Stages that the watchdog guards.
    pub guarded: Vec<Node>,
    /// Stages behind them.
    pub open: Vec<Node>,
    /// Threads of a decoder that has a choice.
    pub decoder_threads: u32,
    /// What is done when it is away.
    pub policy: Policy,
    /// Where its pictures go: each is a pipeline of its own, fed by the camera's.
    pub outputs: Vec<Output>,
}

/// Names that a camera's own elements have: its stages have others.
pub const RESERVED: [&str; 10] =
    ["source", "decode", "decoder", "pace", "queue", "any-rate", "rate", "convert", "watchdog", "feed"];

impl CameraPlan {
    /// The watchdog and the stages, in the order of the frames' way.
    pub fn stages(&self) -> impl Iterator<Item = &Node> {
        self.watchdog.iter().chain(&self.guarded).chain(&self.open)
    }

    /// What its source opens, with all that is secret in it, where that is a text.
    pub fn location(&self) -> Option<&str> {
        self.source.iter().find_map(|step| match step {
            Step::Element(node) => match node.properties.get("location")? {
                Value::Text(location) => Some(location.as_str()),
                Value::Secret(_) | Value::Authority(_) => None,
            },
            Step::Caps(_) | Step::Launch(_) => None,
        })
    }

    /// The watchdog or a stage by its name.
    pub fn stage_mut(&mut self, name: &str) -> Option<&mut Node> {
        let mut stages = self.watchdog.iter_mut().chain(&mut self.guarded).chain(&mut self.open);
        stages.find(|node| node.name == name)
    }
}

/// What is done when a camera is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// It is lost if it sends no picture for so long.
    pub silent_after: Duration,
    /// The first pause before it is tried again.
    pub reconnect_first: Duration,
    /// The longest.
    pub reconnect_most: Duration,
    /// Whether the end of the stream is the camera's end: a file that does not begin anew.
    pub ends: bool,
    /// Whether it begins anew at its end.
    pub repeats: bool,
    /// What outputs show meanwhile.
    pub no_signal: NoSignal,
}

/// Pictures of many cameras in one.
#[derive(Debug, Clone, PartialEq)]
pub struct TilePlan {
    /// Ids of its cameras, from the upper left.
    pub cameras: Vec<String>,
    /// Pictures in a row.
    pub columns: u32,
    /// Width and height of the whole, pixels.
    pub size: [u32; 2],
    /// Frames a second.
    pub fps: u32,
    /// Where it goes.
    pub outputs: Vec<Output>,
}
