//! Two models on the same pictures, without a pipeline: the figures of a live comparison, and the differences to look at.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::agreement::{Agreement, MIN_IOU, SharedClasses, agree};
use super::look::{Look, LookError, Looked, RUN_LIMIT};
use crate::bundle::Bundle;
use crate::bundle::contract::{Labels, Task};
use crate::model::Model;
use crate::parity::{About, Answer, Heading, Needed, Picture, Report, Sides, Tolerances, compare_needed};
use crate::result::FrameResult;

/// Version of the JSON.
const FORMAT: u32 = 1;
/// Confidences of one object that differ by more than this are shown as a picture.
const SCORE_SHOWN: f32 = 0.2;
/// Labels that a text lists.
const LISTED: usize = 8;

/// Why two models cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// What they answer is not of one kind.
    #[error("{0}")]
    Different(String),
    /// One of them failed on a picture.
    #[error("{picture}: {model}: {source}")]
    Look {
        /// The picture.
        picture: String,
        /// Which model.
        model: String,
        /// What happened.
        source: LookError,
    },
}

/// One of the two models.
struct Side<'a> {
    model: &'a Model,
    /// What texts call it.
    called: &'static str,
    look: Look<'a>,
    runs: Vec<Duration>,
    non_finite: u64,
    /// Labels that only this one has, with how often it found them.
    alone: BTreeMap<String, u64>,
}

impl<'a> Side<'a> {
    fn new(model: &'a Model, other: &Model, called: &'static str, confidence: Option<f32>) -> Self {
        let mut thresholds = model.post().thresholds();
        if let Some(confidence) = confidence {
            thresholds.set_confidence(confidence);
        }
        let own = model.bundle().labels.iter().filter(|label| !other.bundle().labels.contains(label));
        let alone = own.map(|label| (label.to_string(), 0)).collect();
        let look = Look::new(model, thresholds);
        Self { model, called, look, runs: Vec::new(), non_finite: 0, alone }
    }

    fn look(&mut self, name: &str, picture: &Picture) -> Result<FrameResult, OfflineError> {
        let failed = |source, called: &str| OfflineError::Look { picture: name.into(), model: called.into(), source };
        if self.runs.is_empty() {
            // The first run is slower, and is not measured.
            self.look.at(picture, RUN_LIMIT).map_err(|e| failed(e, self.called))?;
        }
        let Looked { result, run, dropped } = self.look.at(picture, RUN_LIMIT).map_err(|e| failed(e, self.called))?;
        self.runs.push(run);
        self.non_finite += dropped.non_finite;
        let found = result.objects.iter().map(|o| &o.label).chain(result.classes.first().map(|c| &c.label));
        for label in found {
            if let Some(count) = self.alone.get_mut(&**label) {
                *count += 1;
            }
        }
        Ok(result)
    }

    /// The run of which `part` (0..1) of all are not longer.
    fn run(&self, part: f64) -> Duration {
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        let place = (part * runs.len() as f64).ceil() as usize;
        runs.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn to_json(&self) -> Value {
        let (bundle, ms) = (self.model.bundle(), |d: Duration| d.as_secs_f64() * 1e3);
        json!({
            "name": bundle.name,
            "release": bundle.release,
            "digest": bundle.digest,
            "provider": self.model.provider(),
            "input": [bundle.input.width, bundle.input.height],
            "latency-ms": {"median": ms(self.run(0.5)), "p99": ms(self.run(0.99))},
            "non-finite": self.non_finite,
            "labels-of-its-own": self.alone,
        })
    }

    /// The model, its contract and its runs, in words.
    fn line(&self) -> String {
        let bundle = self.model.bundle();
        let (decoder, input) = (bundle.output.decoder.as_str(), &bundle.input);
        let runs = format!("a run {:.1?} (median), {:.1?} (p99)", self.run(0.5), self.run(0.99));
        format!("{}: {decoder}, {}x{}, {}; {runs}", name(bundle), input.width, input.height, self.model.provider())
    }

    /// The labels that only this one has, in words.
    fn own_labels(&self) -> Option<String> {
        let found: u64 = self.alone.values().sum();
        let mut labels: Vec<_> = self.alone.iter().collect();
        labels.sort_by(|a, b| b.1.cmp(a.1));
        let listed: Vec<String> = labels.iter().take(LISTED).map(|(label, n)| format!("{label} ({n})")).collect();
        let more = labels.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let text =
            || format!("{} has alone, found {found} times, not counted: {}{more}", self.called, listed.join(", "));
        (!labels.is_empty()).then(text)
    }
}

fn name(bundle: &Bundle) -> String {
    if bundle.release.is_empty() { bundle.name.clone() } else { format!("{} {}", bundle.name, bundle.release) }
}

/// The comparison of two models over pictures.
pub struct Offline<'a> {
    old: Side<'a>,
    new: Side<'a>,
    shared: SharedClasses,
    /// The labels of both.
    labels: Labels,
    sum: Agreement,
    rows: Vec<(String, Agreement)>,
    /// New confidence minus old one, without its sign.
    shifts: Vec<f32>,
    report: Report,
    tolerances: Tolerances,
}

