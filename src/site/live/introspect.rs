//! The elements of this machine, as GStreamer's registry and their classes tell of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;

use crate::gstutil::lock;
use crate::site::catalog::{Catalog, ElementInfo, PropertyInfo, PropertyKind, Unit};

/// GStreamer's registry. Each element is looked at once; none is made.
#[derive(Debug, Default)]
pub struct Registry {
    known: Mutex<HashMap<String, Option<Arc<ElementInfo>>>>,
}

impl Registry {
    /// The registry of this process; GStreamer must have been initialised.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Catalog for Registry {
    fn element(&self, factory: &str) -> Option<Arc<ElementInfo>> {
        let known = || lock(&self.known);
        if let Some(found) = known().get(factory) {
            return found.clone();
        }
        // Loads the plugin, so not under the lock.
        let found = look(factory).map(Arc::new);
        known().insert(factory.into(), found.clone());
        found
    }

    fn factories(&self) -> Vec<String> {
        // Not by their type: of the types that there are, an analyser is none.
        let all = gst::Registry::get().features(gst::ElementFactory::static_type());
        all.iter().map(|factory| factory.name().to_string()).collect()
    }
}

fn look(factory: &str) -> Option<ElementInfo> {
    // A factory with a NUL in its name is none.
    if factory.contains('\0') {
        return None;
    }
    let factory = gst::ElementFactory::find(factory)?.load().ok()?;
    let class = glib::object::ObjectClass::from_type(factory.element_type())?;
    let properties = class.list_properties().iter().map(property).collect();
    Some(ElementInfo { factory: factory.name().into(), filter: is_filter(&factory), properties })
}

/// Whether raw video goes in on one pad and out on another, both always there.
fn is_filter(factory: &gst::ElementFactory) -> bool {
    let raw = gst::Caps::new_empty_simple("video/x-raw");
    let one = |direction| {
        let mut pads = factory
            .static_pad_templates()
            .into_iter()
            .filter(|pad| pad.direction() == direction && pad.presence() == gst::PadPresence::Always);
        let first = pads.next().is_some_and(|pad| pad.caps().can_intersect(&raw));
        first && pads.next().is_none()
    };
    one(gst::PadDirection::Sink) && one(gst::PadDirection::Src)
}

fn property(spec: &glib::ParamSpec) -> PropertyInfo {
    let flags = spec.flags();
    let blurb = spec.blurb().unwrap_or_default().to_owned();
    let kind = kind(spec);
    let unit = match kind {
        PropertyKind::Integer { .. } => unit(&blurb),
        _ => Unit::None,
    };
    let any_time = flags.intersects(gst::PARAM_FLAG_MUTABLE_PLAYING | gst::PARAM_FLAG_CONTROLLABLE);
    let writable = flags.contains(glib::ParamFlags::WRITABLE);
    PropertyInfo {
        name: spec.name().into(),
        kind,
        unit,
        writable,
        in_playing: writable && any_time && !flags.contains(glib::ParamFlags::CONSTRUCT_ONLY),
        blurb,
    }
}

