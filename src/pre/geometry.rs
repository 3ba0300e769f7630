//! Where the frame lies in the model's input, and the way back.

use crate::bundle::contract::{Align, InputContract, Resize};
use crate::frame::{Orientation, View};
use crate::result::BBox;

/// The affine map between pixels of the input tensor and the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// The picture whose coordinates run from 0 to 1, upright pixels: x, y, w, h (the whole frame unless only a part of
    /// what is stored is to be seen).
    pub within: (f32, f32, f32, f32),
    /// The part that is looked at, upright pixels: x, y, w, h (all of `within` unless a region was given, or
    /// `resize = "crop"` cut it).
    pub source: (f32, f32, f32, f32),
    /// Where that part lies in the input tensor, whole pixels: x, y, w, h.
    pub target: (u32, u32, u32, u32),
    /// How the stored picture is turned to stand upright.
    pub orientation: Orientation,
}

impl Geometry {
    /// Places a frame of `width` × `height` (or the part `region` of it, 0..1) in the input.
    pub fn new(input: &InputContract, width: u32, height: u32, region: Option<BBox>) -> Self {
        Self::of_view(input, (width, height), &View::default(), region)
    }

    /// Places what `view` shows of a stored frame of `size` (or the part `region` of what it shows, 0..1, not turned) in
    /// the input.
    pub fn of_view(input: &InputContract, size: (u32, u32), view: &View, region: Option<BBox>) -> Self {
        let orientation = view.orientation;
        let upright = |b: BBox| orientation.bbox_upright(b);
        let (fw, fh) = orientation.size_upright((size.0 as f32, size.1 as f32));
        let visible = upright(view.visible.map_or(BBox::WHOLE, |v| v.clipped()));
        let within = (visible.x * fw, visible.y * fh, (visible.w * fw).max(1.0), (visible.h * fh).max(1.0));
        let r = upright(region.map_or(BBox::WHOLE, |r| r.clipped()));
        let (sx, sy) = (within.0 + r.x * within.2, within.1 + r.y * within.3);
        let (sw, sh) = ((r.w * within.2).max(1.0), (r.h * within.3).max(1.0));
        let (iw, ih) = (input.width, input.height);
        let (kx, ky) = (iw as f32 / sw, ih as f32 / sh);
        let (source, target) = match input.resize {
            Resize::Stretch => ((sx, sy, sw, sh), (0, 0, iw, ih)),
            Resize::Letterbox => {
                let k = kx.min(ky);
                let w = ((sw * k).round() as u32).clamp(1, iw);
                let h = ((sh * k).round() as u32).clamp(1, ih);
                let (x, y) = match input.align {
                    Align::TopLeft => (0, 0),
                    // The side with the odd pixel is right and below, as in Ultralytics' LetterBox.
                    Align::Center => ((iw - w) / 2, (ih - h) / 2),
                };
                ((sx, sy, sw, sh), (x, y, w, h))
            }
            Resize::Crop => {
                let k = kx.max(ky) / input.crop_fraction;
                let (cw, ch) = (iw as f32 / k, ih as f32 / k);
                ((sx + (sw - cw) / 2.0, sy + (sh - ch) / 2.0, cw, ch), (0, 0, iw, ih))
            }
        };
        Self { within, source, target, orientation }
    }

    /// The same for the picture as it is stored, in a target of its own at 0, 0: what has to be sampled before the turn.
    pub(super) fn stored(&self, size: (u32, u32)) -> Self {
        let (fw, fh) = (size.0 as f32, size.1 as f32);
        let (uw, uh) = self.orientation.size_upright((fw, fh));
        let (sx, sy, sw, sh) = self.source;
        let b = self.orientation.bbox_stored(BBox { x: sx / uw, y: sy / uh, w: sw / uw, h: sh / uh });
        let (tw, th) = self.orientation.size_upright((self.target.2, self.target.3));
        Self {
            within: (0.0, 0.0, fw, fh),
            source: (b.x * fw, b.y * fh, b.w * fw, b.h * fh),
            target: (0, 0, tw, th),
            orientation: Orientation::UPRIGHT,
        }
    }

