//! Runs the tracker over a MOTChallenge detection file: `cargo run --example mot -- SEQUENCE RESULT [EVERY]`.
//!
//! Reads `SEQUENCE/det.txt` (frame, -1, left, top, width, height, score, …; pixels of 640×480 at 25 fps) and writes
//! confirmed and predicted identities to `RESULT` in the layout of the challenge. With `EVERY` n, only every n-th frame is analysed
//! and the others are predicted.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use gstvigil::result::{BBox, Object, TrackState};
use gstvigil::tracking::{Tracker, TrackerConfig};

const FRAME: (u32, u32) = (640, 480);
const FRAME_NS: u64 = 40_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [sequence, result, rest @ ..] = args.as_slice() else {
        return Err("usage: mot SEQUENCE RESULT [EVERY]".into());
    };
    let every = rest.first().map_or(Ok(1), |n| n.parse::<u64>())?.max(1);
    let frames = read(&Path::new(sequence).join("det.txt"))?;
    std::fs::write(result, track(frames, every)?)?;
    Ok(())
}

/// The objects of each frame, frame 1 first.
fn read(path: &Path) -> Result<Vec<Vec<Object>>, Box<dyn Error>> {
    let label: Arc<str> = "person".into();
    let mut frames: Vec<Vec<Object>> = Vec::new();
    for line in std::fs::read_to_string(path)?.lines() {
        let v = line.split(',').map(|s| s.trim().parse::<f32>()).collect::<Result<Vec<_>, _>>()?;
        let [frame, _, x, y, w, h, score, ..] = v.as_slice() else {
            return Err(format!("too few columns: {line}").into());
        };
        let frame = *frame as usize;
        if frame == 0 {
            return Err("frames count from 1".into());
        }
        if frames.len() < frame {
            frames.resize_with(frame, Vec::new);
        }
        let (fw, fh) = (FRAME.0 as f32, FRAME.1 as f32);
        let objects = &mut frames[frame - 1];
        let bbox = BBox { x: x / fw, y: y / fh, w: w / fw, h: h / fh };
        objects.push(Object::new(objects.len() as u32, 0, label.clone(), *score, bbox));
    }
    Ok(frames)
}

/// The result file's text.
fn track(frames: Vec<Vec<Object>>, every: u64) -> Result<String, std::fmt::Error> {
    let mut tracker = Tracker::new(config());
    let mut text = String::new();
    for (i, mut objects) in frames.into_iter().enumerate() {
        let i = i as u64;
        let now = i * FRAME_NS;
        if i.is_multiple_of(every) {
            tracker.update(now, FRAME, &mut objects);
        } else {
            tracker.predict(now, FRAME, &mut objects);
        }
        for o in &objects {
            let Some(t) = o.track.filter(|t| t.state != TrackState::Tentative) else { continue };
            let (w, h) = (FRAME.0 as f32, FRAME.1 as f32);
            let b = o.bbox;
            let (x, y, w, h) = (b.x * w, b.y * h, b.w * w, b.h * h);
            writeln!(text, "{},{},{x:.3},{y:.3},{w:.3},{h:.3},{:.4},-1,-1,-1", i + 1, t.id, o.confidence)?;
        }
    }
    Ok(text)
}

fn config() -> TrackerConfig {
    TrackerConfig::default()
}
