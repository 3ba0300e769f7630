//! Kinds of outputs.

pub(super) mod display;
pub(super) mod encode;
pub(super) mod file;
pub(super) mod hls;
pub(super) mod over;
pub(super) mod pipe;
pub(super) mod report;
pub(super) mod series;
pub(super) mod snapshots;
