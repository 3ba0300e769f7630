//! From a camera's options to the elements between it and raw video.

use std::collections::BTreeSet;

use super::Resolving;
use super::uri::{self, Origin};
use crate::site::convert::value_text;
use crate::site::description::{Camera, Scalar, Transport};
use crate::site::plan::{Node, Step, Value};
use crate::site::problem::{About, Severity};
use crate::site::units::{Span, TextOrSecret};

/// Pictures of RTSP wait so long for those that arrive late.
const LATENCY: Span = Span::from_millis(200);
/// What a test pattern is like unless `caps` says otherwise.
const TEST_CAPS: &str = "video/x-raw,format=I420,width=640,height=360,framerate=25/1";
/// Pictures of a live camera that may wait for the analysis; the oldest one goes when there are more.
const WAITING: &str = "5";
/// `max-fps` from here on is no limit.
const FASTEST: f64 = 1000.0;

/// Where a camera's pictures come from.
pub struct Source {
    /// From the camera to raw video.
    pub steps: Vec<Step>,
    /// As it may be shown.
    pub shown: String,
    /// Whether the end of the stream is the camera's.
    pub ends: bool,
    /// Whether it begins anew at its end.
    pub repeats: bool,
}

/// Threads of a decoder that has a choice.
pub fn decoder_threads(options: &Camera) -> u32 {
    options.decode.as_ref().and_then(|decode| decode.threads).unwrap_or(1)
}

/// The source of the camera `id`; `None` with a problem if it has none. `analysed`: stages come behind it.
pub fn source(resolving: &mut Resolving<'_>, id: &str, options: &Camera, analysed: bool) -> Option<Source> {
    let before = resolving.problems.0.len();
    let mut making = Making { resolving, id, options, steps: Vec::new() };
    let (shown, ends, repeats) = match (&options.uri, &options.launch) {
        (Some(uri), None) => making.uri(uri)?,
        (None, Some(fragment)) => making.launch(fragment),
        (None, None) => {
            making.error("", "it has neither `uri` nor `launch`: where do its pictures come from?");
            return None;
        }
        (Some(_), Some(_)) => {
            making.error("launch", "it has `uri` and `launch`: its pictures can come from one only");
            return None;
        }
    };
    making.limit_rate();
    if analysed {
        making.element("videoconvert", "convert", []);
    }
    let steps = making.steps;
    (resolving.problems.0.len() == before).then_some(Source { steps, shown, ends, repeats })
}

struct Making<'a, 'd> {
    resolving: &'a mut Resolving<'d>,
    id: &'a str,
    options: &'a Camera,
    steps: Vec<Step>,
}

impl Making<'_, '_> {
    fn error(&mut self, key: &str, text: impl Into<String>) {
        let dot = if key.is_empty() { "" } else { "." };
        self.resolving.error(&format!("camera.{}{dot}{key}", self.id), text);
    }

    /// Adds an element of the site's own choice.
    fn element<const N: usize>(&mut self, factory: &str, name: &str, properties: [(&str, Value); N]) {
        if self.resolving.catalog.element(factory).is_none() {
            let (key, lack) = (format!("camera.{}", self.id), (Severity::Error, About::Machine));
            let text = format!("it needs GStreamer's element \"{factory}\", which is not installed");
            self.resolving.lacks.add(lack, &self.resolving.document.places, &key, text);
        }
        self.node(factory, name, properties);
    }

    fn node<const N: usize>(&mut self, factory: &str, name: &str, properties: [(&str, Value); N]) {
        let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let node = Node { factory: factory.into(), name: name.into(), properties, live: BTreeSet::new() };
        self.steps.push(Step::Element(node));
    }

    /// Adds to the properties of the element that was added last.
    fn set(&mut self, property: &str, value: Value) {
        if let Some(Step::Element(node)) = self.steps.last_mut() {
            node.properties.insert(property.into(), value);
        }
    }

