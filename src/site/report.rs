//! What a site tells about itself as records: telemetry of its cameras and of the machine, and events.
//!
//! [`Reporter`] is a plain value: it is given what the cameras say and what has happened, with the time, and says what is to be sent.
//! The doc comments of the types are the descriptions in the published JSON Schema (`docs/schema/vigil-1.telemetry.json`).

pub mod outbox;
mod peers;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::status::{CameraStatus, Event as SiteEvent, State};
use crate::drift::{PeerReport, Summary};
use crate::export::event::{Event, SCHEMA as EVENT_SCHEMA, What};
use crate::export::kind::Kind;
use crate::export::record::{Context, rfc3339};
use crate::export::route::{Account, Stats};
use crate::export::sink::Now;
use crate::telemetry::device::{Device, Reading};

use self::peers::{Peers, Recent};

pub use self::peers::silence;

/// The value of a telemetry record's `schema` field.
pub const SCHEMA: &str = "vigil-telemetry/1";

/// Figures about a camera, or about the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Vigil telemetry, schema vigil-telemetry/1")]
pub struct Telemetry {
    /// Version of this format.
    #[schemars(extend("const" = "vigil-telemetry/1"))]
    pub schema: String,
    /// Names the record, and stays the same when it is sent again.
    pub id: String,
    /// Wall clock time: UTC, RFC 3339 with milliseconds.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The site's name.
    pub site: String,
    /// Time between two rounds of telemetry as it is set (`telemetry.interval`), milliseconds: who has waited much longer misses one.
    pub interval_ms: u64,
    /// What it is about.
    #[serde(flatten)]
    pub about: About,
}

/// What telemetry is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum About {
    /// A camera.
    Camera(Box<CameraFigures>),
    /// The gateway and the machine.
    Gateway(Box<GatewayFigures>),
}

/// How a camera is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraFigures {
    /// Its id.
    pub camera: String,
    /// Its profile; empty without one.
    pub profile: String,
    /// What it is doing.
    pub state: State,
    /// Why it is not playing, in words; empty if it is.
    pub text: String,
    /// Frames a second since the record before it: into the analysis, looked at by the model, out of the camera's pipeline; 0 in the first.
    pub fps: Rates,
    /// Age of its last frame, milliseconds; `null` before the first one.
    pub last_frame_age_ms: Option<u64>,
    /// How often it was tried again after it was lost.
    pub reconnects: u64,
    /// `stats` of its stages and its watchdog, by name, as in `/api/v1/cameras`.
    pub stages: BTreeMap<String, Value>,
    /// What its model has said lately (an hour with the defaults of `vigildrift`), and how that compares; left out without the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Predictions")]
    pub predictions: Option<Predictions>,
}

/// Frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Into the analysis.
    pub r#in: f64,
    /// Looked at by the model.
    pub inferred: f64,
    /// Out of the camera's pipeline.
    pub out: f64,
}

/// What a camera's model has said lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Predictions {
    /// SHA-256 of the weights.
    pub digest: String,
    /// When the newest window of `summary` ended: UTC, RFC 3339 with milliseconds. A summary with the same end says nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Option<String>,
    /// Counts and histograms, which add up: `frames`, `objects`, `classes` (by label), `confidence` (20 bins of 0..1), `area`, `per_frame`.
    #[schemars(with = "Map<String, Value>")]
    pub summary: Summary,
    /// Among the cameras of this gateway with the same profile and model; left out before it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Map<String, Value>")]
    pub peers: Option<PeerReport>,
}

/// How the gateway is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayFigures {
    /// Vigil's version.
    pub version: String,
    /// Cameras by state.
    pub cameras: BTreeMap<String, u64>,
    /// The machine, when it was read last; shares of time are those of the ten seconds before that. All is `null` or empty if it does not
    /// answer.
    pub device: Device,
    /// How long ago that was, milliseconds; `null` if the machine has not answered for a minute.
    #[serde(default)]
    pub device_age_ms: Option<u64>,
    /// Receivers of records, by address.
    pub exports: BTreeMap<String, ExportFigures>,
}

