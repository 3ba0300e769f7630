//! The skin of `vigilexport`.
//!
//! The streaming thread picks and makes records and queues them; threads of the export module write them and post the messages.
//!
//! Locks: `settings` and `running` are held for a copy only, never both and never over a call; `stream` and `picking` belong to the
//! streaming thread, and to a property that changes what is picked, which copies `settings` while it holds `picking`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::BaseTransformMode;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::properties::{SPECS, Settings};
use crate::export::event::Event;
use crate::export::format::Format;
use crate::export::kind::Kind;
use crate::export::record::Thumbnail;
use crate::export::route::{Route, Stats};
use crate::export::select::{Happening, Selector};
use crate::export::sink::Clock;
use crate::export::writer::{Change, SystemClock};
use crate::export::{Context, Drained, SinkUri};
use crate::frame::FrameInfo;
use crate::gstutil::{frame, lock, pad_templates};
use crate::meta;
use crate::picture;
use crate::result::FrameResult;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilexport", gst::DebugColorFlags::empty(), Some("Vigil export")));

/// Longest wait for the sink at the end of the stream, and again at stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// One run, from start to stop; kept afterwards for its counters.
struct Running {
    route: Route,
    context: Context,
    camera: Arc<str>,
    format: Format,
    picking: Mutex<Picking>,
    /// Records made.
    records: AtomicU64,
    /// Buffers that carried no frame result.
    without_result: AtomicU64,
}

/// What is exported of the frames that pass.
struct Picking {
    selector: Selector,
    thumbnail_size: usize,
}

