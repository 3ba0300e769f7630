//! Which gateways are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::heard::plain;
use super::news::News;
use crate::export::record::rfc3339;
use crate::export::sink::Now;

/// How often telemetry is taken to come until a gateway has said it.
const USUAL: Duration = Duration::from_secs(60);
/// Longest pause between records that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A gateway is silent after this many pauses without telemetry.
const MISSED: u32 = 3;
/// And not before this: a broker and a network may be slow for a moment.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a gateway is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayState {
    /// Its telemetry comes.
    Online,
    /// The broker says that it is gone.
    Offline,
    /// Its telemetry does not come.
    Silent,
}

impl GatewayState {
    /// The word in lines and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Silent => "silent",
        }
    }
}

#[derive(Debug)]
struct Gateway {
    prefix: String,
    state: GatewayState,
    /// When telemetry came last, by both clocks.
    heard: Duration,
    heard_ns: u64,
    /// Time between its rounds of telemetry.
    interval: Duration,
    /// Why it may be about to be offline: a client of its place has gone since.
    leaving: Option<&'static str>,
    /// Whether it was told that its records are old.
    is_old: bool,
}

/// The gateways, by the names of their sites, and the clients that are connected.
#[derive(Debug)]
pub(super) struct Gateways {
    all: BTreeMap<String, Gateway>,
    /// Clients that are there, by their status topic. A broker keeps the status of those that will never come back; these are not kept.
    clients: BTreeSet<String>,
    most: usize,
}

#[derive(Deserialize)]
struct Status {
    state: String,
    #[serde(default)]
    reason: String,
}

/// What stands in a topic before its last two levels; empty if it has no more.
pub(super) fn prefix(topic: &str) -> &str {
    topic.rsplitn(3, '/').nth(2).unwrap_or_default()
}

impl Gateways {
    pub fn new(most: usize) -> Self {
        Self { all: BTreeMap::new(), clients: BTreeSet::new(), most }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Telemetry came.
    pub fn heard(&mut self, name: &str, prefix: &str, interval: Duration, now: Now) -> Vec<News> {
        if !self.all.contains_key(name) && self.all.len() >= self.most {
            return Vec::new();
        }
        let gateway = self.all.entry(name.to_owned()).or_insert_with(|| Gateway {
            prefix: String::new(),
            state: GatewayState::Online,
            heard: now.monotonic,
            heard_ns: now.utc_ns,
            interval: USUAL,
            leaving: None,
            is_old: false,
        });
        gateway.leaving = None;
        if gateway.prefix != prefix {
            prefix.clone_into(&mut gateway.prefix);
        }
        let (before, since) = (gateway.state, gateway.heard_ns);
        (gateway.state, gateway.heard, gateway.heard_ns) = (GatewayState::Online, now.monotonic, now.utc_ns);
        // As it is set, from the first record on; one of an earlier version does not tell.
        if !interval.is_zero() {
            gateway.interval = interval.min(LONGEST);
        }
        if before == GatewayState::Online {
            return Vec::new();
        }
        let text = format!("its telemetry comes again; it was {} since {}", before.as_str(), rfc3339(since));
        vec![News::gateway(name, GatewayState::Online, before, since, text, now.utc_ns)]
    }

    /// Whether a gateway's record of this age is too old to be compared, and what is to be told of it.
    pub fn aged(&mut self, name: &str, age: Duration, most: Duration) -> (bool, Option<News>) {
        let is_old = age > most;
        let Some(gateway) = self.all.get_mut(name) else { return (is_old, None) };
        let is_news = is_old && !gateway.is_old;
        gateway.is_old = is_old;
        let told = || {
            News::Note(format!(
                "gateway {} sends records that are {} min old, which are not compared: they have waited in its spool and newer ones follow, or its clock is wrong",
                plain(name),
                age.as_secs() / 60
            ))
        };
        (is_old, is_news.then(told))
    }

    /// A client's status came. Where a client has gone, [`tick`](Self::tick) tells unless telemetry comes after it.
    pub fn status(&mut self, topic: &str, body: &[u8]) {
        let Ok(status) = serde_json::from_slice::<Status>(body) else { return };
        if status.state == "online" {
            if self.clients.len() < self.most {
                self.clients.insert(topic.to_owned());
            }
            return;
        }
        if !self.clients.remove(topic) {
            // What was never seen online is of a time before this.
            return;
        }
        let why = match status.reason.as_str() {
            "closed" => "it has said good-bye to the broker",
            _ => "the broker has lost its connection",
        };
        // The topic does not say whose client it was, and its gateway may have another one by now: telemetry tells.
        for gateway in self.all.values_mut().filter(|gateway| gateway.prefix == prefix(topic)) {
            gateway.leaving = Some(why);
        }
    }

    /// Nobody was listening for a while.
    pub fn listen_again(&mut self, now: Now) {
        for gateway in self.all.values_mut() {
            gateway.heard = now.monotonic;
        }
    }

    /// Gateways whose telemetry has stopped. One that does not come back is forgotten after a day, so that there is room for others.
    /// `alive` is when the broker was heard last: what is missing after that may only be held up.
    pub fn tick(&mut self, now: Now, alive: Duration) -> Vec<News> {
        const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
        let mut news = Vec::new();
        self.all.retain(|name, gateway| {
            let quiet = alive.saturating_sub(gateway.heard);
            let (since, interval) = (gateway.heard_ns, gateway.interval);
            let found = match gateway.leaving {
                _ if gateway.state != GatewayState::Online => None,
                Some(why) if quiet > (interval * 3 / 2).max(PATIENCE) => {
                    let text = format!("{why}; its last telemetry came at {}", rfc3339(since));
                    Some((GatewayState::Offline, text))
                }
                _ if quiet > (interval * MISSED).max(PATIENCE) => {
                    let text =
                        format!("no telemetry has come, which came every {:.0} s before", interval.as_secs_f64());
                    Some((GatewayState::Silent, text))
                }
                _ => None,
            };
            if let Some((state, text)) = found {
                gateway.state = state;
                news.push(News::gateway(name, state, GatewayState::Online, since, text, now.utc_ns));
            }
            quiet < FORGOTTEN.max(interval * (MISSED + 1))
        });
        news
    }
}
