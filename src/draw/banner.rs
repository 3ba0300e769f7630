//! The banner on frames without analysis: why, and since when.

use jiff::Timestamp;

use super::canvas::{Canvas, Rect};
use super::color::{AMBER, DARK, LIGHT, RED, Rgb};
use super::shape::{self, Stroke};
use super::style::Metrics;
use super::text::{Line, Text};
use crate::result::{AbsentReason, FrameResult};

/// Opacity of the ground (of 255): as under labels, since the banner must be read on any picture.
const GROUND: u8 = 215;
const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// What a banner says and the room that it has; as long as it is the same, the banner looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notice {
    reason: AbsentReason,
    /// Wall clock, nanoseconds since 1970 UTC.
    since_ns: Option<u64>,
    /// The day must be told, since it is not that of the frame.
    dated: bool,
    frame: Rect,
    metrics: Metrics,
}

impl Notice {
    /// The notice for `result`, which is absent for `reason`, on a picture with the bounds `frame`.
    pub fn new(reason: AbsentReason, result: &FrameResult, frame: Rect, metrics: Metrics) -> Self {
        let since_ns = result.absent_since_ns;
        let dated = since_ns.is_some_and(|since| since / DAY_NS != result.utc_ns / DAY_NS);
        Self { reason, since_ns, dated, frame, metrics }
    }

    /// Amber for what is as somebody wanted it, red for trouble.
    fn color(&self) -> Rgb {
        match self.reason {
            AbsentReason::Starting | AbsentReason::Maintenance => AMBER,
            _ => RED,
        }
    }

    /// "since 12:03:45 UTC", with the date if that is not the frame's; `None` if the time is unknown.
    fn since(&self) -> Option<String> {
        let since = Timestamp::from_nanosecond(i128::from(self.since_ns?)).ok()?;
        let form = if self.dated { "since %Y-%m-%d %H:%M:%S UTC" } else { "since %H:%M:%S UTC" };
        Some(since.strftime(form).to_string())
    }
}

/// A banner in the top left corner, laid out anew only when it says something else or the picture's size changes.
#[derive(Debug, Default)]
pub(super) struct Banner {
    shown: Option<Notice>,
    lines: [Line; 2],
    /// How many of `lines` are used.
    rows: i32,
}

impl Banner {
    /// Draws `notice` and returns its place, which may reach out of a frame that is too small for it.
    pub fn draw(&mut self, canvas: &mut Canvas<'_, '_>, text: &mut Text, notice: Notice) -> Rect {
        if self.shown != Some(notice) {
            self.lay_out(text, &notice);
            self.shown = Some(notice);
        }
        let Metrics { text: size, pad, .. } = notice.metrics;
        let (margin, height) = (2 * pad, i32::from(size));
        let width = self.lines.iter().map(|l| l.width).max().unwrap_or(0);
        let right = margin + height + width + 3 * pad;
        let panel = Rect::new(margin, margin, right, margin + self.rows * notice.metrics.row() + pad);
        shape::fill(canvas, panel, DARK, GROUND);
        let centre =
            (panel.x0 as f32 + pad as f32 + height as f32 / 2.0, (panel.y0 + pad) as f32 + height as f32 / 2.0);
        let dot = Stroke { a: centre, b: centre, radius: height as f32 * 0.22, cover: 255 };
        shape::strokes(canvas, &[dot], notice.color());
        for (row, line) in (0..self.rows).zip(&self.lines) {
            let at = (panel.x0 + pad + height, panel.y0 + pad + row * notice.metrics.row());
            text.draw(canvas, line, size, at, LIGHT);
        }
        panel
    }

    /// One line, or the time in a second one where they do not fit side by side and the frame is high enough.
    fn lay_out(&mut self, text: &mut Text, notice: &Notice) {
        let Metrics { text: size, pad, .. } = notice.metrics;
        let margin = 2 * pad;
        let room = notice.frame.x1 - 2 * margin - i32::from(size) - 3 * pad;
        let high_enough = notice.frame.y1 >= 2 * margin + 2 * notice.metrics.row() + pad;
        let reason = format!("analysis off: {}", notice.reason.describe());
        let [first, second] = &mut self.lines;
        *second = Line::default();
        self.rows = 1;
        let Some(since) = notice.since() else { return text.measure(&reason, size, room, first) };
        let both = format!("{reason}, {since}");
        text.measure(&both, size, i32::MAX, first);
        if first.width > room && high_enough {
            self.rows = 2;
            text.measure(&reason, size, room, first);
            text.measure(&since, size, room, second);
        } else if first.width > room {
            text.measure(&both, size, room, first);
        }
    }
}

#[cfg(test)]
mod tests;
