//! What a rule found.

use super::usual::Usual;
use super::{Fact, Origin};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, Column, DecoderKind, OutputContract, Task};
use crate::bundle::manifest::word;

/// A model that is of a known family but cannot be decoded, or lacks what no model says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub why: String,
    pub key: &'static str,
}

/// What a rule says: nothing, the family, or that there is no way.
pub(super) type Verdict = Option<Result<Found, Refusal>>;

/// Says that there is no way, and which key might mend it.
pub(super) fn refuse(key: &'static str, why: impl Into<String>) -> Verdict {
    Some(Err(Refusal { why: why.into(), key }))
}

/// A family and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub output: OutputContract,
    /// How many labels the model needs, if it tells.
    pub classes: Option<usize>,
    /// The one class of a family that finds nothing else.
    pub label: Option<&'static str>,
    pub usual: Usual,
    /// The decoder's fact first.
    pub facts: Vec<Fact>,
    /// A key without which the model cannot be decoded.
    pub missing: Option<Refusal>,
}

impl Found {
    fn with(decoder: DecoderKind, usual: Usual, origin: Origin, because: String) -> Self {
        let fact = Fact { key: "output.decoder", value: decoder.as_str().into(), origin, because };
        let (output, facts) = (OutputContract::new(decoder), vec![fact]);
        Self { output, classes: None, label: None, usual, facts, missing: None }
    }

    /// The model is of this family: names, shapes or metadata leave no other choice.
    pub fn recognised(decoder: DecoderKind, usual: Usual, because: impl Into<String>) -> Self {
        Self::with(decoder, usual, Origin::Recognised, because.into())
    }

    /// The model may be of this family; a bare model is not run on a guess.
    pub fn guessed(decoder: DecoderKind, usual: Usual, because: impl Into<String>) -> Self {
        Self::with(decoder, usual, Origin::Assumed, because.into())
    }

    /// The end of a rule.
    pub fn ok(self) -> Verdict {
        Some(Ok(self))
    }

    pub fn fact(mut self, key: &'static str, value: impl Into<String>, origin: Origin, because: &str) -> Self {
        self.facts.push(Fact { key, value: value.into(), origin, because: because.into() });
        self
    }

    pub fn classes(self, classes: Option<usize>) -> Self {
        Self { classes, ..self }
    }

    /// The family finds nothing but this.
    pub fn only(self, label: &'static str) -> Self {
        Self { label: Some(label), classes: Some(1), ..self }
    }

    pub fn task(mut self, task: Task) -> Self {
        self.output.task = task;
        self
    }

    pub fn confidence(mut self, value: f32, origin: Origin, because: &str) -> Self {
        self.output.confidence = value;
        self.fact("output.confidence", format!("{value:?}"), origin, because)
    }

    pub fn iou(mut self, value: f32, origin: Origin, because: &str) -> Self {
        self.output.iou = value;
        self.fact("output.iou", format!("{value:?}"), origin, because)
    }

    pub fn max_objects(mut self, value: usize, origin: Origin, because: &str) -> Self {
        self.output.max_objects = value;
        self.fact("output.max-objects", value.to_string(), origin, because)
    }

    pub fn activation(mut self, value: Activation, origin: Origin, because: &str) -> Self {
        self.output.activation = Some(value);
        self.fact("output.activation", word(&value), origin, because)
    }

    pub fn class_offset(mut self, value: u32, origin: Origin, because: &str) -> Self {
        self.output.class_offset = value;
        self.fact("output.class-offset", value.to_string(), origin, because)
    }

    /// Form and unit of the boxes.
    pub fn boxes(mut self, format: BoxFormat, unit: BoxUnit, because: &str) -> Self {
        (self.output.box_format, self.output.box_unit) = (Some(format), Some(unit));
        let this = self.fact("output.box-format", word(&format), Origin::Recognised, because);
        this.fact("output.box-unit", word(&unit), Origin::Recognised, because)
    }

    pub fn columns(mut self, columns: &[Column], because: &str) -> Self {
        self.output.columns = Some(columns.to_vec());
        let names: Vec<String> = columns.iter().map(word).collect();
        self.fact("output.columns", format!("[{}]", names.join(", ")), Origin::Recognised, because)
    }

    /// The rows still overlap.
    pub fn overlapping(mut self, because: &str) -> Self {
        self.output.nms = true;
        self.fact("output.nms", "true", Origin::Recognised, because)
    }

    pub fn keypoints(mut self, shape: [usize; 2], origin: Origin, because: &str) -> Self {
        self.output.keypoint_shape = Some(shape);
        self.fact("output.keypoint-shape", format!("{shape:?}"), origin, because)
    }

    /// The model cannot be decoded without `key`.
    pub fn needs(self, key: &'static str, why: impl Into<String>) -> Self {
        Self { missing: Some(Refusal { why: why.into(), key }), ..self }
    }
}