impl<'a> Offline<'a> {
    /// Of `old` and `new`, at the thresholds of their bundles or at one `confidence`.
    ///
    /// # Errors
    /// [`OfflineError::Different`] if what they answer cannot be compared.
    pub fn new(old: &'a Model, new: &'a Model, confidence: Option<f32>) -> Result<Self, OfflineError> {
        comparable(old.bundle(), new.bundle()).map_err(OfflineError::Different)?;
        let labels: Labels =
            old.bundle().labels.iter().filter(|label| new.bundle().labels.contains(label)).cloned().collect();
        let tolerances = Tolerances {
            confidence: 0.0,
            min_iou: MIN_IOU,
            score: SCORE_SHOWN,
            keypoint: f32::INFINITY,
            keypoint_part: 0.0,
            min_mask_iou: 0.0,
            min_cosine: -1.0,
            nms_iou: old.bundle().output.iou,
            // What one side had to leave out the other one need not have found.
            max_objects: old.bundle().output.max_objects.min(new.bundle().output.max_objects),
        };
        let sides = Sides { ours: "the new model".into(), theirs: "the old model".into() };
        let about = About { labels: labels.clone(), sides, ..About::default() };
        Ok(Self {
            old: Side::new(old, new, "the old model", confidence),
            new: Side::new(new, old, "the new model", confidence),
            shared: SharedClasses::of(old.bundle(), new.bundle()),
            labels,
            sum: Agreement::default(),
            rows: Vec::new(),
            shifts: Vec::new(),
            report: Report::new(about, tolerances),
            tolerances,
        })
    }

    /// Lets both look at a picture, one after the other.
    ///
    /// # Errors
    /// [`OfflineError::Look`] if one of them fails.
    pub fn add(&mut self, name: &str, picture: &Picture) -> Result<(), OfflineError> {
        let (old, new) = (self.old.look(name, picture)?, self.new.look(name, picture)?);
        let agreement = agree(&old, &new, &self.shared);
        self.sum += agreement;
        self.rows.push((name.to_owned(), agreement));
        let (old, new) = (self.answer(&old), self.answer(&new));
        let found = compare_needed(&new, &old, &self.tolerances, Needed { ours: &|_| true, theirs: &|_| true });
        self.shifts.extend(found.pairs.iter().map(|pair| pair.score));
        self.report.add(name, &new, &old, &found, picture);
        Ok(())
    }

    /// What counts of a result, with places in the common list of labels as classes.
    fn answer(&self, result: &FrameResult) -> Answer {
        let place = |label: &str| self.labels.iter().position(|l| **l == *label).map(|place| place as u32);
        let mut answer = Answer::of_result(result);
        let own = result.objects.iter().map(|object| place(&object.label));
        let objects = answer.objects.drain(..).zip(own).filter_map(|(mut object, class)| {
            object.class = class?;
            object.mask = None;
            Some(object)
        });
        let objects = objects.collect();
        let classes = result.classes.iter().filter_map(|c| Some((place(&c.label)?, c.confidence))).collect();
        Answer { objects, classes, ..Answer::default() }
    }

    /// Pictures so far.
    pub fn pictures(&self) -> usize {
        self.rows.len()
    }

    /// How far they agree, 0..1 ([`Agreement::score`]).
    pub fn score(&self) -> f64 {
        self.sum.score()
    }

