//! A telemetry record, as far as it matters here.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::drift::Summary;
use crate::site::report::SCHEMA;

/// Longest name that is taken, bytes.
const LONGEST: usize = 256;
/// Largest record that is read, bytes.
const LARGEST: usize = 1 << 20;
/// Ids that are remembered: more than a gateway sends again after a broken connection, for many gateways.
const REMEMBERED: usize = 1 << 16;

/// What a record says of a camera's model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Camera {
    pub camera: String,
    pub profile: String,
    pub digest: String,
    /// When the newest window of the summary ended, nanoseconds since 1970 UTC; `None` where the gateway does not tell.
    pub until: Option<u64>,
    pub summary: Summary,
}

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heard {
    pub id: String,
    pub time_ns: u64,
    pub gateway: String,
    /// Time from one of the gateway's records to the next; zero where it does not tell.
    pub interval: Duration,
    /// `None` for a camera without predictions, and for the gateway itself.
    pub camera: Option<Camera>,
}

/// Why a message is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is another record of Vigil's, or nothing at all.
    Other,
    /// It is none that is understood; why.
    Broken(String),
}

/// All records have this one.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// What is read of [`Telemetry`](crate::site::report::Telemetry). Not all of it, so that gateways of other versions are understood.
#[derive(Deserialize)]
struct Body {
    id: String,
    time: String,
    site: String,
    #[serde(default)]
    interval_ms: u64,
    about: String,
    #[serde(default)]
    camera: String,
    #[serde(default)]
    profile: String,
    #[serde(default)]
    predictions: Option<Predictions>,
}

#[derive(Deserialize)]
struct Predictions {
    digest: String,
    #[serde(default)]
    until: Option<String>,
    summary: Summary,
}

impl Heard {
    /// Reads a message.
    pub fn read(body: &[u8]) -> Result<Self, Unread> {
        if body.is_empty() {
            // So a message that the broker kept is removed.
            return Err(Unread::Other);
        }
        if body.len() > LARGEST {
            return Err(Unread::Broken(format!("it has {} bytes, at most {LARGEST} are read", body.len())));
        }
        let broken = |error: serde_json::Error| Unread::Broken(error.to_string());
        let head: Head = serde_json::from_slice(body).map_err(broken)?;
        if head.schema != SCHEMA {
            let (family, ours) = (head.schema.split('/').next(), SCHEMA.split('/').next());
            let known = family != ours && head.schema.starts_with("vigil");
            let text = || format!("its schema is {}, what is read here is {SCHEMA}", plain(&head.schema));
            return Err(if known { Unread::Other } else { Unread::Broken(text()) });
        }
        let body: Body = serde_json::from_slice(body).map_err(broken)?;
        body.check()
    }
}

impl Body {
    fn check(self) -> Result<Heard, Unread> {
        let time_ns = nanoseconds(&self.time)?;
        let camera = match self.predictions {
            Some(Predictions { digest, until, summary }) if self.about == "camera" => {
                let until = until.as_deref().map(nanoseconds).transpose()?;
                Some(Camera { camera: self.camera, profile: self.profile, digest, until, summary })
            }
            _ => None,
        };
        let names = camera.iter().flat_map(|it| [&it.camera, &it.profile, &it.digest]).chain([&self.site]);
        if names.into_iter().any(|name| name.len() > LONGEST) {
            return Err(Unread::Broken(format!("a name in it is longer than {LONGEST} bytes")));
        }
        if self.site.is_empty() || camera.as_ref().is_some_and(|it| it.camera.is_empty() || it.digest.is_empty()) {
            return Err(Unread::Broken("it does not say which gateway, camera or model it is about".to_owned()));
        }
        Ok(Heard {
            id: self.id,
            time_ns,
            gateway: self.site,
            interval: Duration::from_millis(self.interval_ms),
            camera,
        })
    }
}

/// A time in nanoseconds since 1970 UTC; 0 before that.
fn nanoseconds(text: &str) -> Result<u64, Unread> {
    let time: Timestamp = text.parse().map_err(|_| Unread::Broken(format!("`{}` is no time", plain(text))))?;
    Ok(u64::try_from(time.as_nanosecond()).unwrap_or(0))
}

/// A text of unknown origin, fit for a terminal: on one line, without control characters, and not longer than a name.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Which records have come before: the newest ids, as numbers that nobody outside can foresee.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    state: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Doubles {
    /// Whether the record has not come before; it has from now on.
    pub fn is_new(&mut self, id: &str) -> bool {
        let number = self.state.hash_one(id);
        if !self.known.insert(number) {
            return false;
        }
        self.order.push_back(number);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
