//! The skin of `vigilinfer`.
//!
//! The streaming thread pre-processes a frame and hands it to the analysis; a task on the source pad pushes the frames
//! in order once their results are there. Serialised events and queries wait until all frames before them are out.
//!
//! Locks: `settings`, `stream`, `tagged`, `flow`, `latency` are held for a copy only, never two at once and never over a call.
//! The analysis reads `settings` under its own lock, so nobody calls it while that one is held.
//! `task` is taken before any of them, while the task is started, paused or stopped; a turn of the task never takes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformMode, GenerateOutputSuccess};
use gst_base::subclass::prelude::*;
use gst_video::prelude::*;
use gst_video::{VideoInfo, VideoOrientationMethod};

use super::properties::{Region, Settings};
use super::specs::SPECS;
use super::stats::stats;
use super::swap::Swaps;
use super::telling::{latency_of, swap_model};
use super::trials::OnUnusable;
use crate::analysis::{Analysis, Flushing, Input, LatencyBound, Outcome, Ticket, Times};
use crate::bundle::sign;
use crate::engine::runtime::{self, Severity};
use crate::frame::{FrameInfo, Orientation, View};
use crate::gstutil::{frame, lock, pad_templates, report_flow_at_eos, time};
use crate::meta;
use crate::model::ladder::{Climb, Failed, climb};
use crate::model::{Model, ModelError};
use crate::pre::MAX_SIDE;
use crate::result::{AbsentReason, Freshness};
use crate::store::Store;
use crate::telemetry::utc_now_ns;

pub(super) static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilinfer", gst::DebugColorFlags::empty(), Some("Vigil inference")));

static RUNTIME_CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("vigil-onnxruntime", gst::DebugColorFlags::empty(), Some("Messages of ONNX Runtime"))
});

/// The frames' format.
#[derive(Clone)]
struct Stream {
    video: VideoInfo,
    info: FrameInfo,
}

/// See [`super::Infer`].
#[derive(Default)]
pub struct Infer {
    pub(super) settings: Mutex<Settings>,
    stream: Mutex<Option<Stream>>,
    /// How the stream's tags say that its pictures are turned.
    tagged: Mutex<Orientation>,
    /// The application was told that frames come without a result to look at objects of.
    lonely: AtomicBool,
    /// What downstream last said to a frame.
    flow: Mutex<Option<gst::FlowError>>,
    /// A flush, a start and a stop may come from three threads at once: a pause that overlapped a start would wait for
    /// a task that waits for frames.
    task: Mutex<()>,
    pub(super) analysis: Arc<Analysis<gst::Buffer>>,
    pub(super) swaps: Swaps,
    /// The engine failed on the last analysed frame.
    failing: AtomicBool,
    /// The delay that latency queries are told.
    pub(super) latency: Mutex<LatencyBound>,
}

fn forward_runtime_log(severity: Severity, message: &str) {
    match severity {
        Severity::Error => gst::error!(RUNTIME_CAT, "{message}"),
        Severity::Warning => gst::warning!(RUNTIME_CAT, "{message}"),
        Severity::Info => gst::info!(RUNTIME_CAT, "{message}"),
    }
}

fn load_error(error: &ModelError) -> gst::ErrorMessage {
    match error.cause() {
        ModelError::Bundle(_) => gst::error_msg!(gst::ResourceError::NotFound, ("{error}")),
        ModelError::Contract { .. } | ModelError::Labels { .. } | ModelError::Guess { .. } => {
            gst::error_msg!(gst::ResourceError::Settings, ("{error}"))
        }
        _ => gst::error_msg!(gst::LibraryError::Init, ("{error}")),
    }
}

