//! A camera whose model is replaced while its frames flow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::result::FrameResult;

use super::{caps, frame, init, result};

/// Far longer than anything here takes; a test that waits for it fails.
pub const LONG: Duration = Duration::from_secs(60);
/// On it `blob.onnx` and its kin find one object, which is all of the frame.
pub const RED: (u8, u8, u8) = (255, 0, 0);
/// On it the models that misbehave once it is bright do.
pub const BRIGHT: (u8, u8, u8) = (255, 140, 0);
/// A probation that ends after a few frames.
pub const QUICK: &str = "probation-time=0 probation-frames=5";

/// A `vigilinfer` between two pads of the test.
pub struct Camera {
    pub harness: Harness,
    pub element: gst::Element,
    pub bus: gst::Bus,
    pub caps: gst::Caps,
    pub frames: u64,
    /// What its frames are.
    pub color: (u8, u8, u8),
    /// Results of the frames since the last look at them.
    pub results: Vec<Arc<FrameResult>>,
    /// How often it has said that its latency is another one.
    pub latencies: u32,
    messages: Vec<gst::Structure>,
}

impl Camera {
    pub fn start(model: &str, properties: &str) -> Self {
        init();
        let line = format!("vigilinfer name=eye model=\"{model}\" {properties}");
        let element = gst::parse::launch(&line).unwrap();
        Self::around(&element, element.clone())
    }

    /// With `before` in front of it, which is no `vigilinfer` called `eye`.
    pub fn behind(before: &str, model: &str, properties: &str) -> Self {
        init();
        let line = format!("{before} ! vigilinfer name=eye model=\"{model}\" {properties}");
        let bin = gst::parse::bin_from_description(&line, true).unwrap();
        let element = bin.by_name("eye").unwrap();
        Self::around(bin.upcast_ref(), element)
    }

    fn around(whole: &gst::Element, element: gst::Element) -> Self {
        let bus = gst::Bus::new();
        whole.set_bus(Some(&bus));
        if whole.set_state(gst::State::Paused).is_err() {
            let told = super::messages(&bus, gst::MessageType::Error).pop().unwrap();
            let gst::MessageView::Error(error) = told.view() else { unreachable!() };
            panic!("it does not start: {}", error.error());
        }
        let mut harness = Harness::with_element(whole, Some("sink"), Some("src"));
        let caps = caps(VideoFormat::Rgb, 160, 120);
        harness.play();
        harness.set_src_caps(caps.clone());
        Self {
            harness,
            element,
            bus,
            caps,
            frames: 0,
            color: RED,
            results: Vec::new(),
            latencies: 0,
            messages: Vec::new(),
        }
    }

    /// One frame through the element: the next one that comes out is this one.
    pub fn look(&mut self) -> Arc<FrameResult> {
        self.harness.push(frame(&self.caps, self.color, self.frames)).unwrap();
        let buffer = self.harness.pull().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(40 * self.frames)), "frames keep their order");
        self.frames += 1;
        let result = result(&buffer);
        self.results.push(Arc::clone(&result));
        result
    }

    pub fn swap(&self, model: &str) -> u64 {
        self.swap_with(model, None)
    }

    pub fn swap_with(&self, model: &str, options: Option<gst::Structure>) -> u64 {
        self.element.emit_by_name("swap-model", &[&model, &options])
    }

    fn pump(&mut self) {
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Element(message) => {
                    let content = message.structure().unwrap();
                    if ["vigil-model", "vigil-shadow"].contains(&content.name().as_str()) {
                        self.messages.push(content.to_owned());
                    }
                }
                gst::MessageView::Error(error) => panic!("{error:?}"),
                gst::MessageView::Latency(_) => self.latencies += 1,
                _ => {}
            }
        }
    }

    /// Lets frames flow until a message is as `wanted` says; it, with all that came before it.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&gst::Structure) -> bool) -> Vec<gst::Structure> {
        let end = Instant::now() + LONG;
        loop {
            self.pump();
            if let Some(at) = self.messages.iter().position(&wanted) {
                return self.messages.drain(..=at).collect();
            }
            assert!(Instant::now() < end, "waited in vain for {what}; so far: {:#?}", self.messages);
            self.look();
            // Loads in other threads and processes need the processors too.
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Lets frames flow until request `number` has ended; its messages.
    #[track_caller]
    pub fn outcome(&mut self, number: u64) -> Vec<gst::Structure> {
        let ends = |s: &gst::Structure| {
            id(s) == number && ["confirmed", "rejected", "rolled-back"].contains(&text(s, "phase").as_str())
        };
        let mut all = self.until(&format!("the end of request {number}"), ends);
        all.retain(|s| s.name() == "vigil-model" && id(s) == number);
        all
    }

    /// Asks for a model by the signal, and waits for the end; phase and reason of the last message.
    #[track_caller]
    pub fn swapped(&mut self, model: &str) -> (String, String) {
        let number = self.swap(model);
        let last = self.outcome(number).pop().unwrap();
        (text(&last, "phase"), text(&last, "reason"))
    }

    pub fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }

    /// The stem of the model's file, or the bundle's name, that looks at frames.
    pub fn active(&self) -> String {
        text(&self.stats(), "model")
    }
}

/// A text in a structure; empty where there is none.
pub fn text(s: &gst::StructureRef, field: &str) -> String {
    s.get::<String>(field).unwrap_or_default()
}

pub fn id(s: &gst::StructureRef) -> u64 {
    s.get("request-id").unwrap_or(0)
}

/// The phases of messages, in order.
pub fn phases(messages: &[gst::Structure]) -> Vec<String> {
    messages.iter().map(|s| text(s, "phase")).collect()
}
