//! The comparisons of many pictures in sum: as text, as JSON, and as a page with the worst differences.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Answer, Comparison, Difference, Found, Kind, Picture, Sides, Tolerances};
use crate::bundle::contract::Labels;

mod html;

/// Differences that are shown as pictures.
const SHOWN: usize = 12;

/// Longest side of a shown picture.
const LONGEST: usize = 480;

/// Differences that the text lists.
const LISTED: usize = 10;

/// What was compared.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The model and its release.
    pub model: String,
    /// The decoder, the input's size and how the picture is brought to it.
    pub contract: String,
    /// The pixel format that our side got.
    pub format: String,
    /// Names of the classes.
    pub labels: Labels,
    /// What the two sides are called.
    pub sides: Sides,
}

/// What a page says before it shows differences.
#[derive(Debug, Clone, Default)]
pub struct Heading {
    /// What was compared.
    pub title: String,
    /// Whether the outcome is good, and the word for it.
    pub verdict: (bool, String),
    /// Figures, each with its label.
    pub lines: Vec<(String, String)>,
}

/// A difference with the part of the picture where it is.
#[derive(Debug, Clone)]
pub struct Shown {
    picture: String,
    difference: Difference,
    ours: Option<Found>,
    theirs: Option<Found>,
    /// The part of the picture: left, top, width, height.
    part: [usize; 4],
    /// The part as a `data:` URI.
    uri: String,
}

/// One picture's line.
#[derive(Debug, Clone)]
struct Row {
    picture: String,
    ours: usize,
    theirs: usize,
    pairs: usize,
    least_iou: f32,
    most_score: f32,
    differences: Vec<(Difference, String)>,
}

/// The sum of a figure over all pairs.
#[derive(Debug, Clone, Copy, Default)]
struct Figure {
    count: usize,
    sum: f64,
    /// The worst one.
    worst: f32,
}

impl Figure {
    fn add(&mut self, value: f32, worse: bool) {
        if self.count == 0 || worse {
            self.worst = value;
        }
        self.count += 1;
        self.sum += f64::from(value);
    }

    fn most(&mut self, value: f32) {
        self.add(value, value > self.worst);
    }

    fn least(&mut self, value: f32) {
        self.add(value, value < self.worst);
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    fn json(&self) -> Value {
        if self.count == 0 { Value::Null } else { json!({"worst": self.worst, "mean": self.mean()}) }
    }
}

/// All comparisons so far.
#[derive(Debug, Clone)]
pub struct Report {
    about: About,
    tolerances: Tolerances,
    rows: Vec<Row>,
    iou: Figure,
    score: Figure,
    keypoint: Figure,
    mask: Figure,
    probability: Figure,
    cosine: Figure,
    kinds: BTreeMap<Kind, usize>,
    ties: usize,
    shown: Vec<Shown>,
}

impl Report {
    /// An empty one.
    pub fn new(about: About, tolerances: Tolerances) -> Self {
        Self {
            about,
            tolerances,
            rows: Vec::new(),
            iou: Figure::default(),
            score: Figure::default(),
            keypoint: Figure::default(),
            mask: Figure::default(),
            probability: Figure::default(),
            cosine: Figure::default(),
            kinds: BTreeMap::new(),
            ties: 0,
            shown: Vec::new(),
        }
    }

    /// Adds the comparison of a picture; `pixels` are kept where it has one of the worst differences.
    pub fn add(&mut self, name: &str, ours: &Answer, theirs: &Answer, comparison: &Comparison, pixels: &Picture) {
        let mut row = Row {
            picture: name.to_owned(),
            ours: ours.objects.iter().filter(|o| o.score >= self.tolerances.confidence).count(),
            theirs: theirs.objects.iter().filter(|o| o.score >= self.tolerances.confidence).count(),
            pairs: comparison.pairs.len(),
            least_iou: 1.0,
            most_score: 0.0,
            differences: Vec::new(),
        };
        for pair in &comparison.pairs {
            self.iou.least(pair.iou);
            self.score.most(pair.score);
            pair.keypoint.into_iter().for_each(|d| self.keypoint.most(d));
            pair.mask.into_iter().for_each(|m| self.mask.least(m));
            (row.least_iou, row.most_score) = (row.least_iou.min(pair.iou), row.most_score.max(pair.score));
        }
        comparison.probability.into_iter().for_each(|p| self.probability.most(p));
        comparison.cosine.into_iter().for_each(|c| self.cosine.least(c));
        for difference in &comparison.differences {
            *self.kinds.entry(difference.kind).or_default() += 1;
            self.ties += usize::from(difference.tie);
            row.differences.push((*difference, self.describe(difference, ours, theirs)));
            self.show(name, difference, ours, theirs, pixels);
        }
        self.rows.push(row);
    }

