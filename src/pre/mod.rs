//! Frame → tensor.
pub mod geometry;
