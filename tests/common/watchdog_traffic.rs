//! What went into a watchdog and what came out, and the rules that hold between them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gstvigil::result::{AbsentReason, Freshness};

/// Milliseconds of a frame.
pub const PERIOD: u64 = 40;
/// Pixels of a side, RGB.
pub const SIDE: u32 = 4;
/// Bytes of a frame.
pub const SIZE: usize = (SIDE * SIDE * 3) as usize;

/// A frame on its way in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub number: u64,
    pub times: (Option<gst::ClockTime>, Option<gst::ClockTime>, Option<gst::ClockTime>),
    /// Where its first memory lies.
    memory: usize,
    /// Nobody has written on it.
    pristine: bool,
    /// It is its own picture, with what `vigilfaulty` does to it or without.
    own: bool,
    /// Whether it has a result, and why there is no analysis if that says so.
    pub absent: Option<AbsentReason>,
}

impl Frame {
    fn read(buffer: &gst::Buffer) -> Self {
        let map = buffer.map_readable().unwrap();
        // Its offset is lost where the chain makes a new buffer.
        let number = buffer.pts().map_or(u64::MAX, |time| time.mseconds() / PERIOD);
        let (value, rest) = (number as u8, &map[1..]);
        let whole = map.len() == SIZE && rest.iter().all(|byte| *byte == value);
        let result = gstvigil::meta::get(buffer);
        Self {
            number,
            times: (buffer.pts(), buffer.dts(), buffer.duration()),
            memory: buffer.peek_memory(0).as_ptr() as usize,
            pristine: whole && map[0] == value,
            own: whole && (map[0] == value || map[0] == !value),
            absent: result.and_then(|r| if let Freshness::Absent(why) = r.freshness { Some(why) } else { None }),
        }
    }

    /// Whether the chain has worked on it.
    pub fn analysed(&self) -> bool {
        self.absent.is_none()
    }
}

/// What went in or came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Frame(Frame),
    /// A serialised event, as text.
    Event(String),
    /// The end of a flush.
    Flush,
}

impl Item {
    fn event(event: &gst::Event) -> Self {
        let about = event.structure().map(|s| s.to_string()).unwrap_or_default();
        Self::Event(format!("{:?} {about}", event.type_()))
    }

    /// What has to be the same on both sides.
    pub fn key(&self) -> String {
        match self {
            Self::Frame(frame) => format!("frame {}", frame.number),
            Self::Event(text) => text.clone(),
            Self::Flush => "flush".to_owned(),
        }
    }
}

pub enum Feed {
    Buffer(gst::Buffer),
    Event(gst::Event),
}

#[derive(Default)]
pub struct Traffic {
    /// What waits for the thread that pushes.
    pub feed: VecDeque<Feed>,
    pub feeding: bool,
    pub stop: bool,
    pub sent: Vec<Item>,
    pub out: Vec<Item>,
    /// What upstream was told, other than that all is well.
    pub answers: Vec<gst::FlowError>,
    /// Upstream events that reached the source.
    pub upstream: Vec<gst::EventType>,
}

#[derive(Default)]
pub struct Shared {
    traffic: Mutex<Traffic>,
    pub changed: Condvar,
}

impl Shared {
    pub fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut Traffic)) {
        change(&mut self.traffic());
        self.changed.notify_all();
    }
}

fn pad(name: &str, way: gst::PadDirection) -> gst::PadTemplate {
    gst::PadTemplate::new(name, way, gst::PadPresence::Always, &gst::Caps::new_any()).unwrap()
}

pub fn source(shared: &Arc<Shared>) -> gst::Pad {
    let shared = Arc::clone(shared);
    gst::Pad::builder_from_template(&pad("src", gst::PadDirection::Src))
        .event_function(move |_, _, event| {
            shared.change(|traffic| traffic.upstream.push(event.type_()));
            true
        })
        .build()
}

