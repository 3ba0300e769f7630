//! From a camera's plan to its pipeline.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;

use super::bus::{self, Heard};
use super::names;
use super::run::Link;
use super::sink;
use crate::gstutil::lock;
use crate::secret;
use crate::site::plan::{CameraPlan, Node, Step, Value};
use crate::site::show;
use crate::site::status::Reason;

/// A camera's pipeline, and its stages as they are found in it: a watchdog may have replaced some since.
pub struct Built {
    /// The pipeline, in NULL.
    pub pipeline: gst::Pipeline,
    /// Elements by the names of their nodes.
    pub stages: Arc<Stages>,
}

/// Elements by the names of their nodes.
#[derive(Default)]
pub struct Stages(Mutex<BTreeMap<String, glib::WeakRef<gst::Element>>>);

impl Stages {
    /// The element of a node, as long as it is there.
    pub fn get(&self, name: &str) -> Option<gst::Element> {
        lock(&self.0).get(name).and_then(glib::WeakRef::upgrade)
    }

    /// All elements that are there.
    pub fn all(&self) -> Vec<(String, gst::Element)> {
        let stages = lock(&self.0);
        stages.iter().filter_map(|(name, weak)| Some((name.clone(), weak.upgrade()?))).collect()
    }

    fn note(&self, element: &gst::Element) {
        if let Some(weak) = lock(&self.0).get_mut(element.name().as_str()) {
            weak.set(Some(element));
        }
    }
}

/// Makes the pipeline of a camera. What it says goes to `link`, its pictures to the camera's feed.
///
/// # Errors
/// A text for the user, without secrets.
pub fn build(plan: &CameraPlan, id: &str, link: &Arc<Link>) -> Result<Built, String> {
    let text = show::camera_description(plan);
    let made = gst::parse::launch_full(&text, None, gst::ParseFlags::FATAL_ERRORS);
    let made = made.map_err(|error| format!("the pipeline cannot be made: {}", error.message()))?;
    let pipeline = made.downcast::<gst::Pipeline>().map_err(|_| "the pipeline has one element only".to_owned())?;
    pipeline.set_property("name", format!("camera-{id}"));
    names::follow(&pipeline, id);
    // A camera's own clock, or a sound card's, must not decide when pictures are looked at.
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));

    let stages = Arc::new(Stages::default());
    lock(&stages.0).extend(plan.stages().map(|node| (node.name.clone(), glib::WeakRef::new())));
    let threads = plan.decoder_threads;
    let look = {
        let stages = Arc::clone(&stages);
        move |element: &gst::Element| {
            stages.note(element);
            limit_decoder(element, threads);
        }
    };
    pipeline.iterate_recurse().into_iter().flatten().for_each(|element| look(&element));
    pipeline.connect_deep_element_added(move |_, _, element| look(element));

    for step in &plan.source {
        if let Step::Element(node) = step {
            finish(&pipeline, node, link)?;
        }
    }
    let feed = pipeline.by_name("feed").and_downcast::<gst_app::AppSink>().ok_or("the pipeline has no appsink feed")?;
    sink::connect(&feed, link, plan.policy.ends || plan.policy.repeats);
    follow_data(&pipeline, link);
    let first = plan.stages().next().and_then(|node| pipeline.by_name(&node.name));
    if let Some(pad) = first.and_then(|stage| stage.static_pad("sink")) {
        note_buffers(&pad, link, |link| &link.staged);
    }
    listen(&pipeline, &stages, link);
    Ok(Built { pipeline, stages })
}

/// Sets what stands in no launch line, and has only pictures sent by a source that has a choice.
fn finish(pipeline: &gst::Pipeline, node: &Node, link: &Arc<Link>) -> Result<(), String> {
    let element = || pipeline.by_name(&node.name).ok_or_else(|| format!("there is no {}", node.name));
    for (name, value) in &node.properties {
        match value {
            Value::Text(_) => {}
            Value::Secret(place) => set(&element()?, name, &secret::read(place)?)?,
            Value::Authority(file) => set_authority(&element()?, name, file)?,
        }
    }
    if node.factory == "rtspsrc" {
        // Sound would be sent, and thrown away here.
        element()?.connect("select-stream", false, |values| {
            let caps = values.get(2).and_then(|caps| caps.get::<gst::Caps>().ok());
            let media = caps.as_ref().and_then(|caps| caps.structure(0)?.get::<String>("media").ok());
            Some(media.is_none_or(|media| media == "video").to_value())
        });
        // The source's own error does not say that it is the certificate.
        let link = Arc::downgrade(link);
        element()?.connect("accept-certificate", false, move |values| {
            let flags = values.get(3).and_then(|flags| flags.get::<gio::TlsCertificateFlags>().ok());
            if let Some(link) = link.upgrade() {
                let text = format!("its certificate is not trusted: {}", certificate_faults(flags));
                link.tell(Heard::Failed(Reason::Unauthorized, text));
            }
            Some(false.to_value())
        });
    }
    Ok(())
}

