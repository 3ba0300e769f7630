//! Colours: which one a thing gets, and what it is in a frame's own values.

use crate::frame::{ColorRange, FrameInfo, PixelFormat};

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// Text on light colours and contours.
pub(super) const DARK: Rgb = Rgb(18, 20, 24);
/// Text on dark colours.
pub(super) const LIGHT: Rgb = Rgb(245, 246, 248);
/// The sign of a result that is not fresh.
pub(super) const AMBER: Rgb = Rgb(255, 179, 0);
/// The sign of a frame that was not analysed.
pub(super) const RED: Rgb = Rgb(239, 68, 68);

/// Colours for classes and tracks. The first seven are after Okabe and Ito, the others after Paul Tol: neighbours
/// differ in lightness as well as in hue, so that they stay apart for colour-blind eyes and on a grey frame.
pub const PALETTE: [Rgb; 12] = [
    Rgb(86, 180, 233),  // sky blue
    Rgb(240, 160, 30),  // orange
    Rgb(20, 175, 130),  // green
    Rgb(240, 228, 66),  // yellow
    Rgb(65, 120, 245),  // blue
    Rgb(228, 95, 30),   // vermilion
    Rgb(214, 125, 178), // pink
    Rgb(170, 225, 95),  // lime
    Rgb(150, 110, 220), // violet
    Rgb(230, 205, 150), // sand
    Rgb(215, 60, 95),   // crimson
    Rgb(60, 205, 205),  // turquoise
];

/// Labels that are often seen together, kept apart by hand; all others are spread over the palette by hash.
const KNOWN: [(&str, usize); 14] = [
    ("person", 0),
    ("car", 1),
    ("bicycle", 2),
    ("bus", 3),
    ("truck", 5),
    ("vehicle", 5),
    ("motorcycle", 6),
    ("motorbike", 6),
    ("bike", 2),
    ("face", 7),
    ("dog", 9),
    ("cat", 8),
    ("boat", 4),
    ("train", 10),
];

/// 32-bit FNV-1a of the lower-case ASCII form of `label`: the same on every platform and in every release.
fn hash(label: &str) -> u32 {
    label.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
}

fn pick(i: u64) -> Rgb {
    let len = PALETTE.len() as u64;
    PALETTE.get((i % len) as usize).copied().unwrap_or(LIGHT)
}

/// The colour of a class: by its label (whatever its case), or by `class_id` where the label is empty.
///
/// The same label has the same colour in every process, on every platform and for every model.
pub fn class_color(label: &str, class_id: u32) -> Rgb {
    let known = KNOWN.iter().find(|(name, _)| name.eq_ignore_ascii_case(label));
    match known {
        Some(&(_, i)) => pick(i as u64),
        None if label.is_empty() => pick(u64::from(class_id)),
        // The low bits of FNV-1a are its weakest, hence the fold.
        None => pick(u64::from(hash(label) >> 16 ^ hash(label))),
    }
}

/// The colour of a track: identities that follow each other differ.
pub fn track_color(id: u64) -> Rgb {
    pick(id.wrapping_mul(5))
}

impl Rgb {
    /// Black or white, whichever reads better on this colour (ITU-R BT.709 weights on the gamma-coded values).
    pub(super) fn contrast(self) -> Rgb {
        let luma = 2126 * u32::from(self.0) + 7152 * u32::from(self.1) + 722 * u32::from(self.2);
        if luma > 125 * 10_000 { DARK } else { LIGHT }
    }
}

/// A colour in a frame's own values, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink {
    /// Y, U, V for luma and chroma formats.
    pub yuv: [u8; 3],
    /// The three colour bytes of a packed pixel in the order in which they lie in memory.
    pub packed: [u8; 3],
}

