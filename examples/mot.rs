//! Runs the tracker over MOTChallenge detection files: `cargo run --example mot -- SEQUENCE RESULT [EVERY [WEIGHT]]`.
//!
//! Reads `SEQUENCE/det.txt` (frame, -1, left, top, width, height, score, …; pixels) and writes confirmed and predicted
//! identities to `RESULT` in the layout of the challenge. The size and rate of the frames are those of
//! `SEQUENCE/seqinfo.ini` (`imWidth`, `imHeight`, `frameRate`), or 640×480 at 25 fps. With `EVERY` n, only every n-th
//! frame is analysed and the others are predicted. With `WEIGHT` above 0, appearance takes part with that weight:
//! `SEQUENCE/emb.txt` has the embedding of each line of `det.txt`, comma-separated.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use gstvigil::result::{BBox, Object, TrackState};
use gstvigil::tracking::{Tracker, TrackerConfig};

/// What a sequence's frames are like.
struct Video {
    width: f32,
    height: f32,
    fps: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [sequence, result, rest @ ..] = args.as_slice() else {
        return Err("usage: mot SEQUENCE RESULT [EVERY [WEIGHT]]".into());
    };
    let every = rest.first().map_or(Ok(1), |n| n.parse::<u64>())?.max(1);
    let weight = rest.get(1).map_or(Ok(0.0), |n| n.parse::<f32>())?;
    let sequence = Path::new(sequence);
    let video = video(&sequence.join("seqinfo.ini"))?;
    let frames = read(sequence, &video, weight > 0.0)?;
    let config = TrackerConfig { appearance_weight: weight, ..TrackerConfig::default() };
    std::fs::write(result, track(frames, &video, every, config)?)?;
    Ok(())
}

/// Size and rate by the challenge's description of a sequence, where there is one.
fn video(path: &Path) -> Result<Video, Box<dyn Error>> {
    let mut video = Video { width: 640.0, height: 480.0, fps: 25.0 };
    if path.exists() {
        for (key, value) in std::fs::read_to_string(path)?.lines().filter_map(|l| l.split_once('=')) {
            match key.trim() {
                "imWidth" => video.width = value.trim().parse()?,
                "imHeight" => video.height = value.trim().parse()?,
                "frameRate" => video.fps = value.trim().parse()?,
                _ => (),
            }
        }
    }
    Ok(video)
}

fn numbers(line: &str) -> Result<Vec<f32>, std::num::ParseFloatError> {
    line.split(',').map(|s| s.trim().parse()).collect()
}

/// The objects of each frame, frame 1 first.
fn read(sequence: &Path, video: &Video, looks: bool) -> Result<Vec<Vec<Object>>, Box<dyn Error>> {
    let label: Arc<str> = "person".into();
    let mut frames: Vec<Vec<Object>> = Vec::new();
    let embeddings = if looks { std::fs::read_to_string(sequence.join("emb.txt"))? } else { String::new() };
    let mut embeddings = embeddings.lines();
    for line in std::fs::read_to_string(sequence.join("det.txt"))?.lines() {
        let v = numbers(line)?;
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
        let objects = &mut frames[frame - 1];
        let bbox = BBox { x: x / video.width, y: y / video.height, w: w / video.width, h: h / video.height };
        let mut object = Object::new(objects.len() as u32, 0, label.clone(), *score, bbox);
        object.embedding = embeddings.next().map(numbers).transpose()?.map(Into::into);
        objects.push(object);
    }
    Ok(frames)
}

/// The result file's text.
fn track(
    frames: Vec<Vec<Object>>,
    video: &Video,
    every: u64,
    config: TrackerConfig,
) -> Result<String, std::fmt::Error> {
    let mut tracker = Tracker::new(config);
    let mut text = String::new();
    let size = (video.width as u32, video.height as u32);
    for (i, mut objects) in frames.into_iter().enumerate() {
        let i = i as u64;
        let now = (i as f64 * 1e9 / video.fps).round() as u64;
        if i.is_multiple_of(every) {
            tracker.update(now, size, &mut objects);
        } else {
            tracker.predict(now, size, &mut objects);
        }
        for o in &objects {
            let Some(t) = o.track.filter(|t| t.state != TrackState::Tentative) else { continue };
            let b = o.bbox;
            let (x, y, w, h) = (b.x * video.width, b.y * video.height, b.w * video.width, b.h * video.height);
            writeln!(text, "{},{},{x:.3},{y:.3},{w:.3},{h:.3},{:.4},-1,-1,-1", i + 1, t.id, o.confidence)?;
        }
    }
    Ok(text)
}
