//! A camera's pictures on a pad of `vigilsite`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::gstutil::lock;
use crate::site::live::feed::{Consumer, Feed, Frame, Subscription};

/// Pictures that wait for a consumer that is slow; the oldest goes when one more comes.
const WAITING: u64 = 2;

/// Where a camera's pictures enter the pipeline that the element is part of.
#[derive(Clone)]
struct Entry {
    source: gst_app::AppSrc,
    /// The stream on the pad has ended, and takes nothing more.
    ended: Arc<AtomicBool>,
}

impl Consumer for Entry {
    fn frame(&self, frame: &Frame) {
        let Some(mut buffer) = frame.sample.buffer_owned() else { return };
        {
            // Only the buffer's head is copied: pixels and metadata are shared with the other consumers.
            let buffer = buffer.make_mut();
            buffer.set_pts(None);
            buffer.set_dts(None);
            buffer.set_duration(None);
        }
        let sample = gst::Sample::builder().buffer(&buffer);
        let sample = match frame.sample.caps() {
            Some(caps) => sample.caps(&caps.to_owned()).build(),
            None => sample.build(),
        };
        if self.ended.swap(false, Ordering::SeqCst) {
            // On another thread: whoever hears it may take its time.
            self.source.call_async(|source| {
                gst::element_warning!(
                    source,
                    gst::StreamError::Failed,
                    ("The camera plays again, and this pad has ended: release it and request it anew")
                );
            });
        }
        // It is refused while the element stops, and after the end.
        let _ = self.source.push_sample(&sample);
    }

    fn ended(&self) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            let _ = self.source.end_of_stream();
        }
    }
}

/// A request pad and what is behind it.
pub struct Outgoing {
    /// The camera's id.
    pub camera: String,
    /// The pad.
    pub pad: gst::GhostPad,
    entry: Entry,
    subscription: Mutex<Option<Subscription>>,
}

impl Outgoing {
    /// Makes the pad `name` for `camera` and adds it to `bin`, in the bin's state.
    ///
    /// # Errors
    /// If GStreamer refuses, which it does for a second pad of the same name.
    pub fn add(bin: &gst::Bin, camera: &str, name: &str, template: &gst::PadTemplate) -> Result<Self, glib::BoolError> {
        let source = gst_app::AppSrc::builder()
            .name(format!("{name}_source"))
            .is_live(true)
            .format(gst::Format::Time)
            .do_timestamp(true)
            .max_buffers(WAITING)
            // Its own limit of bytes is less than two pictures.
            .max_bytes(0)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .build();
        bin.add(&source)?;
        let inner = source.static_pad("src").ok_or_else(|| glib::bool_error!("the source has no pad"))?;
        let pad = gst::GhostPad::builder_from_template_with_target(template, &inner)?.name(name).build();
        pad.set_active(true)?;
        bin.add_pad(&pad)?;
        source.sync_state_with_parent()?;
        let entry = Entry { source, ended: Arc::default() };
        Ok(Self { camera: camera.to_owned(), pad, entry, subscription: Mutex::default() })
    }

    /// Lets the pictures of `feed` in.
    pub fn open(&self, feed: &Arc<Feed>) {
        let subscription = feed.subscribe(Arc::new(self.entry.clone()));
        let earlier = lock(&self.subscription).replace(subscription);
        drop(earlier);
    }

    /// Lets no more pictures in.
    pub fn close(&self) {
        let gone = lock(&self.subscription).take();
        drop(gone);
    }

    /// Takes pad and source out of `bin`.
    pub fn remove(&self, bin: &gst::Bin) {
        self.close();
        let _ = self.entry.source.set_state(gst::State::Null);
        let _ = bin.remove_pad(&self.pad);
        let _ = bin.remove(&self.entry.source);
    }
}
