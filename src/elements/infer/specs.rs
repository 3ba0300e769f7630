//! The properties of `vigilinfer` as GObject wants them: names, texts, limits.

use std::sync::LazyLock;

use glib::prelude::*;
use gst_video::VideoOrientationMethod;

use super::properties::{Busy, Region, Settings};
use super::{isolation, trials};
use crate::cascade::Rules;
use crate::model::MAX_BATCH;

/// All of them, in the order in which they are listed.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = engine_specs();
    specs.extend(isolation::specs());
    specs.extend(trials::specs());
    specs.extend(frame_specs());
    specs.extend(object_specs());
    specs
});

/// What the engine is made from; changes take effect when the element leaves READY.
fn engine_specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    vec![
        glib::ParamSpecString::builder("model")
            .nick("Model")
            .blurb("Bundle folder, .vigil archive, .onnx file, or the name of an installed bundle (NAME or NAME@RELEASE); one that is set while frames flow is proven before it takes the old one's place")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("provider")
            .nick("Execution provider")
            .blurb("auto (the bundle's order), cpu, cuda, tensorrt or openvino; one that is absent is an error")
            .default_value(Some("auto"))
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("threads")
            .nick("Threads")
            .blurb("CPU threads that the engine may use in all (0 = one per processor)")
            .maximum(1024)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-in-flight")
            .nick("Maximum in flight")
            .blurb("Frames that may be in the engine at once; 1 gives the least delay, more the most frames per second (0 = one more than threads); elements with when-busy=hold share an engine whatever it is, but for 1")
            .maximum(256)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-batch")
            .nick("Maximum batch")
            .blurb("Most frames of all elements that share the engine which go into one run, where the model takes several (0 = as many as pay, which is measured at the start; 1 = each frame has a run of its own)")
            .maximum(MAX_BATCH as u32)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("ort-library")
            .nick("ONNX Runtime library")
            .blurb("File of libonnxruntime.so (unset = VIGIL_ORT_LIBRARY, then beside the plugin, then the set-up's folder, then the system)")
            .mutable_ready()
            .build(),
    ]
}

/// How frames are treated; changes take effect with the next frame.
fn frame_specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let flag = |name: &str, nick: &str, blurb: &str, default: bool| {
        glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
    };
    let threshold = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecFloat::builder(name)
            .nick(nick)
            .blurb(blurb)
            .minimum(-1.0)
            .maximum(1.0)
            .default_value(-1.0)
            .mutable_playing()
            .build()
    };
    vec![
        glib::ParamSpecUInt64::builder("engine-timeout")
            .nick("Engine timeout")
            .blurb("Longest time in nanoseconds that one run of the model may take; the frame of one that takes longer goes on without analysis (0 = no limit)")
            .default_value(Settings::default().engine_timeout)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("interval")
            .nick("Interval")
            .blurb("Frames to skip between two that are analysed; skipped ones hold the last result")
            .maximum(10_000)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder::<Busy>("when-busy")
            .nick("When busy")
            .blurb("What to do with a frame while max-in-flight frames are in the engine, or others that share it come first")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("weight")
            .nick("Weight")
            .blurb("Frames that are looked at for each one of an element of weight 1, where elements with when-busy=hold share an engine that cannot look at all")
            .minimum(1)
            .maximum(100)
            .default_value(1)
            .mutable_playing()
            .build(),
        glib::ParamSpecDouble::builder("max-fps")
            .nick("Maximum frames per second")
            .blurb("Most frames a second that are looked at, by their times; others hold the last result (0 = no limit)")
            .maximum(1000.0)
            .minimum(0.0)
            .mutable_playing()
            .build(),
        threshold(
            "confidence",
            "Confidence",
            "Lowest confidence of an object, 0..1, for all classes (-1 = the bundle's)",
        ),
        threshold("iou", "IoU", "Overlap over which two boxes of a class are one object, 0..1 (-1 = the bundle's)"),
        glib::ParamSpecInt::builder("max-objects")
            .nick("Maximum objects")
            .blurb("Most objects per frame, the most confident are kept (-1 = the bundle's)")
            .minimum(-1)
            .maximum(100_000)
            .default_value(-1)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("orientation", VideoOrientationMethod::Auto)
            .nick("Orientation")
            .blurb("How the picture is turned for the model; auto = as the stream's image-orientation tag says. Coordinates stay those of the stream")
            .mutable_playing()
            .build(),
        flag("mirror-roi", "Mirror as ROI", "Attach the objects as GstVideoRegionOfInterestMeta too", true),
        flag("post-messages", "Post messages", "Post an element message vigil-result for each frame", false),
        flag("emit-signals", "Emit signals", "Emit the signal result for each frame", false),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counts of frames and times of each stage in nanoseconds, since the element was made")
            .read_only()
            .build(),
        gst::ParamSpecArray::builder("swap-history")
            .nick("Swap history")
            .blurb("The last 32 records of swaps, oldest first, as the messages vigil-model have them")
            .read_only()
            .build(),
    ]
}

/// Which objects are looked at, with `inference-region=objects`; changes take effect with the next frame.
fn object_specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Rules::default();
    let number = |name: &str, nick: &str, blurb: &str, most: f32, default: f32| {
        glib::ParamSpecFloat::builder(name)
            .nick(nick)
            .blurb(blurb)
            .minimum(0.0)
            .maximum(most)
            .default_value(default)
            .mutable_playing()
            .build()
    };
    vec![
        glib::ParamSpecEnum::builder::<Region>("inference-region")
            .nick("Inference region")
            .blurb("What the model looks at: whole frames, or the objects that were found before")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("object-class")
            .nick("Object class")
            .blurb("Labels of the objects to look at, separated by commas (unset = all)")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("object-min-size")
            .nick("Minimum object size")
            .blurb("Objects whose shorter side has fewer pixels are not looked at")
            .maximum(32_768)
            .default_value(defaults.min_size)
            .mutable_playing()
            .build(),
        number(
            "object-min-confidence",
            "Minimum object confidence",
            "Objects of less confidence, 0..1, are not looked at",
            1.0,
            defaults.min_confidence,
        ),
        number(
            "object-margin",
            "Object margin",
            "Part of the box's width and height, 0..1 or more, that is looked at around it on each side",
            4.0,
            defaults.margin,
        ),
        glib::ParamSpecUInt::builder("object-max")
            .nick("Maximum objects looked at")
            .blurb("Most objects per frame that are looked at; those that have waited longest come first")
            .minimum(1)
            .maximum(1024)
            .default_value(u32::try_from(defaults.most).unwrap_or(u32::MAX))
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("reinfer-time")
            .nick("Re-inference time")
            .blurb("Time in nanoseconds after which a tracked object is looked at again (0 = on every frame, maximum = never for its age); others are looked at on every frame")
            .default_value(defaults.again_ns)
            .mutable_playing()
            .build(),
        number(
            "reinfer-growth",
            "Re-inference growth",
            "Factor by which the area in pixels of a tracked object must have grown to be looked at again (0 = never for its size)",
            1000.0,
            defaults.growth,
        ),
    ]
}
