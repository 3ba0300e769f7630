//! Rules and figures of a trial in words.

use std::fmt;
use std::time::Duration;

use super::prove::Proof;
use super::rules::Rules;
use super::trial::TrialReport;

impl Rules {
    /// For a model that is to be kept unless it does not work at all: runs that fail one after the other are never allowed.
    pub fn of_trusted(self) -> Self {
        Self { max_errors: 1.0, max_non_finite: 1.0, max_latency: None, max_slowdown: 0.0, min_agreement: 0.0, ..self }
    }

    /// Whether there is anything to wait for.
    pub fn is_watched(&self) -> bool {
        self.frames > 0 || !self.time.is_zero()
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} and {} answered frames; ", self.time, self.frames)?;
        write!(f, "at most {} errors and {} not finite", percent(self.max_errors), percent(self.max_non_finite))?;
        if let Some(limit) = self.max_latency {
            write!(f, ", {limit:?} a run")?;
        }
        if self.max_slowdown > 0.0 {
            write!(f, ", {} times the other model's run", self.max_slowdown)?;
        }
        if self.min_agreement > 0.0 {
            write!(f, "; agreement of {} or more over {} samples", self.min_agreement, self.samples)?;
        }
        Ok(())
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects on {} reference pictures are found, ", self.objects, self.pictures)?;
        write!(f, "IoU {:.3} and score within {:.3}, {:.1?} a run", self.least_iou, self.most_score, self.run)
    }
}

fn percent(part: f32) -> String {
    format!("{} %", (part * 1000.0).round() / 10.0)
}

impl fmt::Display for TrialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = |ns: u64| format!("{:.1?}", Duration::from_nanos(ns));
        let (subject, peer, both) = (&self.subject, &self.peer, &self.agreement);
        write!(f, "{} frames in {:.1?}, {} errors, ", subject.frames, self.elapsed, subject.failed)?;
        write!(f, "{} not finite, {} a run", subject.non_finite, run(subject.median_ns))?;
        if both.frames > 0 {
            write!(f, "; beside the other model ({} a run) on {} frames: ", run(peer.median_ns), both.frames)?;
            write!(f, "agreement {:.2}, {} matched, {} with ", both.score(), both.matched, both.class_changes)?;
            write!(f, "another class, {} missed, {} extra", both.missed, both.extra)?;
        }
        Ok(())
    }
}