    fn caps(&mut self, caps: &str) {
        if caps.ends_with('\\') {
            self.error("caps", "caps cannot end in \\");
        }
        self.steps.push(Step::Caps(caps.into()));
    }

    /// Adds what `uri` needs; gives how it is shown, whether its end is the camera's, and whether it begins anew.
    fn uri(&mut self, uri: &str) -> Option<(String, bool, bool)> {
        let origin = match Origin::of(uri) {
            Ok(origin) => origin,
            Err(why) => {
                self.error("uri", why);
                return None;
            }
        };
        if uri::password(uri).is_some() {
            self.error("uri", "it has a password in it: write `user`, and `password` with where it is to be found");
            return None;
        }
        if uri.ends_with('\\') {
            self.error("uri", "it cannot end in \\");
            return None;
        }
        let repeat = self.options.repeat;
        match origin {
            Origin::Rtsp => self.rtsp(uri),
            Origin::Http => {
                self.http(uri);
                return Some((uri::shown(uri), repeat == Some(false), repeat == Some(true)));
            }
            Origin::File(path) => {
                let path = self.resolving.absolute(&path).display().to_string();
                let shown = format!("file:{path}");
                self.element("filesrc", "source", [("location", Value::Text(path))]);
                self.decoder();
                self.element("clocksync", "pace", []);
                let repeats = repeat.unwrap_or(false);
                return Some((shown, !repeats, repeats));
            }
            Origin::Device(device) => {
                self.element("v4l2src", "source", [("device", Value::Text(device))]);
                if let Some(caps) = &self.options.caps {
                    self.caps(caps);
                }
                self.decoder();
                self.newest();
            }
            Origin::Test(pattern) => self.test(pattern),
        }
        Some((uri::shown(uri), false, false))
    }

    fn rtsp(&mut self, uri: &str) {
        let tunnel = self.options.transport == Some(Transport::Http);
        let protocols = match self.options.transport.unwrap_or_default() {
            Transport::Auto => "tcp+udp",
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Multicast => "udp-mcast",
            Transport::Http => "tcp+http",
        };
        // A tunnel through HTTP is a scheme of its own: rtsph, rtspsh.
        let location = match uri.split_once(':') {
            Some((scheme, rest)) if tunnel => format!("{}h:{rest}", scheme.to_ascii_lowercase()),
            _ => uri.into(),
        };
        let latency = self.options.latency.unwrap_or(LATENCY).0.as_millis();
        let text = |text: &str| Value::Text(text.into());
        let properties = [
            ("location", text(&location)),
            ("protocols", text(protocols)),
            ("latency", Value::Text(latency.to_string())),
            ("drop-on-latency", text("true")),
        ];
        self.element("rtspsrc", "source", properties);
        self.credentials();
        // What else the camera sends, sound for one, goes nowhere.
        self.caps("application/x-rtp,media=video");
        self.decoder();
        self.newest();
    }

    fn http(&mut self, uri: &str) {
        let text = |text: &str| Value::Text(text.into());
        // Pictures that have no times of their own, as those of MJPEG, have the ones of their arrival.
        let properties = [("location", text(uri)), ("is-live", text("true")), ("do-timestamp", text("true"))];
        self.element("souphttpsrc", "source", properties);
        self.credentials();
        self.decoder();
        self.element("clocksync", "pace", []);
        self.newest();
    }

    fn credentials(&mut self) {
        match self.options.user.clone() {
            Some(TextOrSecret::Text(user)) if user.ends_with('\\') => self.error("user", "it cannot end in \\"),
            Some(TextOrSecret::Text(user)) => self.set("user-id", Value::Text(user)),
            Some(TextOrSecret::Secret(secret)) => {
                let secret = self.resolving.secret(secret);
                self.set("user-id", Value::Secret(secret));
            }
            None => {}
        }
        if let Some(password) = self.options.password.clone() {
            let password = self.resolving.secret(password);
            self.set("user-pw", Value::Secret(password));
        }
        if let Some(file) = &self.options.tls_ca {
            let file = self.resolving.absolute(file);
            self.set("tls-database", Value::Authority(file));
        }
    }

