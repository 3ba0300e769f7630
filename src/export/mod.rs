//! Frame results → records → sinks.
