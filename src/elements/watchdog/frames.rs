//! What the watchdog does to buffers: it keeps the untouched one, and marks the one that the chain gets.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::buffer::BufferMetaForeachAction;
use gst::meta::MetaTransformCopy;
use gst::{BufferCopyFlags, ReferenceTimestampMeta};

use super::CAT;

/// How a watchdog numbers the frames in its chain: by a reference timestamp that has the number for its time. That meta costs
/// little, and elements which make new buffers of old ones keep it.
pub struct Marker(gst::Caps);

/// A buffer of its own over the same memory, to be kept while the chain has `buffer`.
///
/// The chain gets the original, so that what it gives back is the pool's own buffer with nobody else's hands on its memory
/// once this copy is gone. While both live, the memory counts as shared, and whoever draws on either gets a copy of it.
pub fn keep(buffer: &gst::BufferRef) -> gst::Buffer {
    let mut kept = gst::Buffer::new();
    if let Some(kept) = kept.get_mut() {
        for memory in buffer.iter_memories_owned() {
            // Memory that may not be shared goes back to its driver with its buffer, whoever still looks at it.
            let alone = memory.flags().contains(gst::MemoryFlags::NO_SHARE);
            kept.append_memory(if alone { memory.copy_range(..) } else { memory });
        }
        // Fails for a range outside the buffer only, and this is all of it.
        let _ = buffer.copy_into(kept, BufferCopyFlags::FLAGS | BufferCopyFlags::TIMESTAMPS, ..);
        // One by one: together, without their memory, they leave behind what is about the memory, such as where rows begin.
        let all = MetaTransformCopy::new(..);
        for meta in buffer.iter_meta::<gst::Meta>() {
            if let Err(error) = meta.transform(kept, &all) {
                gst::debug!(CAT, "an untouched frame will lack {}: {error}", meta.api());
            }
        }
    }
    kept
}

impl Default for Marker {
    /// A marker unlike all others: there may be a watchdog in a watchdog.
    fn default() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        Self(gst::Caps::builder("timestamp/x-vigil-watchdog").field("id", id).build())
    }
}

impl Marker {
    /// Writes a frame's number on the buffer.
    pub fn mark(&self, buffer: &mut gst::BufferRef, number: u64) {
        ReferenceTimestampMeta::add(buffer, &self.0, gst::ClockTime::from_nseconds(number), None);
    }

    fn is_own(&self, meta: &ReferenceTimestampMeta) -> bool {
        std::ptr::eq(meta.reference().as_ptr(), self.0.as_ptr())
    }

    /// The number that was written on the buffer, or on the one that it was made of.
    pub fn number(&self, buffer: &gst::BufferRef) -> Option<u64> {
        let mut marks = buffer.iter_meta::<ReferenceTimestampMeta>();
        marks.find(|meta| self.is_own(meta)).map(|meta| meta.timestamp().nseconds())
    }

    /// Makes what the chain gave back a frame that leaves: without the mark, with the times that it came with.
    pub fn finish(&self, mut buffer: gst::Buffer, original: &gst::BufferRef) -> gst::Buffer {
        let changed = buffer.make_mut();
        changed.foreach_meta_mut(|mut meta| {
            let own = meta.downcast_ref::<ReferenceTimestampMeta>().is_some_and(|meta| self.is_own(meta));
            ControlFlow::Continue(if own { BufferMetaForeachAction::Remove } else { BufferMetaForeachAction::Keep })
        });
        changed.set_pts(original.pts());
        changed.set_dts(original.dts());
        changed.set_duration(original.duration());
        buffer
    }
}
