//! A whole picture of text, in place of a camera's.

use super::canvas::{Canvas, Scratch};
use super::color::{DARK, LIGHT, RED};
use super::shape::{self, Stroke};
use super::style::{Metrics, Style};
use super::text::{DrawError, Line, Text};
use crate::frame::FrameMut;

/// Covers the frame with a dark ground and writes `title`, with a red dot before it, and `lines` below it, into its middle.
/// What is too long is cut, and lines that do not fit below each other are left out.
///
/// # Errors
/// [`DrawError`] if the built-in font cannot be used.
pub fn card(frame: &mut FrameMut<'_>, title: &str, lines: &[&str]) -> Result<(), DrawError> {
    let Metrics { text: size, pad, .. } = Metrics::new(frame.info(), &Style::default());
    let (mut text, mut scratch) = (Text::new(None)?, Scratch::default());
    let mut canvas = Canvas::new(frame, &mut scratch);
    let bounds = canvas.bounds();
    shape::fill(&mut canvas, bounds, DARK, 255);

    let large = size.saturating_mul(2);
    let (large_px, row) = (i32::from(large), i32::from(size) + pad);
    let room = bounds.width() - 4 * pad;
    let fitting = ((bounds.height() - large_px) / row.max(1)).clamp(0, i32::try_from(lines.len()).unwrap_or(0));
    let mut top = bounds.y0 + (bounds.height() - large_px - fitting * row) / 2;

    let mut line = Line::default();
    text.measure(title, large, room - large_px, &mut line);
    let left = bounds.x0 + (bounds.width() - line.width - large_px) / 2;
    let centre = (left as f32 + large_px as f32 * 0.4, (top + large_px / 2) as f32);
    let dot = Stroke { a: centre, b: centre, radius: large_px as f32 * 0.22, cover: 255 };
    shape::strokes(&mut canvas, &[dot], RED);
    text.draw(&mut canvas, &line, large, (left + large_px, top), LIGHT);
    top += large_px + pad;
    for words in lines.iter().take(usize::try_from(fitting).unwrap_or(0)) {
        text.measure(words, size, room, &mut line);
        text.draw(&mut canvas, &line, size, (bounds.x0 + (bounds.width() - line.width) / 2, top), LIGHT);
        top += row;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{ColorMatrix, ColorRange, FrameInfo, PixelFormat};

    /// Luma of a frame that was of one grey, with a card on it.
    fn drawn(width: u32, height: u32, before: u8) -> Vec<u8> {
        let info = FrameInfo {
            format: PixelFormat::Gray8,
            width,
            height,
            range: ColorRange::Full,
            matrix: ColorMatrix::Bt601,
        };
        let mut luma = vec![before; (width * height) as usize];
        let planes: [(&mut [u8], usize); 3] = [(&mut luma, width as usize), (&mut [], 0), (&mut [], 0)];
        let mut frame = FrameMut::new(info, planes).unwrap();
        card(&mut frame, "NO SIGNAL", &["gate", "since noon"]).unwrap();
        luma
    }

    #[test]
    fn a_card_covers_the_frame_and_has_its_text_in_the_middle() {
        let luma = drawn(640, 360, 99);
        assert!(luma == drawn(640, 360, 200), "nothing is left of what was there");
        let bright: Vec<usize> = (0..luma.len()).filter(|i| luma[*i] > 200).collect();
        assert!(bright.len() > 300, "{}", bright.len());
        let mean = |of: fn(usize) -> usize| bright.iter().map(|i| of(*i)).sum::<usize>() / bright.len();
        let (x, y) = (mean(|i| i % 640), mean(|i| i / 640));
        assert!((280..380).contains(&x) && (150..210).contains(&y), "{x} {y}");
    }

    #[test]
    fn a_card_fits_frames_that_are_too_small_for_it() {
        for (width, height) in [(1, 1), (2, 2), (16, 9), (7, 200), (200, 7)] {
            assert!(drawn(width, height, 99) == drawn(width, height, 200), "{width}x{height}");
        }
    }
}
