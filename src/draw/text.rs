//! Lines of text: one font, glyphs rendered once per size, measured and cut to a width.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ab_glyph::{Font as _, FontArc, PxScale, ScaleFont as _};

use super::canvas::{Canvas, Rect};
use super::color::Rgb;

/// Glyphs kept at most; a label set has well under a hundred characters, at one or two sizes.
const MAX_GLYPHS: usize = 4096;
/// Characters of a line that are looked at; none that is longer fits into a frame.
const MAX_CHARS: usize = 512;

/// A painter could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The font file cannot be read.
    #[error("cannot read the font {path}: {source}; give the path of a TrueType or OpenType file")]
    FontUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not a font.
    #[error("{path} is not a TrueType or OpenType font; give a .ttf or .otf file")]
    FontInvalid {
        /// The file.
        path: PathBuf,
    },
}

/// Coverage of one character at one size.
#[derive(Debug)]
struct Glyph {
    /// Pixels from the pen to the left edge.
    left: i32,
    /// Pixels from the line's top to the first row.
    top: i32,
    width: usize,
    /// Row by row, 0..255.
    cov: Vec<u8>,
    /// Pixels to the next pen position.
    advance: i32,
}

/// A line of text that was measured: glyphs and their pen positions.
#[derive(Debug, Default)]
pub(super) struct Line {
    glyphs: Vec<(usize, i32)>,
    /// Pixels from the first pen position to the last.
    pub width: i32,
}

/// A font and its rendered glyphs.
#[derive(Debug)]
pub(super) struct Text {
    font: FontArc,
    glyphs: Vec<Glyph>,
    by_char: HashMap<(u16, char), usize>,
}

