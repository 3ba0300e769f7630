//! What a running site says of itself: the values of messages, of `stats` and of the gateway's HTTP interface.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a camera is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was switched off.
    Disabled,
    /// It is being started and has sent no picture yet.
    Starting,
    /// Its pictures come.
    Playing,
    /// Its pictures do not come; it is tried again.
    Lost,
    /// It has come to its end.
    Ended,
    /// It cannot be built. It is tried again, since what it lacks may come.
    Failed,
}

/// Why a camera is not playing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nobody answers at its address.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// User or password are wrong.
    Unauthorized,
    /// There is no such stream, file or device.
    NotFound,
    /// It is connected and sends nothing.
    Silent,
    /// What it sends cannot be decoded.
    Corrupt,
    /// It sends something else than before.
    Changed,
    /// Its clock has jumped.
    ClockJump,
    /// It has ended the stream.
    EndOfStream,
    /// Its pipeline cannot be made.
    CannotBuild,
    /// Something else; the text says what.
    Error,
}

/// A camera and how it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CameraStatus {
    /// Its id.
    pub id: String,
    /// What it is doing.
    pub state: State,
    /// Since when, nanoseconds of Unix time.
    pub since_ns: u64,
    /// Why it is not playing.
    pub reason: Option<Reason>,
    /// The same in words.
    pub text: String,
    /// Where it comes from, without secrets.
    pub uri: String,
    /// Its profile; empty without one.
    pub profile: String,
    /// Width and height of its frames, pixels; zeros before the first one.
    pub size: [u32; 2],
    /// Frames that have come out of its pipeline since it was added.
    pub frames: u64,
    /// Frames a second over the last few seconds.
    pub fps: f64,
    /// Age of its last frame, nanoseconds; `None` before the first one.
    pub last_frame_age_ns: Option<u64>,
    /// How often it was tried again after it was lost.
    pub reconnects: u64,
    /// When it is tried again, nanoseconds from now; `None` unless it is lost.
    pub next_try_in_ns: Option<u64>,
    /// `stats` of its stages and its watchdog, by name.
    pub stages: BTreeMap<String, serde_json::Value>,
    /// Its outputs, in their order.
    pub outputs: Vec<OutputStatus>,
}

/// An output and how it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OutputStatus {
    /// Its kind, as the description names it.
    pub kind: String,
    /// Where it goes: file, mount, folder.
    pub target: String,
    /// Whether it takes pictures just now: an RTSP mount without clients does not.
    pub active: bool,
    /// Frames that were handed to it.
    pub frames: u64,
    /// Frames that it had no time for.
    pub dropped: u64,
    /// What is wrong with it; empty if nothing is.
    pub error: String,
}

/// A tile and how it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TileStatus {
    /// Its name.
    pub name: String,
    /// Ids of its cameras, from the upper left.
    pub cameras: Vec<String>,
    /// Width and height, pixels.
    pub size: [u32; 2],
    /// Its outputs, in their order.
    pub outputs: Vec<OutputStatus>,
}

/// Something that happened on a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Counted over the life of the site, from 1.
    pub number: u64,
    /// When, nanoseconds of Unix time.
    pub time_ns: u64,
    /// The camera; `None` for the site as a whole, or a tile.
    pub camera: Option<String>,
    /// What: `camera` (a change of its state), `output`, `site`, or the name of an element's message (`vigil-model`,
    /// `vigil-watchdog`, `vigil-shadow`, …).
    pub kind: String,
    /// The details: fields of the message, by name.
    pub data: serde_json::Value,
}
