//! Pictures as PNG files.

use std::io::Cursor;

use super::Picture;

/// Longest side of a picture that is read, pixels.
const MAX_SIDE: u32 = 1 << 14;
/// Most pixels of a picture that is read.
const MAX_PIXELS: u64 = 1 << 26;

impl Picture {
    /// Reads a PNG of any kind: grey and palettes become RGB, 16 bits become 8, an alpha channel is dropped.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name.
    pub fn from_png(bytes: &[u8]) -> Result<Self, String> {
        let unreadable = |e: png::DecodingError| format!("not a PNG picture that can be read: {e}");
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(unreadable)?;
        let (width, height) = (reader.info().width, reader.info().height);
        // Told before memory is taken for it.
        if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(format!(
                "{width}x{height} pixels are too many: at most {MAX_SIDE} a side, {MAX_PIXELS} in all"
            ));
        }
        let size = reader.output_buffer_size().ok_or("too large for this machine")?;
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels).map_err(unreadable)?;
        pixels.truncate(info.buffer_size());
        let rgb = match info.color_type {
            png::ColorType::Rgb => pixels,
            png::ColorType::Rgba => pixels.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect(),
            png::ColorType::Grayscale => pixels.iter().flat_map(|v| [*v; 3]).collect(),
            png::ColorType::GrayscaleAlpha => pixels.as_chunks::<2>().0.iter().flat_map(|[v, _]| [*v; 3]).collect(),
            png::ColorType::Indexed => return Err("its palette cannot be read".into()),
        };
        Ok(Self { width: width as usize, height: height as usize, rgb })
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// If it has no pixels, or not as many as its size says.
    pub fn to_png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&self.rgb)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use png::{BitDepth, ColorType};

    use super::*;

    fn file(color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.set_palette([1, 2, 3, 4, 5, 6].as_slice());
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    }

    #[test]
    fn every_kind_of_png_becomes_rgb() {
        let rgb = |color, depth, data: &[u8]| Picture::from_png(&file(color, depth, data)).unwrap().rgb;
        assert_eq!(rgb(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(rgb(ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 0, 4, 5, 6, 128]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(rgb(ColorType::Grayscale, BitDepth::Eight, &[7, 9]), [7, 7, 7, 9, 9, 9]);
        assert_eq!(rgb(ColorType::Grayscale, BitDepth::One, &[0b0100_0000]), [0, 0, 0, 255, 255, 255]);
        assert_eq!(rgb(ColorType::GrayscaleAlpha, BitDepth::Eight, &[7, 0, 9, 255]), [7, 7, 7, 9, 9, 9]);
        assert_eq!(rgb(ColorType::Indexed, BitDepth::Eight, &[1, 0]), [4, 5, 6, 1, 2, 3]);
        let deep = [7, 255, 8, 0, 9, 1, 10, 2, 11, 3, 12, 4];
        assert_eq!(rgb(ColorType::Rgb, BitDepth::Sixteen, &deep), [7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_written_picture_reads_back_equal() {
        let picture = Picture { width: 3, height: 2, rgb: (0..18).collect() };
        assert_eq!(Picture::from_png(&picture.to_png().unwrap()).unwrap(), picture);
    }

    #[test]
    fn what_is_cut_off_damaged_or_enormous_is_refused() {
        let whole = Picture { width: 3, height: 2, rgb: (0..18).collect() }.to_png().unwrap();
        let last = whole.windows(4).position(|w| w == b"IEND").unwrap() - 4;
        assert!((0..last).all(|n| Picture::from_png(&whole[..n]).is_err()));
        let mut damaged = whole.clone();
        damaged[last - 6] ^= 1;
        assert!(Picture::from_png(&damaged).unwrap_err().starts_with("not a PNG picture that can be read: "));
        let mut enormous = Vec::new();
        let mut encoder = png::Encoder::new(&mut enormous, 20_000, 20_000);
        encoder.set_color(ColorType::Rgba);
        drop(encoder.write_header().unwrap());
        // The signature, the header, and the begin of pixels that never end.
        enormous.truncate(8 + 25);
        enormous.extend(b"\0\0\0\x01IDAT\0");
        let text = Picture::from_png(&enormous).unwrap_err();
        assert!(text.starts_with("20000x20000 pixels are too many: at most 16384 a side"), "{text}");
    }
}
