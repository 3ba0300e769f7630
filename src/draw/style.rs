//! What is drawn and how large.

use crate::frame::FrameInfo;
use crate::result::{AbsentReason, FrameResult, Freshness, Object, TrackState};

/// What decides an object's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorBy {
    /// Its class.
    #[default]
    Class,
    /// Its track; the class where it has none.
    Track,
}

/// What is drawn and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Outlines of objects.
    pub boxes: bool,
    /// Class labels and attributes at objects, and the classes of the frame.
    pub labels: bool,
    /// Confidences in labels, per cent.
    pub confidence: bool,
    /// Track numbers in labels.
    pub tracks: bool,
    /// How far back the path of a track is drawn, nanoseconds; 0 for none.
    pub tail_ns: u64,
    /// Silhouettes.
    pub masks: bool,
    /// Keypoints and skeletons.
    pub keypoints: bool,
    /// A banner with the reason on frames without analysis, unless they were skipped as planned.
    pub absent: bool,
    /// A badge on frames whose result is held, or absent where no banner says so.
    pub status: bool,
    /// What decides an object's colour.
    pub color_by: ColorBy,
    /// Thickness of lines in pixels, at most 64; 0 to suit the frame's size.
    pub line_width: u32,
    /// Height of a line of text in pixels, at most 256; 0 to suit the frame's size.
    pub text_size: u32,
    /// Objects and frame classes below this confidence are not drawn, 0..1.
    pub min_confidence: f32,
    /// Results and predictions younger than this are drawn as fresh ones, nanoseconds; 0 marks every one that is not
    /// fresh. With a detector that runs on every third frame the marks flicker: set it to the interval then.
    pub held_after_ns: u64,
    /// Opacity of silhouettes, 0..1.
    pub mask_opacity: f32,
}

/// Results held for less than this do not get a status in words: it could not be read.
const STATUS_AFTER_NS: u64 = 500_000_000;

impl Default for Style {
    fn default() -> Self {
        Self {
            boxes: true,
            labels: true,
            confidence: true,
            tracks: true,
            tail_ns: 2_000_000_000,
            masks: true,
            keypoints: true,
            absent: true,
            status: true,
            color_by: ColorBy::Class,
            line_width: 0,
            text_size: 0,
            min_confidence: 0.0,
            held_after_ns: 0,
            mask_opacity: 0.4,
        }
    }
}

impl Style {
    /// Whether there is anything in `result` that this style would draw.
    pub fn wants(&self, result: &FrameResult) -> bool {
        let object = |o: &Object| {
            self.wants_confidence(o.confidence)
                && (self.boxes
                    || self.has_label()
                    || (self.tail_ns > 0 && o.track.is_some())
                    || (self.masks && o.mask.is_some())
                    || (self.keypoints && !o.keypoints.is_empty()))
        };
        self.wants_status(&result.freshness)
            || self.outage(&result.freshness).is_some()
            || (self.labels && result.classes.iter().any(|c| self.wants_confidence(c.confidence)))
            || result.objects.iter().any(object)
    }

    pub(super) fn has_label(&self) -> bool {
        self.labels || self.confidence || self.tracks
    }

    pub(super) fn wants_confidence(&self, confidence: f32) -> bool {
        confidence >= self.min_confidence
    }

    /// The reason that the banner gives, if it is to be drawn.
    pub(super) fn outage(&self, freshness: &Freshness) -> Option<AbsentReason> {
        match freshness {
            Freshness::Absent(reason) if self.absent && reason.is_outage() => Some(*reason),
            _ => None,
        }
    }

    pub(super) fn wants_status(&self, freshness: &Freshness) -> bool {
        self.status
            && match freshness {
                Freshness::Fresh => false,
                Freshness::Held { age_ns } => *age_ns >= self.held_after_ns.max(STATUS_AFTER_NS),
                Freshness::Absent(_) => self.outage(freshness).is_none(),
            }
    }

    /// Whether `object` is shown as not seen on this frame.
    pub(super) fn is_held(&self, object: &Object, freshness: &Freshness) -> bool {
        let predicted =
            object.track.is_some_and(|t| t.state == TrackState::Predicted && t.unseen_ns >= self.held_after_ns);
        let held = match freshness {
            Freshness::Fresh => false,
            Freshness::Held { age_ns } => *age_ns >= self.held_after_ns,
            Freshness::Absent(_) => true,
        };
        predicted || held
    }
}

/// Sizes in pixels for one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Metrics {
    /// Thickness of lines.
    pub line: i32,
    /// Height of a line of text.
    pub text: u16,
    /// Space around text, above and below it together in labels, on each side in panels.
    pub pad: i32,
}

impl Metrics {
    /// Sizes that suit the frame's shorter side: text grows more slowly than the frame, since large pictures are
    /// looked at on large screens.
    pub fn new(info: &FrameInfo, style: &Style) -> Self {
        let side = info.width.min(info.height).min(16_384) as i32;
        let line = match style.line_width {
            0 => ((side + 100) / 270).max(1),
            n => n.min(64) as i32,
        };
        let text = match style.text_size {
            0 => 9 + side / 80,
            n => n.min(256) as i32,
        };
        Self { line, text: text as u16, pad: (text / 6).max(1) }
    }

