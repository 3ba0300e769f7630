//! Heat maps, skeletons and maps of classes.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::{Look, is_integer};
use super::usual::Usual;
use crate::bundle::contract::{DecoderKind, Layout, Task};

/// CenterNet: `hm` (a heat map for each class), `wh` and `reg`.
///
/// Source: xingyizhou/CenterNet `src/lib/models/decode.py`.
pub(super) fn centernet(look: &Look) -> Verdict {
    let (heat, size) = (look.output(&["hm", "heatmap"])?, look.output(&["wh"])?);
    let ([classes, h, w], [Some(2), h2, w2]) = (look.dims::<3>(heat)?, look.dims::<3>(size)?) else { return None };
    if (h, w) != (h2, w2) {
        return None;
    }
    let found = Found::recognised(DecoderKind::Centernet, Usual::centernet(), "the outputs' names: CenterNet");
    found.classes(classes).confidence(0.3, Origin::Assumed, "CenterNet's own demo").ok()
}

/// MoveNet: one skeleton `[1, 1, 17, 3]`, or up to six with boxes `[1, 6, 56]`.
///
/// Source: TensorFlow Hub, `movenet/singlepose` and `movenet/multipose`.
pub(super) fn movenet(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    let because = match (one.shape.as_slice(), look.rows(one)) {
        ([.., Some(17), Some(3)], _) if look.dims::<2>(one).is_some() => "shape [17, 3]: a skeleton of y, x, score",
        (_, Some([Some(6), Some(56)])) => "shape [6, 56]: six skeletons with boxes",
        _ => return None,
    };
    let found = Found::recognised(DecoderKind::Movenet, Usual::movenet(), because).only("person");
    found.task(Task::Pose).ok()
}

/// A score for each class and pixel (DeepLab, SegFormer), in either layout, or the class itself as a whole number.
///
/// Source: torchvision `models/segmentation`, TensorFlow DeepLab, transformers `modeling_segformer.py`.
pub(super) fn segmentation(look: &Look) -> Verdict {
    // torchvision's second output is the head that only training uses.
    let ([main] | [main, _]) = look.outputs() else { return None };
    if is_integer(main) {
        let square = |h: Option<usize>, w: Option<usize>| part_of(look, h, w) == Some(1);
        let map = matches!(look.dims::<2>(main), Some([h, w]) if square(h, w))
            || matches!(look.dims::<3>(main), Some([h, w, Some(1)]) if square(h, w));
        let found = Found::recognised(DecoderKind::Segmentation, usual(look), "a whole number for each pixel");
        return map.then_some(Ok(found.classes(look.names()).task(Task::Segment)));
    }
    let [a, b, c] = look.dims::<3>(main)?;
    let planar = look.frame.layout == Layout::Nchw;
    let (classes, h, w) = if planar { (a, b, c) } else { (c, a, b) };
    let (classes, h, w) = match part_of(look, h, w) {
        Some(_) => (classes?, h, w),
        // The other layout than the input's.
        None if planar => (c?, a, b),
        None => (a?, b, c),
    };
    part_of(look, h, w).filter(|_| (2..=255).contains(&classes))?;
    let because = format!("{classes} scores for each pixel");
    let known = look.names() == Some(classes);
    // Three values a pixel may be a picture, and many may be features.
    let found = if known || (classes != 3 && part_of(look, h, w).is_some_and(|part| part <= 8)) {
        Found::recognised(DecoderKind::Segmentation, usual(look), because)
    } else {
        Found::guessed(DecoderKind::Segmentation, usual(look), because)
    };
    found.classes(Some(classes)).task(Task::Segment).ok()
}

/// TensorFlow's models have the channels last.
fn usual(look: &Look) -> Usual {
    match look.frame.layout {
        Layout::Nhwc => Usual::signed("usual for TensorFlow's DeepLab"),
        Layout::Nchw => Usual::imagenet("usual for segmentation").smooth(),
    }
}

/// How many times smaller than the input a map is; free sides may be anything.
fn part_of(look: &Look, h: Option<usize>, w: Option<usize>) -> Option<usize> {
    let (width, height) = (look.frame.width as usize, look.frame.height as usize);
    match (h, w) {
        (Some(h), Some(w)) => [1, 2, 4, 8, 16].into_iter().find(|part| {
            // 257 pixels are 129, 65, 33 cells.
            let fits = |side: usize, cells: usize| side / part == cells || side.div_ceil(*part) == cells;
            fits(height, h) && fits(width, w)
        }),
        (None, None) => Some(1),
        _ => None,
    }
}
