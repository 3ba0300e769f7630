//! The objects mirrored as `GstVideoRegionOfInterestMeta`, the way that other analytics elements read them.
//!
//! `roi_type` is the label, `id` the object's id in the frame; the param `detection` has `label`, `confidence`,
//! `label_id`, `x_min`, `x_max`, `y_min`, `y_max` (0..1) and, for tracked objects, `object_id`. Each attribute is a param
//! `attribute` with `name`, `label`, `confidence`; `parent_id` is the id of the object that it was found in.

use std::ops::ControlFlow;

use gst::buffer::BufferMetaForeachAction::{Keep, Remove};
use gst_video::VideoRegionOfInterestMeta as Roi;

use crate::result::{FrameResult, Object};

/// Rectangle in whole pixels: x, y, w, h, inside the frame.
pub fn pixels(object: &Object, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let b = object.bbox.clipped();
    let (w, h) = (width as f32, height as f32);
    let (x1, y1) = ((b.x * w).round() as u32, (b.y * h).round() as u32);
    let (x2, y2) = ((b.x2() * w).round() as u32, (b.y2() * h).round() as u32);
    (x1.min(width), y1.min(height), x2.saturating_sub(x1), y2.saturating_sub(y1))
}

fn detection(object: &Object) -> gst::Structure {
    let b = object.bbox;
    let mut s = gst::Structure::builder("detection")
        .field("label", &*object.label)
        .field("confidence", f64::from(object.confidence))
        .field("label_id", i32::try_from(object.class_id).unwrap_or(i32::MAX))
        .field("x_min", f64::from(b.x))
        .field("x_max", f64::from(b.x2()))
        .field("y_min", f64::from(b.y))
        .field("y_max", f64::from(b.y2()))
        .build();
    if let Some(track) = object.track {
        s.set("object_id", track.id);
    }
    s
}

/// Adds one meta per object.
pub fn add(buffer: &mut gst::BufferRef, result: &FrameResult) {
    for object in &result.objects {
        let mut meta = Roi::add(buffer, &object.label, pixels(object, result.width, result.height));
        meta.set_id(i32::try_from(object.id).unwrap_or(i32::MAX));
        if let Some(parent) = object.parent {
            meta.set_parent_id(i32::try_from(parent).unwrap_or(i32::MAX));
        }
        meta.add_param(detection(object));
        for attribute in &object.attributes {
            meta.add_param(super::structure::attribute(attribute));
        }
    }
}

/// Whether there is a name behind `roi_type`: elements may add a region without one, which the bindings cannot read.
fn has_type(roi: &Roi) -> bool {
    let raw: *const gst_video::ffi::GstVideoRegionOfInterestMeta = std::ptr::from_ref(roi).cast();
    // SAFETY: the binding's type is a transparent wrapper of that struct, and a plain number is read.
    unsafe { (*raw).roi_type != 0 }
}

/// Removes the metas that [`add`] made for `result`. They are known by id and label, since other elements drop params.
pub fn remove(buffer: &mut gst::BufferRef, result: &FrameResult) {
    buffer.foreach_meta_mut(|mut meta| {
        let ours = meta.downcast_ref::<Roi>().is_some_and(|roi| {
            u32::try_from(roi.id())
                .ok()
                .and_then(|id| result.objects.iter().find(|o| o.id == id))
                .is_some_and(|o| has_type(roi) && &*o.label == roi.roi_type())
        });
        ControlFlow::Continue(if ours { Remove } else { Keep })
    });
}
