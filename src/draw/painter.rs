//! Draws a frame result: what comes over what, and where.

use std::fmt::Write as _;
use std::path::Path;

use super::banner::{Banner, Notice};
use super::canvas::{Canvas, Rect, Scratch};
use super::color::{AMBER, DARK, LIGHT, RED, Rgb, class_color, track_color};
use super::label;
use super::shape::{self, MaskScratch, Outline, Stroke};
use super::style::{ColorBy, Metrics, Style};
use super::tail::{Point, Tails};
use super::text::{DrawError, Line, Text};
use crate::frame::FrameMut;
use crate::result::{BBox, FrameResult, Freshness, Keypoint, Object, TrackState};

/// Labels drawn at most; a frame with more objects is covered with text already.
const MAX_LABELS: usize = 256;
/// Keypoints below this confidence are hidden or guessed and not drawn.
const KEYPOINT_CONFIDENCE: f32 = 0.3;
/// Frame classes listed at most.
const MAX_CLASSES: usize = 5;
/// Opacity (of 255) of the ground under labels, of panels, and of the contour around keypoints.
const LABEL_GROUND: u8 = 215;
const PANEL_GROUND: u8 = 165;
const CONTOUR: u8 = 120;
/// The sides of an oriented box whose object was not seen on this very frame; upright ones are dashed.
const HELD: u8 = 110;

/// Draws frame results on frames; keeps rendered glyphs, tails and scratch memory between frames.
///
/// One painter serves one stream. Frames may change size and format at any time.
#[derive(Debug)]
pub struct Painter {
    style: Style,
    text: Text,
    tails: Tails,
    scratch: Scratch,
    masks: MaskScratch,
    strokes: Vec<Stroke>,
    /// Places that are taken by text on this frame.
    taken: Vec<Rect>,
    /// Places of labels and the objects that they belong to.
    labels: Vec<(Rect, usize)>,
    words: String,
    line: Line,
    banner: Banner,
}

/// What one frame is drawn with.
struct Frame<'c, 'f, 'a> {
    canvas: &'c mut Canvas<'f, 'a>,
    result: &'c FrameResult,
    metrics: Metrics,
    now_ns: u64,
}

impl Painter {
    /// A painter with the font in the file `font`, or the built-in one (Hack).
    ///
    /// # Errors
    /// [`DrawError`] if the file cannot be read or is not a font.
    pub fn new(style: Style, font: Option<&Path>) -> Result<Self, DrawError> {
        Ok(Self {
            style,
            text: Text::new(font)?,
            tails: Tails::default(),
            scratch: Scratch::default(),
            masks: MaskScratch::default(),
            strokes: Vec::new(),
            taken: Vec::new(),
            labels: Vec::new(),
            words: String::new(),
            line: Line::default(),
            banner: Banner::default(),
        })
    }

    /// Draws the next frames in another style.
    pub fn set_style(&mut self, style: Style) {
        self.style = style;
    }

    /// Forgets where tracks have been (after a seek, a flush, or when the stream changes).
    pub fn reset(&mut self) {
        self.tails.clear();
    }

