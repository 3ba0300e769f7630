use std::f64::consts::PI;

use super::*;

struct Rng(u64);

impl Rng {
    /// splitmix64.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (2.0 * PI * self.uniform()).cos()
    }
}

/// Steps until the evidence reaches `bound` (no logarithm), at most `most`.
fn run(rng: &mut Rng, mean: f64, bound: f64, most: u32) -> u32 {
    let mut chains = Chains::new(0);
    for step in 1..=most {
        chains.step(mean + rng.normal(), u64::from(step), 100.0);
        if chains.log() >= bound.ln() {
            return step;
        }
    }
    most
}

#[test]
fn false_alarms_are_as_rare_as_stated() {
    // Independent normal scores are the worst that the bound allows: each e-value's expectation is 1.
    let mut rng = Rng(7);
    let bound = 200.0;
    let runs = 400;
    let mean = (0..runs).map(|_| f64::from(run(&mut rng, 0.0, bound, 20_000))).sum::<f64>() / f64::from(runs);
    assert!(mean >= bound, "mean time to a false alarm {mean}, stated {bound}");
    assert!(mean < 50.0 * bound, "{mean}: a test that never alarms is none");
}

#[test]
fn a_change_is_found_the_sooner_the_larger_it_is() {
    let mut rng = Rng(8);
    let mut mean = |shift| (0..200).map(|_| f64::from(run(&mut rng, shift, 8640.0, 10_000))).sum::<f64>() / 200.0;
    let (small, large) = (mean(0.5), mean(3.0));
    assert!(large < 5.0 && (10.0..200.0).contains(&small), "{small} {large}");
}

#[test]
fn one_window_alone_raises_no_alarm() {
    for z in [f64::INFINITY, 1e300, f64::NAN, f64::NEG_INFINITY] {
        let mut chains = Chains::new(0);
        chains.step(z, 1, 100.0);
        assert!(chains.log() < 8640f64.ln(), "{z}: {}", chains.log());
        assert!(chains.log().is_finite());
    }
}

#[test]
fn evidence_tells_when_it_began_and_stays_under_its_ceiling() {
    let mut chains = Chains::new(0);
    (1..50).for_each(|i| chains.step(-1.0, i, 18.0));
    assert!(chains.log() < 0.0);
    (50..60).for_each(|i| chains.step(3.0, i, 18.0));
    assert_eq!(chains.since_utc_ns(), 50);
    (60..500).for_each(|i| chains.step(3.0, i, 18.0));
    assert_eq!(chains.log(), 18.0);
    (500..520).for_each(|i| chains.step(-3.0, i, 18.0));
    assert!(chains.log() < 0.0, "down again {}", chains.log());
}

#[test]
fn the_mean_of_logarithms_is_that_of_the_numbers() {
    let mean = log_mean([(2f64.ln(), 1.0), (4f64.ln(), 3.0)].into_iter());
    assert!((mean - 3.5f64.ln()).abs() < 1e-12);
    assert!((log_mean([(2000.0, 1.0), (0.0, 1.0)].into_iter()) - (2000.0 - 2f64.ln())).abs() < 1e-9);
    assert_eq!(log_mean(std::iter::empty()), f64::NEG_INFINITY);
}

#[test]
fn the_mean_e_value_of_normal_scores_is_one() {
    let mut rng = Rng(9);
    let scores: Vec<f64> = (0..200_000).map(|_| rng.normal()).collect();
    for bet in BETS {
        let mean = mean_e_value(bet, scores.iter().copied());
        assert!((0.9..1.1).contains(&mean), "bet {bet}: {mean}");
    }
}
