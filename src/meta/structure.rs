//! The frame result as a `GstStructure`, for messages and signals in every language.

use crate::result::{Attribute, FrameResult, Freshness, Object};

fn object(o: &Object) -> gst::Structure {
    let mut s = gst::Structure::builder("object")
        .field("id", o.id)
        .field("label", &*o.label)
        .field("class-id", o.class_id)
        .field("confidence", o.confidence)
        .field("x", o.bbox.x)
        .field("y", o.bbox.y)
        .field("width", o.bbox.w)
        .field("height", o.bbox.h)
        .build();
    if let Some(track) = o.track {
        s.set("track", track.id);
    }
    if let Some(parent) = o.parent {
        s.set("parent", parent);
    }
    if !o.attributes.is_empty() {
        s.set("attributes", gst::List::new(o.attributes.iter().map(attribute)));
    }
    if !o.keypoints.is_empty() {
        let points = o.keypoints.iter().map(|k| point("keypoint", (k.x, k.y), Some(k.confidence)));
        s.set("keypoints", gst::List::new(points));
    }
    if let Some(corners) = o.corners {
        s.set("corners", gst::List::new(corners.map(|c| point("corner", c, None))));
    }
    s
}

fn point(name: &str, (x, y): (f32, f32), confidence: Option<f32>) -> gst::Structure {
    let mut s = gst::Structure::builder(name).field("x", x).field("y", y).build();
    if let Some(confidence) = confidence {
        s.set("confidence", confidence);
    }
    s
}

/// What a second model said about an object: `name`, `label`, `confidence`.
pub(super) fn attribute(a: &Attribute) -> gst::Structure {
    gst::Structure::builder("attribute")
        .field("name", &*a.name)
        .field("label", &*a.label)
        .field("confidence", a.confidence)
        .build()
}

/// `result` as a structure called `name`: `frame`, `pts`, `running-time` (ns, absent if unknown), `width`, `height`,
/// `freshness`, `age` (ns) or `reason` and `since` (ns since 1970 UTC, left out if unknown), `model`, `release`, `digest`,
/// and the lists `objects` and `classes` of structures. Coordinates are 0..1 of the frame.
pub fn from_result(name: &str, result: &FrameResult) -> gst::Structure {
    let mut s = gst::Structure::builder(name)
        .field("frame", result.frame)
        .field("width", result.width)
        .field("height", result.height)
        .field("freshness", result.freshness.as_str())
        .build();
    if let Some(pts) = result.pts_ns {
        s.set("pts", pts);
    }
    if let Some(time) = result.running_time_ns {
        s.set("running-time", time);
    }
    match result.freshness {
        Freshness::Fresh => {}
        Freshness::Held { age_ns } => s.set("age", age_ns),
        Freshness::Absent(reason) => {
            s.set("reason", reason.as_str());
            if let Some(since_ns) = result.absent_since_ns {
                s.set("since", since_ns);
            }
        }
    }
    if let Some(model) = &result.model {
        s.set("model", &model.name);
        s.set("release", &model.release);
        s.set("digest", &model.digest);
    }
    s.set("objects", gst::List::new(result.objects.iter().map(object)));
    let classes = result.classes.iter().map(|c| {
        gst::Structure::builder("class")
            .field("label", &*c.label)
            .field("class-id", c.class_id)
            .field("confidence", c.confidence)
            .build()
    });
    s.set("classes", gst::List::new(classes));
    s
}