    /// Height of a line of text with its space, in labels and lists.
    pub fn row(&self) -> i32 {
        i32::from(self.text) + self.pad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ColorMatrix, ColorRange, PixelFormat};
    use crate::result::{BBox, FrameClass, Track};

    fn result(freshness: Freshness) -> FrameResult {
        FrameResult {
            frame: 0,
            pts_ns: None,
            running_time_ns: None,
            utc_ns: 0,
            width: 64,
            height: 64,
            model: None,
            freshness,
            objects: Vec::new(),
            classes: Vec::new(),
            embedding: None,
            absent_since_ns: None,
            secondary: Vec::new(),
        }
    }

    #[test]
    fn wants_only_what_it_would_draw() {
        let style = Style { min_confidence: 0.5, ..Style::default() };
        let mut r = result(Freshness::Fresh);
        assert!(!style.wants(&r));
        r.objects.push(Object::new(0, 0, "car".into(), 0.4, BBox::default()));
        assert!(!style.wants(&r), "below the threshold");
        r.objects[0].confidence = f32::NAN;
        assert!(!style.wants(&r), "not a number");
        r.objects[0].confidence = 0.5;
        assert!(style.wants(&r));
        let bare = Style { boxes: false, labels: false, confidence: false, tracks: false, ..style };
        assert!(!bare.wants(&r), "no track, mask or keypoint");
        r.objects.clear();
        r.classes.push(FrameClass { class_id: 0, label: "day".into(), confidence: 0.9 });
        assert!(style.wants(&r) && !bare.wants(&r));
    }

    #[test]
    fn a_status_is_wanted_for_what_is_not_fresh() {
        let style = Style::default();
        assert!(style.wants(&result(Freshness::Absent(AbsentReason::NoModel))));
        assert!(style.wants(&result(Freshness::Held { age_ns: 500_000_000 })));
        assert!(!style.wants(&result(Freshness::Held { age_ns: 499_999_999 })));
        let patient = Style { held_after_ns: 1_000_000_000, ..Style::default() };
        assert!(!patient.wants(&result(Freshness::Held { age_ns: 500_000_000 })));
        let silent = Style { status: false, ..Style::default() };
        assert!(!silent.wants(&result(Freshness::Absent(AbsentReason::Skipped))));
    }

    #[test]
    fn every_reason_is_told_in_one_place() {
        for &reason in AbsentReason::ALL {
            let absent = Freshness::Absent(reason);
            for (banner, status) in [(true, true), (true, false), (false, true), (false, false)] {
                let style = Style { absent: banner, status, ..Style::default() };
                let planned = reason == AbsentReason::Skipped;
                assert_eq!(style.outage(&absent).is_some(), banner && !planned, "{reason:?} {style:?}");
                assert_eq!(style.wants_status(&absent), status && (planned || !banner), "{reason:?} {style:?}");
                assert_eq!(style.wants(&result(absent)), status || (banner && !planned), "{reason:?} {style:?}");
            }
        }
        let held = Freshness::Held { age_ns: u64::MAX };
        assert_eq!((Style::default().outage(&held), Style::default().outage(&Freshness::Fresh)), (None, None));
    }

    #[test]
    fn predictions_are_held_when_old_enough() {
        assert!(
            Style::default()
                .is_held(&Object::new(0, 0, "car".into(), 0.4, BBox::default()), &Freshness::Held { age_ns: 1 })
        );
        let style = Style { held_after_ns: 200_000_000, ..Style::default() };
        let mut object = Object::new(0, 0, "car".into(), 0.4, BBox::default());
        let track = |state, unseen_ns| Track { id: 1, state, age_ns: 0, unseen_ns, velocity: (0.0, 0.0) };
        object.track = Some(track(TrackState::Predicted, 300_000_000));
        assert!(style.is_held(&object, &Freshness::Fresh));
        object.track = Some(track(TrackState::Predicted, 100_000_000));
        assert!(!style.is_held(&object, &Freshness::Fresh));
        object.track = Some(track(TrackState::Confirmed, 0));
        assert!(style.is_held(&object, &Freshness::Held { age_ns: 200_000_000 }));
    }

    #[test]
    fn sizes_suit_the_frame() {
        let of = |width, height| {
            let (format, range, matrix) = (PixelFormat::Nv12, ColorRange::Limited, ColorMatrix::Bt709);
            Metrics::new(&FrameInfo { format, width, height, range, matrix }, &Style::default())
        };
        assert_eq!((of(320, 240).line, of(320, 240).text), (1, 12));
        assert_eq!((of(1920, 1080).line, of(1920, 1080).text), (4, 22));
        assert_eq!(of(1080, 1920), of(1920, 1080));
        assert_eq!((of(3840, 2160).line, of(3840, 2160).text), (8, 36));
        assert_eq!((of(1, 1).line, of(1, 1).text), (1, 9));
    }
}
