//! Times the tracker on request: `cargo bench --bench track`.
//!
//! 30 and 300 people who walk about in a crowd as dense for both, a twentieth of them missing on each frame; boxes with
//! a detector's errors. Prints median, 95th percentile and largest time of `Tracker::update` over 1000 frames.

use std::sync::Arc;
use std::time::Instant;

use gstvigil::result::{BBox, Object};
use gstvigil::tracking::{Tracker, TrackerConfig};

const FRAMES: u64 = 1000;
const FRAME_NS: u64 = 40_000_000;
/// Length of an embedding, as of common person models.
const LOOKS: usize = 256;

fn main() {
    // Cargo's test runner asks benches for their tests.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    println!("{:34} {:>9} {:>9} {:>9}", "µs per frame", "median", "95 %", "largest");
    for people in [30u64, 300] {
        measure(&format!("{people} objects"), people, 0.0, 0.0);
        measure(&format!("{people} objects, camera shakes"), people, 0.0, 0.004);
        measure(&format!("{people} objects, appearance"), people, 0.5, 0.0);
    }
}

/// A number from -0.5 to 0.5 that looks random: splitmix64.
fn noise(n: u64) -> f32 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

fn measure(name: &str, people: u64, weight: f32, shake: f32) {
    let mut tracker = Tracker::new(TrackerConfig { appearance_weight: weight, ..TrackerConfig::default() });
    let label: Arc<str> = "person".into();
    let looks: Vec<Arc<[f32]>> = (0..people).map(look).collect();
    let mut times = Vec::new();
    for frame in 0..FRAMES {
        let shift = (shake * noise(2 * frame), shake * noise(2 * frame + 1));
        let mut objects: Vec<Object> = (0..people)
            .filter(|i| noise(frame * 1000 + i) < 0.45)
            .map(|i| {
                let mut object =
                    Object::new(i as u32, 0, label.clone(), 0.9 - 0.001 * i as f32, place(i, people, frame, shift));
                object.embedding = (weight > 0.0).then(|| looks[i as usize].clone());
                object
            })
            .collect();
        let start = Instant::now();
        tracker.update(frame * FRAME_NS, (1920, 1080), &mut objects);
        times.push(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{name:34} {:9.1} {:9.1} {:9.1}", at(50), at(95), at(100));
}

/// Where person `i` is: people go round in circles that cross, each in a field of the picture of a size that keeps the
/// crowd as dense for any number.
fn place(i: u64, people: u64, frame: u64, shift: (f32, f32)) -> BBox {
    let columns = (people as f32).sqrt() * 1.33;
    let field = 1.0 / columns;
    let (column, row) = (i as f32 % columns, (i as f32 / columns).floor());
    let t = frame as f32 * 0.04 * (0.6 + noise(i) * 0.5) + std::f32::consts::TAU * noise(i + 7777);
    let e = |n: u64| 0.08 * field * noise((frame * people + i) * 4 + n);
    BBox {
        x: column * field + field * 0.7 * t.sin() + e(0) + shift.0,
        y: row * field * 1.33 + field * 0.7 * t.cos() + e(1) + shift.1,
        w: field * 0.7 + e(2),
        h: field * 2.4 + e(3),
    }
}

fn look(i: u64) -> Arc<[f32]> {
    let values: Vec<f32> = (0..LOOKS as u64).map(|n| noise(i * 1000 + n + 99)).collect();
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    values.iter().map(|v| v / length).collect()
}
