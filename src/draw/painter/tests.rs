use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::draw::PALETTE;
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, PixelFormat};
use crate::result::{AbsentReason, FrameClass, Mask, Track};

const SECOND: u64 = 1_000_000_000;

/// Planes with padding after each row and bytes after the last one, all of known content.
struct Buffer {
    info: FrameInfo,
    planes: Vec<(Vec<u8>, usize)>,
}

impl Buffer {
    fn new(format: PixelFormat, width: u32, height: u32, value: impl Fn(usize, usize) -> u8) -> Self {
        let info = FrameInfo { format, width, height, range: ColorRange::Limited, matrix: ColorMatrix::Bt709 };
        let plane = |p: usize| {
            let stride = format.row_bytes(p, width) + 7;
            ((0..stride * format.rows(p, height) + 13).map(|i| value(p, i)).collect(), stride)
        };
        Self { info, planes: (0..format.planes()).map(plane).collect() }
    }

    fn noise(format: PixelFormat, width: u32, height: u32) -> Self {
        Self::new(format, width, height, |p, i| ((i as u32 + p as u32 * 77).wrapping_mul(2_654_435_761) >> 24) as u8)
    }

    /// RGB 128, 128, 128 in every format, opaque.
    fn grey(format: PixelFormat, width: u32, height: u32) -> Self {
        Self::new(format, width, height, |p, i| match format {
            PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Yv12 | PixelFormat::Gray8 if p == 0 => 126,
            PixelFormat::Yuy2 if (i % (format.row_bytes(0, width) + 7)).is_multiple_of(2) => 126,
            PixelFormat::Rgba | PixelFormat::Bgra if i % (format.row_bytes(0, width) + 7) % 4 == 3 => 255,
            _ => 128,
        })
    }

    fn draw(&mut self, painter: &mut Painter, result: &FrameResult, now_ns: u64) {
        let mut planes: [(&mut [u8], usize); 3] = [(&mut [], 0), (&mut [], 0), (&mut [], 0)];
        for (slot, (data, stride)) in planes.iter_mut().zip(&mut self.planes) {
            *slot = (data, *stride);
        }
        painter.draw(&mut FrameMut::new(self.info, planes).unwrap(), result, now_ns);
    }

    /// Byte `b` of the pixel (or chroma sample, or YUY2 pair) `x` of row `y`.
    fn at(&self, plane: usize, x: usize, y: usize, bytes: usize, b: usize) -> u8 {
        let (data, stride) = &self.planes[plane];
        data[y * stride + x * bytes + b]
    }

    /// Y, U, V of a pixel; chroma is that of the sample that the pixel shares.
    fn yuv(&self, x: usize, y: usize) -> [u8; 3] {
        match self.info.format {
            PixelFormat::Nv12 => {
                [self.at(0, x, y, 1, 0), self.at(1, x / 2, y / 2, 2, 0), self.at(1, x / 2, y / 2, 2, 1)]
            }
            PixelFormat::I420 | PixelFormat::Yv12 => {
                [self.at(0, x, y, 1, 0), self.at(1, x / 2, y / 2, 1, 0), self.at(2, x / 2, y / 2, 1, 0)]
            }
            PixelFormat::Yuy2 => {
                [self.at(0, x / 2, y, 4, x % 2 * 2), self.at(0, x / 2, y, 4, 1), self.at(0, x / 2, y, 4, 3)]
            }
            _ => [self.at(0, x, y, 1, 0), 128, 128],
        }
    }

    fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let bytes = self.info.format.row_bytes(0, 1);
        let px = [0, 1, 2].map(|b| self.at(0, x, y, bytes, b));
        let swapped = matches!(self.info.format, PixelFormat::Bgr | PixelFormat::Bgrx | PixelFormat::Bgra);
        if swapped { [px[2], px[1], px[0]] } else { px }
    }

    /// The bytes that belong to no row.
    fn padding(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (p, (data, stride)) in self.planes.iter().enumerate() {
            let (row, rows) =
                (self.info.format.row_bytes(p, self.info.width), self.info.format.rows(p, self.info.height));
            for (i, v) in data.iter().enumerate() {
                if i / stride >= rows || i % stride >= row {
                    out.push(*v);
                }
            }
        }
        out
    }

    /// How many pixels share a chroma sample with (`x`, `y`), and the mean of `f` over them.
    fn mean(&self, x: usize, y: usize, f: impl Fn(usize, usize) -> f64) -> f64 {
        let (w, h) = (self.info.width as usize, self.info.height as usize);
        let rows = if self.info.format == PixelFormat::Yuy2 { y..y + 1 } else { y & !1..h.min((y & !1) + 2) };
        let (mut sum, mut n) = (0.0, 0.0);
        for y in rows {
            for x in x & !1..w.min((x & !1) + 2) {
                (sum, n) = (sum + f(x, y), n + 1.0);
            }
        }
        sum / n
    }
}

/// BT.709, limited range, written out from Rec. ITU-R BT.709-6.
fn bt709(rgb: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| v / 255.0);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [16.0 + 219.0 * y, 128.0 + 224.0 * (b - y) / 1.8556, 128.0 + 224.0 * (r - y) / 1.5748]
}

