//! Figures for Prometheus as plain values: names, units and samples, without the library that writes them.

/// One metric and all of its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The name, with its unit in base units. That of a counter is without the `_total` that it has on the page.
    pub name: &'static str,
    /// What it is, in a line.
    pub help: &'static str,
    /// Whether it only ever rises.
    pub counter: bool,
    /// Labels and values.
    pub samples: Vec<(Labels, f64)>,
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

impl Figure {
    /// A value that may fall, for each of some things.
    pub fn gauge(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) -> Self {
        Self { name, help, counter: false, samples: samples.into_iter().collect() }
    }

    /// A count that only rises, for each of some things.
    pub fn counter(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) -> Self {
        Self { name, help, counter: true, samples: samples.into_iter().collect() }
    }

    /// The name on the page, which queries use.
    pub fn shown_name(&self) -> String {
        if self.counter { format!("{}_total", self.name) } else { self.name.to_owned() }
    }
}