fn kind(spec: &glib::ParamSpec) -> PropertyKind {
    macro_rules! integer {
        ($($spec:ty),*) => {
            $(if let Some(spec) = spec.downcast_ref::<$spec>() {
                return PropertyKind::Integer { min: spec.minimum().into(), max: spec.maximum().into() };
            })*
        };
    }
    integer!(glib::ParamSpecInt, glib::ParamSpecUInt, glib::ParamSpecInt64, glib::ParamSpecUInt64);
    integer!(glib::ParamSpecChar, glib::ParamSpecUChar);
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecLong>() {
        return PropertyKind::Integer { min: spec.minimum().into(), max: spec.maximum().into() };
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecULong>() {
        return PropertyKind::Integer { min: spec.minimum().into(), max: spec.maximum().into() };
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
        return PropertyKind::Float { min: spec.minimum().into(), max: spec.maximum().into() };
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecDouble>() {
        return PropertyKind::Float { min: spec.minimum(), max: spec.maximum() };
    }
    let of = spec.value_type();
    if of == glib::Type::BOOL {
        return PropertyKind::Bool;
    }
    if of == glib::Type::STRING {
        return PropertyKind::Text;
    }
    if let Some(class) = glib::EnumClass::with_type(of) {
        return PropertyKind::Enum(class.values().iter().map(|value| value.nick().to_owned()).collect());
    }
    if let Some(class) = glib::FlagsClass::with_type(of) {
        return PropertyKind::Flags(class.values().iter().map(|value| value.nick().to_owned()).collect());
    }
    PropertyKind::Other(of.name().into())
}

/// What a number counts, by the words about it: GObject has no better place for a unit. Vigil's own elements are held to
/// naming it (tests/contract.rs).
fn unit(blurb: &str) -> Unit {
    let blurb = blurb.to_lowercase();
    let words: Vec<&str> = blurb.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    if has(&["nanosecond", "nanoseconds", "ns"]) {
        Unit::Nanoseconds
    } else if has(&["millisecond", "milliseconds", "ms"]) {
        Unit::Milliseconds
    } else if has(&["bytes"]) {
        Unit::Bytes
    } else {
        Unit::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        gst::init().unwrap();
        crate::plugin::plugin_register_static().unwrap();
        Registry::new()
    }

    #[test]
    fn an_element_is_known_with_its_properties() {
        let registry = registry();
        let source = registry.element("videotestsrc").unwrap();
        let Some(PropertyInfo { kind: PropertyKind::Enum(patterns), .. }) = source.property("pattern") else {
            panic!("{source:?}")
        };
        assert!(patterns.contains(&"ball".to_owned()), "{patterns:?}");
        assert_eq!(source.property("is-live").unwrap().kind, PropertyKind::Bool);
        assert!(!source.filter);
        assert_eq!(registry.element("videotestsource"), None);
        assert_eq!(registry.element("a\0b"), None);
        for factory in ["videotestsrc", "vigilinfer", "identity"] {
            assert!(registry.factories().contains(&factory.to_owned()), "{factory}");
        }
    }

    #[test]
    fn units_are_read_from_the_words_about_a_property() {
        let registry = registry();
        let unit = |factory: &str, property: &str| registry.element(factory).unwrap().property(property).unwrap().unit;
        assert_eq!(unit("queue", "max-size-time"), Unit::Nanoseconds);
        assert_eq!(unit("queue", "max-size-bytes"), Unit::Bytes);
        assert_eq!(unit("queue", "max-size-buffers"), Unit::None);
        assert_eq!(unit("vigilwatchdog", "deadline"), Unit::Nanoseconds);
        assert_eq!(unit("vigilwatchdog", "max-misses"), Unit::None);
        assert_eq!(unit("vigilinfer", "engine-timeout"), Unit::Nanoseconds);
        assert_eq!(unit("vigilinfer", "interval"), Unit::None);
    }

    #[test]
    fn what_may_change_while_frames_flow_is_told() {
        let registry = registry();
        let infer = registry.element("vigilinfer").unwrap();
        let in_playing = |name: &str| infer.property(name).unwrap().in_playing;
        assert!(in_playing("model") && in_playing("confidence"));
        assert!(!in_playing("provider") && !in_playing("stats"));
        assert!(!infer.property("stats").unwrap().writable);
    }

    #[test]
    fn a_filter_has_one_pad_for_raw_video_on_each_side() {
        let registry = registry();
        let filter = |factory: &str| registry.element(factory).unwrap().filter;
        for factory in ["vigilinfer", "vigiltrack", "vigiloverlay", "vigilexport", "vigilwatchdog", "identity", "queue"]
        {
            assert!(filter(factory), "{factory}");
        }
        for factory in ["videotestsrc", "fakesink", "tee", "compositor", "audioconvert", "x264enc"] {
            assert!(gst::ElementFactory::find(factory).is_none() || !filter(factory), "{factory}");
        }
    }
}
