//! Pixels for the report: a part of a picture as a PNG in a `data:` URI.

use base64::Engine;

/// An RGB picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 3 bytes a pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// The part (left, top, width, height; inside the picture), made smaller by leaving out pixels until its longer side
    /// is at most `longest`.
    pub(super) fn part(&self, [left, top, width, height]: [usize; 4], longest: usize) -> Self {
        let step = width.max(height).div_ceil(longest.max(1)).max(1);
        let mut rgb = Vec::new();
        for y in (top..(top + height).min(self.height)).step_by(step) {
            for x in (left..(left + width).min(self.width)).step_by(step) {
                let start = (y * self.width + x) * 3;
                rgb.extend_from_slice(self.rgb.get(start..start + 3).unwrap_or(&[0; 3]));
            }
        }
        let count = |from: usize, size: usize, end: usize| (from + size).min(end).saturating_sub(from).div_ceil(step);
        Self { width: count(left, width, self.width), height: count(top, height, self.height), rgb }
    }

    /// The picture as `data:image/png;base64,…`.
    pub(super) fn data_uri(&self) -> Result<String, png::EncodingError> {
        let bytes = self.to_png()?;
        Ok(format!("data:image/png;base64,{}", base64(&bytes)))
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_published_vectors() {
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_part_is_cut_out_and_made_small_enough() {
        let rgb = (0..4 * 3).flat_map(|i| [i, 0, 0]).collect();
        let picture = Picture { width: 4, height: 3, rgb };
        let red = |p: &Picture| p.rgb.iter().step_by(3).copied().collect::<Vec<_>>();
        let part = picture.part([1, 1, 2, 2], 10);
        assert_eq!((part.width, part.height, red(&part)), (2, 2, vec![5, 6, 9, 10]));
        let half = picture.part([0, 0, 4, 3], 2);
        assert_eq!((half.width, half.height, red(&half)), (2, 2, vec![0, 2, 8, 10]));
        let past = picture.part([3, 2, 9, 9], 10);
        assert_eq!((past.width, past.height, red(&past)), (1, 1, vec![11]));
    }

    #[test]
    fn the_uri_holds_a_png() {
        let uri = Picture { width: 1, height: 1, rgb: vec![1, 2, 3] }.data_uri().unwrap();
        assert!(uri.starts_with("data:image/png;base64,iVBORw0KGgo"), "{uri}");
    }
}
