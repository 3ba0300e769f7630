//! Where the frame lies in the model's input, and the way back.

use crate::bundle::contract::{Align, InputContract, Resize};
use crate::result::BBox;

/// The affine map between pixels of the input tensor and the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Frame size in pixels.
    pub frame: (u32, u32),
    /// The part of the frame that is looked at, pixels: x, y, w, h (the whole frame unless a region was given, or
    /// `resize = "crop"` cut it).
    pub source: (f32, f32, f32, f32),
    /// Where that part lies in the input tensor, whole pixels: x, y, w, h.
    pub target: (u32, u32, u32, u32),
}

impl Geometry {
    /// Places a frame of `width` × `height` (or the part `region` of it, 0..1) in the input.
    pub fn new(input: &InputContract, width: u32, height: u32, region: Option<BBox>) -> Self {
        let (fw, fh) = (width as f32, height as f32);
        let r = region.map_or(BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }, |r| r.clipped());
        let (sx, sy, sw, sh) = (r.x * fw, r.y * fh, (r.w * fw).max(1.0), (r.h * fh).max(1.0));
        let (iw, ih) = (input.width, input.height);
        let (kx, ky) = (iw as f32 / sw, ih as f32 / sh);
        match input.resize {
            Resize::Stretch => Self { frame: (width, height), source: (sx, sy, sw, sh), target: (0, 0, iw, ih) },
            Resize::Letterbox => {
                let k = kx.min(ky);
                let w = ((sw * k).round() as u32).clamp(1, iw);
                let h = ((sh * k).round() as u32).clamp(1, ih);
                let (x, y) = match input.align {
                    Align::TopLeft => (0, 0),
                    // The side with the odd pixel is right and below, as in Ultralytics' LetterBox.
                    Align::Center => ((iw - w) / 2, (ih - h) / 2),
                };
                Self { frame: (width, height), source: (sx, sy, sw, sh), target: (x, y, w, h) }
            }
            Resize::Crop => {
                let k = kx.max(ky);
                let (cw, ch) = (iw as f32 / k, ih as f32 / k);
                let source = (sx + (sw - cw) / 2.0, sy + (sh - ch) / 2.0, cw, ch);
                Self { frame: (width, height), source, target: (0, 0, iw, ih) }
            }
        }
    }

    /// A point in pixels of the input tensor → 0..1 of the frame (not clipped).
    pub fn point_to_frame(&self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy, sw, sh) = self.source;
        let (tx, ty, tw, th) = self.target;
        let px = sx + (x - tx as f32) * sw / tw as f32;
        let py = sy + (y - ty as f32) * sh / th as f32;
        (px / self.frame.0 as f32, py / self.frame.1 as f32)
    }

    /// A box in pixels of the input tensor → 0..1 of the frame (not clipped).
    pub fn to_frame(&self, b: BBox) -> BBox {
        let (x1, y1) = self.point_to_frame(b.x, b.y);
        let (x2, y2) = self.point_to_frame(b.x2(), b.y2());
        BBox::from_corners(x1, y1, x2, y2)
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
            align,
            pad: 114,
            mean: [0.0; 3],
            std: [1.0; 3],
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
    fn a_region_is_clipped_and_never_empty() {
        let region = BBox { x: 0.5, y: 1.5, w: 0.9, h: -1.0 };
        let g = Geometry::new(&input(Resize::Stretch, Align::Center), 100, 50, Some(region));
        assert_eq!(g.source, (50.0, 50.0, 50.0, 1.0));
    }
}