impl Infer {
    /// Loads the model that is set, or the first one below it that can be used; with what was loaded, as a user would
    /// write it. `None` where the element may run without.
    fn load(&self) -> Result<Option<(Arc<Model>, String)>, gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let mut request = settings.request().ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("No model is set: set the property model to a bundle, a .onnx file or the name of an installed bundle")
            )
        })?;
        request.keys = sign::configured_keys(settings.trials.public_keys.as_deref())
            .map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        runtime::set_log_sink(forward_runtime_log);
        let previous = |model: &str| Store::default_place().and_then(|store| store.instead_of(model));
        let Climb { model, name, failed, .. } = match climb(&request, &previous, settings.trials.fallback()) {
            Ok(climb) => climb,
            Err(failed) => return self.without_model(settings.trials.on_unusable, &failed).map(|()| None),
        };
        for (_, name, error) in &failed {
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{name} cannot be used: {error}"));
        }
        gst::info!(
            CAT,
            imp = self,
            "model {} release {:?} on {} with {} lanes, {:?} a run; pictures in a run: {}",
            model.id().name,
            model.id().release,
            model.provider(),
            model.lanes().engine().at_once(),
            model.run_time(),
            model.lanes().engine().gathering().map_or_else(|| "1".into(), |gathering| gathering.measured)
        );
        let engine = model.lanes().engine();
        let placed = engine.placement().and_then(|placement| placement.warning(engine.provider()));
        for warning in model.bundle().warnings.iter().chain(&placed) {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{warning}"));
        }
        if model.unnamed() {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("{name} does not say what its classes are called: they are class 0, class 1, … Name them in a bundle")
            );
        }
        Ok(Some((Arc::new(model), name)))
    }

    /// No model can be used: the one that was asked for says why.
    fn without_model(&self, then: OnUnusable, failed: &[Failed]) -> Result<(), gst::ErrorMessage> {
        let Some((_, _, first)) = failed.first() else { return Ok(()) };
        if then == OnUnusable::Error {
            return Err(load_error(first));
        }
        let text = failed.iter().map(|(_, name, error)| format!("{name}: {error}")).collect::<Vec<_>>().join("; ");
        gst::element_imp_warning!(
            self,
            gst::ResourceError::NotFound,
            ("No model can be used, and frames pass without analysis: {text}")
        );
        Ok(())
    }

    fn apply_settings(&self) {
        self.analysis.update_settings(|model| self.frame_settings(model));
    }

    /// Hands a frame to the analysis.
    fn submit(&self, buffer: gst::Buffer) -> Result<(), gst::FlowError> {
        let flow = |Flushing| lock(&self.flow).unwrap_or(gst::FlowError::Flushing);
        let stream = lock(&self.stream).clone().ok_or(gst::FlowError::NotNegotiated)?;
        let ticket = self.read(&buffer, &stream).map_err(flow)?;
        // Unmapped by now: the buffer has one owner again, so that metadata and drawing copy nothing.
        self.analysis.enter(ticket, buffer).map_err(flow)
    }

    fn read(&self, buffer: &gst::BufferRef, stream: &Stream) -> Result<Ticket, Flushing> {
        let (method, objects) = {
            let settings = lock(&self.settings);
            (settings.orientation, settings.inference_region == Region::Objects)
        };
        let video = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &stream.video);
        let mut info = stream.info;
        let mut size = (info.width, info.height);
        let mut view = View { visible: None, orientation: frame::orientation(method) };
        if method == VideoOrientationMethod::Auto {
            view.orientation = *lock(&self.tagged);
        }
        if let Ok(video) = &video
            && let Some((part, shown)) = frame::visible(buffer, (video.width(), video.height()))
        {
            (info.width, info.height) = (video.width(), video.height());
            (view.visible, size) = (Some(part), shown);
        }
        let planes = match &video {
            Ok(video) => frame::view(video, info).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &planes {
            gst::warning!(CAT, imp = self, "frame cannot be read: {error}");
        }
        let earlier = if objects { meta::get(buffer) } else { None };
        if objects && earlier.is_none() {
            self.warn_lonely();
        }
        self.analysis.read(&Input {
            frame: planes.as_ref().ok(),
            view,
            size,
            times: Times {
                pts_ns: buffer.pts().map(gst::ClockTime::nseconds),
                running_time_ns: time::running_time_ns(&self.obj().segment(), buffer.pts()),
                utc_ns: utc_now_ns(),
            },
            earlier: earlier.as_deref(),
        })
    }

    /// Tells once that there are no objects to look at, nor will there be.
    fn warn_lonely(&self) {
        if !self.lonely.swap(true, Ordering::Relaxed) {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("Frames carry no result, so there are no objects to look at: put a vigilinfer that finds objects \
                     before this one, or set inference-region=full-frame")
            );
        }
    }

    /// Takes over how a stream's tags say that its pictures are turned.
    fn read_tags(&self, tags: &gst::TagListRef) {
        if let Some(method) = VideoOrientationMethod::from_tag(tags) {
            *lock(&self.tagged) = frame::orientation(method);
        }
    }

    /// One turn of the source pad's task.
    fn push_next(&self) {
        let Some(outcome) = self.analysis.next() else {
            let _ = self.obj().src_pad().pause_task();
            return;
        };
        self.report(&outcome);
        let (signals, messages, mirror) = {
            let settings = lock(&self.settings);
            (settings.emit_signals, settings.post_messages, settings.mirror_roi)
        };
        let Outcome { payload: mut buffer, result, own_ns, error, .. } = outcome;
        if signals || messages {
            let content = meta::structure::from_result("vigil-result", &result);
            if signals {
                self.obj().emit_by_name::<()>("result", &[&content]);
            }
            if messages {
                let _ = self.obj().post_message(gst::message::Element::builder(content).src(&*self.obj()).build());
            }
        }
        meta::set(buffer.make_mut(), Arc::new(result), mirror);
        // How long the engine fails says nothing about how long frames take.
        if error.is_none() {
            self.raise_latency(own_ns);
        }
        let flow = self.obj().src_pad().push(buffer);
        if let Err(error) = flow {
            gst::debug!(CAT, imp = self, "downstream said {error:?}");
            *lock(&self.flow) = Some(error);
            self.analysis.fail();
        }
        self.analysis.delivered();
    }

    /// Tells the application when analysis begins to fail and when it works again; each frame is only counted.
    fn report(&self, outcome: &Outcome<gst::Buffer>) {
        let frame = outcome.result.frame;
        let failure = match (&outcome.error, outcome.result.freshness) {
            (Some(error), _) => {
                self.swaps.note(self, true);
                format!("The model failed on frame {frame}: {error}")
            }
            (None, Freshness::Absent(AbsentReason::BadFrame)) => {
                format!("Frame {frame} cannot be read: its planes are too small, or a side is over {MAX_SIDE} pixels")
            }
            (None, Freshness::Fresh) if outcome.looked => {
                self.swaps.note(self, false);
                if self.failing.swap(false, Ordering::Relaxed) {
                    let content = gst::Structure::builder("vigil-infer")
                        .field("state", "recovered")
                        .field("frame", frame)
                        .build();
                    let _ = self.obj().post_message(gst::message::Element::builder(content).src(&*self.obj()).build());
                }
                return;
            }
            _ => return,
        };
        gst::debug!(CAT, imp = self, "{failure}");
        if !self.failing.swap(true, Ordering::Relaxed) {
            gst::element_imp_warning!(self, gst::LibraryError::Failed, ("{failure}. Video goes on without analysis"));
        }
    }

    /// Live sinks must wait for as long as a frame may take here.
    fn raise_latency(&self, own_ns: u64) {
        if lock(&self.latency).note(own_ns) {
            let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
    }

    fn start_task(&self) {
        let weak = self.obj().downgrade();
        let started = self.obj().src_pad().start_task(move || {
            if let Some(element) = weak.upgrade() {
                element.imp().push_next();
            }
        });
        if let Err(error) = started {
            gst::error!(CAT, imp = self, "task cannot be started: {error}");
        }
    }

    /// Goes on pushing after downstream said `error`, if that was the last it said.
    fn revive_after(&self, error: gst::FlowError) {
        if *lock(&self.flow) != Some(error) {
            return;
        }
        let _task = lock(&self.task);
        // The task has stopped at the error or is about to; only once it has may it be started again.
        let _ = self.obj().src_pad().pause_task();
        *lock(&self.flow) = None;
        self.analysis.revive();
        self.start_task();
    }

    /// Goes on after a flush.
    fn resume(&self) {
        let _task = lock(&self.task);
        // Where the flush began before a start, the task runs, and a pause would wait for its next frame.
        if self.analysis.is_open() {
            return;
        }
        let element = self.obj();
        let pad = element.src_pad();
        let _ = pad.pause_task();
        *lock(&self.flow) = None;
        self.analysis.resume();
        // Not while the element goes to READY: the sink pad may still take events then.
        if pad.is_active() {
            self.start_task();
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Infer {
    const NAME: &'static str = "VigilInfer";
    type Type = super::Infer;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Infer {
    fn constructed(&self) {
        self.parent_constructed();
        self.swaps.attach(&self.obj());
    }

    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let swap = glib::subclass::Signal::builder("swap-model")
                .param_types([String::static_type(), gst::Structure::static_type()])
                .return_type::<u64>()
                .action()
                .class_handler(|args| Some(swap_model(args).to_value()));
            let result = glib::subclass::Signal::builder("result").param_types([gst::Structure::static_type()]);
            vec![result.build(), swap.build()]
        });
        SIGNALS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let (fits, before, model) = {
            let mut settings = lock(&self.settings);
            let before = settings.model.clone();
            let fits = settings.set(pspec.name(), value);
            (fits, before, settings.model.clone().filter(|model| !model.is_empty()))
        };
        if !fits {
            gst::warning!(CAT, imp = self, "property {} got a value of another type", pspec.name());
        }
        match (pspec.name(), model) {
            ("model", Some(model)) => self.swaps.set(model.clone(), before.as_ref() != Some(&model)),
            (name, _) if name.starts_with("shadow-") => self.swaps.shadow_changed(),
            _ => self.apply_settings(),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => {
                let (counts, share) = (self.analysis.stats(), self.analysis.share());
                let mut stats = stats(&counts, &share, self.analysis.slot().get().as_deref());
                self.swaps.add_stats(&mut stats);
                stats.to_value()
            }
            "swap-history" => self.swaps.history().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| glib::Value::from_type(pspec.value_type())),
        }
    }
}

