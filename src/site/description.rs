//! The keys of a site description, as the user writes them. Paths are relative to the folder of the file.
//!
//! What a camera does not say, its profile's `camera` table does, and what that does not say, `defaults`. A stage is an
//! element with its properties: which there are, GStreamer knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::units::{Span, TextOrSecret};
use crate::secret::Secret;

/// The format of descriptions that this version reads.
pub const FORMAT: u32 = 1;

/// Properties of an element: text, numbers and booleans; durations and sizes with their units where the property counts
/// nanoseconds or bytes.
pub type Properties = BTreeMap<String, Scalar>;

/// A property's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text, an enum's nick, a duration or a size with its unit. `{camera}` stands for the camera's id.
    Text(String),
}

/// A gateway's cameras, and what becomes of their pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Vigil site description, format 1")]
pub struct Description {
    /// The format of this file: 1.
    #[schemars(extend("const" = 1))]
    pub format: u32,
    /// The site's name, in logs, records and metrics: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Other files with more cameras, profiles and tiles: paths, or patterns such as `"site.d/*.toml"`, relative to this
    /// file's folder. All paths in them are relative to that folder too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// The gateway's HTTP interface.
    #[serde(default)]
    pub api: Api,
    /// The RTSP server of outputs with `kind = "rtsp"`.
    #[serde(default)]
    pub rtsp: RtspServer,
    /// Where the site's telemetry and events are sent.
    #[serde(default)]
    pub telemetry: TelemetryTo,
    /// What cameras and their profiles do not say.
    #[serde(default)]
    pub defaults: Camera,
    /// Chains of stages, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profile: BTreeMap<String, Profile>,
    /// Cameras by id: letters, digits, `-`, `_` and `.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub camera: BTreeMap<String, Camera>,
    /// Pictures of many cameras in one, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tile: BTreeMap<String, Tile>,
}

/// The gateway's HTTP interface: health, metrics and `/api/v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Api {
    /// Address and port, or `"off"`. Beyond the machine itself (loopback) it needs a token.
    pub listen: String,
    /// What callers must show (`Authorization: Bearer …`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8686".into(), token: None }
    }
}

/// The RTSP server for outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RtspServer {
    /// Address and port. The server runs if an output is of kind `rtsp`.
    pub listen: String,
    /// The user that clients must name; with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<TextOrSecret>,
    /// That user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

impl Default for RtspServer {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8554".into(), user: None, password: None }
    }
}

/// Where the site's telemetry and events are sent, beside the gateway's HTTP interface, which always has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TelemetryTo {
    /// Where to, as the property `uri` of `vigilexport`: `mqtts://broker/line-3?password-env=BROKER_PASSWORD`. Without it they are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// How often telemetry is sent; events are sent as they come.
    pub interval: Span,
    /// The folder in which records wait for a broker or a server; without it the user's or the service's state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<PathBuf>,
}

impl Default for TelemetryTo {
    fn default() -> Self {
        Self { uri: None, interval: Span::from_secs(10), spool: None }
    }
}

/// A named chain of stages for many cameras.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Profile {
    /// What becomes of a frame, in order.
    pub stage: Vec<Stage>,
    /// The watchdog around the guarded stages.
    pub watchdog: Watchdog,
    /// What cameras of this profile do not say themselves.
    pub camera: Camera,
}

/// One step: an element and its properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    /// How cameras name it where they change it; without one, the element's name without `vigil`: `infer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The element's factory, such as `vigilinfer`. Any filter of raw video that keeps the caps will do.
    pub element: String,
    /// Whether the watchdog guards it. Without a word: all but `vigiloverlay` and `vigilexport`, which show and tell
    /// that the analysis is off, and `vigildrift`, which would forget. Guarded stages come before the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarded: Option<bool>,
    /// The element's properties.
    #[serde(flatten)]
    pub properties: Properties,
}

/// The watchdog around a profile's guarded stages: properties of `vigilwatchdog`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Watchdog {
    /// Whether there is one.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub enabled: bool,
    /// The element's properties.
    #[serde(flatten)]
    pub properties: Properties,
}

fn yes() -> bool {
    true
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { enabled: true, properties: Properties::new() }
    }
}

/// A camera, or what cameras have in common.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Camera {
    /// Where the pictures come from: `rtsp://`, `rtsps://`, `http://`, `https://`, `file:` (or a path), `v4l2:/dev/video0`, `test:` with
    /// a pattern of `videotestsrc`. Not with a password: see `user` and `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Instead of `uri`: a GStreamer launch fragment with one raw or encoded video output. `{camera}` in it stands for the camera's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<String>,
    /// Caps of the source, such as `"video/x-raw,width=640,height=480,framerate=15/1"` (`v4l2:` and `test:`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<String>,
    /// Whether a file begins anew at its end.
    #[serde(rename = "loop", skip_serializing_if = "Option::is_none")]
    pub repeat: Option<bool>,
    /// The user to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<TextOrSecret>,
    /// The password to log in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How RTSP brings the pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// A certificate authority's PEM file for `rtsps` and `https`, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// How long pictures may wait for those that arrive late (RTSP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// Most frames a second that go on; the others are dropped before they are analysed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_fps: Option<f64>,
    /// How pictures are decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<Decode>,
    /// The profile that its pictures go through; without one they are not analysed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Properties of the profile's stages that are different here, by stage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stage: BTreeMap<String, Properties>,
    /// Properties of the profile's watchdog that are different here.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub watchdog: Properties,
    /// Where the pictures go. A camera's list stands in for the one of its profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<Output>>,
    /// What outputs show while the camera is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_signal: Option<NoSignal>,
    /// A camera that is connected and sends no picture for so long is taken as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_after: Option<Span>,
    /// When it is tried again after it was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
    /// Whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// How RTSP brings the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP, then TCP.
    Auto,
    /// Over the RTSP connection.
    #[default]
    Tcp,
    /// UDP to this machine.
    Udp,
    /// UDP to a group of machines.
    Multicast,
    /// Over HTTP.
    Http,
}

/// How pictures are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Decode {
    /// The decoder's factory, such as `avdec_h264`; without one GStreamer chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// Threads of a decoder that has a choice; 0: as many as it likes [default: 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 64))]
    pub threads: Option<u32>,
}

/// What a camera's outputs show while it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoSignal {
    /// Nothing: outputs stand still.
    #[default]
    Nothing,
    /// A picture that says so, and since when.
    Picture,
}

/// When a lost camera is tried again: after `first`, each time twice as long, at most after `most`; each with chance of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Reconnect {
    /// The first pause [default: 1s].
    pub first: Span,
    /// The longest pause [default: 1m].
    pub most: Span,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Span::from_secs(1), most: Span::from_secs(60) }
    }
}

/// Pictures of many cameras in one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tile {
    /// Ids of its cameras, from the upper left; without any, all cameras in the order of their ids.
    pub cameras: Vec<String>,
    /// Pictures in a row; without a word, as many as make it nearly square.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub columns: Option<u32>,
    /// Width and height of the whole, pixels.
    #[schemars(inner(range(min = 16, max = 8192)))]
    pub size: [u32; 2],
    /// Frames a second.
    #[schemars(range(min = 1, max = 120))]
    pub fps: u32,
    /// Where it goes.
    pub output: Vec<Output>,
}

impl Default for Tile {
    fn default() -> Self {
        Self { cameras: Vec::new(), columns: None, size: [1280, 720], fps: 15, output: Vec::new() }
    }
}
