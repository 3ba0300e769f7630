//! What one side says about one picture.

use serde::{Deserialize, Serialize};

use crate::result::{FrameResult, Mask, Object};

/// All that was found on a picture, in its pixels.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Objects, most confident first.
    pub objects: Vec<Found>,
    /// Probability by class id; empty where the model does not classify.
    pub probabilities: Vec<f32>,
    /// Classes of the whole picture with their probabilities, most probable first, where not all are known.
    pub classes: Vec<(u32, f32)>,
    /// A vector of length 1; empty where the model gives none.
    pub embedding: Vec<f32>,
}

/// One object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// 0-based index into the labels.
    pub class: u32,
    /// Confidence, 0..1.
    pub score: f32,
    /// Left, top, right, bottom.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Corners of a turned box, in order around it.
    #[serde(default)]
    pub corners: Option<[[f32; 2]; 4]>,
    /// x, y, confidence of each.
    #[serde(default)]
    pub keypoints: Vec<[f32; 3]>,
    /// Which pixels belong to it.
    #[serde(default, skip_serializing)]
    pub mask: Option<Silhouette>,
}

/// Which pixels of a rectangle belong to an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Runs")]
pub struct Silhouette {
    /// The rectangle: left, top, width, height.
    pub at: [usize; 4],
    /// `width * height` pixels row by row.
    pub inside: Vec<bool>,
}

/// A silhouette as run lengths: outside, inside, outside, … row by row.
#[derive(Deserialize)]
struct Runs {
    at: [usize; 4],
    runs: Vec<usize>,
}

/// Most pixels that a silhouette may have.
const MAX_PIXELS: usize = 1 << 30;

impl TryFrom<Runs> for Silhouette {
    type Error = String;

    fn try_from(Runs { at, runs }: Runs) -> Result<Self, String> {
        let pixels = at[2].checked_mul(at[3]).filter(|n| *n <= MAX_PIXELS);
        let total = runs.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
        if pixels.is_none() || pixels != total {
            return Err(format!("a mask of {} x {} pixels whose runs have {total:?}", at[2], at[3]));
        }
        let inside = runs.iter().enumerate().flat_map(|(i, n)| std::iter::repeat_n(i % 2 == 1, *n)).collect();
        Ok(Self { at, inside })
    }
}

impl Silhouette {
    /// The pixels whose centres a coverage map over `bbox` covers by half or more (bilinear between its values).
    fn of_mask(mask: &Mask, [x1, y1, x2, y2]: [f32; 4]) -> Self {
        let at = [x1.floor() as usize, y1.floor() as usize];
        let size = [(x2.ceil() as usize).saturating_sub(at[0]), (y2.ceil() as usize).saturating_sub(at[1])];
        let mut inside = Vec::with_capacity(size[0] * size[1]);
        for y in (at[1]..at[1] + size[1]).map(|y| y as f32 + 0.5) {
            for x in (at[0]..at[0] + size[0]).map(|x| x as f32 + 0.5) {
                let (u, v) = ((x - x1) / (x2 - x1), (y - y1) / (y2 - y1));
                inside.push((0.0..=1.0).contains(&u) && (0.0..=1.0).contains(&v) && coverage(mask, u, v) >= 127.5);
            }
        }
        Self { at: [at[0], at[1], size[0], size[1]], inside }
    }

    /// Whether a pixel belongs to the object.
    fn covers(&self, x: usize, y: usize) -> bool {
        let [left, top, width, height] = self.at;
        match (x.checked_sub(left), y.checked_sub(top)) {
            (Some(dx), Some(dy)) if dx < width && dy < height => {
                self.inside.get(dy * width + dx).copied().unwrap_or(false)
            }
            _ => false,
        }
    }

    /// Pixels of both over pixels of either; 1 where neither has any.
    pub fn iou(&self, other: &Self) -> f32 {
        let count = |s: &Self| s.inside.iter().filter(|i| **i).count();
        let [left, top, width, height] = self.at;
        let both = (top..top + height)
            .flat_map(|y| (left..left + width).map(move |x| (x, y)))
            .filter(|(x, y)| self.covers(*x, *y) && other.covers(*x, *y))
            .count();
        let either = count(self) + count(other) - both;
        if either == 0 { 1.0 } else { both as f32 / either as f32 }
    }
}