/// See [`super::Export`].
#[derive(Default)]
pub struct Export {
    settings: Mutex<Settings>,
    running: Mutex<Option<Arc<Running>>>,
    /// The frames' format, once there are caps of raw video.
    stream: Mutex<Option<(VideoInfo, FrameInfo)>>,
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
            ("Records cannot be written: {}. Video goes on; records wait as long as there is room", change.text)
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
        let stats = running.as_ref().map_or(Stats::default(), |r| r.route.stats());
        let mut content = gst::Structure::builder("stats")
            .field("written", stats.written)
            .field("dropped", stats.dropped)
            .field("errors", stats.errors)
            .field("bytes", stats.bytes)
            .field("records", running.as_ref().map_or(0, |r| r.records.load(Ordering::Relaxed)))
            .field("without-result", running.map_or(0, |r| r.without_result.load(Ordering::Relaxed)));
        if let Some(waiting) = stats.waiting {
            content = content
                .field("waiting", waiting.records)
                .field("spool-bytes", waiting.bytes)
                .field("oldest-waiting", waiting.oldest_ms)
                .field("connected", waiting.connected);
        }
        content.build()
    }

    /// Opens the sink and starts its thread.
    fn open(&self) -> Result<Running, gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let uri = settings.uri.as_ref().filter(|u| !u.is_empty()).ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("No place for the records is set: set the property uri, for example to file:PATH, stdout: or \
                     mqtt://HOST/TOPIC")
            )
        })?;
        let uri: SinkUri =
            uri.parse().map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("property uri: {e}")))?;
        let clock = Arc::new(SystemClock::default());
        let now = clock.now();
        let weak = self.obj().downgrade();
        let on_change = Box::new(move |change| {
            if let Some(element) = weak.upgrade() {
                report(&element, &change);
            }
        });
        let camera = settings.camera.clone().filter(|c| !c.is_empty()).unwrap_or_else(|| self.obj().name().to_string());
        let route = Route::open(&uri, settings.how(camera.clone()), clock, on_change)
            .map_err(|e| gst::error_msg!(gst::ResourceError::OpenWrite, ("Records cannot be written: {e}")))?;
        if let Some(text) = route.remark() {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{text}"));
        }
        Ok(Running {
            route,
            camera: camera.as_str().into(),
            context: Context::new(camera, now.utc_ns),
            format: settings.format.into(),
            picking: Mutex::new(Picking {
                selector: Selector::new(settings.selection()),
                thumbnail_size: settings.thumbnail_size as usize,
            }),
            records: AtomicU64::new(0),
            without_result: AtomicU64::new(0),
        })
    }

    /// Has the stream picked as the properties say. Of two who set one at the same time, the later one finds both here.
    fn choose(&self) {
        let Some(running) = self.running() else { return };
        let mut picking = lock(&running.picking);
        let settings = lock(&self.settings).clone();
        picking.selector.set_selection(settings.selection());
        picking.thumbnail_size = settings.thumbnail_size as usize;
    }

    fn export(&self, buffer: &gst::BufferRef) {
        let Some(running) = self.running() else { return };
        if let Some(result) = meta::get(buffer) {
            self.export_result(&running, buffer, &result);
        } else if running.without_result.fetch_add(1, Ordering::Relaxed) == 0 {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("A frame has no result to export: put vigilexport behind vigilinfer. Such frames are only counted")
            );
        }
    }

    fn export_result(&self, running: &Running, buffer: &gst::BufferRef, result: &FrameResult) {
        let (picked, selection, thumbnail_size) = {
            let mut picking = lock(&running.picking);
            (picking.selector.pick(result), Arc::clone(picking.selector.selection()), picking.thumbnail_size)
        };
        let keep = |object: &_| selection.keeps(object);
        let content = selection.content(&keep);
        for happening in &picked.happenings {
            let picture = match happening {
                Happening::Appeared { index } if thumbnail_size > 0 => {
                    let object = result.objects.get(*index);
                    object.and_then(|object| self.thumbnail(buffer, object.bbox, thumbnail_size))
                }
                _ => None,
            };
            let number = running.records.load(Ordering::Relaxed);
            if let Some(event) = Event::new(happening, result, &running.context, number, &content, picture) {
                running.records.fetch_add(1, Ordering::Relaxed);
                running.route.push(event.what.kind(), &running.camera, event.to_line());
            }
        }
        if picked.frame {
            let number = running.records.fetch_add(1, Ordering::Relaxed);
            let line = running.format.line(result, &running.context, number, &content);
            running.route.push(Kind::Frame, &running.camera, line);
        }
    }

    /// The part of the frame in `bbox`; `None` where the pixels cannot be read.
    fn thumbnail(
        &self,
        buffer: &gst::BufferRef,
        bbox: crate::result::BBox,
        limit: usize,
    ) -> Option<Thumbnail<'static>> {
        let (video, info) = lock(&self.stream).clone()?;
        let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, &video).ok()?;
        let jpeg = picture::cut_out(&frame::view(&mapped, info).ok()?, bbox, limit)?;
        Some(Thumbnail::new(jpeg.size, &jpeg.bytes))
    }

    /// Waits, within bounds, until all records are written.
    fn drain(&self) {
        let Some(running) = self.running() else { return };
        if running.route.drain(DRAIN_LIMIT) == Drained::TimedOut {
            let text = format!("the sink has not taken all records within {} s", DRAIN_LIMIT.as_secs());
            report(&self.obj(), &Change { degraded: true, text, stats: running.route.stats().into() });
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
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let stored = lock(&self.settings).set(pspec.name(), value);
        if stored && pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
            self.choose();
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).get(pspec.name()).unwrap_or_else(|| self.stats().to_value())
    }
}

impl GstObjectImpl for Export {}

impl ElementImpl for Export {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil export",
                "Filter/Analyzer/Video",
                "Exports the frame results of passing buffers as JSON records: to a file, a broker or a server",
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
        // A property may have been set since the settings were read.
        self.choose();
        // Here and not once for all: the base class takes it back at stop.
        self.obj().set_passthrough(true);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let Some(running) = self.running() else { return Ok(()) };
        running.route.stop(DRAIN_LIMIT);
        *lock(&self.stream) = None;
        gst::info!(CAT, imp = self, "stopped: {:?}", running.route.stats());
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        // Only pictures of objects need pixels: frames that cannot be read, or are no raw video, are exported all the same.
        *lock(&self.stream) = frame::stream(incaps);
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