/// In words, what is wrong with a certificate.
fn certificate_faults(flags: Option<gio::TlsCertificateFlags>) -> String {
    use gio::TlsCertificateFlags as Flags;
    let words = [
        (Flags::UNKNOWN_CA, "no authority that is known here has signed it (see `tls-ca`)"),
        (Flags::BAD_IDENTITY, "it is for another address"),
        (Flags::NOT_ACTIVATED, "it is not valid yet"),
        (Flags::EXPIRED, "it has expired"),
        (Flags::REVOKED, "it was revoked"),
        (Flags::INSECURE, "its algorithm is not safe"),
        (Flags::GENERIC_ERROR, "it cannot be checked"),
    ];
    let flags = flags.unwrap_or(Flags::GENERIC_ERROR);
    words.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

/// Has a source trust the authorities in a PEM file, instead of the system's.
fn set_authority(element: &gst::Element, name: &str, file: &Path) -> Result<(), String> {
    let wrong = |error: glib::Error| format!("the authorities in {} cannot be used: {error}", file.display());
    let database = gio::TlsFileDatabase::new(file).map_err(wrong)?;
    let takes = |spec: &glib::ParamSpec| database.type_().is_a(spec.value_type());
    if !element.find_property(name).is_some_and(|spec| takes(&spec)) {
        return Err(format!("{} has no property {name} that takes authorities", element.name()));
    }
    element.set_property(name, &database);
    Ok(())
}

/// Sets a property from a text as launch lines have it.
///
/// # Errors
/// If there is no such property, or it does not take the value; the text does not name the value, which may be a secret.
pub fn set(element: &gst::Element, name: &str, value: &str) -> Result<(), String> {
    let what = || format!("{} of {}", name, element.name());
    let spec = element.find_property(name).ok_or_else(|| format!("there is no property {}", what()))?;
    // GObject takes a property of the second kind while it makes the object only.
    if !spec.flags().contains(glib::ParamFlags::WRITABLE) || spec.flags().contains(glib::ParamFlags::CONSTRUCT_ONLY) {
        return Err(format!("the property {} cannot be set", what()));
    }
    let value = if spec.value_type() == glib::Type::STRING {
        value.to_value()
    } else {
        glib::Value::deserialize_with_pspec(value, &spec)
            .map_err(|_| format!("the property {} does not take this value", what()))?
    };
    element.set_property_from_value(name, &value);
    Ok(())
}

/// Gives a decoder as many threads as the plan says. Each thread of a decoder keeps pictures, and adds a picture's delay.
fn limit_decoder(element: &gst::Element, threads: u32) {
    let decoder = element.factory().is_some_and(|factory| {
        factory.has_type(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO)
    });
    if !decoder {
        return;
    }
    for name in ["max-threads", "threads", "n-threads"] {
        let takes = element.find_property(name).is_some_and(|spec| spec.flags().contains(glib::ParamFlags::WRITABLE));
        if takes {
            let _ = set(element, name, &threads.to_string());
        }
    }
}

/// Notes when the source gives something, whatever it is.
fn follow_data(pipeline: &gst::Pipeline, link: &Arc<Link>) {
    let sources = match pipeline.by_name("source") {
        Some(source) => vec![source],
        None => pipeline.iterate_sources().into_iter().flatten().collect(),
    };
    for source in sources {
        let watch = {
            let link = Arc::downgrade(link);
            move |pad: &gst::Pad| {
                if let Some(link) = link.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src) {
                    note_buffers(pad, &link, |link| &link.data);
                }
            }
        };
        source.pads().iter().for_each(&watch);
        source.connect_pad_added(move |_, pad| watch(pad));
    }
}

/// Notes the time of what passes a pad.
fn note_buffers(pad: &gst::Pad, link: &Arc<Link>, to: fn(&Link) -> &AtomicU64) {
    let link = Arc::downgrade(link);
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
        if let Some(link) = link.upgrade() {
            to(&link).store(super::now(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Hands on what the pipeline says, from the thread that says it; nothing is kept on the bus.
fn listen(pipeline: &gst::Pipeline, stages: &Arc<Stages>, link: &Arc<Link>) {
    let Some(bus) = pipeline.bus() else { return };
    let (stages, link) = (Arc::clone(stages), Arc::downgrade(link));
    bus.set_sync_handler(move |_, message| {
        if let Some(link) = link.upgrade() {
            // An element that fails before the first picture lacks something that it needs.
            let unfinished = link.frames_of_run.load(Ordering::Relaxed) == 0;
            let stage = |object: &gst::Object| unfinished && lock(&stages.0).contains_key(object.name().as_str());
            if let Some(heard) = bus::heard(message, stage) {
                link.ended.note(&heard);
                link.tell(heard);
            }
        }
        gst::BusSyncReply::Drop
    });
}

/// Whether the end of the stream, or an error, has been on the bus: what a drain waits for.
#[derive(Default)]
pub struct Ended {
    over: Mutex<bool>,
    changed: std::sync::Condvar,
}

impl Ended {
    fn note(&self, heard: &Heard) {
        if matches!(heard, Heard::Ended | Heard::Failed(..)) {
            *lock(&self.over) = true;
            self.changed.notify_all();
        }
    }

    /// Forgets an end that was not the last one.
    pub fn forget(&self) {
        *lock(&self.over) = false;
    }

    /// Waits for it, `limit` at most; `false` if it has not come.
    pub fn wait(&self, limit: std::time::Duration) -> bool {
        let over = lock(&self.over);
        let waited = self.changed.wait_timeout_while(over, limit, |over| !*over);
        *waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_cannot_be_set_are_refused_in_words() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("identity").build().unwrap();
        assert_eq!(set(&element, "sleep-time", "7"), Ok(()));
        assert_eq!(element.property::<u32>("sleep-time"), 7);
        for (name, value) in [("nothing", "1"), ("last-message", "x"), ("sleep-time", "s3cret")] {
            let text = set(&element, name, value).unwrap_err();
            assert!(text.contains(name) && !text.contains("s3cret"), "{text}");
        }
        let Ok(mixer) = gst::ElementFactory::make("compositor").build() else {
            return eprintln!("skipped: there is no compositor here");
        };
        assert!(set(&mixer, "force-live", "true").unwrap_err().contains("force-live"), "only while it is made");
    }
}