    /// A point in pixels of the input tensor → 0..1 of the frame (not clipped).
    pub fn point_to_frame(&self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy, sw, sh) = self.source;
        let (tx, ty, tw, th) = self.target;
        let (vx, vy, vw, vh) = self.within;
        let px = sx + (x - tx as f32) * sw / tw as f32;
        let py = sy + (y - ty as f32) * sh / th as f32;
        self.orientation.point_stored(((px - vx) / vw, (py - vy) / vh))
    }

    /// A point in 0..1 of the frame → pixels of the input tensor (not clipped).
    pub fn point_to_input(&self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy, sw, sh) = self.source;
        let (tx, ty, tw, th) = self.target;
        let (vx, vy, vw, vh) = self.within;
        let (ux, uy) = self.orientation.point_upright((x, y));
        let (px, py) = (vx + ux * vw, vy + uy * vh);
        (tx as f32 + (px - sx) * tw as f32 / sw, ty as f32 + (py - sy) * th as f32 / sh)
    }

    /// A box in pixels of the input tensor → 0..1 of the frame (not clipped). An inverted box stays inverted.
    pub fn to_frame(&self, b: BBox) -> BBox {
        let (x1, y1) = self.point_to_frame(b.x, b.y);
        let (x2, y2) = self.point_to_frame(b.x2(), b.y2());
        if self.orientation == Orientation::UPRIGHT {
            return BBox::from_corners(x1, y1, x2, y2);
        }
        BBox::from_corners(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::{Color, Layout};

    fn input(resize: Resize, align: Align) -> InputContract {
        InputContract {
            layout: Layout::Nchw,
            width: 640,
            height: 640,
            color: Color::Rgb,
            resize,
            antialias: false,
            crop_fraction: 1.0,
            align,
            pad: 114,
            mean: [0.0; 3],
            std: [1.0; 3],
            quantization: None,
        }
    }

    #[test]
    fn letterbox_keeps_the_ratio_and_its_boxes_find_the_way_back() {
        let g = Geometry::new(&input(Resize::Letterbox, Align::Center), 1920, 1080, None);
        assert_eq!((g.source, g.target), ((0.0, 0.0, 1920.0, 1080.0), (0, 140, 640, 360)));
        let whole = g.to_frame(BBox { x: 0.0, y: 140.0, w: 640.0, h: 360.0 });
        assert_eq!(whole, BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 });
        let g = Geometry::new(&input(Resize::Letterbox, Align::TopLeft), 1080, 1920, None);
        assert_eq!(g.target, (0, 0, 360, 640));
    }

    #[test]
    fn the_odd_pixel_of_padding_is_below() {
        // 640 * 479 / 640 = 479 rows leave 161.
        let g = Geometry::new(&input(Resize::Letterbox, Align::Center), 640, 479, None);
        assert_eq!(g.target, (0, 80, 640, 479));
    }

    #[test]
    fn crop_cuts_the_longer_side_evenly() {
        let g = Geometry::new(&input(Resize::Crop, Align::Center), 1920, 1080, None);
        assert_eq!((g.source, g.target), ((420.0, 0.0, 1080.0, 1080.0), (0, 0, 640, 640)));
        assert_eq!(g.point_to_frame(320.0, 320.0), (0.5, 0.5));
    }

    #[test]
    fn an_oriented_picture_is_looked_at_upright_and_its_boxes_come_back_as_stored() {
        // Stored 1920 × 1080, shown turned by 90° clockwise: 1080 × 1920.
        let view = View { orientation: Orientation::CLOCKWISE, ..View::default() };
        let g = Geometry::of_view(&input(Resize::Letterbox, Align::TopLeft), (1920, 1080), &view, None);
        assert_eq!((g.source, g.target), ((0.0, 0.0, 1080.0, 1920.0), (0, 0, 360, 640)));
        // The upright top left corner is the stored bottom left one.
        let stored = g.to_frame(BBox { x: 0.0, y: 0.0, w: 36.0, h: 64.0 });
        for (value, expected) in [(stored.x, 0.0), (stored.y, 0.9), (stored.w, 0.1), (stored.h, 0.1)] {
            assert!((value - expected).abs() < 1e-6, "{stored:?}");
        }
        let (x, y) = g.point_to_input(0.25, 0.75);
        let (u, v) = g.point_to_frame(x, y);
        assert!((u - 0.25).abs() < 1e-6 && (v - 0.75).abs() < 1e-6);
    }

    #[test]
    fn coordinates_are_those_of_the_visible_part() {
        let visible = Some(BBox { x: 0.25, y: 0.5, w: 0.5, h: 0.5 });
        let view = View { visible, ..View::default() };
        let g = Geometry::of_view(&input(Resize::Stretch, Align::Center), (400, 200), &view, None);
        assert_eq!(g.source, (100.0, 100.0, 200.0, 100.0));
        assert_eq!(g.to_frame(BBox { x: 0.0, y: 0.0, w: 640.0, h: 640.0 }), BBox::WHOLE);
        let region = BBox { x: 0.5, y: 0.0, w: 0.5, h: 1.0 };
        let g = Geometry::of_view(&input(Resize::Stretch, Align::Center), (400, 200), &view, Some(region));
        assert_eq!(g.source, (200.0, 100.0, 100.0, 100.0));
        assert_eq!(g.to_frame(BBox { x: 0.0, y: 0.0, w: 640.0, h: 640.0 }), region);
    }

    #[test]
    fn a_crop_may_leave_an_edge_all_around() {
        let contract = InputContract { crop_fraction: 0.5, ..input(Resize::Crop, Align::Center) };
        let g = Geometry::new(&contract, 1920, 1080, None);
        assert_eq!(g.source, (690.0, 270.0, 540.0, 540.0));
    }

    #[test]
    fn a_region_is_clipped_and_never_empty() {
        let region = BBox { x: 0.5, y: 1.5, w: 0.9, h: -1.0 };
        let g = Geometry::new(&input(Resize::Stretch, Align::Center), 100, 50, Some(region));
        assert_eq!(g.source, (50.0, 50.0, 50.0, 1.0));
    }
}
