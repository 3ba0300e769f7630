//! How metrics are written, in either of Prometheus's text formats.

use std::fmt::Error;

use gstvigil::telemetry::figures::Figure;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// Writes one metric with all of its samples; nothing without samples.
pub fn family<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels, M)>,
) -> Result<(), Error> {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, M::TYPE)?;
    samples.try_for_each(|(labels, value)| value.encode(metric.encode_family(&labels)?))
}

/// Writes a metric that there is one of.
pub fn single<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: M,
) -> Result<(), Error> {
    value.encode(encoder.encode_descriptor(name, help, None, M::TYPE)?)
}

/// Writes a figure of the library's.
pub fn figure(encoder: &mut DescriptorEncoder<'_>, figure: Figure) -> Result<(), Error> {
    let Figure { name, help, counter, samples } = figure;
    if counter {
        family(encoder, name, help, samples.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    } else {
        family(encoder, name, help, samples.into_iter().map(|(labels, value)| (labels, gauge(value))))
    }
}

/// A value that may fall.
pub fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}

/// A value that is 0 or 1.
pub fn flag(value: bool) -> ConstGauge<f64> {
    gauge(f64::from(value))
}

/// One sample for each of some words, 1 for the one that holds.
pub fn one_of(labels: &Labels, label: &'static str, words: &[&str], holds: &str) -> Vec<(Labels, ConstGauge<f64>)> {
    let sample = |word: &&str| {
        let own = labels.iter().cloned().chain([(label, (*word).to_owned())]).collect();
        (own, flag(*word == holds))
    };
    words.iter().map(sample).collect()
}

/// A histogram that somebody else has counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Upper bounds that rise, the last one infinite, and how many lie between each and the one before.
    pub bins: Vec<(f64, u64)>,
    /// The sum of all that is in it.
    pub sum: f64,
}

impl Bins {
    /// Of counts that rise with their bounds, the last one of all.
    pub fn cumulative(bounds: impl IntoIterator<Item = f64>, counts: &[u64], sum: f64) -> Self {
        let mut below = 0;
        let apart = counts.iter().map(|count| {
            let between = count.saturating_sub(below);
            below = below.max(*count);
            between
        });
        Self { bins: bounds.into_iter().chain([f64::INFINITY]).zip(apart).collect(), sum }
    }
}

impl TypedMetric for Bins {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Bins {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let count = self.bins.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.bins, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
