//! The frame result on a buffer.
