//! Where labels go: at their box, inside the frame, and apart from one another where there is room.

use super::canvas::Rect;

fn overlap(a: &Rect, b: &Rect) -> i64 {
    let both = a.intersect(b);
    if both.is_empty() { 0 } else { i64::from(both.width()) * i64::from(both.height()) }
}

/// Places a label of `size` (width, height; not larger than the frame) for a box: above it, else inside at its top,
/// below it, or inside at its bottom; the first place in the frame that covers none of `taken`, or else the one that
/// covers least.
pub(super) fn place(frame: Rect, bbox: Rect, (w, h): (i32, i32), taken: &[Rect]) -> Rect {
    let x = bbox.x0.clamp(0, (frame.x1 - w).max(0));
    let lowest = (frame.y1 - h).max(0);
    let tries = [bbox.y0 - h, bbox.y0.max(0), bbox.y1, bbox.y1.min(frame.y1) - h];
    let mut best = Rect::new(x, lowest.min(bbox.y0.max(0)), x + w, lowest.min(bbox.y0.max(0)) + h);
    let mut least = i64::MAX;
    for y in tries.into_iter().filter(|y| (0..=lowest).contains(y)) {
        let spot = Rect::new(x, y, x + w, y + h);
        let covered = taken.iter().map(|t| overlap(&spot, t)).sum();
        if covered < least {
            (best, least) = (spot, covered);
        }
        if least == 0 {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Rect = Rect { x0: 0, y0: 0, x1: 200, y1: 100 };

    #[test]
    fn above_then_inside_then_below() {
        let size = (40, 10);
        let bbox = Rect::new(20, 50, 80, 70);
        let above = place(FRAME, bbox, size, &[]);
        assert_eq!(above, Rect::new(20, 40, 60, 50));
        let inside = place(FRAME, bbox, size, &[above]);
        assert_eq!(inside, Rect::new(20, 50, 60, 60));
        let below = place(FRAME, bbox, size, &[above, inside]);
        assert_eq!(below, Rect::new(20, 70, 60, 80));
        // A box at the top of the frame has no room above.
        assert_eq!(place(FRAME, Rect::new(20, 4, 80, 70), size, &[]), Rect::new(20, 4, 60, 14));
        // One at the right edge moves its label to the left.
        assert_eq!(place(FRAME, Rect::new(190, 50, 200, 70), size, &[]), Rect::new(160, 40, 200, 50));
    }

    proptest! {
        #[test]
        fn always_inside_the_frame(
            x0 in -300..300i32, y0 in -300..300i32, w in 0..500i32, h in 0..500i32,
            size in (1..=200i32, 1..=100i32),
            taken in proptest::collection::vec((0..200i32, 0..100i32, 1..50i32, 1..20i32), 0..8),
        ) {
            let taken: Vec<Rect> = taken.into_iter().map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h)).collect();
            let spot = place(FRAME, Rect::new(x0, y0, x0 + w, y0 + h), size, &taken);
            prop_assert_eq!(spot.intersect(&FRAME), spot);
            prop_assert_eq!((spot.width(), spot.height()), size);
        }
    }
}
