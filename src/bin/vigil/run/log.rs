//! Logs: one line each on standard error, for people or as JSON; GStreamer's go the same way.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstvigil::site::live::names;
use tracing::Level;
use tracing_subscriber::EnvFilter;

use super::scrub::scrub;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// From where on something is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Threshold {
    /// What does not work.
    Error,
    /// And what may not be as it was meant.
    Warn,
    /// And what happens.
    Info,
    /// And how it comes to that.
    Debug,
}

impl Threshold {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn of_gstreamer(self) -> gst::DebugLevel {
        match self {
            Self::Error => gst::DebugLevel::Error,
            Self::Warn => gst::DebugLevel::Warning,
            Self::Info => gst::DebugLevel::Info,
            Self::Debug => gst::DebugLevel::Debug,
        }
    }
}

/// Starts logging; before `gst::init`.
pub fn start(format: Format, threshold: Threshold) {
    let filter = EnvFilter::new(format!("warn,vigil={}", threshold.word()));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // An application that has set a subscriber of its own keeps it: there is none in this process.
    let _ = match format {
        Format::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
}

/// Has GStreamer's lines go the same way; after `gst::init`. Warnings of all elements and what Vigil's say; more of it if
/// the environment has `GST_DEBUG`.
pub fn bridge(threshold: Threshold) {
    if std::env::var_os("GST_DEBUG").is_none() {
        let level = threshold.of_gstreamer();
        gst::log::set_default_threshold(level.min(gst::DebugLevel::Warning));
        gst::log::set_threshold_for_name("vigil*", level);
    }
    gst::log::remove_default_log_function();
    let limiter = Limiter::default();
    gst::log::add_log_function(move |category, level, _file, _function, _line, object, message| {
        let camera = object.and_then(|object| names::camera_of(object.as_ptr() as usize));
        let object = object.map(ToString::to_string).unwrap_or_default();
        let from = format!("{}/{}", camera.as_deref().unwrap_or_default(), category.name());
        let Some(left_out) = limiter.admit(&from, Instant::now()) else { return };
        let text = scrub(message.get().as_deref().map(|text| text.as_str()).unwrap_or_default());
        let category = category.name();
        let camera = camera.as_deref();
        tell_left_out(camera, category, left_out);
        match level {
            gst::DebugLevel::Error => tracing::error!(camera, category, object, "{text}"),
            gst::DebugLevel::Warning | gst::DebugLevel::Fixme => tracing::warn!(camera, category, object, "{text}"),
            gst::DebugLevel::Info => tracing::info!(camera, category, object, "{text}"),
            _ => tracing::debug!(camera, category, object, "{text}"),
        }
    });
}

/// Logs that lines before this one are missing.
pub fn tell_left_out(camera: Option<&str>, category: &str, left_out: u64) {
    if left_out > 0 {
        tracing::warn!(camera, category, "{left_out} more lines were left out");
    }
}

/// Lines of one source in a period; a stream that is broken for weeks must not fill the disk.
const BURST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);
/// Sources that are remembered.
const SOURCES: usize = 1000;

/// Keeps down how much one source says.
#[derive(Default)]
pub struct Limiter(Mutex<HashMap<String, Told>>);

struct Told {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Limiter {
    /// Whether `source` may say something now, and how many of its lines were left out before this one.
    pub fn admit(&self, source: &str, now: Instant) -> Option<u64> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = sources.get_mut(source) {
            if now.saturating_duration_since(told.since) < PERIOD {
                if told.lines >= BURST {
                    told.left_out += 1;
                    return None;
                }
                told.lines += 1;
                return Some(0);
            }
            let left_out = told.left_out;
            *told = Told { since: now, lines: 1, left_out: 0 };
            return Some(left_out);
        }
        if sources.len() >= SOURCES {
            sources.retain(|_, told| now.saturating_duration_since(told.since) < PERIOD);
        }
        sources.insert(source.to_owned(), Told { since: now, lines: 1, left_out: 0 });
        Some(0)
    }
}

/// Logs an event of the site.
pub fn event(event: &gstvigil::site::status::Event) {
    let field = |name: &str| event.data.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let (camera, kind) = (event.camera.as_deref(), event.kind.as_str());
    let (state, reason) = (field("state"), field("reason"));
    let text = match (field("text"), state) {
        (Some(text), _) => scrub(text),
        (None, Some(state)) if kind == "camera" => format!("the camera is {state}"),
        _ => scrub(&event.data.to_string()),
    };
    match level(kind, &event.data) {
        Level::WARN => tracing::warn!(camera, kind, state, reason, "{text}"),
        Level::DEBUG => tracing::debug!(camera, kind, state, reason, "{text}"),
        _ => tracing::info!(camera, kind, state, reason, "{text}"),
    }
}

/// How much an event matters.
fn level(kind: &str, data: &serde_json::Value) -> Level {
    let is = |name: &str, words: &[&str]| {
        data.get(name).and_then(serde_json::Value::as_str).is_some_and(|word| words.contains(&word))
    };
    let bad = match kind {
        "camera" => is("state", &["lost", "failed"]),
        "output" => is("state", &["failed"]),
        "site" => {
            let lacks = data.get("problems").and_then(serde_json::Value::as_array).is_some_and(|all| !all.is_empty());
            is("action", &["refused"]) || (is("action", &["lacks"]) && lacks)
        }
        "vigil-model" => is("phase", &["rejected", "rolled-back"]),
        // At a camera's end the analysis ends, as it should.
        "vigil-watchdog" => is("to", &["bypassing"]) && !is("cause", &["stop"]),
        "vigil-export" => is("state", &["degraded"]),
        "vigil-result" => return Level::DEBUG,
        _ => false,
    };
    if bad { Level::WARN } else { Level::INFO }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_says_much_is_cut_and_the_others_are_not() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        for n in 0..100 {
            assert_eq!(limiter.admit("a", start).is_some(), n < BURST);
        }
        assert_eq!(limiter.admit("b", start), Some(0));
        assert_eq!(limiter.admit("a", start + PERIOD), Some(u64::from(100 - BURST)));
        assert_eq!(limiter.admit("a", start + PERIOD), Some(0));
    }

    #[test]
    fn sources_of_long_ago_are_forgotten() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        for n in 0..5000 {
            limiter.admit(&n.to_string(), start + PERIOD * n);
        }
        assert!(limiter.0.lock().unwrap().len() <= SOURCES);
    }

    #[test]
    fn what_goes_wrong_is_a_warning() {
        let level = |kind, data| level(kind, &data);
        assert_eq!(level("camera", serde_json::json!({ "state": "lost" })), Level::WARN);
        assert_eq!(level("camera", serde_json::json!({ "state": "playing" })), Level::INFO);
        assert_eq!(level("vigil-model", serde_json::json!({ "phase": "rejected" })), Level::WARN);
        assert_eq!(level("output", serde_json::json!({ "state": "failed" })), Level::WARN);
        assert_eq!(level("output", serde_json::json!({ "state": "working" })), Level::INFO);
        let bypassing = |cause| serde_json::json!({ "to": "bypassing", "cause": cause });
        assert_eq!(level("vigil-watchdog", bypassing("deadline")), Level::WARN);
        assert_eq!(level("vigil-watchdog", bypassing("stop")), Level::INFO);
        let lacks = |problems: &[&str]| serde_json::json!({ "action": "lacks", "problems": problems });
        assert_eq!(level("site", lacks(&["no model"])), Level::WARN);
        assert_eq!(level("site", lacks(&[])), Level::INFO);
    }
}
