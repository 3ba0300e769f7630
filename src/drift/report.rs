//! What a monitor says, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::baseline::mean;
use super::psi::psi_of;
use super::summary::{Aspect, Summary};

/// Whether the model's predictions are as they used to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Too few frames were analysed lately to say anything.
    #[default]
    Unknown,
    /// The baseline is being learned.
    Learning,
    /// As in the baseline, up to chance and tolerance.
    Stable,
    /// Not as in the baseline.
    Drifting,
}

impl State {
    /// The word in messages and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Learning => "learning",
            Self::Stable => "stable",
            Self::Drifting => "drifting",
        }
    }
}

/// What a monitor knows at the end of a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it says.
    pub state: State,
    /// What it said before this window.
    pub before: State,
    /// 0: as in the baseline; 1 or more, up to 2: drifting. In between it is the logarithm of the evidence as a share of
    /// what raises the alarm.
    pub score: f64,
    /// SHA-256 of the weights that the report is about; empty if no model was seen.
    pub digest: String,
    /// How much of the baseline is learned, 0..1.
    pub learned: f64,
    /// Whether the bundle's reference distribution is the baseline's centre.
    pub reference: bool,
    /// Whether the baseline knows too little of this time of the day and that of the whole day is used.
    pub borrowed: bool,
    /// Windows that the test has looked at since the baseline was learned.
    pub windows: u64,
    /// Start of the evidence for the alarm, nanoseconds since 1970 UTC; `None` unless drifting.
    pub since_utc_ns: Option<u64>,
    /// The aspect that raised the alarm; `None` unless drifting.
    pub cause: Option<Aspect>,
    /// Each aspect over the newest windows, against the same times of the day in the baseline.
    pub aspects: Vec<AspectReport>,
    /// What differs most, as figures.
    pub changes: Vec<Change>,
}

/// One aspect over the newest windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AspectReport {
    /// Which.
    pub aspect: Aspect,
    /// Population stability index; `None` if one side holds nothing.
    pub psi: Option<f64>,
    /// As [`Report::score`], for this aspect alone.
    pub score: f64,
}

/// A figure then and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What, such as `mean confidence` or `share of person`.
    pub what: String,
    /// In the baseline at the same time of the day.
    pub from: f64,
    /// In the newest windows.
    pub to: f64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.2} → {:.2}", self.what, self.from, self.to)
    }
}

impl Report {
    /// Whether the state is another one than before: what a message is posted for.
    pub fn is_news(&self) -> bool {
        self.state != self.before
    }

    /// The evidence in a line, such as `confidence (PSI 0.41): share of person 0.62 → 0.31; mean confidence 0.71 → 0.58;
    /// objects per frame 4.10 → 2.00`; empty if there is nothing to compare.
    pub fn evidence(&self) -> String {
        let changes: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        let aspect = self.cause.and_then(|cause| self.aspects.iter().find(|a| a.aspect == cause));
        let cause = match aspect.map(|a| (a.aspect.as_str(), a.psi)) {
            Some((aspect, Some(psi))) => format!("{aspect} (PSI {psi:.2}): "),
            Some((aspect, None)) => format!("{aspect}: "),
            None => String::new(),
        };
        cause + &changes.join("; ")
    }
}

/// The figures that say most about how `now` differs from the mixture `then`: the class whose share has changed most, mean
/// confidence, box size (in percent of the frame, geometric mean) and objects per frame.
pub(super) fn changes(then: &[(&Summary, f64)], now: &Summary) -> Vec<Change> {
    let of = |value: &dyn Fn(&Summary) -> Option<f64>| {
        let before = mean(then.iter().filter_map(|(summary, w)| Some((value(summary)?, *w))))?;
        Some((before, value(now)?))
    };
    let change = |what: String, value: Option<(f64, f64)>| value.map(|(from, to)| Change { what, from, to });
    let labels = then.iter().flat_map(|(summary, _)| summary.classes()).chain(now.classes()).map(|(label, _)| label);
    let class = labels
        .filter_map(|label| Some((label, of(&|s: &Summary| s.share(label))?)))
        .max_by(|(_, a), (_, b)| (a.0 - a.1).abs().total_cmp(&(b.0 - b.1).abs()));
    let area = |s: &Summary| s.mean_area_log2().map(|log2| 100.0 * log2.exp2());
    let all = [
        class.and_then(|(label, value)| change(format!("share of {label}"), Some(value))),
        change("mean confidence".into(), of(&Summary::mean_confidence)),
        change("box size in % of the frame".into(), of(&area)),
        change("objects per frame".into(), of(&Summary::objects_per_frame)),
    ];
    all.into_iter().flatten().collect()
}

/// Each aspect's index; the score is `score(aspect)`.
pub(super) fn aspects(then: &[(&Summary, f64)], now: &Summary, score: impl Fn(Aspect) -> f64) -> Vec<AspectReport> {
    let report = |aspect| AspectReport { aspect, psi: psi_of(aspect, then, now), score: score(aspect) };
    Aspect::ALL.into_iter().map(report).collect()
}
