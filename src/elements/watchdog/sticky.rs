//! The events that a new chain must see before its first frame.

use glib::translate::IntoGlib;

/// The sticky events of a stream, in the order in which they are sent.
#[derive(Debug, Default)]
pub struct Sticky(Vec<gst::Event>);

impl Sticky {
    /// Keeps an event if it is sticky, in place of an earlier one of its kind.
    pub fn keep(&mut self, event: &gst::Event) {
        let kind = event.type_();
        if !event.is_sticky() {
            return;
        }
        if kind == gst::EventType::StreamStart {
            self.forget(&[gst::EventType::Eos, gst::EventType::StreamGroupDone, gst::EventType::Tag]);
        }
        let name = |e: &gst::Event| e.structure().map(|s| s.name().to_string());
        let same = |e: &gst::Event| e.type_() == kind && (!kind.is_sticky_multi() || name(e) == name(event));
        match self.0.iter_mut().find(|e| same(e)) {
            Some(old) => *old = event.clone(),
            None => {
                // The values of the types are in the order in which the events have to come.
                let place = self.0.partition_point(|e| e.type_().into_glib() <= kind.into_glib());
                self.0.insert(place, event.clone());
            }
        }
    }

    /// Forgets what a flush ends.
    pub fn flush(&mut self) {
        self.forget(&[gst::EventType::Eos, gst::EventType::StreamGroupDone, gst::EventType::Segment]);
    }

    fn forget(&mut self, kinds: &[gst::EventType]) {
        self.0.retain(|e| !kinds.contains(&e.type_()));
    }

    /// The events.
    pub fn all(&self) -> impl Iterator<Item = gst::Event> + '_ {
        self.0.iter().cloned()
    }
}
