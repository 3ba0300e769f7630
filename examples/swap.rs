//! Replaces the model of a running pipeline in a Rust application: `cargo run --example swap -- OLD NEW`.
//!
//! OLD and NEW are bundles: folders, .vigil archives or names of installed ones. The pipeline plays with OLD; after a second
//! it is asked for NEW, by the element's signal. Once NEW is confirmed, a message on the bus asks for OLD again, as another
//! part of an application would. Each step of a swap is printed; the exit code is 0 if both swaps were confirmed. No frame
//! is lost meanwhile, and a model that is no good is never seen or goes by itself.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;

const LINE: &str = "videotestsrc is-live=true pattern=ball foreground-color=0xffff0000 background-color=0xff202020 \
                    ! video/x-raw,width=320,height=240,framerate=30/1 ! vigilinfer name=infer \
                    probation-time=1000000000 ! vigiltrack ! fakesink name=sink sync=true";
const FRAMES: u32 = 30;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(old), Some(new), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: swap OLD NEW");
        return Ok(ExitCode::from(2));
    };
    gst::init()?;
    gstvigil::plugin::plugin_register_static()?;

    let pipeline = gst::parse::launch(LINE)?.downcast::<gst::Pipeline>().map_err(|_| "the line is not a pipeline")?;
    let infer = pipeline.by_name("infer").ok_or("no element infer")?;
    infer.set_property("model", &old);

    // The probe runs in the streaming thread.
    let pad = pipeline.by_name("sink").and_then(|sink| sink.static_pad("sink")).ok_or("no pad")?;
    let (frames, weak) = (AtomicU32::new(0), pipeline.downgrade());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if frames.fetch_add(1, Ordering::Relaxed) + 1 == FRAMES
            && let Some(pipeline) = weak.upgrade()
        {
            post(&pipeline, gst::Structure::new_empty("enough-frames"));
        }
        gst::PadProbeReturn::Ok
    });

    let played = play(&pipeline, &infer, &old, &new);
    pipeline.set_state(gst::State::Null)?;
    Ok(if played? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Posts a message of the application's on the bus. From any thread, and without knowing the element, `vigil-swap-model`
/// asks for a model like that: whoever watches the bus passes it on.
fn post(pipeline: &gst::Pipeline, structure: gst::Structure) {
    // It fails only when nobody listens any more.
    let _ = pipeline.post_message(gst::message::Application::builder(structure).src(pipeline).build());
}

/// Asks for a model by the element's signal. Options may be left out (`None`). The call returns at once, with the request's
/// number.
fn ask_by_signal(infer: &gst::Element, model: &str) -> u64 {
    let options = gst::Structure::builder("options").field("probation-frames", 30u64).build();
    infer.emit_by_name("swap-model", &[&model, &Some(options)])
}

/// One line for a step: what it is, from which model to which, and why if it went wrong.
fn print_step(step: &gst::StructureRef) {
    let text = |key| step.get::<&str>(key).unwrap_or_default();
    let mut line = format!("{}: {} {}", text("phase"), text("old-name"), text("old-release"));
    // What the new one is called is known once it was read.
    if step.has_field("new-name") {
        line += &format!(" -> {} {}", text("new-name"), text("new-release"));
    }
    if step.has_field("reason") {
        line += &format!(" ({}: {})", text("reason"), text("text"));
    }
    println!("{line}");
}

/// Plays until both swaps are over; whether they were confirmed.
fn play(pipeline: &gst::Pipeline, infer: &gst::Element, old: &str, new: &str) -> Result<bool, Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    let mut confirmed = 0;
    // Why it failed, if it did, is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        if let gst::MessageView::Error(error) = message.view() {
            return Err(error.error().to_string().into());
        }
        let Some(said) = message.structure() else { continue };
        match said.name().as_str() {
            "enough-frames" => {
                ask_by_signal(infer, new);
            }
            "vigil-swap-model" => {
                // As an event it goes to the first vigilinfer on its way, or to the one that a field "element" names.
                pipeline.send_event(gst::event::CustomDownstream::new(said.to_owned()));
            }
            "vigil-model" => {
                print_step(said);
                match said.get("phase")? {
                    "rejected" | "rolled-back" => return Ok(false),
                    "confirmed" => confirmed += 1,
                    _ => continue,
                }
                if confirmed == 2 {
                    return Ok(true);
                }
                post(pipeline, gst::Structure::builder("vigil-swap-model").field("model", old).build());
            }
            _ => {}
        }
    }
    Ok(false)
}
