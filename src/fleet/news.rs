//! What is told of a fleet: lines for people, events for programs.

use std::sync::Arc;

use serde_json::json;

use super::gateways::GatewayState;
use super::heard::plain;
use crate::drift::{CameraKey, PeerReport, PeerState};
use crate::export::event::{Event, SCHEMA, What};
use crate::export::kind::Kind;
use crate::export::record::{Context, rfc3339};
use crate::export::remote::Outgoing;
use crate::site::standing;

/// What stands for the camera in the topics of a fleet's events.
pub const CAMERA: &str = "fleet";

/// Something that is new.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A camera has become odd, or is no longer; and when, nanoseconds of Unix time.
    Camera(Box<PeerReport>, u64),
    /// A gateway has gone or come back.
    Gateway {
        /// The name of its site.
        gateway: String,
        /// How it is.
        state: GatewayState,
        /// How it was.
        before: GatewayState,
        /// When its telemetry came last before that, nanoseconds of Unix time.
        since_ns: u64,
        /// The same in words.
        text: String,
        /// When it was seen, nanoseconds of Unix time.
        time_ns: u64,
    },
    /// What the operator should know of the watch itself.
    Note(String),
}

impl News {
    pub(super) fn gateway(
        gateway: &str,
        state: GatewayState,
        before: GatewayState,
        since_ns: u64,
        text: String,
        time_ns: u64,
    ) -> Self {
        Self::Gateway { gateway: gateway.to_owned(), state, before, since_ns, text, time_ns }
    }

    /// The first message that cannot be read.
    pub(super) fn broken(topic: &str, text: &str) -> Self {
        let (topic, text) = (plain(topic), plain(text));
        Self::Note(format!("a message on {topic} is no telemetry: {text}; such messages are left out and counted"))
    }

    /// There is no room for another camera.
    pub(super) fn full(most: usize) -> Self {
        Self::Note(format!(
            "{most} cameras are compared, and further ones left out; watch them with several commands, by --topic"
        ))
    }

    /// An odd camera has sent nothing new for too long.
    pub(super) fn forgotten(key: &CameraKey, digest: &str, utc_ns: u64) -> Self {
        Self::Camera(Box::new(standing::forgotten(key, digest)), utc_ns)
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            Self::Camera(report, utc_ns) => {
                let (key, state) = (plain(&report.key.to_string()), report.state.as_str());
                format!("{} {key} {state} {:.2}: {}", rfc3339(*utc_ns), report.score, evidence(report))
            }
            Self::Gateway { gateway, state, since_ns, text, time_ns, .. } => {
                let state = match state {
                    GatewayState::Silent => format!("silent since {}", rfc3339(*since_ns)),
                    other => other.as_str().to_owned(),
                };
                format!("{} gateway {} is {state}: {text}", rfc3339(*time_ns), plain(gateway))
            }
            Self::Note(text) => text.clone(),
        }
    }
}

/// Why a camera is told, in words that are fit for a terminal.
fn evidence(report: &PeerReport) -> String {
    plain(&standing::Standing::from(report).text)
}

/// A table of how all cameras stand, with its heading; names of others' are made fit for a terminal.
pub fn table(reports: &[&PeerReport]) -> String {
    let heading = ["GATEWAY", "CAMERA", "PROFILE", "STATE", "SCORE", "EVIDENCE"].map(str::to_owned);
    let row = |report: &&PeerReport| {
        let key = &report.key;
        let state = report.state.as_str().to_owned();
        let score = format!("{:.2}", report.score);
        [plain(&key.gateway), plain(&key.camera), plain(&key.profile), state, score, evidence(report)]
    };
    let rows: Vec<[String; 6]> = std::iter::once(heading).chain(reports.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Makes events of news.
#[derive(Debug)]
pub struct Telling {
    context: Context,
    number: u64,
}

impl Telling {
    /// Of a watch that began at this time, nanoseconds of Unix time.
    pub fn new(started_utc_ns: u64) -> Self {
        Self { context: Context::new(CAMERA, started_utc_ns), number: 0 }
    }

    /// The event, as it is to be published; `None` for what concerns the watch alone. A camera that has become odd and a gateway that has
    /// gone are alarms. To be called once for each.
    pub fn event(&mut self, news: &News) -> Option<Outgoing> {
        let (time_ns, camera, alarm, name, data) = match news {
            News::Camera(report, utc_ns) => {
                let mut data = standing::named(report);
                data.insert("before".to_owned(), report.before.as_str().into());
                (*utc_ns, &report.key.camera, report.state == PeerState::Odd, "vigil-peers", data.into())
            }
            News::Gateway { gateway, state, before, since_ns, text, time_ns } => {
                let data = json!({
                    "state": state.as_str(),
                    "before": before.as_str(),
                    "since": rfc3339(*since_ns),
                    "text": text,
                    "gateway": gateway,
                });
                (*time_ns, gateway, *state != GatewayState::Online, "gateway", data)
            }
            News::Note(_) => return None,
        };
        let id = self.context.id(self.number);
        self.number += 1;
        let event = Event {
            schema: SCHEMA.into(),
            id,
            time: rfc3339(time_ns),
            camera: camera.as_str().into(),
            alarm,
            what: What::Gateway { name: name.into(), data },
            at: None,
            model: None,
        };
        let mut body = event.to_line();
        body.truncate(body.trim_ascii_end().len());
        let kind = if alarm { Kind::Alarm } else { Kind::Event };
        Some(Outgoing { kind, camera: Arc::from(CAMERA), body })
    }
}
