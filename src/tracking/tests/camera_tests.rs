//! Identities before a camera that moves.

use super::*;

/// Twelve people who walk about, seen with the picture shifted by `shift` frame widths and heights.
fn people(now_ns: u64, shift: (f32, f32)) -> Vec<Object> {
    let t = now_ns as f32 / SECOND as f32;
    let person = |i: u32| {
        let k = i as f32;
        let x = 0.05 + 0.075 * k + 0.02 * (1.3 * k + t).sin();
        let y = 0.3 + 0.15 * (2.1 * k).sin() + 0.02 * (0.7 * k + t).cos();
        object(0, 0.9 - 0.01 * k, x + shift.0, y + shift.1)
    };
    (0..12).map(person).collect()
}

/// A number from -0.5 to 0.5 that looks random: splitmix64.
fn noise(n: u64) -> f32 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

const EVERYONE: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test]
fn a_camera_that_shakes_costs_no_identity() {
    // Up to three quarters of a person's width from one frame to the next.
    let mut t = tracker();
    for frame in 0..60u64 {
        let shift = (0.04 * noise(2 * frame), 0.05 * noise(2 * frame + 1));
        assert_eq!(ids(&update(&mut t, frame * 40 * MS, people(frame * 40 * MS, shift))), EVERYONE, "frame {frame}");
    }
}

#[test]
fn a_pan_is_learned_and_holds_for_predictions_and_newcomers() {
    let mut t = tracker();
    let shift = |frame: u64| (0.015 * frame.saturating_sub(5) as f32, 0.0);
    for frame in 0..20 {
        let found = update(&mut t, frame * 40 * MS, people(frame * 40 * MS, shift(frame)));
        assert_eq!(ids(&found), EVERYONE, "frame {frame}");
    }
    // A frame that is not analysed.
    let predicted = predict(&mut t, 800 * MS);
    let truth = people(800 * MS, shift(20));
    for (p, o) in predicted.iter().zip(&truth) {
        assert!(p.bbox.iou(&o.bbox.clipped()) > 0.7, "{:?} instead of {:?}", p.bbox, o.bbox);
        assert!((p.track.unwrap().velocity.0 - 0.375).abs() < 0.1, "{:?}", p.track);
    }
    // Somebody who was never seen before moves with the picture at once.
    let mut objects = truth;
    objects.push(object(0, 0.5, 0.1, 0.75));
    let newcomer = update(&mut t, 800 * MS, objects)[12].track.unwrap();
    assert_eq!((newcomer.id, newcomer.state), (13, TrackState::Tentative));
    assert!((newcomer.velocity.0 - 0.375).abs() < 0.1, "{newcomer:?}");
}

#[test]
fn a_camera_that_stands_is_seen_to_stand() {
    let mut t = tracker();
    for frame in 0..100 {
        // Detectors err by some hundredths of a box.
        let mut objects = people(frame * 40 * MS, (0.0, 0.0));
        for (i, o) in objects.iter_mut().enumerate() {
            let seed = frame * 100 + i as u64;
            o.bbox.x += 0.1 * o.bbox.w * noise(2 * seed);
            o.bbox.y += 0.1 * o.bbox.h * noise(2 * seed + 1);
        }
        update(&mut t, frame * 40 * MS, objects);
        assert_eq!(t.camera.velocity(), (0.0, 0.0), "frame {frame}");
    }
}

#[test]
fn four_objects_cannot_tell_the_camera_from_themselves() {
    let mut t = tracker();
    for frame in 0..10 {
        let mut objects = people(0, (0.01 * frame as f32, 0.0));
        objects.truncate(4);
        update(&mut t, frame * 40 * MS, objects);
        assert_eq!(t.camera.velocity(), (0.0, 0.0));
    }
}