/// How records are doing on their way to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportFigures {
    /// Whether it answered the last time.
    pub connected: bool,
    /// Records that it acknowledged.
    pub written: u64,
    /// Records that were lost.
    pub dropped: u64,
    /// Records that wait.
    pub waiting: u64,
    /// Bytes that the spool takes on disk.
    pub spool_bytes: u64,
}

impl From<Stats> for ExportFigures {
    fn from(stats: Stats) -> Self {
        let waiting = stats.waiting.unwrap_or_default();
        Self {
            connected: waiting.connected,
            written: stats.written,
            dropped: stats.dropped,
            waiting: waiting.records,
            spool_bytes: waiting.bytes,
        }
    }
}

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub kind: Kind,
    /// The camera, or the site.
    pub camera: String,
    /// One line of JSON.
    pub line: Vec<u8>,
}

/// Counters of a camera at the last round.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    at: Duration,
    frames_in: u64,
    fresh: u64,
    frames_out: u64,
}

/// Makes a site's records.
#[derive(Debug)]
pub struct Reporter {
    site: String,
    interval: Duration,
    context: Context,
    number: u64,
    before: BTreeMap<String, Before>,
    peers: Peers,
}

impl Reporter {
    /// For the site of this name, from now on, with this time between two rounds.
    pub fn new(site: &str, interval: Duration, now: Now) -> Self {
        Self {
            site: site.to_owned(),
            interval,
            context: Context::new(site, now.utc_ns),
            number: 0,
            before: BTreeMap::new(),
            peers: Peers::new(site),
        }
    }

    fn next_id(&mut self) -> String {
        self.number += 1;
        self.context.id(self.number - 1)
    }

    /// The record of something that happened.
    pub fn event(&mut self, event: &SiteEvent) -> Line {
        let alarm = is_alarm(event);
        let camera = event.camera.clone().unwrap_or_else(|| self.site.clone());
        let record = Event {
            schema: EVENT_SCHEMA.into(),
            id: self.next_id(),
            time: rfc3339(event.time_ns),
            camera: camera.as_str().into(),
            alarm,
            what: What::Gateway { name: event.kind.as_str().into(), data: event.data.clone() },
            at: None,
            model: None,
        };
        Line { kind: if alarm { Kind::Alarm } else { Kind::Event }, line: record.to_line(), camera }
    }

    /// The telemetry of all cameras and of the gateway.
    pub fn round(
        &mut self,
        cameras: &[CameraStatus],
        machine: Option<Reading>,
        exports: Vec<Account>,
        now: Now,
    ) -> Vec<Line> {
        self.before.retain(|id, _| cameras.iter().any(|camera| camera.id == *id));
        let mut lines: Vec<Line> = cameras.iter().map(|camera| self.camera(camera, now)).collect();
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for camera in cameras {
            let word = serde_json::to_value(camera.state).ok().and_then(|word| Some(word.as_str()?.to_owned()));
            *states.entry(word.unwrap_or_default()).or_default() += 1;
        }
        let figures = GatewayFigures {
            version: crate::VERSION.to_owned(),
            cameras: states,
            device_age_ms: machine.as_ref().map(|reading| milliseconds(reading.age)),
            device: machine.map(|reading| Device::clone(&reading.device)).unwrap_or_default(),
            exports: exports.into_iter().map(|account| (account.destination, account.stats.into())).collect(),
        };
        let site = self.site.clone();
        lines.push(self.line(&site, About::Gateway(Box::new(figures)), now));
        lines
    }

    fn line(&mut self, camera: &str, about: About, now: Now) -> Line {
        let record = Telemetry {
            schema: SCHEMA.to_owned(),
            id: self.next_id(),
            time: rfc3339(now.utc_ns),
            site: self.site.clone(),
            interval_ms: milliseconds(self.interval),
            about,
        };
        Line { kind: Kind::Telemetry, camera: camera.to_owned(), line: crate::export::record::to_line(&record, 2048) }
    }

