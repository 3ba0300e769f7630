//! Tensor → objects.
