//! What records may carry beside numbers and words, and which objects they have.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::result;

/// What of a frame result goes into its record.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// Whether an object goes into the record.
    pub keep: &'a dyn Fn(&result::Object) -> bool,
    /// Silhouettes.
    pub masks: bool,
    /// Vectors that describe how objects look.
    pub embeddings: bool,
}

impl Default for Content<'_> {
    /// All objects, without masks and embeddings.
    fn default() -> Self {
        Self { keep: &|_| true, masks: false, embeddings: false }
    }
}

/// A silhouette over an object's box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mask<'a> {
    /// Values per row.
    pub width: u32,
    /// Rows. The map spans the object's box exactly.
    pub height: u32,
    /// `width * height` bytes row by row in base64: 0 (outside) to 255 (inside).
    #[schemars(extend("contentEncoding" = "base64"))]
    pub data: Cow<'a, str>,
}

impl Mask<'_> {
    pub(super) fn from_result(mask: &result::Mask) -> Self {
        Self { width: mask.width, height: mask.height, data: STANDARD.encode(&mask.data).into() }
    }
}

/// A vector as base64 of its 32-bit floats, little-endian.
pub(super) fn vector(values: &[f32]) -> String {
    STANDARD.encode(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// A small picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thumbnail<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// JPEG in base64.
    #[schemars(extend("contentEncoding" = "base64", "contentMediaType" = "image/jpeg"))]
    pub jpeg: Cow<'a, str>,
}

impl Thumbnail<'_> {
    /// From the bytes of a JPEG file of this size.
    pub fn new((width, height): (u32, u32), jpeg: &[u8]) -> Self {
        Self { width, height, jpeg: STANDARD.encode(jpeg).into() }
    }
}
