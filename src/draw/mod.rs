//! Shapes and text straight into raw planes.