/// A coverage map's value at (u, v) in 0..1 of it, 0..255: bilinear, its edge repeated.
fn coverage(mask: &Mask, u: f32, v: f32) -> f32 {
    let axis = |t: f32, n: u32| {
        let p = (t * n as f32 - 0.5).clamp(0.0, n.saturating_sub(1) as f32);
        (p as usize, (p as usize + 1).min(n.saturating_sub(1) as usize), p.fract())
    };
    let ((x1, x2, fx), (y1, y2, fy)) = (axis(u, mask.width), axis(v, mask.height));
    let value = |x: usize, y: usize| mask.data.get(y * mask.width as usize + x).map_or(0.0, |v| f32::from(*v));
    let row = |y| value(x1, y) * (1.0 - fx) + value(x2, y) * fx;
    row(y1) * (1.0 - fy) + row(y2) * fy
}

impl Answer {
    /// Vigil's answer.
    pub fn of_result(result: &FrameResult) -> Self {
        let size = (result.width as f32, result.height as f32);
        Self {
            objects: result.objects.iter().map(|o| found(o, size)).collect(),
            probabilities: Vec::new(),
            classes: result.classes.iter().map(|c| (c.class_id, c.confidence)).collect(),
            embedding: result.embedding.as_deref().unwrap_or_default().to_vec(),
        }
    }

    /// The most probable class.
    pub fn top(&self) -> Option<(u32, f32)> {
        let best = self.probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map(|(id, p)| (id as u32, *p)).or_else(|| self.classes.first().copied())
    }

    /// The probability of a class; `None` if it is not known.
    pub fn probability(&self, class: u32) -> Option<f32> {
        let listed = || self.classes.iter().find(|(id, _)| *id == class).map(|(_, p)| *p);
        self.probabilities.get(class as usize).copied().or_else(listed)
    }
}

fn found(object: &Object, (w, h): (f32, f32)) -> Found {
    let b = object.bbox;
    let bbox = [b.x * w, b.y * h, b.x2() * w, b.y2() * h];
    Found {
        class: object.class_id,
        score: object.confidence,
        bbox,
        corners: object.corners.map(|corners| corners.map(|(x, y)| [x * w, y * h])),
        keypoints: object.keypoints.iter().map(|k| [k.x * w, k.y * h, k.confidence]).collect(),
        mask: object.mask.as_ref().map(|mask| Silhouette::of_mask(mask, bbox)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Silhouette, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn runs_become_pixels_and_wrong_ones_are_refused() {
        let mask = read(r#"{"at": [1, 2, 3, 2], "runs": [1, 2, 1, 2]}"#).unwrap();
        assert_eq!(mask.inside, [false, true, true, false, true, true]);
        assert!(mask.covers(2, 2) && !mask.covers(1, 2) && !mask.covers(0, 0) && !mask.covers(4, 2));
        assert!(read(r#"{"at": [0, 0, 3, 2], "runs": [1, 2]}"#).is_err());
        assert!(read(r#"{"at": [0, 0, 9223372036854775807, 9], "runs": []}"#).is_err());
    }

    #[test]
    fn silhouettes_overlap_by_their_pixels() {
        let a = read(r#"{"at": [0, 0, 4, 1], "runs": [0, 4]}"#).unwrap();
        let b = read(r#"{"at": [2, 0, 4, 1], "runs": [0, 4]}"#).unwrap();
        let none = read(r#"{"at": [0, 0, 2, 1], "runs": [2]}"#).unwrap();
        assert_eq!(a.iou(&b), 2.0 / 6.0);
        assert_eq!((a.iou(&none), none.iou(&none), a.iou(&a)), (0.0, 1.0, 1.0));
    }

    #[test]
    fn a_coverage_map_spans_its_box() {
        // Left half covered, over a box of 8 × 4 pixels at (2, 1).
        let mask = Mask { width: 4, height: 1, data: vec![255, 255, 0, 0] };
        let silhouette = Silhouette::of_mask(&mask, [2.0, 1.0, 10.0, 5.0]);
        assert_eq!(silhouette.at, [2, 1, 8, 4]);
        assert_eq!(silhouette.inside[..8], [true, true, true, true, false, false, false, false]);
        // Pixels whose centres lie outside the box do not count.
        let silhouette = Silhouette::of_mask(&Mask { width: 1, height: 1, data: vec![255] }, [0.75, 0.0, 2.25, 1.0]);
        assert_eq!((silhouette.at, silhouette.inside), ([0, 0, 3, 1], vec![false, true, false]));
    }

    #[test]
    fn a_reference_may_leave_out_what_it_does_not_know() {
        let answer: Answer =
            serde_json::from_str(r#"{"objects": [{"class": 1, "score": 0.5, "box": [0, 1, 2, 3]}]}"#).unwrap();
        assert_eq!(answer.objects[0].bbox, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(answer.top(), None);
        let answer = Answer { probabilities: vec![0.25, 0.75], ..Answer::default() };
        assert_eq!((answer.top(), answer.probability(0), answer.probability(2)), (Some((1, 0.75)), Some(0.25), None));
    }
}
