//! The keys of `bundle.toml` as serde reads them. What the values may be is checked in `manifest`.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::contract::{
    Activation, Align, AnchorConfig, BoxFormat, BoxUnit, Color, Column, DecoderKind, Layout, Quantization, Resize, Task,
};
use super::manifest::Precision;

/// Only the version, for a file that may be of a format with other keys.
#[derive(Deserialize)]
pub(super) struct FormatOnly {
    pub format: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Top {
    /// Checked through [`FormatOnly`]; here so that the key is known.
    #[serde(rename = "format")]
    pub _format: i64,
    pub name: Spanned<String>,
    pub release: Spanned<String>,
    pub task: Task,
    pub labels: Option<Spanned<String>>,
    pub license: Option<Spanned<String>>,
    pub predictions: Option<Spanned<String>>,
    pub input: Spanned<Input>,
    pub output: Spanned<Output>,
    #[serde(default)]
    pub variant: Vec<VariantEntry>,
    pub reference: Option<ReferenceEntry>,
    pub probation: Option<TrialEntry>,
    pub shadow: Option<TrialEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub layout: Layout,
    pub size: Spanned<[u32; 2]>,
    pub color: Color,
    pub resize: Resize,
    #[serde(default)]
    pub antialias: bool,
    #[serde(rename = "crop-fraction")]
    pub crop_fraction: Option<Spanned<f32>>,
    pub align: Option<Spanned<Align>>,
    pub pad: Option<Spanned<u8>>,
    pub mean: Spanned<Vec<f32>>,
    pub std: Spanned<Vec<f32>>,
    pub quantization: Option<Spanned<Quantization>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Output {
    pub decoder: Spanned<DecoderKind>,
    pub confidence: Option<Spanned<f32>>,
    pub iou: Option<Spanned<f32>>,
    #[serde(default)]
    pub per_class: BTreeMap<Spanned<String>, Spanned<f32>>,
    pub max_objects: Option<Spanned<u64>>,
    #[serde(default)]
    pub class_agnostic: bool,
    pub nms: Option<Spanned<bool>>,
    pub activation: Option<Activation>,
    pub class_offset: Option<Spanned<u32>>,
    pub top_k: Option<Spanned<u64>>,
    pub anchors: Option<Spanned<AnchorConfig>>,
    pub box_format: Option<Spanned<BoxFormat>>,
    pub box_unit: Option<Spanned<BoxUnit>>,
    pub columns: Option<Spanned<Vec<Column>>>,
    pub yolo_anchors: Option<Spanned<Vec<Vec<f32>>>>,
    pub keypoint_shape: Option<Spanned<[usize; 2]>>,
    pub skeleton: Option<Spanned<Vec<(u16, u16)>>>,
    #[serde(default)]
    pub quantization: BTreeMap<String, Spanned<Quantization>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VariantEntry {
    pub file: Spanned<String>,
    pub sha256: Spanned<String>,
    pub precision: Option<Precision>,
    pub providers: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ReferenceEntry {
    pub images: Spanned<Vec<Spanned<String>>>,
    pub expected: Spanned<String>,
    pub min_iou: Option<Spanned<f32>>,
    pub score_tolerance: Option<Spanned<f32>>,
    pub max_latency_ms: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TrialEntry {
    pub time_ms: Option<Spanned<u64>>,
    pub frames: Option<Spanned<u64>>,
    pub samples: Option<Spanned<u64>>,
    pub max_errors: Option<Spanned<f32>>,
    pub max_non_finite: Option<Spanned<f32>>,
    pub max_latency_ms: Option<Spanned<u64>>,
    pub max_slowdown: Option<Spanned<f32>>,
    pub min_agreement: Option<Spanned<f32>>,
}