fn result(objects: Vec<Object>) -> FrameResult {
    FrameResult {
        frame: 0,
        pts_ns: None,
        running_time_ns: None,
        utc_ns: 0,
        width: 0,
        height: 0,
        model: None,
        freshness: Freshness::Fresh,
        objects,
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

fn object(label: &str, bbox: BBox) -> Object {
    Object::new(0, 0, label.into(), 0.9, bbox)
}

/// A box of whole pixels on a frame of `w` × `h`.
fn pixels(x0: i32, y0: i32, x1: i32, y1: i32, (w, h): (u32, u32)) -> BBox {
    let [w, h] = [w, h].map(|v| v as f32);
    BBox::from_corners(x0 as f32 / w, y0 as f32 / h, x1 as f32 / w, y1 as f32 / h)
}

fn nothing() -> Style {
    Style {
        boxes: false,
        labels: false,
        confidence: false,
        tracks: false,
        tail_ns: 0,
        masks: false,
        keypoints: false,
        absent: false,
        status: false,
        ..Style::default()
    }
}

fn painter(style: Style) -> Painter {
    Painter::new(style, None).unwrap()
}

fn tracked(mut object: Object, state: TrackState, unseen_ns: u64) -> Object {
    object.track = Some(Track { id: 7, state, age_ns: SECOND, unseen_ns, velocity: (0.0, 0.0) });
    object
}

/// Checks a plain outline, 3 pixels thick, against a model that looks at each pixel by itself.
fn check_box(format: PixelFormat, size: (u32, u32), b: (i32, i32, i32, i32)) {
    let before = Buffer::noise(format, size.0, size.1);
    let mut after = Buffer::noise(format, size.0, size.1);
    let mut painter = painter(Style { boxes: true, line_width: 3, ..nothing() });
    after.draw(&mut painter, &result(vec![object("person", pixels(b.0, b.1, b.2, b.3, size))]), 0);
    let inside = |x: i32, y: i32, by: i32| x >= b.0 + by && x < b.2 - by && y >= b.1 + by && y < b.3 - by;
    let ring = |x: usize, y: usize| inside(x as i32, y as i32, 0) && !inside(x as i32, y as i32, 3);
    let color = [PALETTE[0].0, PALETTE[0].1, PALETTE[0].2];
    let ink = bt709(color.map(f64::from));
    for y in 0..size.1 as usize {
        for x in 0..size.0 as usize {
            let place = format!("{format:?} {size:?} {b:?} at {x}, {y}");
            if !format.is_yuv() {
                let want = if ring(x, y) { color } else { before.rgb(x, y) };
                assert_eq!(after.rgb(x, y), want, "{place}");
                continue;
            }
            let (old, new) = (before.yuv(x, y), after.yuv(x, y));
            let want = if ring(x, y) { ink[0].round() as u8 } else { old[0] };
            assert_eq!(new[0], want, "luma, {place}");
            let cover = after.mean(x, y, |x, y| f64::from(u8::from(ring(x, y))));
            for i in [1, 2].into_iter().filter(|_| format != PixelFormat::Gray8) {
                let want = f64::from(old[i]) * (1.0 - cover) + ink[i] * cover;
                assert!((f64::from(new[i]) - want).abs() <= 1.3, "chroma {i}: {} for {want}, {place}", new[i]);
            }
        }
    }
    assert_eq!(after.padding(), before.padding(), "{format:?}");
}

#[test]
fn a_box_has_exact_pixels_in_every_format() {
    for format in PixelFormat::ALL {
        check_box(format, (34, 22), (6, 4, 28, 18));
        check_box(format, (33, 21), (5, 3, 28, 17));
        // Reaches into the odd last column and row, and out of the frame on the other side.
        check_box(format, (33, 21), (7, 4, 33, 21));
        check_box(format, (33, 21), (-9, -2, 20, 12));
        // Thinner than its own line.
        check_box(format, (33, 21), (5, 3, 6, 4));
    }
}

#[test]
fn the_fourth_byte_is_kept_or_made_opaque() {
    for (format, alpha) in [(PixelFormat::Rgbx, false), (PixelFormat::Bgrx, false), (PixelFormat::Rgba, true)] {
        let mut buffer = Buffer::new(format, 16, 16, |_, _| 0);
        let mut painter = painter(Style { boxes: true, line_width: 2, ..nothing() });
        buffer.draw(&mut painter, &result(vec![object("person", pixels(0, 0, 8, 8, (16, 16)))]), 0);
        assert_eq!(buffer.at(0, 1, 1, 4, 3), if alpha { 255 } else { 0 });
        assert_eq!(buffer.at(0, 12, 12, 4, 3), 0);
    }
}

#[test]
fn half_covered_transparent_pixels_show_the_pure_color() {
    let mut buffer = Buffer::new(PixelFormat::Rgba, 16, 16, |_, _| 0);
    let mut painter = painter(Style { masks: true, mask_opacity: 0.5, ..nothing() });
    let mut o = object("person", pixels(0, 0, 16, 16, (16, 16)));
    o.mask = Some(Arc::new(Mask { width: 1, height: 1, data: vec![255] }));
    buffer.draw(&mut painter, &result(vec![o]), 0);
    let Rgb(r, g, b) = PALETTE[0];
    assert_eq!(buffer.rgb(8, 8), [r, g, b]);
    assert!((126..=128).contains(&buffer.at(0, 8, 8, 4, 3)));
}

/// A person with a silhouette and a skeleton, and a car that moves.
fn scene() -> FrameResult {
    let mut person = tracked(object("person", BBox { x: 0.05, y: 0.1, w: 0.4, h: 0.83 }), TrackState::Confirmed, 0);
    let data = (0..64).map(|i| if (i % 8 + i / 8) % 3 == 0 { 255 } else { 20 }).collect();
    person.mask = Some(Arc::new(Mask { width: 8, height: 8, data }));
    person.keypoints =
        [(0.1, 0.2), (0.4, 0.5), (0.2, 0.9), (0.9, 0.3)].map(|(x, y)| Keypoint { x, y, confidence: 0.8 }).to_vec();
    person.skeleton = Some(Arc::from([(0, 1), (1, 2), (1, 900), (3, 0)].as_slice()));
    let mut scene = result(vec![person, object("car", BBox { x: 0.5, y: 0.31, w: 0.45, h: 0.4 })]);
    scene.classes = vec![FrameClass { class_id: 0, label: "street".into(), confidence: 0.7 }];
    scene
}

/// Draws in RGB, converts that pixel by pixel, and compares with what was drawn in `format`.
fn check_against_rgb(style: Style, scene: &FrameResult, format: PixelFormat, size: (u32, u32), chroma: bool) {
    let (mut own, mut rgb) = (Buffer::grey(format, size.0, size.1), Buffer::grey(PixelFormat::Rgb, size.0, size.1));
    for buffer in [&mut own, &mut rgb] {
        let mut painter = painter(style);
        let mut first = scene.clone();
        first.objects.iter_mut().for_each(|o| o.bbox.x += 0.2);
        let mut warm = Buffer::grey(buffer.info.format, size.0, size.1);
        warm.draw(&mut painter, &first, 0);
        buffer.draw(&mut painter, scene, SECOND / 2);
    }
    let mut changed = 0;
    for y in 0..size.1 as usize {
        for x in 0..size.0 as usize {
            let px = |x, y| bt709(rgb.rgb(x, y).map(f64::from));
            let new = own.yuv(x, y);
            changed += usize::from(new[0] != 126);
            assert!((f64::from(new[0]) - px(x, y)[0]).abs() <= 2.5, "luma {new:?} {format:?} at {x}, {y}");
            for i in [1, 2].into_iter().filter(|_| chroma && format != PixelFormat::Gray8) {
                let want = own.mean(x, y, |x, y| px(x, y)[i]);
                assert!((f64::from(new[i]) - want).abs() <= 2.5, "{i} of {new:?} for {want} {format:?} at {x}, {y}");
            }
        }
    }
    assert!(changed > 50, "{changed} pixels drawn");
    assert_eq!(own.padding(), Buffer::grey(format, size.0, size.1).padding());
}

#[test]
fn every_shape_is_the_same_in_every_format() {
    let yuv = PixelFormat::ALL.into_iter().filter(|f| f.is_yuv());
    let off = FrameResult { freshness: Freshness::Absent(AbsentReason::Deadline), ..scene() };
    for format in yuv {
        for size in [(160, 120), (161, 121)] {
            // One layer each: chroma means of several layers do not commute with blending.
            check_against_rgb(Style { boxes: true, ..nothing() }, &scene(), format, size, true);
            check_against_rgb(Style { masks: true, ..nothing() }, &scene(), format, size, true);
            check_against_rgb(Style { tail_ns: SECOND, ..nothing() }, &scene(), format, size, true);
            check_against_rgb(Style::default(), &scene(), format, size, false);
            check_against_rgb(Style { absent: true, ..nothing() }, &off, format, size, false);
        }
    }
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_yuv()) {
        let (mut own, mut rgb) = (Buffer::grey(format, 161, 121), Buffer::grey(PixelFormat::Rgb, 161, 121));
        for buffer in [&mut own, &mut rgb] {
            buffer.draw(&mut painter(Style::default()), &off, 0);
            buffer.draw(&mut painter(Style::default()), &scene(), 0);
        }
        for (x, y) in (0..121).flat_map(|y| (0..161).map(move |x| (x, y))) {
            assert_eq!(own.rgb(x, y), rgb.rgb(x, y), "{format:?} at {x}, {y}");
        }
    }
}

/// Pixels of a GRAY8 frame that were drawn on, as (x, y).
fn drawn_at(style: Style, r: &FrameResult, (w, h): (u32, u32)) -> Vec<(usize, usize)> {
    let mut buffer = Buffer::grey(PixelFormat::Gray8, w, h);
    buffer.draw(&mut painter(style), r, 0);
    let all = (0..h as usize).flat_map(|y| (0..w as usize).map(move |x| (x, y)));
    all.filter(|&(x, y)| buffer.yuv(x, y)[0] != 126).collect()
}

#[test]
fn held_and_predicted_are_dashed() {
    let style = Style { boxes: true, held_after_ns: SECOND / 5, ..nothing() };
    let size = (320, 240);
    let bbox = pixels(40, 40, 240, 200, size);
    let fresh = drawn_at(style, &result(vec![object("person", bbox)]), size);
    let predicted = result(vec![tracked(object("person", bbox), TrackState::Predicted, SECOND)]);
    let mut held = result(vec![object("person", bbox)]);
    held.freshness = Freshness::Held { age_ns: SECOND / 2 };
    let dashed = drawn_at(style, &held, size);
    assert_eq!(drawn_at(style, &predicted, size), dashed);
    // One pixel thick: dashes and gaps of 5 from both corners; the corners' lengths (10) are whole.
    let top = |drawn: &[(usize, usize)]| drawn.iter().filter(|(_, y)| *y == 40).map(|(x, _)| *x).collect::<Vec<_>>();
    assert_eq!(top(&fresh), (40..240).collect::<Vec<_>>());
    let from_corner = |x: usize| (x - 40).min(239 - x);
    let want: Vec<usize> = (40..240).filter(|x| from_corner(*x) < 10 || from_corner(*x) / 5 % 2 == 0).collect();
    assert_eq!(top(&dashed), want);
    // Younger than the threshold: as fresh.
    held.freshness = Freshness::Held { age_ns: SECOND / 10 };
    assert_eq!(drawn_at(style, &held, size), fresh);
}

#[test]
fn an_oriented_box_is_drawn_along_its_sides() {
    let style = Style { boxes: true, held_after_ns: SECOND / 5, line_width: 1, ..nothing() };
    let size = (200, 200);
    let mut diamond = object("ship", pixels(50, 50, 150, 150, size));
    diamond.corners = Some([(0.5, 0.25), (0.75, 0.5), (0.5, 0.75), (0.25, 0.5)]);
    let drawn = drawn_at(style, &result(vec![diamond.clone()]), size);
    let off_sides = |&(x, y): &(usize, usize)| {
        let from_centre = (x as f32 + 0.5 - 100.0).abs() + (y as f32 + 0.5 - 100.0).abs();
        (from_centre - 50.0).abs() > 2.0
    };
    assert!(drawn.len() > 150 && !drawn.iter().any(off_sides), "{drawn:?}");
    assert!(!drawn.contains(&(52, 52)), "no upright box around it");

    let change = |freshness| {
        let mut buffer = Buffer::grey(PixelFormat::Rgb, 200, 200);
        let before = buffer.rgb(125, 75);
        let r = FrameResult { freshness, ..result(vec![diamond.clone()]) };
        buffer.draw(&mut painter(style), &r, 0);
        buffer.rgb(125, 75).iter().zip(before).map(|(a, b)| a.abs_diff(b)).max().unwrap()
    };
    let (fresh, held) = (change(Freshness::Fresh), change(Freshness::Held { age_ns: SECOND }));
    assert!(held > 0 && held < fresh, "{held} {fresh}");

    diamond.corners = Some([(0.5, f32::NAN); 4]);
    assert!(drawn_at(style, &result(vec![diamond]), size).contains(&(52, 50)), "the upright box stands in");
}

#[test]
fn a_frame_that_was_not_analysed_says_so() {
    let mut absent = result(Vec::new());
    absent.freshness = Freshness::Absent(AbsentReason::EngineError);
    let size = (320, 240);
    let badge = drawn_at(Style { absent: false, ..Style::default() }, &absent, size);
    assert!(badge.len() > 1000 && badge.iter().all(|(x, y)| *x > 100 && *y < 30), "a panel at the top right");
    assert!(drawn_at(Style { absent: false, status: false, ..Style::default() }, &absent, size).is_empty());
    let banner = drawn_at(Style::default(), &absent, size);
    assert!(banner.len() > 1000 && banner.iter().all(|(x, y)| *x < 220 && *y < 30), "a panel at the top left instead");
    assert_eq!(drawn_at(Style { status: false, ..Style::default() }, &absent, size), banner);
    absent.freshness = Freshness::Held { age_ns: 900_000_000 };
    let held = drawn_at(Style::default(), &absent, size);
    assert!(!held.is_empty() && held.len() < badge.len(), "a shorter text");
    absent.freshness = Freshness::Fresh;
    assert!(drawn_at(Style::default(), &absent, size).is_empty());
}

#[test]
fn the_banner_stays_when_glyphs_are_thrown_away() {
    let off = FrameResult { freshness: Freshness::Absent(AbsentReason::Deadline), ..result(Vec::new()) };
    let (mut p, mut first, mut second) =
        (painter(Style::default()), Buffer::grey(PixelFormat::Rgb, 320, 240), Buffer::grey(PixelFormat::Rgb, 320, 240));
    first.draw(&mut p, &off, 0);
    let hostile: Vec<char> = ('\u{4e00}'..'\u{9fff}').take(4200).collect();
    hostile.chunks(500).for_each(|c| p.text.measure(&String::from_iter(c.iter()), 12, i32::MAX, &mut p.line));
    second.draw(&mut p, &off, 1);
    assert!(!p.text.trim(), "the glyphs were not too many");
    assert_eq!(first.planes, second.planes);
}

#[test]
fn labels_stay_inside_the_frame_and_apart() {
    let corners = [(-0.1, -0.1), (0.9, -0.05), (-0.1, 0.85), (0.95, 0.9), (0.4, 0.4), (0.42, 0.41)];
    let name = "a-class-with-quite-a-long-name";
    let objects = corners.map(|(x, y)| object(name, BBox { x, y, w: 0.2, h: 0.2 })).to_vec();
    for size in [(320, 240), (96, 64), (1280, 720)] {
        let mut p = painter(Style::default());
        let frame = Rect::new(0, 0, size.0 as i32, size.1 as i32);
        Buffer::noise(PixelFormat::Nv12, size.0, size.1).draw(&mut p, &result(objects.clone()), 0);
        assert_eq!(p.labels.len(), corners.len(), "{size:?}");
        assert!(p.labels.iter().all(|(spot, _)| spot.intersect(&frame) == *spot), "{:?}", p.labels);
        if size.0 >= 320 {
            let apart = |i: usize, j: usize| p.labels[i].0.intersect(&p.labels[j].0).is_empty();
            assert!((0..6).all(|i| (0..i).all(|j| apart(i, j))), "{:?}", p.labels);
        }
    }
}

#[test]
fn labels_hold_text_in_a_color_that_reads() {
    let mut buffer = Buffer::grey(PixelFormat::Rgb, 320, 240);
    let mut p = painter(Style { labels: true, ..nothing() });
    buffer.draw(&mut p, &result(vec![object("person", pixels(40, 60, 200, 200, (320, 240)))]), 0);
    let spot = p.labels[0].0;
    let inside = (spot.y0..spot.y1).flat_map(|y| (spot.x0..spot.x1).map(move |x| (x as usize, y as usize)));
    let sum = |(x, y): (usize, usize)| buffer.rgb(x, y).iter().map(|v| u32::from(*v)).sum::<u32>();
    let (dark, light) = inside.map(sum).fold((u32::MAX, 0), |(a, b), v| (a.min(v), b.max(v)));
    // Sky blue sums to 499, the text's dark to 62.
    assert!(dark < 110 && light > 440, "{dark} {light}");
}

#[test]
fn label_text_is_what_the_style_asks_for() {
    let write = |style: &Style, o: &Object| {
        let mut words = String::new();
        write_label(&mut words, o, style);
        words
    };
    let mut o = tracked(object("car", BBox::default()), TrackState::Confirmed, 0);
    o.attributes.push(crate::result::Attribute { name: "color".into(), label: "red".into(), confidence: 0.5 });
    assert_eq!(write(&Style::default(), &o), "car #7 90% · red");
    assert_eq!(write(&Style { tracks: true, ..nothing() }, &o), "#7");
    assert_eq!(write(&Style { confidence: true, ..nothing() }, &o), "90%");
    o = tracked(object("", BBox::default()), TrackState::Tentative, 0);
    o.class_id = 3;
    assert_eq!(write(&Style::default(), &o), "class 3 90%", "no number before the tracker is sure");
}

#[test]
fn tails_follow_and_fade_and_are_forgotten() {
    let style = Style { tail_ns: SECOND, ..nothing() };
    let at =
        |x: f32| result(vec![tracked(object("car", BBox { x, y: 0.2, w: 0.1, h: 0.3 }), TrackState::Confirmed, 0)]);
    let strength = |buffer: &Buffer, x: usize| (118..123).map(|y| buffer.yuv(x, y)[0].abs_diff(126)).max();
    let mut p = painter(style);
    let frame = || Buffer::grey(PixelFormat::Gray8, 320, 240);
    frame().draw(&mut p, &at(0.1), 0);
    frame().draw(&mut p, &at(0.4), SECOND / 2);
    let mut last = frame();
    last.draw(&mut p, &at(0.7), SECOND * 9 / 10);
    // Centres at 48, 144 and 240 pixels; the older stretch is fainter.
    assert!(strength(&last, 90) > Some(0) && strength(&last, 190) > strength(&last, 90));
    assert_eq!((strength(&last, 20), strength(&last, 280)), (Some(0), Some(0)));
    p.reset();
    let mut fresh = frame();
    fresh.draw(&mut p, &at(0.7), SECOND);
    assert_eq!(fresh.planes, frame().planes, "one point is no tail");
}

#[test]
fn very_wide_frames_are_drawn_on() {
    for format in [PixelFormat::Nv12, PixelFormat::Yuy2, PixelFormat::Rgba] {
        for size in [(16_384, 2), (2, 4096), (16_383, 65)] {
            let mut buffer = Buffer::noise(format, size.0, size.1);
            let before = buffer.padding();
            buffer.draw(&mut painter(Style::default()), &scene(), 0);
            assert_eq!(buffer.padding(), before);
            assert_ne!(buffer.planes, Buffer::noise(format, size.0, size.1).planes);
        }
    }
}

/// Any bit pattern, and often one near the frame.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![proptest::num::f32::ANY, -0.5..1.5f32, Just(f32::NAN), Just(f32::MAX), Just(0.0f32)]
}

