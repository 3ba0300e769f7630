//! The population stability index: how far one distribution is from another.

use std::collections::BTreeSet;

use super::summary::{Aspect, Summary};

/// The share of a uniform distribution that is mixed into both sides before they are compared, so that an empty bin does
/// not make the index infinite. It is a share and not a count, because frames of one scene are no independent samples:
/// their number says nothing about how empty an empty bin is.
const SMOOTHING: f64 = 0.01;

/// Σ (now − then)·ln(now / then) over two distributions of equal length, both smoothed; `None` if the lengths differ or
/// are 0. 0 if they are the same; by convention below 0.1 is no change to speak of and above 0.25 is a large one.
pub fn psi(then: &[f64], now: &[f64]) -> Option<f64> {
    if then.len() != now.len() || then.is_empty() {
        return None;
    }
    let floor = SMOOTHING / then.len() as f64;
    let smooth = |share: f64| (1.0 - SMOOTHING) * share + floor;
    let sum = then.iter().zip(now).map(|(&then, &now)| {
        let (then, now) = (smooth(then), smooth(now));
        (now - then) * (now / then).ln()
    });
    Some(sum.sum())
}

/// The index of an aspect between a mixture of summaries, by their weights, and another summary; `None` where one of
/// both has nothing to compare.
pub fn psi_of(aspect: Aspect, then: &[(&Summary, f64)], now: &Summary) -> Option<f64> {
    let labels: BTreeSet<&str> = match aspect {
        Aspect::ClassMix => then.iter().map(|(s, _)| *s).chain([now]).flat_map(Summary::classes).map(|c| c.0).collect(),
        _ => BTreeSet::new(),
    };
    let shares = |summary: &Summary| shares(aspect, summary, &labels);
    psi(&mixture(then.iter().filter_map(|(s, w)| Some((shares(s)?, *w))))?, &shares(now)?)
}

/// An aspect as a distribution; a class mix over these labels and the other ones.
fn shares(aspect: Aspect, summary: &Summary, labels: &BTreeSet<&str>) -> Option<Vec<f64>> {
    if aspect != Aspect::ClassMix {
        // Pairs of bins, so that about ten are in use, as is the custom: with more the index is mostly chance.
        return summary.histogram(aspect).map(|bins| bins.chunks(2).map(|pair| pair.iter().sum()).collect());
    }
    let other = summary.other_share()?;
    Some(labels.iter().filter_map(|label| summary.share(label)).chain([other]).collect())
}

/// The weighted mean of distributions of equal length; `None` without any weight.
fn mixture(parts: impl Iterator<Item = (Vec<f64>, f64)>) -> Option<Vec<f64>> {
    let (mut sum, mut weights) = (Vec::new(), 0.0);
    for (part, weight) in parts {
        sum.resize(part.len().max(sum.len()), 0.0);
        sum.iter_mut().zip(&part).for_each(|(sum, share)| *sum += weight * share);
        weights += weight;
    }
    (weights > 0.0).then(|| sum.into_iter().map(|s| s / weights).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_that_of_the_formula() {
        assert_eq!(psi(&[0.25, 0.75], &[0.25, 0.75]), Some(0.0));
        // By hand, with shares 0.5 and 0.5 against 0.302 and 0.698 after 1 % smoothing (0.3 → 0.302, 0.7 → 0.698):
        // -0.198·ln(0.604) + 0.198·ln(1.396) = 0.09983 + 0.06606
        let index = psi(&[0.5, 0.5], &[0.3, 0.7]).unwrap();
        assert!((index - 0.165_89).abs() < 1e-4, "{index}");
        assert!((index - psi(&[0.3, 0.7], &[0.5, 0.5]).unwrap()).abs() < 1e-12, "symmetrical");
        assert_eq!(psi(&[], &[]), None);
        assert_eq!(psi(&[1.0], &[0.5, 0.5]), None);
    }

    #[test]
    fn an_empty_bin_is_a_large_change_and_not_an_infinite_one() {
        let index = psi(&[1.0, 0.0], &[0.0, 1.0]).unwrap();
        assert!(index.is_finite() && index > 5.0, "{index}");
        let rare = psi(&[0.999, 0.001], &[1.0, 0.0]).unwrap();
        assert!(rare < 0.01, "a rare class that is not seen for a while is nothing: {rare}");
    }
}