    /// Draws `result` on `frame`. `now_ns` is the frame's time on any clock that goes forward with the stream; tails
    /// fade by it.
    ///
    /// Never fails: what is not finite, inverted or outside the frame is left out or clipped.
    pub fn draw(&mut self, frame: &mut FrameMut<'_>, result: &FrameResult, now_ns: u64) {
        let metrics = Metrics::new(frame.info(), &self.style);
        if self.text.trim() {
            self.banner = Banner::default();
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut canvas = Canvas::new(frame, &mut scratch);
        let mut f = Frame { canvas: &mut canvas, result, metrics, now_ns };
        if self.style.masks {
            self.draw_masks(&mut f);
        }
        if self.style.tail_ns > 0 {
            self.draw_tails(&mut f);
        }
        if self.style.boxes {
            self.draw_boxes(&mut f);
        }
        if self.style.keypoints {
            self.draw_keypoints(&mut f);
        }
        self.draw_text(&mut f);
        self.scratch = scratch;
    }

    fn draw_masks(&mut self, f: &mut Frame<'_, '_, '_>) {
        let opacity = (self.style.mask_opacity.clamp(0.0, 1.0) * 255.0) as u8;
        for object in drawn(f.result, self.style) {
            let Some(mask) = &object.mask else { continue };
            let place = place_of(&object.bbox, f.canvas.bounds());
            shape::silhouette(f.canvas, &mut self.masks, mask, place, (color_of(object, self.style.color_by), opacity));
        }
    }

    fn draw_tails(&mut self, f: &mut Frame<'_, '_, '_>) {
        let (span, now_ns) = (self.style.tail_ns, f.now_ns);
        self.tails.prune(now_ns, span);
        let size = f.canvas.bounds();
        for object in drawn(f.result, self.style) {
            let Some(track) = object.track else { continue };
            // Where the object stands.
            let (x, y) = (object.bbox.x + object.bbox.w / 2.0, object.bbox.y2());
            if let Some((x, y)) = near(x, y) {
                self.tails.add(track.id, Point { at_ns: now_ns, x, y }, span);
            }
            let at = |p: &Point| (p.x * size.x1 as f32, p.y * size.y1 as f32);
            self.strokes.clear();
            let points = self.tails.get(track.id);
            self.strokes.extend(points.clone().zip(points.skip(1)).map(|(p, q)| {
                let age = now_ns.saturating_sub(p.at_ns) as f32 / span as f32;
                let cover = (255.0 * (1.0 - age)).clamp(0.0, 255.0) as u8;
                Stroke { a: at(&p), b: at(&q), radius: f.metrics.line as f32 * 0.8, cover }
            }));
            shape::strokes(f.canvas, &self.strokes, color_of(object, self.style.color_by));
        }
    }

    fn draw_boxes(&mut self, f: &mut Frame<'_, '_, '_>) {
        let line = f.metrics.line;
        for object in drawn(f.result, self.style) {
            let r = rect_of(&object.bbox, f.canvas.bounds());
            let held = self.style.is_held(object, &f.result.freshness);
            if let Some(corners) = near_corners(object) {
                let size = f.canvas.bounds();
                let at = |(x, y): (f32, f32)| (x * size.x1 as f32, y * size.y1 as f32);
                let cover = if held { HELD } else { 255 };
                self.strokes.clear();
                let sides = corners.iter().zip(corners.iter().cycle().skip(1));
                let radius = line as f32 * 0.5;
                self.strokes.extend(sides.map(|(a, b)| Stroke { a: at(*a), b: at(*b), radius, cover }));
                shape::strokes(f.canvas, &self.strokes, color_of(object, self.style.color_by));
                continue;
            }
            let side = r.width().min(r.height());
            let corner = if side >= 12 * line { (side / 5).min(10 * line) } else { 0 };
            let dash = held.then_some(5 * line);
            shape::outline(f.canvas, r, Outline { line, corner, dash }, color_of(object, self.style.color_by));
        }
    }

    fn draw_keypoints(&mut self, f: &mut Frame<'_, '_, '_>) {
        let size = f.canvas.bounds();
        let at = |k: &Keypoint| {
            let point = near(k.x, k.y).filter(|_| k.confidence >= KEYPOINT_CONFIDENCE);
            point.map(|(x, y)| (x * size.x1 as f32, y * size.y1 as f32))
        };
        let (bone, joint) = (f.metrics.line as f32 * 0.7, f.metrics.line as f32 * 1.4);
        for object in drawn(f.result, self.style).filter(|o| !o.keypoints.is_empty()) {
            let points = &object.keypoints;
            self.strokes.clear();
            let end = |i: u16| points.get(usize::from(i)).and_then(at);
            for &(a, b) in object.skeleton.iter().flat_map(|s| s.iter()) {
                if let (Some(a), Some(b)) = (end(a), end(b)) {
                    self.strokes.push(Stroke { a, b, radius: bone, cover: 255 });
                }
            }
            let joints = points.iter().filter_map(at);
            self.strokes.extend(joints.map(|p| Stroke { a: p, b: p, radius: joint, cover: 255 }));
            // A dark contour first, so that the figure is seen on a ground of its own colour.
            let contour = (f.metrics.line as f32 * 0.5).max(1.0);
            let widen = |s: &mut Stroke, by: f32, cover: u8| (s.radius, s.cover) = (s.radius + by, cover);
            self.strokes.iter_mut().for_each(|s| widen(s, contour, CONTOUR));
            shape::strokes(f.canvas, &self.strokes, DARK);
            self.strokes.iter_mut().for_each(|s| widen(s, -contour, 255));
            shape::strokes(f.canvas, &self.strokes, color_of(object, self.style.color_by));
        }
    }

    /// Panels in the corners first, since labels make way for them.
    fn draw_text(&mut self, f: &mut Frame<'_, '_, '_>) {
        self.taken.clear();
        let frame = f.canvas.bounds();
        if let Some(reason) = self.style.outage(&f.result.freshness) {
            let notice = Notice::new(reason, f.result, frame, f.metrics);
            self.taken.push(self.banner.draw(f.canvas, &mut self.text, notice));
        }
        if frame.y1 < 2 * f.metrics.row() || frame.x1 < 4 * i32::from(f.metrics.text) {
            return;
        }
        if self.style.wants_status(&f.result.freshness) {
            self.draw_status(f);
        }
        if self.style.labels {
            self.draw_classes(f);
        }
        if self.style.has_label() {
            self.place_labels(f);
            self.draw_labels(f);
        }
    }

    fn draw_status(&mut self, f: &mut Frame<'_, '_, '_>) {
        let color = match f.result.freshness {
            Freshness::Fresh => return,
            Freshness::Held { .. } => AMBER,
            Freshness::Absent(_) => RED,
        };
        self.words.clear();
        let _ = match f.result.freshness {
            Freshness::Held { age_ns } => write!(self.words, "held {:.1} s", age_ns as f64 / 1e9),
            Freshness::Absent(reason) => write!(self.words, "no analysis: {}", reason.as_str()),
            Freshness::Fresh => Ok(()),
        };
        let Metrics { text, pad, .. } = f.metrics;
        let (frame, size) = (f.canvas.bounds(), i32::from(text));
        let margin = 2 * pad;
        self.text.measure(&self.words, text, frame.x1 - 2 * margin - size - 2 * pad, &mut self.line);
        let width = self.line.width + size + 2 * pad;
        let panel = Rect::new(frame.x1 - margin - width, margin, frame.x1 - margin, margin + size + 2 * pad);
        shape::fill(f.canvas, panel, DARK, PANEL_GROUND);
        let centre = (panel.x0 as f32 + pad as f32 + size as f32 / 2.0, (panel.y0 + panel.y1) as f32 / 2.0);
        let dot = Stroke { a: centre, b: centre, radius: size as f32 * 0.22, cover: 255 };
        shape::strokes(f.canvas, &[dot], color);
        let at = (panel.x0 + pad + size, panel.y0 + pad);
        self.text.draw(f.canvas, &self.line, text, at, LIGHT);
        self.taken.push(panel);
    }

    /// The frame's classes, one below the other in the top left corner.
    fn draw_classes(&mut self, f: &mut Frame<'_, '_, '_>) {
        let Metrics { text, pad, .. } = f.metrics;
        let (frame, size) = (f.canvas.bounds(), i32::from(text));
        let (margin, chip) = (2 * pad, pad.max(2));
        // Below the banner, and below the status where both would not fit side by side.
        let status = self.taken.first().filter(|s| s.x0 < frame.x1 / 2).map_or(0, |s| s.y1);
        let top = status + margin;
        let rows = ((frame.y1 - top - margin - pad) / f.metrics.row()).clamp(0, MAX_CLASSES as i32) as usize;
        let classes = f.result.classes.iter().filter(|c| self.style.wants_confidence(c.confidence)).take(rows);
        let limit = frame.x1 / 2 - 2 * margin - chip;
        let mut width = 0;
        for class in classes.clone() {
            self.words.clear();
            write_class(&mut self.words, &class.label, class.class_id);
            write_confidence(&mut self.words, self.style.confidence, class.confidence);
            self.text.measure(&self.words, text, limit, &mut self.line);
            width = width.max(self.line.width);
        }
        if width == 0 {
            return;
        }
        let height = classes.clone().count() as i32 * f.metrics.row() + pad;
        let panel = Rect::new(margin, top, margin + chip + 3 * pad + width, top + height);
        shape::fill(f.canvas, panel, DARK, PANEL_GROUND);
        for (i, class) in classes.enumerate() {
            let y = panel.y0 + pad + i as i32 * f.metrics.row();
            let x = panel.x0 + pad;
            shape::fill(f.canvas, Rect::new(x, y, x + chip, y + size), class_color(&class.label, class.class_id), 255);
            self.words.clear();
            write_class(&mut self.words, &class.label, class.class_id);
            write_confidence(&mut self.words, self.style.confidence, class.confidence);
            self.text.measure(&self.words, text, limit, &mut self.line);
            self.text.draw(f.canvas, &self.line, text, (x + chip + pad, y), LIGHT);
        }
        self.taken.push(panel);
    }

    /// Finds a place for every label, the most confident object first.
    fn place_labels(&mut self, f: &mut Frame<'_, '_, '_>) {
        let frame = f.canvas.bounds();
        self.labels.clear();
        for (i, object) in f.result.objects.iter().enumerate() {
            let r = rect_of(&object.bbox, frame);
            if self.labels.len() == MAX_LABELS || !is_drawn(object, &self.style) || r.intersect(&frame).is_empty() {
                continue;
            }
            self.measure_label(f, object, r);
            if self.line.width > 0 {
                let size = (self.line.width + 3 * f.metrics.pad, f.metrics.row());
                let spot = label::place(frame, r, size, &self.taken);
                self.taken.push(spot);
                self.labels.push((spot, i));
            }
        }
    }

    /// Leaves the label of `object` in `self.line`.
    fn measure_label(&mut self, f: &Frame<'_, '_, '_>, object: &Object, r: Rect) {
        self.words.clear();
        write_label(&mut self.words, object, &self.style);
        let frame = f.canvas.bounds();
        let limit = r.width().max(frame.x1 / 2).min(frame.x1) - 3 * f.metrics.pad;
        self.text.measure(&self.words, f.metrics.text, limit, &mut self.line);
    }

    fn draw_labels(&mut self, f: &mut Frame<'_, '_, '_>) {
        let labels = std::mem::take(&mut self.labels);
        for &(spot, i) in labels.iter().rev() {
            let Some(object) = f.result.objects.get(i) else { continue };
            let color = color_of(object, self.style.color_by);
            self.measure_label(f, object, rect_of(&object.bbox, f.canvas.bounds()));
            shape::fill(f.canvas, spot, color, LABEL_GROUND);
            let Metrics { text, pad, .. } = f.metrics;
            let at = (spot.x0 + pad + pad / 2, spot.y0 + pad / 2);
            self.text.draw(f.canvas, &self.line, text, at, color.contrast());
        }
        self.labels = labels;
    }
}

fn color_of(object: &Object, by: ColorBy) -> Rgb {
    match object.track {
        Some(track) if by == ColorBy::Track => track_color(track.id),
        _ => class_color(&object.label, object.class_id),
    }
}

fn is_drawn(object: &Object, style: &Style) -> bool {
    let BBox { x, y, w, h } = object.bbox;
    [x, y, w, h].iter().all(|v| v.is_finite()) && w > 0.0 && h > 0.0 && style.wants_confidence(object.confidence)
}

/// The objects to draw, the most confident last and so on top.
fn drawn(result: &FrameResult, style: Style) -> impl Iterator<Item = &Object> {
    result.objects.iter().rev().filter(move |o| is_drawn(o, &style))
}

/// A point in 0..1 that lies on the frame or not far from it.
fn near(x: f32, y: f32) -> Option<(f32, f32)> {
    ((-1.0..=2.0).contains(&x) && (-1.0..=2.0).contains(&y)).then_some((x, y))
}

/// The corners of an oriented box, unless one lies far from the frame.
fn near_corners(object: &Object) -> Option<[(f32, f32); 4]> {
    object.corners.filter(|corners| corners.iter().all(|(x, y)| near(*x, *y).is_some()))
}

/// Corner and size of a box in pixels, not rounded.
fn place_of(b: &BBox, frame: Rect) -> ((f64, f64), (f64, f64)) {
    let (w, h) = (f64::from(frame.x1), f64::from(frame.y1));
    ((f64::from(b.x) * w, f64::from(b.y) * h), (f64::from(b.w) * w, f64::from(b.h) * h))
}

/// A box in whole pixels, at least one large. What lies far outside the frame is brought nearer.
fn rect_of(b: &BBox, frame: Rect) -> Rect {
    // Further out than any corner or line is long.
    const FAR: f64 = 1024.0;
    let ((x, y), (w, h)) = place_of(b, frame);
    let pixel = |v: f64, end: i32| v.round().clamp(-FAR, f64::from(end) + FAR) as i32;
    let (x0, y0) = (pixel(x, frame.x1), pixel(y, frame.y1));
    Rect::new(x0, y0, pixel(x + w, frame.x1).max(x0 + 1), pixel(y + h, frame.y1).max(y0 + 1))
}

fn write_class(words: &mut String, label: &str, class_id: u32) {
    let _ = if label.is_empty() { write!(words, "class {class_id}") } else { words.write_str(label) };
}

fn write_confidence(words: &mut String, wanted: bool, confidence: f32) {
    if wanted {
        let gap = if words.is_empty() { "" } else { " " };
        let _ = write!(words, "{gap}{:.0}%", (confidence * 100.0).clamp(0.0, 100.0));
    }
}

/// "person #12 87% · red", as far as the style wants it.
fn write_label(words: &mut String, object: &Object, style: &Style) {
    if style.labels {
        write_class(words, &object.label, object.class_id);
    }
    if let Some(track) = object.track.filter(|t| style.tracks && t.state != TrackState::Tentative) {
        let gap = if words.is_empty() { "" } else { " " };
        let _ = write!(words, "{gap}#{}", track.id);
    }
    write_confidence(words, style.confidence, object.confidence);
    if style.labels {
        for attribute in &object.attributes {
            let _ = write!(words, " · {}", attribute.label);
        }
    }
}

#[cfg(test)]
mod tests;