    /// Whether nothing is out of tolerance.
    pub fn within(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many pictures were compared.
    pub fn pictures(&self) -> usize {
        self.rows.len()
    }

    fn label(&self, class: u32) -> &str {
        self.about.labels.get(class as usize).map_or("?", |l| l)
    }

    /// A difference in words.
    fn describe(&self, d: &Difference, ours: &Answer, theirs: &Answer) -> String {
        let object = |o: Option<&Found>| {
            o.map(|o| {
                let [x1, y1, x2, y2] = o.bbox;
                format!("{} {:.3} at {x1:.1},{y1:.1}–{x2:.1},{y2:.1}", self.label(o.class), o.score)
            })
        };
        let mine = object(d.ours.and_then(|i| ours.objects.get(i)));
        let other = object(d.theirs.and_then(|i| theirs.objects.get(i)));
        let figure = match d.kind {
            Kind::Box | Kind::Mask => format!(" (IoU {:.4})", d.value),
            Kind::Score | Kind::Probability => format!(" (by {:.4})", d.value),
            Kind::Keypoint => format!(" (by {:.2} pixels)", d.value),
            Kind::Embedding => format!(" (cosine {:.4})", d.value),
            _ if d.tie => " (an overlap at the threshold of NMS decided)".into(),
            _ => String::new(),
        };
        let top = |a: &Answer| a.top().map_or("nothing".into(), |(c, p)| format!("{} {p:.3}", self.label(c)));
        let side = &self.about.sides.theirs;
        let what = match (mine, other) {
            (Some(mine), Some(other)) => format!(": {mine}; {side}: {other}"),
            (Some(one), None) | (None, Some(one)) => format!(": {one}"),
            (None, None) if d.kind == Kind::TopClass => format!(": {}; {side}: {}", top(ours), top(theirs)),
            (None, None) => String::new(),
        };
        format!("{}{figure}{what}", d.kind.describe(&self.about.sides))
    }

    /// Keeps a difference with its pixels if it is one of the worst.
    fn show(&mut self, name: &str, d: &Difference, ours: &Answer, theirs: &Answer, pixels: &Picture) {
        let place = self.shown.partition_point(|s| s.difference.weight >= d.weight);
        if place >= SHOWN {
            return;
        }
        let mine = d.ours.and_then(|i| ours.objects.get(i)).cloned();
        let other = d.theirs.and_then(|i| theirs.objects.get(i)).cloned();
        let part = around(&[mine.as_ref(), other.as_ref()], pixels);
        // A picture that cannot be encoded is left out; the text has the difference.
        let uri = pixels.part(part, LONGEST).data_uri().unwrap_or_default();
        let shown = Shown { picture: name.to_owned(), difference: *d, ours: mine, theirs: other, part, uri };
        self.shown.insert(place, shown);
        self.shown.truncate(SHOWN);
    }

    /// All figures, pictures and differences.
    pub fn to_json(&self) -> Value {
        let pictures: Vec<Value> = self.rows.iter().map(row_json).collect();
        let counts: BTreeMap<String, usize> =
            Kind::ALL.iter().map(|k| (json!(k).as_str().unwrap_or_default().to_owned(), self.count(*k))).collect();
        let t = &self.tolerances;
        json!({
            "model": self.about.model,
            "contract": self.about.contract,
            "format": self.about.format,
            "within": self.within(),
            "tolerances": {
                "confidence": t.confidence, "min-iou": t.min_iou, "score": t.score, "keypoint": t.keypoint,
                "min-mask-iou": t.min_mask_iou, "min-cosine": t.min_cosine,
            },
            "pictures": self.rows.len(),
            "pairs": self.iou.count,
            "iou": self.iou.json(),
            "score": self.score.json(),
            "keypoint": self.keypoint.json(),
            "mask": self.mask.json(),
            "probability": self.probability.json(),
            "cosine": self.cosine.json(),
            "differences": counts,
            "nms-ties": self.ties,
            "by-picture": pictures,
        })
    }

    fn count(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }

    /// The figures as label and text, those that this model has.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let t = &self.tolerances;
        let mut lines = vec![
            ("model", format!("{}: {}", self.about.model, self.about.contract)),
            ("pictures", format!("{}, as {}", self.rows.len(), self.about.format)),
        ];
        let mut figure = |label, figure: &Figure, text: String| {
            if figure.count > 0 {
                lines.push((label, text));
            }
        };
        let sided = |f: &Figure, side: &str, tolerance: f32| {
            format!("{side} {:.4}, mean {:.4} (tolerance {tolerance})", f.worst, f.mean())
        };
        let pairs = format!("{} pairs with a confidence of at least {}", self.iou.count, t.confidence);
        figure("objects", &self.iou, pairs);
        figure("boxes", &self.iou, sided(&self.iou, "IoU at least", t.min_iou));
        figure("scores", &self.score, sided(&self.score, "apart at most", t.score));
        figure("keypoints", &self.keypoint, sided(&self.keypoint, "pixels apart at most", t.keypoint));
        figure("masks", &self.mask, sided(&self.mask, "IoU at least", t.min_mask_iou));
        figure("classes", &self.probability, sided(&self.probability, "apart at most", t.score));
        figure("vectors", &self.cosine, sided(&self.cosine, "cosine at least", t.min_cosine));
        for (kind, count) in &self.kinds {
            lines.push(("differs", format!("{count}: {}", kind.describe(&self.about.sides))));
        }
        if self.ties > 0 {
            lines.push(("ties", format!("{} of them where an overlap at the threshold of NMS decided", self.ties)));
        }
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (label, text) in self.lines() {
            writeln!(f, "{label:<10} {text}")?;
        }
        let mut all: Vec<_> =
            self.rows.iter().flat_map(|row| row.differences.iter().map(move |d| (&row.picture, d))).collect();
        all.sort_by(|a, b| b.1.0.weight.total_cmp(&a.1.0.weight));
        for (picture, (_, text)) in all.iter().take(LISTED) {
            writeln!(f, "{picture}: {text}")?;
        }
        if all.len() > LISTED {
            writeln!(f, "and {} more", all.len() - LISTED)?;
        }
        write!(f, "{:<10} {}", "result", if self.within() { "within tolerance" } else { "NOT within tolerance" })
    }
}

fn row_json(row: &Row) -> Value {
    let differences: Vec<Value> = row
        .differences
        .iter()
        .map(|(d, text)| json!({"kind": d.kind, "value": d.value, "tie": d.tie, "text": text}))
        .collect();
    json!({
        "picture": row.picture, "ours": row.ours, "reference": row.theirs, "pairs": row.pairs,
        "least-iou": row.least_iou, "most-score": row.most_score, "differences": differences,
    })
}

/// The part of a picture around objects, with half their size to each side; all of it where there are none.
fn around(objects: &[Option<&Found>], picture: &Picture) -> [usize; 4] {
    let (w, h) = (picture.width as f32, picture.height as f32);
    let mut all: Option<[f32; 4]> = None;
    for b in objects.iter().flatten().map(|o| o.bbox) {
        let a = all.unwrap_or(b);
        all = Some([a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
    }
    let Some([x1, y1, x2, y2]) = all else { return [0, 0, picture.width, picture.height] };
    let (dx, dy) = (((x2 - x1) * 0.5).max(16.0), ((y2 - y1) * 0.5).max(16.0));
    let low = |v: f32, most: f32| v.clamp(0.0, (most - 1.0).max(0.0)) as usize;
    let (left, top) = (low(x1 - dx, w), low(y1 - dy, h));
    let size =
        |v: f32, from: usize, most: usize| (v.max(0.0).ceil() as usize).clamp(from + 1, most.max(from + 1)) - from;
    [left, top, size(x2 + dx, left, picture.width), size(y2 + dy, top, picture.height)]
}

#[cfg(test)]
mod tests;