    /// All figures; `least` is the agreement that is demanded, 0..1.
    pub fn to_json(&self, least: f64) -> Value {
        let figures = |a: &Agreement| {
            json!({
                "agreement": a.score(),
                "matched": a.matched,
                "class-changes": a.class_changes,
                "missed": a.missed,
                "extra": a.extra,
                "left-out": a.foreign,
                "top1": {"frames": a.top1_frames, "equal": a.top1_equal},
            })
        };
        let rows = self.rows.iter().map(|(name, agreement)| {
            let mut row = figures(agreement);
            row["picture"] = json!(name);
            row
        });
        let mut json = figures(&self.sum);
        json["format"] = json!(FORMAT);
        json["old"] = self.old.to_json();
        json["new"] = self.new.to_json();
        json["pictures"] = json!(self.rows.len());
        json["min-agreement"] = json!(least);
        json["within"] = json!(self.score() >= least);
        json["shared-labels"] = json!(self.labels.len());
        json["score-shift"] = json!({"mean": self.sum.score_shift(), "p95": self.shift_p95()});
        json["by-picture"] = rows.collect();
        json
    }

    /// The difference of the confidences of one object that 95 % of the objects do not exceed.
    fn shift_p95(&self) -> f32 {
        let mut shifts = self.shifts.clone();
        shifts.sort_by(f32::total_cmp);
        let place = (0.95 * shifts.len() as f64).ceil() as usize;
        shifts.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// The figures as label and text.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let a = &self.sum;
        let mut lines = vec![
            ("old", self.old.line()),
            ("new", self.new.line()),
            ("pictures", self.rows.len().to_string()),
            ("agreement", format!("{:.4}", self.score())),
        ];
        if a.top1_frames > 0 || self.old.model.bundle().task == Task::Classify {
            let text = format!("{} of {} pictures have the same first class", a.top1_equal, a.top1_frames);
            lines.push(("classes", text));
        } else {
            lines.push(("matched", format!("{} objects found by both (IoU at least {MIN_IOU})", a.matched)));
            lines.push(("changed", format!("{} found by both, with another class", a.class_changes)));
            lines.push(("missed", format!("{} found by the old model only", a.missed)));
            lines.push(("extra", format!("{} found by the new model only", a.extra)));
            let (mean, p95) = (a.score_shift(), self.shift_p95());
            lines.push(("confidence", format!("{mean:+.4} on average, {p95:.4} apart at most in 95 % of the pairs")));
        }
        for side in [&self.old, &self.new] {
            lines.extend(side.own_labels().map(|text| ("labels", text)));
            if side.non_finite > 0 {
                lines.push(("broken", format!("{} answers of {} are not finite", side.non_finite, side.called)));
            }
        }
        lines
    }

    /// The page: figures, and pictures of the largest differences.
    pub fn to_html(&self, least: f64) -> String {
        let good = self.score() >= least;
        let word = match (good, least > 0.0) {
            (true, false) => format!("agreement {:.3}", self.score()),
            (true, true) => format!("agreement {:.3}, at least {least} is demanded", self.score()),
            (false, _) => format!("agreement {:.3}, less than {least}", self.score()),
        };
        let lines = self.lines().into_iter().map(|(label, text)| (label.to_owned(), text)).collect();
        let (old, new) = (name(self.old.model.bundle()), name(self.new.model.bundle()));
        self.report.to_page(&Heading { title: format!("{new} against {old}"), verdict: (good, word), lines })
    }
}

impl fmt::Display for Offline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.lines().iter().try_for_each(|(label, text)| writeln!(f, "{label:<10} {text}"))
    }
}

/// Why two bundles' models cannot be compared.
fn comparable(old: &Bundle, new: &Bundle) -> Result<(), String> {
    let word = crate::bundle::manifest::word;
    if old.task != new.task {
        let (old, new) = (word(&old.task), word(&new.task));
        return Err(format!("the old model's task is \"{old}\", the new one's is \"{new}\": they cannot be compared"));
    }
    if old.task == Task::Embed {
        return Err("the vectors of two models lie in different spaces and cannot be compared".into());
    }
    if !SharedClasses::of(old, new).is_comparable() {
        return Err("the two models have no label in common: they cannot be compared".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