prop_compose! {
    fn hostile()(
        b in (number(), number(), number(), number()), confidence in number(), label in ".{0,12}",
        points in proptest::collection::vec((number(), number(), number()), 0..5),
        pairs in proptest::collection::vec((0..6u16, any::<u16>()), 0..5),
        mask in (0..5u32, 0..5u32, 0..20usize), state in 0..3u8, id in any::<u64>(), unseen_ns in any::<u64>(),
    ) -> Object {
        let mut o = Object::new(0, id as u32, label.into(), confidence, BBox { x: b.0, y: b.1, w: b.2, h: b.3 });
        let state = [TrackState::Tentative, TrackState::Confirmed, TrackState::Predicted][usize::from(state)];
        o.track = Some(Track { id, state, age_ns: 0, unseen_ns, velocity: (f32::NAN, 0.0) });
        o.keypoints = points.into_iter().map(|(x, y, confidence)| Keypoint { x, y, confidence }).collect();
        o.corners = (id % 2 == 0).then_some([(b.0, b.1), (b.2, b.1), (b.2, b.3), (b.0, b.3)]);
        o.skeleton = Some(pairs.into());
        o.mask = Some(Arc::new(Mask { width: mask.0, height: mask.1, data: vec![200; mask.2] }));
        o
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_and_padding_stays(
        format in proptest::sample::select(PixelFormat::ALL.to_vec()), size in (1..150u32, 1..100u32),
        objects in proptest::collection::vec(hostile(), 0..6), times in proptest::collection::vec(any::<u64>(), 1..3),
        held in any::<Option<u64>>(), off in proptest::option::of((0..AbsentReason::ALL.len(), any::<Option<u64>>())), sizes in (0..3u32, 0..3u32, number()),
    ) {
        let mut r = result(objects);
        r.freshness = held.map_or(Freshness::Fresh, |age_ns| Freshness::Held { age_ns });
        if let Some((reason, since_ns)) = off {
            (r.freshness, r.absent_since_ns) = (Freshness::Absent(AbsentReason::ALL[reason]), since_ns);
        }
        let odd = [0, 5, u32::MAX];
        let mut p = painter(Style {
            line_width: odd[sizes.0 as usize],
            text_size: odd[sizes.1 as usize],
            mask_opacity: sizes.2,
            ..Style::default()
        });
        let mut buffer = Buffer::noise(format, size.0, size.1);
        let before = buffer.padding();
        for now_ns in times {
            buffer.draw(&mut p, &r, now_ns);
        }
        prop_assert_eq!(buffer.padding(), before);
        let frame = Rect::new(0, 0, size.0 as i32, size.1 as i32);
        prop_assert!(p.labels.iter().all(|(spot, _)| spot.intersect(&frame) == *spot));
    }
}
