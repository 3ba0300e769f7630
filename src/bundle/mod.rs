//! A model as one unit.
pub mod contract;
