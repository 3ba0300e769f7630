//! The element `vigiltestmodel`: it says what a model would that sees twelve persons, and is as sure as a test wants it to be.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::{Arc, LazyLock, Mutex, Once};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::base_transform::BaseTransformMode;
use gst_base::subclass::prelude::*;
use gstvigil::meta;
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};

/// Seconds of the stream after which it is as sure as the property `then` says, and no longer as `sure` says.
pub const CHANGE: u64 = 60;
/// Windows of a second of the stream, and as many to learn from as there must be, all at any time of the day.
pub const DRIFT: [(&str, &str); 4] = [
    ("window", "1000000000"),
    ("learn-time", "48000000000"),
    ("day-parts", "1"),
    ("false-alarm-interval", "360000000000000"),
];
/// A source of 25 frames a second in its own time, which passes some twenty times as fast.
pub const SOURCE: &str =
    "videotestsrc ! video/x-raw,format=NV12,width=64,height=48,framerate=25/1 ! identity sleep-time=2000";

#[derive(Default)]
pub struct Imp {
    /// Confidence before the change and after it.
    sure: Mutex<[f32; 2]>,
}

gst::glib::wrapper! {
    pub struct TestModel(ObjectSubclass<Imp>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

#[gst::glib::object_subclass]
impl ObjectSubclass for Imp {
    const NAME: &'static str = "VigilTestModel";
    type Type = TestModel;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Imp {
    fn properties() -> &'static [gst::glib::ParamSpec] {
        static SPECS: LazyLock<Vec<gst::glib::ParamSpec>> = LazyLock::new(|| {
            let confidence = |name| {
                let spec = gst::glib::ParamSpecFloat::builder(name).minimum(0.0).maximum(1.0);
                spec.default_value(0.8).construct().build()
            };
            vec![confidence("sure"), confidence("then")]
        });
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &gst::glib::Value, pspec: &gst::glib::ParamSpec) {
        self.sure.lock().unwrap()[usize::from(pspec.name() == "then")] = value.get().unwrap();
    }

    fn property(&self, _id: usize, pspec: &gst::glib::ParamSpec) -> gst::glib::Value {
        self.sure.lock().unwrap()[usize::from(pspec.name() == "then")].to_value()
    }
}

impl GstObjectImpl for Imp {}

impl ElementImpl for Imp {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Test model",
                "Filter/Analyzer/Video",
                "Says what a test wants",
                "Vigil",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let ways = [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)];
            let template =
                |(name, way)| gst::PadTemplate::new(name, way, gst::PadPresence::Always, &gst::Caps::new_any());
            ways.map(|way| template(way).unwrap()).into()
        });
        TEMPLATES.as_slice()
    }
}

impl BaseTransformImpl for Imp {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let time_ns = buffer.pts().ok_or(gst::FlowError::Error)?.nseconds();
        let confidence = self.sure.lock().unwrap()[usize::from(time_ns >= CHANGE * 1_000_000_000)];
        meta::set(buffer, Arc::new(result(time_ns, confidence)), false);
        Ok(gst::FlowSuccess::Ok)
    }
}

/// Twelve persons, somewhere.
fn result(time_ns: u64, confidence: f32) -> FrameResult {
    let mut noise = time_ns;
    // A number of 0..1 that is as good as random.
    let mut random = move || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 40) as f32 / (1_u64 << 24) as f32
    };
    let person = |id| {
        let bbox = BBox { x: 0.5 * random(), y: 0.3, w: 0.1 + 0.1 * random(), h: 0.3 };
        Object::new(id, 0, "person".into(), confidence + 0.1 * (random() - 0.5), bbox)
    };
    FrameResult {
        running_time_ns: Some(time_ns),
        freshness: Freshness::Fresh,
        model: Some(Arc::new(ModelId { name: "people".into(), release: "1".into(), digest: "ab".repeat(32) })),
        objects: (0..12).map(person).collect(),
        ..FrameResult::absent(AbsentReason::Skipped, (64, 48))
    }
}

/// Makes the element known to this process.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::Element::register(None, "vigiltestmodel", gst::Rank::NONE, TestModel::static_type()).unwrap();
    });
}
