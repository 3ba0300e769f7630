//! How nvinfer makes a model's input.

use super::{Level, Reader, Why};

impl Reader<'_> {
    /// Size, colours, scaling and normalisation.
    pub(super) fn input(&mut self) {
        let order = self.integer("network-input-order");
        let last = order.as_ref().is_some_and(|(order, _)| *order == 1);
        if let Some((_, entry)) = order {
            self.say("input.layout", if last { "nhwc" } else { "nchw" }, &entry);
        }
        for key in ["infer-dims", "input-dims"] {
            let Some(entry) = self.property.take(key) else { continue };
            let sides: Option<Vec<i64>> = entry.items().iter().map(|item| item.parse().ok()).collect();
            let size = match sides.as_deref() {
                Some([h, w, _]) if last => Some((*w, *h)),
                Some([_, h, w] | [_, h, w, _]) => Some((*w, *h)),
                _ => None,
            };
            match size {
                Some((w, h)) => self.say("input.size", vec![w, h], &entry),
                None => self.findings.add(Level::Lost, &entry, "it is no list of channels;height;width"),
            }
        }
        let gray = match self.integer("model-color-format") {
            None => {
                self.say("input.color", "rgb", "nvinfer's default (model-color-format = 0)");
                false
            }
            Some((format, entry)) => {
                let color = match format {
                    1 => "bgr",
                    2 => "gray",
                    _ => "rgb",
                };
                self.say("input.color", color, &entry);
                format == 2
            }
        };
        self.normalisation(gray);
        let keep = self.property.take("maintain-aspect-ratio");
        let middle = self.property.flag("symmetric-padding").unwrap_or(false);
        match keep.filter(|entry| entry.number::<i64>().is_some_and(|n| n != 0)) {
            Some(entry) => {
                self.say("input.resize", "letterbox", &entry);
                self.say("input.align", if middle { "center" } else { "top-left" }, "symmetric-padding");
                self.say("input.pad", 0, "nvinfer pads with black");
            }
            None => self.say("input.resize", "stretch", "nvinfer's default (maintain-aspect-ratio = 0)"),
        }
    }

    /// `(value - offset) * net-scale-factor` is `(value - mean) / std`.
    fn normalisation(&mut self, gray: bool) {
        let channels = if gray { 1 } else { 3 };
        let (std, why) = match self.number("net-scale-factor") {
            Some((factor, entry)) if factor > 0.0 => (rounded(1.0 / factor), Why::from(&entry)),
            _ => (1.0, "nvinfer's default (net-scale-factor = 1)".into()),
        };
        self.say("input.std", vec![std; channels], why);
        let (mean, why) = match self.property.text("offsets") {
            Some(entry) => {
                let list: Vec<f64> = entry.items().iter().filter_map(|item| item.parse().ok()).collect();
                if list.len() == channels {
                    (list, Why::from(&entry))
                } else {
                    self.findings.add(Level::Lost, &entry, format!("it is no list of {channels} numbers"));
                    (vec![0.0; channels], "nvinfer's default (no offsets)".into())
                }
            }
            None => (vec![0.0; channels], "nvinfer's default (no offsets)".into()),
        };
        self.say("input.mean", mean, why);
    }
}

/// A number without the noise of a factor that was written with too few digits: 254.99999 is 255.
fn rounded(value: f64) -> f64 {
    let whole = value.round();
    if whole > 0.0 && ((value - whole) / whole).abs() < 1e-4 { whole } else { (value * 1e4).round() / 1e4 }
}
