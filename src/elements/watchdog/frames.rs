//! What the watchdog does to buffers: it keeps the untouched one, and marks the one that the chain gets.

use std::sync::OnceLock;

use gst::BufferCopyFlags;

/// Name of the custom meta that carries a frame's number through the chain.
const MARK: &str = "VigilWatchdogMark";

fn register() {
    static ONCE: OnceLock<()> = OnceLock::new();
    // Without tags, so that elements which scale or convert keep it.
    ONCE.get_or_init(|| gst::meta::CustomMeta::register(MARK, &[]));
}

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
        let rest = BufferCopyFlags::FLAGS | BufferCopyFlags::TIMESTAMPS | BufferCopyFlags::META;
        // Fails for a range outside the buffer only, and this is all of it.
        let _ = buffer.copy_into(kept, rest, ..);
    }
    kept
}

/// Writes the watchdog's (`id`) number for this frame on the buffer.
pub fn mark(buffer: &mut gst::BufferRef, id: &str, number: u64) {
    register();
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(buffer, MARK) {
        meta.mut_structure().set(id, number);
    } else if let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, MARK) {
        meta.mut_structure().set(id, number);
    }
}

/// The number that the watchdog `id` wrote on the buffer.
pub fn number(buffer: &gst::BufferRef, id: &str) -> Option<u64> {
    register();
    gst::meta::CustomMeta::from_buffer(buffer, MARK).ok()?.structure().get(id).ok()
}

/// Makes what the chain gave back a frame that leaves: without the mark, with the times that it came with.
pub fn finish(mut buffer: gst::Buffer, original: &gst::BufferRef, id: &str) -> gst::Buffer {
    let changed = buffer.make_mut();
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(changed, MARK) {
        meta.mut_structure().remove_field(id);
        // Another watchdog around this one may have its own number there.
        if meta.structure().n_fields() == 0 {
            let _ = meta.remove();
        }
    }
    changed.set_pts(original.pts());
    changed.set_dts(original.dts());
    changed.set_duration(original.duration());
    buffer
}
