//! Where the samples of one axis lie: for every output position the two stored neighbours and their weights.

/// Fraction bits of the packed horizontal weights.
pub(super) const WEIGHT_BITS: u32 = 14;

/// Fraction bits of the weights of OpenCV's `resize` for bytes (`INTER_RESIZE_COEF_BITS`).
pub(super) const FIXED_BITS: u32 = 11;

/// Vector code reads the tables in steps of this many entries.
pub(super) const LANES: usize = 8;

/// Bilinear taps along one axis of a plane.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// The left (upper) neighbour, counted from `first`. Filled up with 0 to a multiple of [`LANES`].
    /// Invariant, which the vector code relies on: `0 <= index < span`.
    index: Vec<i32>,
    /// Both weights as `i16` with [`WEIGHT_BITS`] fraction bits, the left one in the low half; same length.
    packed: Vec<i32>,
    /// Weight of the right (lower) neighbour, 0..1.
    weight: Vec<f32>,
    /// The same with [`FIXED_BITS`] fraction bits, rounded as OpenCV does; filled up like `index`.
    fixed: Vec<i32>,
    /// First stored position that is used.
    first: usize,
    /// Stored positions that are used.
    span: usize,
    /// Stored positions that there are.
    size: usize,
}

impl Axis {
    /// Tables for at most `count` outputs; later rebuilds allocate nothing.
    pub(super) fn with_capacity(count: usize) -> Self {
        let padded = count.next_multiple_of(LANES);
        Self {
            index: Vec::with_capacity(padded),
            packed: Vec::with_capacity(padded),
            weight: Vec::with_capacity(padded),
            fixed: Vec::with_capacity(padded),
            ..Self::default()
        }
    }

    /// Spreads `count` outputs over the pixels `start..start + length` of `pixels` on this axis; the plane stores a sample
    /// for each `subsampling` of them, which stands for all of these alike: two neighbouring pixels of one sample are not
    /// blended, as in OpenCV's conversions to RGB.
    pub(super) fn rebuild(&mut self, start: f32, length: f32, count: usize, pixels: usize, subsampling: usize) {
        let step = f64::from(length) / count as f64;
        let last = pixels.saturating_sub(1) as f64;
        let position = |i: usize| (f64::from(start) + (i as f64 + 0.5) * step - 0.5).clamp(0.0, last);
        self.size = pixels.div_ceil(subsampling);
        self.first = position(0) as usize / subsampling;
        self.index.clear();
        self.packed.clear();
        self.weight.clear();
        self.fixed.clear();
        for i in 0..count {
            let at = position(i);
            let left = at as usize;
            let one_sample = left / subsampling == (left + 1) / subsampling;
            let weight = if one_sample { 0.0 } else { (at - left as f64) as f32 };
            let right = (weight * (1 << WEIGHT_BITS) as f32).round() as i32;
            self.index.push((left / subsampling - self.first) as i32);
            self.packed.push(right << 16 | ((1 << WEIGHT_BITS) - right));
            self.weight.push(weight);
            self.fixed.push(fixed_weight(at, left));
        }
        let end = self.index.last().map_or(0, |i| self.first + *i as usize + 2);
        self.span = end.min(self.size) - self.first;
        self.index.resize(count.next_multiple_of(LANES), 0);
        self.packed.resize(count.next_multiple_of(LANES), 0);
        self.fixed.resize(count.next_multiple_of(LANES), 0);
    }

    /// The neighbours of output `i` and the weight of the second.
    pub(super) fn tap(&self, i: usize) -> (usize, usize, f32) {
        let left = self.first + self.index[i] as usize;
        (left, (left + 1).min(self.size - 1), self.weight[i])
    }

    /// As [`tap`](Self::tap), the weight with [`FIXED_BITS`] fraction bits.
    pub(super) fn fixed_tap(&self, i: usize) -> (usize, usize, i32) {
        let (left, right, _) = self.tap(i);
        (left, right, self.fixed[i])
    }

    /// Left neighbours from the first used position (each `< span`), and weights with [`FIXED_BITS`] fraction bits;
    /// equally long.
    pub(super) fn fixed_tables(&self) -> (&[i32], &[i32]) {
        (&self.index, &self.fixed)
    }

    /// The stored positions that are used: the first and how many.
    pub(super) fn used(&self) -> (usize, usize) {
        (self.first, self.span)
    }

    /// Left neighbours from the first used position (each `< span`), and packed weights; equally long.
    pub(super) fn tables(&self) -> (&[i32], &[i32]) {
        (&self.index, &self.packed)
    }
}

/// The weight of the right neighbour as OpenCV rounds it: the position in `f32`, then the fraction of its weight.
fn fixed_weight(at: f64, left: usize) -> i32 {
    let fraction = (at as f32 - left as f32).clamp(0.0, 1.0);
    (fraction * (1 << FIXED_BITS) as f32).round_ties_even() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(start: f32, length: f32, count: usize, size: usize, sub: usize) -> Vec<(usize, usize, f32)> {
        let mut axis = Axis::with_capacity(count);
        axis.rebuild(start, length, count, size, sub);
        (0..count).map(|i| axis.tap(i)).collect()
    }

    #[test]
    fn halving_lies_between_two_pixels() {
        assert_eq!(taps(0.0, 4.0, 2, 4, 1), [(0, 1, 0.5), (2, 3, 0.5)]);
    }

    #[test]
    fn thirds_hit_the_middle_pixel() {
        assert_eq!(taps(0.0, 6.0, 2, 6, 1), [(1, 2, 0.0), (4, 5, 0.0)]);
    }

    #[test]
    fn doubling_repeats_the_edges() {
        // Pixel centres at -0.25, 0.25, 0.75, 1.25 of two stored pixels.
        assert_eq!(taps(0.0, 2.0, 4, 2, 1), [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)]);
    }

    #[test]
    fn a_chroma_sample_stands_for_all_its_pixels() {
        // Four pixels unscaled have two chroma samples, five have three.
        assert_eq!(taps(0.0, 4.0, 4, 4, 2), [(0, 1, 0.0), (0, 1, 0.0), (1, 1, 0.0), (1, 1, 0.0)]);
        assert_eq!(taps(0.0, 5.0, 5, 5, 2)[4], (2, 2, 0.0));
        // Twice as many outputs: only between pixels 1 and 2 do two samples meet.
        let weights: Vec<f32> = taps(0.0, 4.0, 8, 4, 2).iter().map(|t| t.0 as f32 + t.2).collect();
        assert_eq!(weights, [0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_region_counts_from_its_first_sample() {
        let mut axis = Axis::with_capacity(2);
        axis.rebuild(100.0, 4.0, 2, 1000, 1);
        assert_eq!(axis.used(), (100, 4));
        assert_eq!(axis.tap(1), (102, 103, 0.5));
    }
}