pub fn sink(shared: &Arc<Shared>) -> gst::Pad {
    let (for_buffers, for_events) = (Arc::clone(shared), Arc::clone(shared));
    gst::Pad::builder_from_template(&pad("sink", gst::PadDirection::Sink))
        .chain_function(move |_, _, buffer| {
            let frame = Item::Frame(Frame::read(&buffer));
            for_buffers.change(|traffic| traffic.out.push(frame));
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(move |_, _, event| {
            if event.type_() == gst::EventType::FlushStop {
                for_events.change(|traffic| traffic.out.push(Item::Flush));
            } else if event.is_serialized() {
                for_events.change(|traffic| traffic.out.push(Item::event(&event)));
            }
            true
        })
        .build()
}

/// Pushes what is to be fed, until it is told to stop.
pub fn feed(shared: &Shared, src: &gst::Pad) {
    loop {
        let mut traffic = shared.traffic();
        traffic.feeding = false;
        shared.changed.notify_all();
        while traffic.feed.is_empty() && !traffic.stop {
            traffic = shared.changed.wait(traffic).unwrap_or_else(PoisonError::into_inner);
        }
        if traffic.stop {
            return;
        }
        traffic.feeding = true;
        let Some(item) = traffic.feed.pop_front() else { continue };
        // Before it is pushed, so that it never comes out before it went in.
        traffic.sent.push(match &item {
            Feed::Buffer(buffer) => Item::Frame(Frame::read(buffer)),
            Feed::Event(event) => Item::event(event),
        });
        drop(traffic);
        let answer = match item {
            Feed::Buffer(buffer) => src.push(buffer).err(),
            Feed::Event(event) => {
                src.push_event(event);
                None
            }
        };
        if let Some(error) = answer {
            shared.change(|traffic| traffic.answers.push(error));
        }
    }
}

/// What came out is what went in, whatever the chain does.
#[track_caller]
pub fn check(sent: &[Item], out: &[Item], marked: bool, story: &str) {
    let parts = |items: &[Item]| items.split(|i| *i == Item::Flush).map(<[Item]>::to_vec).collect::<Vec<_>>();
    let (sent, out) = (parts(sent), parts(out));
    assert_eq!(sent.len(), out.len(), "flushes\n{story}");
    let mut carried = Vec::new();
    for (at, (sent_part, out_part)) in sent.iter().zip(&out).enumerate() {
        let sent_keys = keys(sent_part);
        let out_part = without(out_part, &sent_keys, &carried);
        let out_keys = keys(&out_part);
        // A flush and a stop may cost what was on its way, and nothing else.
        let cut = at + 1 < sent.len();
        let expected = if cut { out_keys.len().min(sent_keys.len()) } else { sent_keys.len() };
        assert_eq!(out_keys, sent_keys[..expected], "part {at} of what came out and went in\n{story}");
        for pair in sent_part.iter().zip(&out_part) {
            if let (Item::Frame(sent), Item::Frame(out)) = pair {
                check_frame(sent, out, marked);
            }
        }
        carried = sent_keys.into_iter().filter(|key| lasts(key)).collect();
    }
}

/// Whether an event holds on after a flush.
fn lasts(key: &str) -> bool {
    ["StreamStart ", "Caps ", "Tag "].iter().any(|kind| key.starts_with(kind))
}

/// What came out without events of before the flush: what describes the stream and was on its way is still told after it, before
/// the first frame. Where the flush met it on a pad, GStreamer may tell it a second time.
fn without(out: &[Item], sent: &[String], carried: &[String]) -> Vec<Item> {
    let mut kept: Vec<Item> = Vec::new();
    for (at, item) in out.iter().enumerate() {
        if let Item::Frame(_) = item {
            kept.extend_from_slice(&out[at..]);
            break;
        }
        let key = item.key();
        if sent.get(kept.len()) == Some(&key) || !carried.contains(&key) {
            kept.push(item.clone());
        }
    }
    kept
}

fn keys(items: &[Item]) -> Vec<String> {
    items.iter().map(Item::key).collect()
}

/// A frame is as it was, or the chain has worked on it.
#[track_caller]
fn check_frame(sent: &Frame, out: &Frame, marked: bool) {
    assert_eq!(sent.times, out.times, "times of {out:?}");
    if out.absent.is_some() {
        assert!(out.pristine, "a frame that says it is untouched is not: {out:?}");
        assert_eq!(sent.memory, out.memory, "an untouched frame was copied: {out:?}");
    } else if marked {
        assert!(out.own && !out.pristine, "another picture, or one that does not say it is untouched: {out:?}");
    }
}
