//! Windows bitmaps, which not every GStreamer decodes.

use super::Picture;

/// Reads an uncompressed bitmap of 24 or 32 bits per pixel; `None` if the bytes are something else.
///
/// Source: Microsoft, `BITMAPFILEHEADER` and `BITMAPINFOHEADER`.
pub fn bitmap(bytes: &[u8]) -> Option<Picture> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(i32::from_le_bytes);
    let bits = u16::from_le_bytes(bytes.get(28..30)?.try_into().ok()?);
    if bytes.get(..2)? != b"BM" || number(30)? != 0 || !matches!(bits, 24 | 32) {
        return None;
    }
    let start = usize::try_from(number(10)?).ok()?;
    let (width, rows) = (usize::try_from(number(18)?).ok()?, number(22)?);
    let (height, pixel) = (rows.unsigned_abs() as usize, usize::from(bits / 8));
    let stored = width.checked_mul(pixel)?.checked_next_multiple_of(4)?;
    let data = bytes.get(start..start.checked_add(stored.checked_mul(height)?)?)?;
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        // Rows run from below unless the height is negative.
        let row = if rows < 0 { y } else { height - 1 - y };
        for bgr in data.get(row * stored..)?.chunks_exact(pixel).take(width) {
            rgb.extend(bgr.get(..3)?.iter().rev());
        }
    }
    (width > 0 && height > 0).then_some(Picture { width, height, rgb })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(height: i32, bits: u16, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 54];
        bytes[..2].copy_from_slice(b"BM");
        bytes[10..14].copy_from_slice(&54i32.to_le_bytes());
        bytes[18..22].copy_from_slice(&1i32.to_le_bytes());
        bytes[22..26].copy_from_slice(&height.to_le_bytes());
        bytes[28..30].copy_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(pixels);
        bytes
    }

    #[test]
    fn rows_from_below_and_from_above_are_read() {
        let pixels = [1, 2, 3, 0, 4, 5, 6, 0];
        let up = bitmap(&file(2, 24, &pixels)).unwrap();
        assert_eq!((up.width, up.height, up.rgb), (1, 2, vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(bitmap(&file(-2, 32, &pixels)).unwrap().rgb, [3, 2, 1, 6, 5, 4]);
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_none() {
        let whole = file(2, 24, &[0; 8]);
        assert!((0..whole.len()).all(|n| bitmap(&whole[..n]).is_none()));
        assert_eq!(bitmap(&file(2, 8, &[0; 8])), None);
        assert_eq!(bitmap(&file(i32::MIN, 24, &[0; 8])), None);
    }
}
