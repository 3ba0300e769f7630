//! Overlap of upright and turned boxes.

use super::Found;
use crate::result::BBox;

type Point = [f32; 2];

/// Intersection over union of two objects' boxes, turned ones by their corners; 0..1.
pub(super) fn overlap(a: &Found, b: &Found) -> f32 {
    match (a.corners, b.corners) {
        (Some(a), Some(b)) => turned(a, b),
        _ => upright(a.bbox).iou(&upright(b.bbox)),
    }
}

fn upright([x1, y1, x2, y2]: [f32; 4]) -> BBox {
    BBox::from_corners(x1, y1, x2, y2)
}

/// Twice the signed area to the right of the edge from `a` to `b`.
fn side(a: Point, b: Point, p: Point) -> f32 {
    (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
}

/// Signed area (the shoelace formula).
fn area(polygon: &[Point]) -> f32 {
    let next = polygon.iter().cycle().skip(1);
    polygon.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f32>() * 0.5
}

/// Overlap of two convex quadrilaterals: one is clipped by each edge of the other (Sutherland and Hodgman, 1974).
fn turned(a: [Point; 4], mut b: [Point; 4]) -> f32 {
    let (size_a, size_b) = (area(&a).abs(), area(&b).abs());
    if area(&b) < 0.0 {
        b.reverse();
    }
    let mut both = a.to_vec();
    for (from, to) in [(b[0], b[1]), (b[1], b[2]), (b[2], b[3]), (b[3], b[0])] {
        let previous = both.iter().cycle().skip(both.len().saturating_sub(1)).copied();
        let mut kept = Vec::with_capacity(both.len() + 1);
        for (p, q) in previous.zip(both.iter().copied()) {
            let (sp, sq) = (side(from, to, p), side(from, to, q));
            if (sp >= 0.0) != (sq >= 0.0) {
                let t = sp / (sp - sq);
                kept.push([p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t]);
            }
            if sq >= 0.0 {
                kept.push(q);
            }
        }
        both = kept;
    }
    let both = area(&both).abs();
    let union = size_a + size_b - both;
    if union > 0.0 { (both / union).min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, half: f32, angle: f32) -> [Point; 4] {
        let (s, c) = angle.sin_cos();
        [(-half, -half), (half, -half), (half, half), (-half, half)]
            .map(|(u, v)| [x + u * c - v * s, y + u * s + v * c])
    }

    #[test]
    fn turned_boxes_overlap_by_area() {
        let a = square(0.0, 0.0, 1.0, 0.0);
        assert_eq!(turned(a, a), 1.0);
        assert!((turned(a, square(1.0, 0.0, 1.0, 0.0)) - 2.0 / 6.0).abs() < 1e-6);
        assert_eq!(turned(a, square(5.0, 0.0, 1.0, 0.3)), 0.0);
        // A square and the same turned by 45°: a regular octagon of 8 (√2 - 1).
        let octagon = 8.0 * (2f32.sqrt() - 1.0);
        let expected = octagon / (8.0 - octagon);
        assert!((turned(a, square(0.0, 0.0, 1.0, std::f32::consts::FRAC_PI_4)) - expected).abs() < 1e-5);
        // Which corner comes first and which way round does not matter.
        let mut mirrored = a;
        mirrored.reverse();
        assert!((turned(a, mirrored) - 1.0).abs() < 1e-6);
        assert!((turned(a, square(0.0, 0.0, 1.0, std::f32::consts::FRAC_PI_2)) - 1.0).abs() < 1e-5);
    }
}
