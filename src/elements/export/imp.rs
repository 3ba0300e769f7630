//! The skin of `vigilexport`.
//!
//! The streaming thread makes the record and queues it; the exporter's thread writes it and posts the messages.
//!
//! Locks: `settings` and `running` are held for a copy only, never both and never over a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::BaseTransformMode;
use gst_base::subclass::prelude::*;

use crate::export::sink::Clock;
use crate::export::writer::{Change, SystemClock};
use crate::export::{Context, Drained, Exporter, Record, SinkUri, Stats};
use crate::gstutil::{lock, pad_templates};
use crate::meta;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilexport", gst::DebugColorFlags::empty(), Some("Vigil export")));

/// Longest wait for the sink at the end of the stream, and again at stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
const DEFAULT_QUEUE_SIZE: u32 = 1000;

#[derive(Clone)]
struct Settings {
    uri: Option<String>,
    camera: Option<String>,
    queue_size: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { uri: None, camera: None, queue_size: DEFAULT_QUEUE_SIZE }
    }
}

/// One run, from start to stop; kept afterwards for its counters.
struct Running {
    exporter: Exporter,
    context: Context,
    /// Records made.
    records: AtomicU64,
    /// Buffers that carried no frame result.
    without_result: AtomicU64,
}

/// See [`super::Export`].
#[derive(Default)]
pub struct Export {
    settings: Mutex<Settings>,
    running: Mutex<Option<Arc<Running>>>,
}

/// A change as the `vigil-export` message.
fn message(element: &super::Export, change: &Change) -> gst::Message {
    let content = gst::Structure::builder("vigil-export")
        .field("state", if change.degraded { "degraded" } else { "recovered" })
        .field("text", &change.text)
        .field("written", change.stats.written)
        .field("dropped", change.stats.dropped)
        .field("errors", change.stats.errors)
        .field("bytes", change.stats.bytes)
        .build();
    gst::message::Element::builder(content).src(element).build()
}

/// Tells the application; a time of trouble also gives one warning.
fn report(element: &super::Export, change: &Change) {
    if change.degraded {
        gst::element_warning!(
            element,
            gst::ResourceError::Write,
            (
                "Records cannot be written: {}. Video goes on; records wait in memory as long as there is room",
                change.text
            )
        );
    } else {
        gst::info!(CAT, obj = element, "{}", change.text);
    }
    let _ = element.post_message(message(element, change));
}

impl Export {
    fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    fn stats(&self) -> gst::Structure {
        let running = self.running();
        let stats = running.as_ref().map_or(Stats::default(), |r| r.exporter.stats());
        gst::Structure::builder("stats")
            .field("written", stats.written)
            .field("dropped", stats.dropped)
            .field("errors", stats.errors)
            .field("bytes", stats.bytes)
            .field("without-result", running.map_or(0, |r| r.without_result.load(Ordering::Relaxed)))
            .build()
    }

    /// Opens the sink and starts its thread.
    fn open(&self) -> Result<Running, gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let uri = settings.uri.filter(|u| !u.is_empty()).ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("No place for the records is set: set the property uri to file:PATH or stdout:")
            )
        })?;
        let uri: SinkUri =
            uri.parse().map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("property uri: {e}")))?;
        let clock = Arc::new(SystemClock::default());
        let now = clock.now();
        let sink = uri
            .open(now)
            .map_err(|e| gst::error_msg!(gst::ResourceError::OpenWrite, ("Records cannot be written: {e}")))?;
        let weak = self.obj().downgrade();
        let on_change = Box::new(move |change| {
            if let Some(element) = weak.upgrade() {
                report(&element, &change);
            }
        });
        let exporter = Exporter::start(sink, settings.queue_size as usize, clock, on_change)
            .map_err(|e| gst::error_msg!(gst::ResourceError::Failed, ("The export thread cannot be started: {e}")))?;
        let camera = settings.camera.filter(|c| !c.is_empty()).unwrap_or_else(|| self.obj().name().to_string());
        Ok(Running {
            exporter,
            context: Context::new(camera, now.utc_ns),
            records: AtomicU64::new(0),
            without_result: AtomicU64::new(0),
        })
    }

    fn export(&self, buffer: &gst::BufferRef) {
        let Some(running) = self.running() else { return };
        if let Some(result) = meta::get(buffer) {
            let number = running.records.fetch_add(1, Ordering::Relaxed);
            running.exporter.push(Record::from_result(&result, &running.context, number).to_line());
        } else if running.without_result.fetch_add(1, Ordering::Relaxed) == 0 {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("A frame has no result to export: put vigilexport behind vigilinfer. Such frames are only counted")
            );
        }
    }

    /// Waits, within bounds, until all records are written.
    fn drain(&self) {
        let Some(running) = self.running() else { return };
        if running.exporter.drain(DRAIN_LIMIT) == Drained::TimedOut {
            let text = format!("the sink has not taken all records within {} s", DRAIN_LIMIT.as_secs());
            report(&self.obj(), &Change { degraded: true, text, stats: running.exporter.stats() });
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Export {
    const NAME: &'static str = "VigilExport";
    type Type = super::Export;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Export {
    fn properties() -> &'static [glib::ParamSpec] {
        static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("uri")
                    .nick("URI")
                    .blurb(
                        "Where records go: file:PATH?rotate-size=10MiB&rotate-time=1h&keep=5&fsync=1s (all options \
                         may be left out), or stdout:",
                    )
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("camera")
                    .nick("Camera")
                    .blurb("The camera's name in the records (not set: the element's name)")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("queue-size")
                    .nick("Queue size")
                    .blurb("Most records that wait in memory for the sink; the oldest is dropped when one more comes")
                    .minimum(1)
                    .maximum(1_000_000)
                    .default_value(DEFAULT_QUEUE_SIZE)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counters since the last start: written, dropped and errors (records and failed attempts), \
                         bytes, without-result (buffers that carried no frame result)",
                    )
                    .read_only()
                    .build(),
            ]
        });
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "uri" => settings.uri = value.get().unwrap_or_default(),
            "camera" => settings.camera = value.get().unwrap_or_default(),
            "queue-size" => settings.queue_size = value.get().unwrap_or(DEFAULT_QUEUE_SIZE),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings).clone();
        match pspec.name() {
            "uri" => settings.uri.to_value(),
            "camera" => settings.camera.to_value(),
            "queue-size" => settings.queue_size.to_value(),
            _ => self.stats().to_value(),
        }
    }
}

impl GstObjectImpl for Export {}

impl ElementImpl for Export {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil export",
                "Filter/Analyzer/Video",
                "Writes the frame results of passing buffers as JSON records to a file or to standard output",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| pad_templates(&gst::Caps::new_any()));
        TEMPLATES.as_slice()
    }
}

impl BaseTransformImpl for Export {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let running = Arc::new(self.open()?);
        let earlier = lock(&self.running).replace(running);
        drop(earlier);
        // Here and not once for all: the base class takes it back at stop.
        self.obj().set_passthrough(true);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let Some(running) = self.running() else { return Ok(()) };
        let stats = running.exporter.stop(DRAIN_LIMIT);
        gst::info!(CAT, imp = self, "stopped: {stats:?}");
        Ok(())
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.export(buffer);
        Ok(gst::FlowSuccess::Ok)
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.export(buffer);
        Ok(gst::FlowSuccess::Ok)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if matches!(event.view(), gst::EventView::Eos(_)) {
            self.drain();
        }
        self.parent_sink_event(event)
    }
}
