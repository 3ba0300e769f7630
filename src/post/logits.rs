//! Arithmetic on raw scores.

/// The lowest raw score whose sigmoid may reach `lowest`, so that the sigmoid is worked out for few values only; a little
/// low, since the sigmoid itself decides.
pub(super) fn floor(lowest: f32) -> f32 {
    if lowest <= 0.0 {
        return f32::NEG_INFINITY;
    }
    let raw = (lowest / (1.0 - lowest)).ln();
    // Past 1 there is no such score, but rounding must not hide a sigmoid of exactly 1.
    if raw.is_nan() { 15.0 } else { raw.min(15.0) - 1e-3 }
}

/// e to the power of `x` for `x` up to 0, to 1e-6 of its value; 0 from -87 downwards. Without branches, so that a loop
/// over it becomes vector code. NaN stays NaN.
///
/// Source: the usual range reduction by powers of 2 with a polynomial of degree 6 (Taylor) on ±ln 2 / 2.
pub(super) fn exp(x: f32) -> f32 {
    // Adding this leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::view::sigmoid;

    #[test]
    fn nothing_over_the_threshold_lies_under_the_floor() {
        for lowest in [0.001, 0.05, 0.25, 0.4, 0.5, 0.75, 0.9, 0.999, 1.0] {
            let floor = floor(lowest);
            assert!(sigmoid(floor - 0.001) < lowest, "{lowest}: {floor}");
            let raw = (lowest / (1.0 - lowest)).ln().min(20.0);
            assert!(raw > floor, "{lowest}: {floor}");
        }
        assert_eq!((floor(0.0), floor(-1.0)), (f32::NEG_INFINITY, f32::NEG_INFINITY));
        assert!(floor(2.0) <= 15.0);
    }

    #[test]
    fn the_exponential_agrees_with_the_library() {
        for i in 0..=87_000 {
            let x = i as f32 / -1000.0;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= theirs * 1e-6 + 1e-37, "{x}: {ours} {theirs}");
        }
        assert_eq!((exp(0.0), exp(-1000.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
