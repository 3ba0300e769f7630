//! Where the samples of one axis lie: for every output position the two stored neighbours and their weights.

/// Fraction bits of the weights of OpenCV's `resize` for bytes (`INTER_RESIZE_COEF_BITS`).
pub(super) const FIXED_BITS: u32 = 11;

/// Vector code reads the tables in steps of this many entries.
pub(super) const LANES: usize = 8;

/// Bilinear taps along one axis of the frame, in pixels.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// The left (upper) neighbour, counted from `first`. Filled up with 0 to a multiple of [`LANES`].
    /// Invariant, which the vector code relies on: `0 <= index < span`.
    index: Vec<i32>,
    /// Weight of the right (lower) neighbour with [`FIXED_BITS`] fraction bits, rounded as OpenCV does; filled up like
    /// `index`.
    fixed: Vec<i32>,
    /// First pixel that is used.
    first: usize,
    /// Pixels that are used.
    span: usize,
    /// Pixels that there are.
    size: usize,
    /// Whether any right (lower) neighbour weighs something.
    blends: bool,
}

impl Axis {
    /// Tables for at most `count` outputs; later rebuilds allocate nothing.
    pub(super) fn with_capacity(count: usize) -> Self {
        let padded = count.next_multiple_of(LANES);
        Self { index: Vec::with_capacity(padded), fixed: Vec::with_capacity(padded), ..Self::default() }
    }

    /// Spreads `count` outputs over the pixels `start..start + length` of `size` pixels on this axis.
    pub(super) fn rebuild(&mut self, start: f32, length: f32, count: usize, size: usize) {
        let step = f64::from(length) / count as f64;
        let last = size.saturating_sub(1) as f64;
        let position = |i: usize| (f64::from(start) + (i as f64 + 0.5) * step - 0.5).clamp(0.0, last);
        self.size = size;
        self.first = position(0) as usize;
        self.index.clear();
        self.fixed.clear();
        for i in 0..count {
            let at = position(i);
            let left = at as usize;
            self.index.push((left - self.first) as i32);
            self.fixed.push(fixed_weight(at, left));
        }
        let end = self.index.last().map_or(0, |i| self.first + *i as usize + 2);
        self.span = end.min(self.size) - self.first;
        self.blends = self.fixed.iter().any(|weight| *weight != 0);
        self.index.resize(count.next_multiple_of(LANES), 0);
        self.fixed.resize(count.next_multiple_of(LANES), 0);
    }

    /// The neighbours of output `i` and the weight of the second, with [`FIXED_BITS`] fraction bits.
    pub(super) fn tap(&self, i: usize) -> (usize, usize, i32) {
        let left = self.first + self.index[i] as usize;
        (left, (left + 1).min(self.size - 1), self.fixed[i])
    }

    /// Left neighbours from the first used pixel (each `< span`), and weights of the right ones with [`FIXED_BITS`]
    /// fraction bits; equally long.
    pub(super) fn tables(&self) -> (&[i32], &[i32]) {
        (&self.index, &self.fixed)
    }

    /// The pixels that are used: the first and how many.
    pub(super) fn used(&self) -> (usize, usize) {
        (self.first, self.span)
    }

    /// Whether right (lower) neighbours count at all: they do not where every output lies on a pixel.
    pub(super) fn blends(&self) -> bool {
        self.blends
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

    fn taps(start: f32, length: f32, count: usize, size: usize) -> Vec<(usize, usize, i32)> {
        let mut axis = Axis::with_capacity(count);
        axis.rebuild(start, length, count, size);
        (0..count).map(|i| axis.tap(i)).collect()
    }

    #[test]
    fn halving_lies_between_two_pixels() {
        assert_eq!(taps(0.0, 4.0, 2, 4), [(0, 1, 1024), (2, 3, 1024)]);
    }

    #[test]
    fn thirds_hit_the_middle_pixel() {
        assert_eq!(taps(0.0, 6.0, 2, 6), [(1, 2, 0), (4, 5, 0)]);
    }

    #[test]
    fn doubling_repeats_the_edges() {
        // Pixel centres at -0.25, 0.25, 0.75, 1.25 of two stored pixels.
        assert_eq!(taps(0.0, 2.0, 4, 2), [(0, 1, 0), (0, 1, 512), (0, 1, 1536), (1, 1, 0)]);
    }

    #[test]
    fn an_axis_knows_whether_neighbours_count() {
        let mut axis = Axis::with_capacity(2);
        axis.rebuild(0.0, 6.0, 2, 6);
        assert!(!axis.blends());
        axis.rebuild(0.0, 5.0, 2, 6);
        assert!(axis.blends());
    }

    #[test]
    fn a_region_counts_from_its_first_pixel() {
        let mut axis = Axis::with_capacity(2);
        axis.rebuild(100.0, 4.0, 2, 1000);
        assert_eq!(axis.used(), (100, 4));
        assert_eq!(axis.tap(1), (102, 103, 1024));
    }
}
