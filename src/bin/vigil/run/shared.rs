//! What the gateway's threads share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gstvigil::site::live::Site;
use gstvigil::site::problem::{About, Problem, Problems, Severity};
use gstvigil::site::status::{Event, State};
use gstvigil::telemetry::utc_now_ns;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;

use super::access::Access;
use super::changes::Changes;
use super::keeper::Keeper;

/// Something for the keeper, the one thread that changes the site.
pub enum Wish {
    /// Read the description again, because of this.
    Reload(Cause),
    /// Something for the API.
    Do(Box<dyn FnOnce(&mut Keeper) + Send>),
    /// Something happened.
    Heard(Arc<Event>),
    /// Look whether it is time to come to an end.
    End,
}

/// Why the description is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The process starts.
    Start,
    /// SIGHUP.
    Signal,
    /// A file of the description was written.
    File,
    /// The API was asked to.
    Api,
}

impl Cause {
    /// As logs and events name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// Something that is wrong with the description.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Detail {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// What must be mended.
    pub about: About,
    /// File, line and column; `null` for what is not in a file.
    pub place: Option<String>,
    /// The key with its tables, such as `camera.gate.uri`.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

impl From<&Problem> for Detail {
    fn from(problem: &Problem) -> Self {
        Self {
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            about: problem.about,
            place: problem.place.as_ref().map(ToString::to_string),
            key: problem.key.clone(),
            text: problem.text.clone(),
        }
    }
}

/// The details of all problems.
pub fn details(problems: &Problems) -> Vec<Detail> {
    problems.0.iter().map(Detail::from).collect()
}

/// The last reading of the description.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reading {
    /// When, nanoseconds of Unix time.
    pub time_ns: u64,
    /// Why.
    pub cause: Cause,
    /// Whether it is what runs now. If not, the site runs on as it was.
    pub taken: bool,
    /// What is wrong with it.
    pub problems: Vec<Detail>,
}

/// What the keeper tells the API.
#[derive(Debug, Clone)]
pub struct Report {
    /// The last reading; `None` before the first.
    pub reading: Option<Reading>,
    /// What the machine lacks for what runs, when it was last looked at.
    pub lacks: Vec<Detail>,
    /// What was changed through the API.
    pub changes: Changes,
    /// Descriptions that were taken, and that were not.
    pub reloads: [u64; 2],
    /// What the keeper is at, and since when.
    pub busy: Option<Instant>,
    /// When the thread that answers requests was last seen at work.
    pub beat: Instant,
}

/// What the gateway's threads share.
pub struct Shared {
    /// The site.
    pub site: Site,
    /// The description's file.
    pub description: String,
    /// When the process started, nanoseconds of Unix time.
    pub started_ns: u64,
    /// Who may ask what.
    pub access: Mutex<Arc<Access>>,
    /// What happens, for those who listen.
    pub heard: broadcast::Sender<Arc<Event>>,
    /// All cameras were started that can be.
    pub ready: AtomicBool,
    /// It is coming to its end.
    pub stopping: AtomicBool,
    report: Mutex<Report>,
    wishes: Sender<Wish>,
    /// Why it comes to its end.
    end: OnceLock<&'static str>,
    /// Causes of readings that are wished and have not begun.
    wanted: Mutex<BTreeSet<Cause>>,
}

/// Events that a listener of the API may be behind.
const BEHIND: usize = 512;

impl Shared {
    /// For a gateway that is starting.
    pub fn new(description: String, wishes: Sender<Wish>) -> Self {
        Self {
            site: Site::new(),
            description,
            started_ns: utc_now_ns(),
            access: Mutex::default(),
            heard: broadcast::channel(BEHIND).0,
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            report: Mutex::new(Report {
                reading: None,
                lacks: Vec::new(),
                changes: Changes::default(),
                reloads: [0; 2],
                busy: None,
                beat: Instant::now(),
            }),
            wishes,
            end: OnceLock::new(),
            wanted: Mutex::default(),
        }
    }

    /// What the keeper has told.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who may ask what, just now.
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands the keeper a wish; `false` if it has ended.
    pub fn wish(&self, wish: Wish) -> bool {
        self.wishes.send(wish).is_ok()
    }

    /// Wishes for the description to be read; `false` if the keeper has ended. One reading answers all wishes from before it.
    pub fn reload(&self, cause: Cause) -> bool {
        let new = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(cause);
        !new || self.wish(Wish::Reload(cause))
    }

    /// A reading that was wished begins.
    pub fn reading(&self, cause: Cause) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&cause);
    }

    /// Has the gateway come to its end, before anything else that is wished.
    pub fn end(&self, why: &'static str) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = self.end.set(why);
        self.wish(Wish::End);
    }

    /// Why the gateway is to come to its end; `None`: it is not.
    pub fn ending(&self) -> Option<&'static str> {
        self.end.get().copied()
    }

    /// Whether requests can be served: all cameras were started, and the end has not begun.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed)
    }

    /// Cameras that play, and all that are to run. It waits for the site's answer.
    pub fn playing(&self) -> (usize, usize) {
        let cameras = self.site.cameras();
        let wanted = cameras.iter().filter(|camera| camera.state != State::Disabled);
        (cameras.iter().filter(|camera| camera.state == State::Playing).count(), wanted.count())
    }

    /// Whether every part of the gateway is at work, after the site has answered. `None`: all are.
    pub fn stuck(&self, now: Instant) -> Option<&'static str> {
        let report = self.report();
        let longer = |since: Instant, limit| now.saturating_duration_since(since) > limit;
        if report.busy.is_some_and(|since| longer(since, BUSY)) {
            return Some("a change of the site does not come to an end");
        }
        longer(report.beat, BEAT).then_some("the API does not answer")
    }
}

/// Longest time for one wish: a description that names large models is read and checked in it.
const BUSY: Duration = Duration::from_secs(300);
/// Longest time without a sign of the thread that answers requests.
const BEAT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_answers_all_wishes_from_before_it() {
        let (wish, wishes) = std::sync::mpsc::channel();
        let shared = Shared::new("site.toml".into(), wish);
        for _ in 0..100 {
            assert!(shared.reload(Cause::Signal) && shared.reload(Cause::File));
        }
        assert_eq!(wishes.try_iter().count(), 2);
        shared.reading(Cause::Signal);
        assert!(shared.reload(Cause::Signal));
        assert_eq!(wishes.try_iter().count(), 1, "what is written after it has begun is read too");
        drop(wishes);
        shared.reading(Cause::File);
        assert!(!shared.reload(Cause::File), "nobody is there to do it");
    }

    #[test]
    fn a_part_that_does_not_go_on_is_named() {
        let shared = Shared::new("site.toml".into(), std::sync::mpsc::channel().0);
        let now = Instant::now();
        assert_eq!(shared.stuck(now), None);
        assert!(shared.stuck(now + BEAT * 2).is_some_and(|text| text.contains("API")));
        shared.report().busy = Some(now);
        shared.report().beat = now + BUSY * 2;
        assert_eq!(shared.stuck(now + BUSY), None);
        assert!(shared.stuck(now + BUSY * 2).is_some_and(|text| text.contains("change")));
    }
}