    fn camera(&mut self, camera: &CameraStatus, now: Now) -> Line {
        let counter = |field: &str| {
            let infers =
                camera.stages.values().filter(|stats| stats.get("fresh").is_some() && stats.get("in-flight").is_some());
            infers.filter_map(|stats| stats.get(field)?.as_u64()).next().unwrap_or(0)
        };
        let counts = Before {
            at: now.monotonic,
            frames_in: counter("frames"),
            fresh: counter("fresh"),
            frames_out: camera.frames,
        };
        let before = self.before.insert(camera.id.clone(), counts);
        let interval = before.map_or(Duration::ZERO, |before| now.monotonic.saturating_sub(before.at));
        let rate = |now: u64, before: Option<u64>| match before {
            // A pipeline that was made anew counts from 0.
            Some(before) if !interval.is_zero() => {
                now.checked_sub(before).unwrap_or(now) as f64 / interval.as_secs_f64()
            }
            _ => 0.0,
        };
        let figures = CameraFigures {
            camera: camera.id.clone(),
            profile: camera.profile.clone(),
            state: camera.state,
            text: camera.text.clone(),
            fps: Rates {
                r#in: rate(counts.frames_in, before.map(|before| before.frames_in)),
                inferred: rate(counts.fresh, before.map(|before| before.fresh)),
                out: rate(counts.frames_out, before.map(|before| before.frames_out)),
            },
            last_frame_age_ms: camera.last_frame_age_ns.map(|age| age / 1_000_000),
            reconnects: camera.reconnects,
            stages: camera.stages.iter().map(|(name, stats)| (name.clone(), without_summaries(stats))).collect(),
            predictions: Recent::of(camera).and_then(|recent| {
                let (digest, summary) = (recent.digest.to_owned(), recent.summary()?);
                let peers = self.peers.of(&camera.id).filter(|report| report.peers > 0).cloned();
                Some(Predictions { digest, until: recent.until.map(rfc3339), summary, peers })
            }),
        };
        self.line(&camera.id, About::Camera(Box::new(figures)), now)
    }

    /// How cameras that were compared stand among their peers, by id.
    pub fn standings(&self) -> BTreeMap<String, PeerReport> {
        self.peers.standings()
    }

    /// Compares cameras that have said something new with their peers; those whose standing has changed. `window` is the longest that they
    /// sum up what they say over. To be called more often than windows end, and on a clock of its own: each window counts once.
    pub fn compare(&mut self, cameras: &[CameraStatus], window: Duration, now: Now) -> Vec<PeerReport> {
        self.peers.compare(cameras, window, now)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The fields of `vigildrift`'s `stats` that hold summaries as JSON texts.
const SUMMARIES: [&str; 2] = ["predictions", "recent-predictions"];

/// A stage's `stats` without what is told elsewhere.
fn without_summaries(stats: &Value) -> Value {
    match stats.as_object() {
        Some(fields) if SUMMARIES.iter().any(|name| fields.contains_key(*name)) => {
            let kept = fields.iter().filter(|(name, _)| !SUMMARIES.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
        }
        _ => stats.clone(),
    }
}

/// Whether somebody should do something about it.
fn is_alarm(event: &SiteEvent) -> bool {
    let says = |field: &str, words: &[&str]| {
        event.data.get(field).and_then(Value::as_str).is_some_and(|word| words.contains(&word))
    };
    match event.kind.as_str() {
        "camera" => says("state", &["lost", "failed"]),
        "output" => says("state", &["failed"]),
        "vigil-watchdog" => says("to", &["bypassing"]),
        "vigil-model" => says("phase", &["rejected", "rolled-back"]),
        "vigil-drift" => says("state", &["drifting"]),
        "vigil-peers" => says("state", &["odd"]),
        "vigil-export" => says("state", &["degraded"]),
        _ => false,
    }
}

/// The JSON Schema (draft 2020-12) of a telemetry record, pretty-printed, with a newline at the end.
pub fn json_schema() -> String {
    format!("{:#}\n", schemars::schema_for!(Telemetry).as_value())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
