//! One vector: class scores, or what describes the picture.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::Look;
use super::usual::Usual;
use crate::bundle::contract::{Activation, DecoderKind};
use crate::engine::TensorSpec;
use crate::post::classify;

/// A vector whose name says "embedding" is one; one with names of as many classes, or "prob" or "softmax" in its own
/// name, holds class scores; any other may be either.
pub(super) fn vector(look: &Look) -> Verdict {
    let [tensor] = look.outputs() else { return None };
    let length = look.vector(tensor)?;
    let name = tensor.name.to_ascii_lowercase();
    if name.contains("embed") {
        let because = "the output's name says embedding";
        return Found::recognised(DecoderKind::Embed, Usual::imagenet("usual for embeddings"), because).ok();
    }
    let length = length.filter(|n| *n > 1).or(look.names())?;
    let usual = classify::usual_activation(&tensor.name);
    let found = if usual == Activation::None || look.names() == Some(length) {
        let because = "one value per class, and the metadata or the output's name says classes";
        Found::recognised(DecoderKind::Classify, Usual::torchvision(), because)
    } else {
        let because = "one vector: a class vector, or else an embedding";
        Found::guessed(DecoderKind::Classify, Usual::torchvision(), because)
    };
    let (activation, origin, because) = activation(tensor);
    found.classes(Some(length)).activation(activation, origin, because).ok()
}

/// What the scores still need, as far as the output's name tells.
pub(super) fn activation(tensor: &TensorSpec) -> (Activation, Origin, &'static str) {
    match classify::usual_activation(&tensor.name) {
        Activation::None => (Activation::None, Origin::Recognised, "the output's name says probabilities"),
        other => (other, Origin::Assumed, "usual for class vectors"),
    }
}
