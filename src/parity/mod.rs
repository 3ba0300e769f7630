//! Two answers about the same picture, compared: who found what, how far apart, and what that means.
//!
//! One side is Vigil's, the other a reference's, such as the Python script of `vigil parity`. Everything is in pixels of
//! the picture.

mod answer;
mod bitmap;
mod compare;
mod picture;
mod png_file;
mod report;
mod shapes;

pub use answer::{Answer, Found, Silhouette};
pub use bitmap::bitmap;
pub use compare::{Comparison, Difference, Kind, Needed, Pair, Sides, Tolerances, compare, compare_needed};
pub use picture::Picture;
pub use report::{About, Heading, Report, Shown};
