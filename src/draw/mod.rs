//! Shapes and text straight into raw planes: a [`Painter`] draws a [`FrameResult`] on a frame of any format,
//! without converting the frame.
//!
//! ```text
//! painter  what is drawn and in which order; label: where labels go; tail: where tracks have been; banner: no analysis
//!    ↓
//! shape, text   which pixels a shape covers, and how much
//!    ↓
//! canvas   coverage and colour into the planes, clipped, chroma by mean coverage
//! ```
//!
//! [`FrameResult`]: crate::result::FrameResult

mod banner;
mod canvas;
mod card;
mod color;
mod label;
mod painter;
mod shape;
mod style;
mod tail;
mod text;

pub use card::card;
pub use color::{PALETTE, Rgb, class_color, track_color};
pub use painter::Painter;
pub use style::{ColorBy, Style};
pub use text::DrawError;
