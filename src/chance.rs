//! A little chance, so that many who wait do not all come back at once.

/// Makes seeds that are alike different ones: the golden ratio's part of 2^64.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that are as good as random where only their spread matters (xorshift: Marsaglia, "Xorshift RNGs", 2003).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// `seed` is any number that is different for each of those who wait.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(SPREAD) | 1)
    }

    /// The next number, of 0..1.
    pub fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
