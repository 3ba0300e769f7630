//! Gives objects identities that last across frames.
