//! Reads results in a Rust application: `cargo run --example embed -- CLIP`.
//!
//! Prints the people on each frame of a clip, with the number that they were given and how sure the model is of them.
//! The crate is linked in, so the whole frame result can be read; a program that loads the plugin instead reads what C
//! reads, see `embed.c`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstvigil::meta;
use gstvigil::result::{FrameResult, Freshness};

/// Frames by what the model did with them.
#[derive(Default)]
struct Counts {
    fresh: AtomicU64,
    held: AtomicU64,
    absent: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let clip = std::env::args().nth(1).ok_or("usage: embed CLIP")?;
    gst::init()?;
    gstvigil::plugin::plugin_register_static()?;

    let pipeline = gst::parse::launch(
        "filesrc name=clip ! decodebin ! vigilinfer model=people ! vigiltrack ! fakesink name=sink",
    )?
    .downcast::<gst::Pipeline>()
    .map_err(|_| "the launch line is not a pipeline")?;
    pipeline.by_name("clip").ok_or("no element clip")?.set_property("location", clip);

    let counts = Arc::new(Counts::default());
    let pad = pipeline.by_name("sink").and_then(|e| e.static_pad("sink")).ok_or("no pad")?;
    let counted = Arc::clone(&counts);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(result) = info.buffer().and_then(|buffer| meta::get(buffer)) {
            on_frame(&result, &counted);
        }
        gst::PadProbeReturn::Ok
    });

    let played = play(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    played?;
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    println!("{} fresh, {} held, {} absent", count(&counts.fresh), count(&counts.held), count(&counts.absent));
    Ok(())
}

/// Runs in the streaming thread: what takes long belongs elsewhere.
fn on_frame(result: &FrameResult, counts: &Counts) {
    // No people on a frame that the model did not look at means nothing.
    let counter = match result.freshness {
        Freshness::Fresh => &counts.fresh,
        Freshness::Held { .. } => &counts.held,
        Freshness::Absent(_) => &counts.absent,
    };
    counter.fetch_add(1, Ordering::Relaxed);

    let mut line = format!("{} ms:", result.pts_ns.unwrap_or(0) / 1_000_000);
    for object in result.objects.iter().filter(|o| &*o.label == "Person") {
        let number = object.track.map_or(0, |track| track.id);
        line += &format!(" #{number} {:.0}%", 100.0 * f64::from(object.confidence));
    }
    println!("{line}");
}

/// Plays to the end of the clip.
fn play(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    // Why it failed, if it did, is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => return Err(error.error().to_string().into()),
            _ => {}
        }
    }
    Ok(())
}
