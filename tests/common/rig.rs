//! An element between two pads, with all that comes out of it in order.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use gst::prelude::*;

/// Something that came out.
#[derive(Debug, Clone)]
pub enum Item {
    Buffer(gst::Buffer),
    Event(gst::Event),
}

struct Log {
    items: Vec<Item>,
    /// What the next buffers are answered.
    answer: Result<gst::FlowSuccess, gst::FlowError>,
}

struct Out {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Out {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    fn take(&self, item: Item) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut log = self.log();
        log.items.push(item);
        self.changed.notify_all();
        log.answer
    }
}

/// A playing element with always pads `sink` and `src`; back in NULL when dropped.
pub struct Rig {
    pub element: gst::Element,
    pub bus: gst::Bus,
    src: gst::Pad,
    sink: gst::Pad,
    out: Arc<Out>,
}

impl Rig {
    pub fn new(element: &gst::Element) -> Self {
        let log = Log { items: Vec::new(), answer: Ok(gst::FlowSuccess::Ok) };
        let out = Arc::new(Out { log: Mutex::new(log), changed: Condvar::new() });
        let (for_buffers, for_events) = (Arc::clone(&out), Arc::clone(&out));
        // Without a template, a pad that has caps would take no others.
        let template =
            |name, way| gst::PadTemplate::new(name, way, gst::PadPresence::Always, &gst::Caps::new_any()).unwrap();
        let src = gst::Pad::from_template(&template("src", gst::PadDirection::Src));
        let sink = gst::Pad::builder_from_template(&template("sink", gst::PadDirection::Sink))
            .chain_function(move |_, _, buffer| for_buffers.take(Item::Buffer(buffer)))
            .event_function(move |_, _, event| {
                let _ = for_events.take(Item::Event(event));
                true
            })
            .build();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        src.link(&element.static_pad("sink").unwrap()).unwrap();
        element.static_pad("src").unwrap().link(&sink).unwrap();
        sink.set_active(true).unwrap();
        element.set_state(gst::State::Playing).unwrap();
        src.set_active(true).unwrap();
        Self { element: element.clone(), bus, src, sink, out }
    }

    /// Starts a stream of `caps`.
    pub fn start(&self, caps: &gst::Caps) {
        assert!(self.event(gst::event::StreamStart::new("rig")));
        assert!(self.event(gst::event::Caps::new(caps)));
        self.segment();
    }

    /// Starts a segment in time.
    pub fn segment(&self) {
        assert!(self.event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    }

    pub fn event(&self, event: gst::Event) -> bool {
        self.src.push_event(event)
    }

    pub fn push(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.src.push(buffer)
    }

    /// What the pad behind the element says to buffers from here on.
    pub fn answer(&self, answer: Result<gst::FlowSuccess, gst::FlowError>) {
        self.out.log().answer = answer;
    }

    /// Takes the pad behind the element away.
    pub fn unlink(&self) {
        self.element.static_pad("src").unwrap().unlink(&self.sink).unwrap();
    }

    /// Brings the pad behind the element back.
    pub fn link(&self) {
        self.element.static_pad("src").unwrap().link(&self.sink).unwrap();
    }

    /// Ends the stream, waits until its end is out, and returns all that came out since the last call.
    pub fn finish(&self) -> Vec<Item> {
        assert!(self.event(gst::event::Eos::new()));
        let ended =
            |log: &Log| log.items.iter().any(|i| matches!(i, Item::Event(e) if e.type_() == gst::EventType::Eos));
        let mut log = self.out.changed.wait_while(self.out.log(), |log| !ended(log)).unwrap();
        std::mem::take(&mut log.items)
    }

    /// What came out since the last call.
    pub fn take(&self) -> Vec<Item> {
        std::mem::take(&mut self.out.log().items)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let stopped = self.element.set_state(gst::State::Null);
        self.element.set_bus(None);
        let _ = self.src.set_active(false);
        let _ = self.sink.set_active(false);
        let _ = self.src.unlink(&self.element.static_pad("sink").unwrap());
        let _ = self.element.static_pad("src").unwrap().unlink(&self.sink);
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

/// The buffers among `items`.
pub fn buffers(items: &[Item]) -> Vec<&gst::Buffer> {
    items.iter().filter_map(|i| if let Item::Buffer(b) = i { Some(b) } else { None }).collect()
}
