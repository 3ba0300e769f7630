//! A model is replaced while video runs: tried first, watched afterwards, taken back when it is worse.

pub mod agreement;
pub mod phase;
pub mod rules;
pub mod trial;
