//! The frame result as a custom meta (`VigilFrameMeta`).

use std::sync::{Arc, OnceLock};

use crate::result::FrameResult;

/// Name of the custom meta.
pub const NAME: &str = "VigilFrameMeta";
const FIELD: &str = "result";

#[derive(Clone, Debug, glib::Boxed)]
#[boxed_type(name = "VigilFrameResult")]
struct Shared(Arc<FrameResult>);

/// Registers the meta, without tags: elements that scale or convert then keep it. The boxes stay right because they
/// are normalised.
pub fn register() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| gst::meta::CustomMeta::register(NAME, &[]));
}

/// The result on `buffer`.
pub fn get(buffer: &gst::BufferRef) -> Option<Arc<FrameResult>> {
    register();
    let meta = gst::meta::CustomMeta::from_buffer(buffer, NAME).ok()?;
    meta.structure().get::<Shared>(FIELD).ok().map(|s| s.0)
}

/// Puts `result` on `buffer`, in place of an earlier one.
pub fn set(buffer: &mut gst::BufferRef, result: Arc<FrameResult>) {
    register();
    if let Ok(mut meta) = gst::meta::CustomMeta::from_mut_buffer(buffer, NAME) {
        meta.mut_structure().set(FIELD, Shared(result));
    } else if let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, NAME) {
        meta.mut_structure().set(FIELD, Shared(result));
    }
}