    fn test(&mut self, pattern: String) {
        let element = self.resolving.catalog.element("videotestsrc");
        if let Some(info) = element.as_ref().and_then(|element| element.property("pattern"))
            && let Err(why) = value_text(&Scalar::Text(pattern.clone()), info)
        {
            self.error("uri", why);
        }
        let properties = [("pattern", Value::Text(pattern)), ("is-live", Value::Text("true".into()))];
        self.element("videotestsrc", "source", properties);
        let caps = self.options.caps.clone();
        self.caps(caps.as_deref().unwrap_or(TEST_CAPS));
    }

    fn launch(&mut self, fragment: &str) -> (String, bool, bool) {
        let fragment = fragment.trim().replace("{camera}", self.id);
        if fragment.is_empty() {
            self.error("launch", "it is empty");
        } else if fragment.ends_with('\\') {
            self.error("launch", "it cannot end in \\");
        }
        self.steps.push(Step::Launch(fragment.clone()));
        self.decoder();
        self.element("clocksync", "pace", []);
        self.newest();
        let first = fragment.split_whitespace().next().unwrap_or_default();
        let repeat = self.options.repeat;
        (format!("launch:{first}"), repeat == Some(false), repeat == Some(true))
    }

    /// From whatever there is to raw video, and nothing else: sound is not decoded.
    fn decoder(&mut self) {
        let Some(factory) = self.options.decode.as_ref().and_then(|decode| decode.element.clone()) else {
            let caps = Value::Text("video/x-raw(ANY)".into());
            let all = Value::Text("false".into());
            self.element("decodebin", "decode", [("caps", caps), ("expose-all-streams", all)]);
            return;
        };
        self.element("parsebin", "decode", []);
        let info = self.resolving.catalog.element(&factory);
        self.node(&factory, "decoder", []);
        let names = ["max-threads", "threads", "n-threads"];
        if let Some(name) = names.iter().find(|name| info.as_ref().is_some_and(|info| info.property(name).is_some())) {
            self.set(name, Value::Text(decoder_threads(self.options).to_string()));
        }
    }

    /// Whatever comes behind is slow: pictures do not wait, the newest ones go on.
    fn newest(&mut self) {
        let text = |text: &str| Value::Text(text.into());
        let properties = [
            ("leaky", text("downstream")),
            ("max-size-buffers", text(WAITING)),
            ("max-size-bytes", text("0")),
            ("max-size-time", text("0")),
        ];
        self.element("queue", "queue", properties);
    }

    /// Drops pictures that are more than `max-fps`.
    fn limit_rate(&mut self) {
        let Some(most) = self.options.max_fps else { return };
        if !most.is_finite() || most < 0.001 {
            self.error("max-fps", format!("a number of frames a second from 0.001 on is expected, this is {most}"));
            return;
        }
        if most >= FASTEST {
            return;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 1000000")]
        let (frames, seconds) = reduced((most * 1000.0).round() as u64, 1000);
        // Many cameras do not say how many frames a second they send, and videorate drops nothing then: it is told of more
        // than any camera sends, and goes by the frames' times.
        let caps = Value::Text("video/x-raw,framerate=1000/1".into());
        self.element("capssetter", "any-rate", [("caps", caps)]);
        let text = |text: &str| Value::Text(text.into());
        self.element("videorate", "rate", [("drop-only", text("true")), ("skip-to-first", text("true"))]);
        self.caps(&format!("video/x-raw,framerate={frames}/{seconds}"));
    }
}

/// A fraction by its smallest numbers.
fn reduced(a: u64, b: u64) -> (u64, u64) {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1), b / x.max(1))
}