impl GstObjectImpl for Infer {}

impl ElementImpl for Infer {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil inference",
                "Filter/Analyzer/Video",
                "Runs a model on raw video and attaches what it found to each frame",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| pad_templates(&frame::raw_caps()));
        TEMPLATES.as_slice()
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            self.swaps.stop();
            // Wakes the streaming thread and the task for good, so that the pads can be deactivated.
            self.analysis.stop();
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            {
                let _task = lock(&self.task);
                let _ = self.obj().src_pad().stop_task();
            }
            self.analysis.release();
        }
        Ok(success)
    }
}

impl BaseTransformImpl for Infer {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let asked = lock(&self.settings).model.clone();
        let (model, name) = self.load()?.unzip();
        *lock(&self.latency) = LatencyBound::new(model.as_deref().map_or(0, latency_of));
        self.failing.store(false, Ordering::Relaxed);
        self.lonely.store(false, Ordering::Relaxed);
        *lock(&self.flow) = None;
        self.analysis.slot().replace(model);
        self.apply_settings();
        {
            let _task = lock(&self.task);
            self.analysis.restart();
            self.start_task();
        }
        self.swaps.start(self, &name.unwrap_or_default(), asked);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.stream) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let video = VideoInfo::from_caps(incaps).map_err(|_| gst::loggable_error!(CAT, "cannot read caps {incaps}"))?;
        let info = frame::frame_info(&video)
            .ok_or_else(|| gst::loggable_error!(CAT, "format {:?} is not supported", video.format()))?;
        gst::debug!(CAT, imp = self, "frames are {info:?}");
        *lock(&self.stream) = Some(Stream { video, info });
        Ok(())
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        if let Some(error) = *lock(&self.flow) {
            return Err(error);
        }
        self.submit(buffer)?;
        Ok(GenerateOutputSuccess::NoOutput)
    }

    fn transform_ip(&self, _buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        // Frames leave through the source pad's task; the base class only asks whether there is a transform.
        Ok(gst::FlowSuccess::Ok)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        if self.take_order(&event) {
            return true;
        }
        match event.view() {
            EventView::FlushStart(_) => {
                self.analysis.flush();
                let forwarded = self.parent_sink_event(event);
                let _task = lock(&self.task);
                // Again: the element may have been started meanwhile.
                self.analysis.flush();
                let _ = self.obj().src_pad().pause_task();
                forwarded
            }
            EventView::FlushStop(_) => {
                let forwarded = self.parent_sink_event(event);
                self.resume();
                forwarded
            }
            view => {
                if event.is_serialized() {
                    self.analysis.drain();
                }
                match view {
                    EventView::Eos(_) => report_flow_at_eos(&*self.obj(), *lock(&self.flow)),
                    EventView::StreamStart(_) => {
                        *lock(&self.tagged) = Orientation::UPRIGHT;
                        self.revive_after(gst::FlowError::Eos);
                    }
                    EventView::Segment(_) => self.revive_after(gst::FlowError::Eos),
                    EventView::Tag(tag) => self.read_tags(tag.tag()),
                    _ => {}
                }
                self.parent_sink_event(event)
            }
        }
    }

    fn src_event(&self, event: gst::Event) -> bool {
        if self.take_order(&event) {
            return true;
        }
        if let gst::EventView::Reconfigure(_) = event.view() {
            // Downstream has been linked again.
            self.revive_after(gst::FlowError::NotLinked);
        }
        self.parent_src_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction == gst::PadDirection::Sink && query.is_serialized() {
            self.analysis.drain();
        }
        if let gst::QueryViewMut::Scheduling(q) = query.view_mut() {
            // Frames are pushed by the element's own task; nobody can pull them.
            q.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
            q.add_scheduling_modes([gst::PadMode::Push]);
            return true;
        }
        if let (gst::PadDirection::Src, gst::QueryViewMut::Position(_)) = (direction, query.view_mut()) {
            // The base class sees no frame leave and would answer the segment's start.
            return self.obj().sink_pad().peer_query(query);
        }
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        if let (gst::PadDirection::Src, gst::QueryViewMut::Latency(q)) = (direction, query.view_mut()) {
            let (live, min, max) = q.result();
            let own = gst::ClockTime::from_nseconds(lock(&self.latency).get());
            q.set(live, min + own, max.map(|m| m + own));
        }
        true
    }
}