impl Ink {
    /// Converts `rgb` with the range and matrix of the frame (ITU-T H.273, 8 bit).
    pub fn new(Rgb(r, g, b): Rgb, info: &FrameInfo) -> Self {
        let (kr, kb) = info.matrix.kr_kb();
        let [rf, gf, bf] = [r, g, b].map(|v| f32::from(v) / 255.0);
        let luma = kr * rf + (1.0 - kr - kb) * gf + kb * bf;
        let (pb, pr) = ((bf - luma) / (2.0 * (1.0 - kb)), (rf - luma) / (2.0 * (1.0 - kr)));
        let (black, luma_span, chroma_span) = match info.range {
            ColorRange::Limited => (16.0, 219.0, 224.0),
            ColorRange::Full => (0.0, 255.0, 255.0),
        };
        let yuv = [black + luma_span * luma, 128.0 + chroma_span * pb, 128.0 + chroma_span * pr]
            .map(|v| v.round().clamp(0.0, 255.0) as u8);
        let packed = match info.format {
            PixelFormat::Bgr | PixelFormat::Bgrx | PixelFormat::Bgra => [b, g, r],
            _ => [r, g, b],
        };
        Self { yuv, packed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ColorMatrix;

    #[test]
    fn class_colors_are_fixed() {
        // Known labels, in any case and with any class id.
        assert_eq!(class_color("person", 0), PALETTE[0]);
        assert_eq!(class_color("Person", 17), PALETTE[0]);
        assert_eq!(class_color("CAR", 2), PALETTE[1]);
        // FNV-1a (32 bit) of "a" is 0xe40c292c (reference vector of the FNV authors): folded 0xe40ccd20, mod 12 = 8.
        assert_eq!(hash("a"), 0xe40c_292c);
        assert_eq!(hash("foobar"), 0xbf9c_f968);
        assert_eq!(class_color("a", 5), PALETTE[(0xe40c_292c_u32 >> 16 ^ 0xe40c_292c) as usize % 12]);
        // Without a label the id decides.
        assert_eq!(class_color("", 13), PALETTE[1]);
    }

    #[test]
    fn following_tracks_differ() {
        for id in 1..12 {
            for other in id + 1..=12 {
                assert_ne!(track_color(id), track_color(other));
            }
        }
        let _ = track_color(u64::MAX);
    }

    #[test]
    fn palette_reads_with_its_text_color() {
        for c in PALETTE {
            let luma = |c: Rgb| 0.2126 * f32::from(c.0) + 0.7152 * f32::from(c.1) + 0.0722 * f32::from(c.2);
            assert!((luma(c) - luma(c.contrast())).abs() > 100.0, "{c:?}");
        }
    }

    #[test]
    fn ink_matches_the_standard() {
        let mut info = FrameInfo {
            format: PixelFormat::Nv12,
            width: 2,
            height: 2,
            range: ColorRange::Limited,
            matrix: ColorMatrix::Bt601,
        };
        // 75 % free colour bars of BT.601 are well known for 100 % too: red is 81, 90, 240.
        assert_eq!(Ink::new(Rgb(255, 0, 0), &info).yuv, [81, 90, 240]);
        assert_eq!(Ink::new(Rgb(255, 255, 255), &info).yuv, [235, 128, 128]);
        assert_eq!(Ink::new(Rgb(0, 0, 0), &info).yuv, [16, 128, 128]);
        // BT.709 limited red is 63, 102, 240.
        info.matrix = ColorMatrix::Bt709;
        assert_eq!(Ink::new(Rgb(255, 0, 0), &info).yuv, [63, 102, 240]);
        // JPEG (BT.601 full range) blue is 29, 255, 107.
        (info.matrix, info.range) = (ColorMatrix::Bt601, ColorRange::Full);
        assert_eq!(Ink::new(Rgb(0, 0, 255), &info).yuv, [29, 255, 107]);
        info.format = PixelFormat::Bgrx;
        assert_eq!(Ink::new(Rgb(1, 2, 3), &info).packed, [3, 2, 1]);
    }
}