impl Text {
    /// The font in the file `path`, or the built-in one.
    pub fn new(path: Option<&Path>) -> Result<Self, DrawError> {
        let font = match path {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|source| DrawError::FontUnreadable { path: path.to_owned(), source })?;
                FontArc::try_from_vec(bytes).map_err(|_| DrawError::FontInvalid { path: path.to_owned() })?
            }
            None => FontArc::try_from_slice(epaint_default_fonts::HACK_REGULAR)
                .map_err(|_| DrawError::FontInvalid { path: "(built-in)".into() })?,
        };
        Ok(Self { font, glyphs: Vec::new(), by_char: HashMap::new() })
    }

    /// Makes room where hostile labels have filled the cache; `true` if it did, and lines measured before are void.
    pub fn trim(&mut self) -> bool {
        let full = self.glyphs.len() > MAX_GLYPHS;
        if full {
            self.glyphs.clear();
            self.by_char.clear();
        }
        full
    }

    fn glyph(&mut self, size: u16, c: char) -> usize {
        if let Some(&i) = self.by_char.get(&(size, c)) {
            return i;
        }
        let glyph = self.render(size, c);
        let i = self.glyphs.len();
        self.glyphs.push(glyph);
        self.by_char.insert((size, c), i);
        i
    }

    fn render(&self, size: u16, c: char) -> Glyph {
        let scaled = self.font.as_scaled(PxScale::from(f32::from(size)));
        let id = scaled.glyph_id(c);
        let baseline = scaled.ascent().round();
        let mut glyph = Glyph { left: 0, top: 0, width: 0, cov: Vec::new(), advance: 0 };
        glyph.advance = bounded(scaled.h_advance(id).round(), size);
        let placed = id.with_scale_and_position(scaled.scale(), ab_glyph::point(0.0, baseline));
        let Some(outlined) = scaled.outline_glyph(placed) else { return glyph };
        let b = outlined.px_bounds();
        (glyph.left, glyph.top) = (bounded(b.min.x, size), bounded(b.min.y, size));
        // A font from outside may claim any size; no sane glyph is wider or higher than four lines.
        let (w, h) = (b.width(), b.height());
        if !(w >= 1.0 && h >= 1.0 && w.max(h) <= 4.0 * f32::from(size)) {
            return glyph;
        }
        glyph.width = w as usize;
        glyph.cov = vec![0; glyph.width * h as usize];
        outlined.draw(|x, y, c| {
            if let Some(v) = glyph.cov.get_mut(y as usize * glyph.width + x as usize) {
                *v = (c.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        });
        glyph
    }

    /// Measures `text` at `size` (line height in pixels) into `line`; what is wider than `limit` pixels is cut and
    /// ends in "…".
    pub fn measure(&mut self, text: &str, size: u16, limit: i32, line: &mut Line) {
        line.glyphs.clear();
        let mut pen = 0;
        for c in text.chars().take(MAX_CHARS) {
            let i = self.glyph(size, if c.is_control() { ' ' } else { c });
            line.glyphs.push((i, pen));
            pen += self.advance(i);
            if pen > limit {
                break;
            }
        }
        line.width = pen;
        if pen <= limit {
            return;
        }
        let dots = self.glyph(size, '…');
        let room = limit - self.advance(dots);
        while let Some((_, at)) = line.glyphs.pop() {
            if at <= room {
                line.glyphs.push((dots, at));
                line.width = at + self.advance(dots);
                return;
            }
        }
        line.width = 0;
    }

    fn advance(&self, glyph: usize) -> i32 {
        self.glyphs.get(glyph).map_or(0, |g| g.advance)
    }

    /// Draws `line`, measured at `size`, with the top left corner at `x`, `y`.
    pub fn draw(&self, canvas: &mut Canvas<'_, '_>, line: &Line, size: u16, (x, y): (i32, i32), color: Rgb) {
        let size = i32::from(size);
        // Glyphs may stick out of their line a little.
        let bounds = Rect::new(x - size, y - size, x + line.width + size, y + 2 * size);
        canvas.paint(bounds, color, |row_y, row| {
            for (glyph, pen) in &line.glyphs {
                let Some(g) = self.glyphs.get(*glyph).filter(|g| g.width > 0) else { continue };
                let Ok(inner) = usize::try_from(row_y - y - g.top) else { continue };
                if let Some(values) = g.cov.chunks_exact(g.width).nth(inner) {
                    row.raise(x + pen + g.left, values);
                }
            }
            row_y + 1
        });
    }
}

/// A font's own number as whole pixels, within four lines.
fn bounded(v: f32, size: u16) -> i32 {
    let most = 4 * i32::from(size);
    (v as i32).clamp(-most, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_its_limit() {
        let mut text = Text::new(None).unwrap();
        let (mut full, mut cut) = (Line::default(), Line::default());
        text.measure("motorcycle", 16, 10_000, &mut full);
        assert_eq!(full.glyphs.len(), 10);
        for limit in 0..full.width {
            text.measure("motorcycle", 16, limit, &mut cut);
            assert!(cut.width <= limit, "{limit}");
            assert!(cut.glyphs.len() < 10);
        }
        text.measure("motorcycle", 16, full.width, &mut cut);
        assert_eq!(cut.glyphs, full.glyphs);
    }

    #[test]
    fn control_characters_are_blank_and_endless_text_ends() {
        let mut text = Text::new(None).unwrap();
        let (mut a, mut b) = (Line::default(), Line::default());
        text.measure("a\nb\0", 16, 1000, &mut a);
        text.measure("a b ", 16, 1000, &mut b);
        assert_eq!(a.glyphs, b.glyphs);
        text.measure(&"x".repeat(1 << 20), 8, i32::MAX, &mut a);
        assert_eq!(a.glyphs.len(), MAX_CHARS);
    }

    #[test]
    fn glyphs_are_rendered_once_per_size() {
        let mut text = Text::new(None).unwrap();
        let mut line = Line::default();
        text.measure("noon", 16, 1000, &mut line);
        assert_eq!(text.glyphs.len(), 2);
        text.measure("noon", 16, 1000, &mut line);
        assert_eq!(text.glyphs.len(), 2);
        text.measure("noon", 20, 1000, &mut line);
        assert_eq!(text.glyphs.len(), 4);
        assert!(text.glyphs.iter().all(|g| g.cov.iter().any(|c| *c > 200)));
    }

    #[test]
    fn a_bad_font_says_which_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.ttf");
        assert!(matches!(Text::new(Some(&missing)), Err(DrawError::FontUnreadable { path, .. }) if path == missing));
        let broken = dir.path().join("broken.ttf");
        std::fs::write(&broken, b"\0\x01\0\0not a font").unwrap();
        assert!(matches!(Text::new(Some(&broken)), Err(DrawError::FontInvalid { path }) if path == broken));
        let good = dir.path().join("good.ttf");
        std::fs::write(&good, epaint_default_fonts::UBUNTU_LIGHT).unwrap();
        assert!(Text::new(Some(&good)).is_ok());
    }
}
