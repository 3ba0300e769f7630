//! Frames of several elements in one run of the engine that they share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{caps, frame, init, model, result};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::result::Freshness;

const FRAMES: u8 = 40;

fn start(name: &str, properties: &str) -> Harness {
    init();
    let mut harness = Harness::new_parse(&format!("vigilinfer model={} threads=1 {properties}", model(name)));
    harness.play();
    harness.set_src_caps(caps(VideoFormat::Rgb, 32, 32));
    harness
}

fn stats(harness: &Harness) -> gst::Structure {
    let bin = harness.element().unwrap().downcast::<gst::Bin>().unwrap();
    let element = bin.children().into_iter().next().unwrap();
    element.property("stats")
}

/// What the model says about each frame of a camera: its classes' numbers, with their confidences.
fn look(harness: &mut Harness, camera: u8) -> Vec<Vec<(u32, f32)>> {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let mut seen = Vec::new();
    let mut take = |buffer: gst::Buffer| {
        let result = result(&buffer);
        assert_eq!(result.freshness, Freshness::Fresh);
        seen.push(result.classes.iter().map(|class| (class.class_id, class.confidence)).collect());
    };
    for n in 0..FRAMES {
        // No two frames of any camera have the same colour.
        let color = (n * 6, camera * 50, 255 - n * 5);
        harness.push(frame(&caps, color, n.into())).unwrap();
        while let Some(buffer) = harness.try_pull() {
            take(buffer);
        }
    }
    harness.push_event(gst::event::Eos::new());
    while let Some(buffer) = harness.try_pull() {
        take(buffer);
    }
    seen
}

/// Class and confidence of each object of a frame.
type Found = Vec<(u32, f32)>;

/// Five cameras at once; what each has seen, and the statistics of one.
fn cameras(properties: &str) -> (Vec<Vec<Found>>, gst::Structure) {
    // Loaded before any frame comes: whoever is measured beside running video is measured less well.
    let mut all: Vec<Harness> = (0..5).map(|_| start("batch_pays", properties)).collect();
    let seen = std::thread::scope(|scope| {
        let looks: Vec<_> =
            all.iter_mut().zip(0..).map(|(harness, camera)| scope.spawn(move || look(harness, camera))).collect();
        looks.into_iter().map(|look| look.join().unwrap()).collect()
    });
    (seen, stats(&all[0]))
}

#[test]
fn cameras_that_share_runs_see_what_each_sees_alone() {
    let (alone, told) = cameras("max-batch=1");
    assert_eq!(told.get::<u64>("engine-batch").unwrap(), 1);
    assert!(!told.has_field("engine-batch-measured") && !told.has_field("pictures-per-run"));
    assert!(
        alone.iter().all(|seen| seen.len() == usize::from(FRAMES) && seen.iter().all(|classes| !classes.is_empty()))
    );
    for (properties, most) in [("", 16), ("max-batch=3", 2), ("isolation=process", 16)] {
        let (shared, told) = cameras(properties);
        for (alone, shared) in alone.iter().zip(&shared) {
            assert_eq!(alone.len(), shared.len());
            for (alone, shared) in alone.iter().flatten().zip(shared.iter().flatten()) {
                // The runtime may add up in another order.
                assert!(alone.0 == shared.0 && (alone.1 - shared.1).abs() < 1e-5, "{alone:?} {shared:?}");
            }
        }
        let batch = told.get::<u64>("engine-batch").unwrap();
        let (mean, measured): (f64, &str) =
            (told.get("pictures-per-run").unwrap(), told.get("engine-batch-measured").unwrap());
        assert!((2..=most).contains(&batch), "{properties}: {measured}");
        assert!(mean > 1.0 && mean <= batch as f64, "{properties}: {mean} pictures in a run");
        assert!(measured.starts_with("1: "), "{measured}");
    }
}

#[test]
fn a_model_whose_batch_is_not_free_is_not_measured() {
    // The runtime sees in the graph of the last two that they answer about one picture, whatever they say.
    for name in ["colors", "batch4", "batch_bad", "dynamic"] {
        let mut harness = start(name, "");
        assert_eq!(look(&mut harness, 0).len(), usize::from(FRAMES));
        let told = stats(&harness);
        assert_eq!(told.get::<u64>("engine-batch").unwrap(), 1);
        assert!(!told.has_field("engine-batch-measured"), "{name}: {told}");
    }
}
