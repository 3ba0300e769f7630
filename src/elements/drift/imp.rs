//! The skin of `vigildrift`.
//!
//! The streaming thread counts; what is written to disk is written by a thread of its own.
//!
//! Locks: `settings`, `running` and `stream` are held for a copy only, `Running::watch` while a frame is counted; never two at once.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::BaseTransformMode;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::properties::{Blur, SPECS, Settings};
use crate::drift::ring::Ring;
use crate::drift::{Monitor, Report, Sampler, Summary, references};
use crate::export::record::{Content, Context, Record, compact_time};
use crate::export::sink::{Clock, Now};
use crate::export::writer::SystemClock;
use crate::frame::FrameInfo;
use crate::gstutil::{frame, lock, pad_templates};
use crate::meta;
use crate::picture::Rgb;
use crate::result::{BBox, FrameResult};
use crate::whole;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigildrift", gst::DebugColorFlags::empty(), Some("Vigil drift")));

/// How often the baseline is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(3600);
/// Writes that may wait; a sample more is dropped.
const WAITING: usize = 4;

/// What the writing thread does.
enum Task {
    Save(PathBuf, String),
    Sample(String, Box<Rgb>, Vec<u8>),
}

/// What is known about the predictions.
struct Watch {
    monitor: Monitor,
    sampler: Option<Sampler>,
    /// All since the start.
    total: Summary,
    /// When the baseline was written last.
    saved: Option<Duration>,
    samples: u64,
    /// The model whose reference was looked for.
    digest: String,
}

/// One run, from start to stop.
struct Running {
    watch: Mutex<Watch>,
    clock: SystemClock,
    baseline: Option<PathBuf>,
    blur: Blur,
    context: Context,
    writer: Mutex<Option<(SyncSender<Task>, JoinHandle<()>)>>,
}

/// See [`super::Drift`].
#[derive(Default)]
pub struct Drift {
    settings: Mutex<Settings>,
    running: Mutex<Option<Arc<Running>>>,
    stream: Mutex<Option<(VideoInfo, FrameInfo)>>,
}

/// A report as fields of the `vigil-drift` message and of `stats`.
fn fields(name: &str, report: &Report) -> gst::Structure {
    let mut fields = gst::Structure::builder(name)
        .field("state", report.state.as_str())
        .field("before", report.before.as_str())
        .field("score", report.score)
        .field("text", report.evidence())
        .field("cause", report.cause.map_or("", |cause| cause.as_str()))
        .field("digest", report.digest.as_str())
        .field("windows", report.windows)
        .field("since", report.since_utc_ns.unwrap_or(0))
        .build();
    for aspect in &report.aspects {
        if let Some(psi) = aspect.psi {
            fields.set(format!("psi-{}", aspect.aspect.as_str()), psi);
        }
    }
    fields
}

/// Writes what it is given until nobody gives more; a failure is told once until something could be written again.
fn write(tasks: &Receiver<Task>, ring: Option<&Ring>, element: &glib::WeakRef<super::Drift>) {
    let mut failing = false;
    for task in tasks {
        let written = match &task {
            Task::Save(path, text) => save(path, text).map_err(|e| format!("the baseline {}: {e}", path.display())),
            Task::Sample(name, picture, record) => match (ring, picture.to_jpeg()) {
                (Some(ring), Some(jpeg)) => ring.put(name, &jpeg.bytes, record).map_err(|e| format!("a sample: {e}")),
                _ => Ok(()),
            },
        };
        let failed = written.is_err();
        if let (Err(text), false, Some(element)) = (written, failing, element.upgrade()) {
            gst::element_warning!(element, gst::ResourceError::Write, ("Cannot write {text}"));
        }
        failing = failed;
    }
}

/// Writes the baseline's file, and makes its folder.
fn save(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    whole::write(path, text.as_bytes())
}

impl Drift {
    fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    fn open(&self) -> Result<Running, gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let mut monitor = Monitor::new(settings.config());
        let baseline = settings.baseline();
        if let Some(path) = &baseline {
            self.restore(&mut monitor, path);
        }
        let ring = match settings.samples() {
            Some(folder) => Some(Ring::open(&folder, settings.samples_size).map_err(|e| {
                let text = format!("The folder for samples {} cannot be made: {e}", folder.display());
                gst::error_msg!(gst::ResourceError::OpenWrite, ("{text}"))
            })?),
            None => None,
        };
        let sampler = ring.is_some().then(|| Sampler::new(settings.sampler()));
        let clock = SystemClock::default();
        let started = clock.now().utc_ns;
        let watch =
            Watch { monitor, sampler, total: Summary::default(), saved: None, samples: 0, digest: String::new() };
        let writer = if ring.is_some() || baseline.is_some() { Some(self.start_writer(ring)?) } else { None };
        Ok(Running {
            watch: Mutex::new(watch),
            clock,
            baseline,
            blur: settings.blur,
            context: Context::new(self.obj().name().to_string(), started),
            writer: Mutex::new(writer),
        })
    }

    fn restore(&self, monitor: &mut Monitor, path: &Path) {
        let restored = match std::fs::read_to_string(path) {
            Ok(text) => monitor.restore(&text).map_err(|e| e.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(text) = restored {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Read,
                ("The baseline {} is not used, and learned anew: {text}", path.display())
            );
        }
    }

    fn start_writer(&self, ring: Option<Ring>) -> Result<(SyncSender<Task>, JoinHandle<()>), gst::ErrorMessage> {
        let (sender, tasks) = sync_channel(WAITING);
        let element = self.obj().downgrade();
        let thread = std::thread::Builder::new().name("vigil-drift".into());
        let thread = thread.spawn(move || write(&tasks, ring.as_ref(), &element)).map_err(|e| {
            gst::error_msg!(gst::ResourceError::Failed, ("The thread for files cannot be started: {e}"))
        })?;
        Ok((sender, thread))
    }

    /// Counts a frame; tells of a change, has the baseline written and the frame sampled where that is due.
    fn observe(&self, running: &Running, buffer: &gst::BufferRef, result: &FrameResult) {
        // A file that is played faster than it was filmed is watched in its own time.
        let now = running.clock.now();
        let monotonic = result.running_time_ns.map_or(now.monotonic, Duration::from_nanos);
        let now = Now { monotonic, utc_ns: now.utc_ns };
        let (news, save, reason) = {
            let mut watch = lock(&running.watch);
            if let Some(model) = result.model.as_ref().filter(|model| model.digest != watch.digest) {
                watch.digest.clone_from(&model.digest);
                if let Some(reference) = references::of(&model.digest) {
                    watch.monitor.set_reference(&model.digest, reference);
                }
            }
            watch.total.add(result);
            let news = watch.monitor.observe(result, now).filter(|report| report.is_news()).cloned();
            let state = watch.monitor.report().state;
            let reason = watch.sampler.as_mut().and_then(|sampler| sampler.want(result, None, state, now));
            (news, watch.save_if_due(now.monotonic, running.baseline.is_some()), reason)
        };
        if let Some(report) = news {
            gst::info!(CAT, imp = self, "{}: {}", report.state.as_str(), report.evidence());
            let message = gst::message::Element::builder(fields("vigil-drift", &report)).src(&*self.obj()).build();
            let _ = self.obj().post_message(message);
        }
        if let (Some(text), Some(path)) = (save, &running.baseline) {
            running.give(Task::Save(path.clone(), text));
        }
        if let Some(reason) = reason
            && let Some(picture) = self.picture(buffer, result, running.blur)
        {
            let name = format!("{}-{}", compact_time(now.utc_ns), reason.as_str());
            let record = Record::new(result, &running.context, result.frame, &Content::default()).to_line();
            let taken = running.give(Task::Sample(name, Box::new(picture), record));
            lock(&running.watch).samples += u64::from(taken);
        }
    }

    /// The frame's picture with nothing on it that should not be kept; `None` where the pixels cannot be read.
    fn picture(&self, buffer: &gst::BufferRef, result: &FrameResult, blur: Blur) -> Option<Rgb> {
        let (video, info) = lock(&self.stream).clone()?;
        let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, &video).ok()?;
        let mut picture = Rgb::frame(&frame::view(&mapped, info).ok()?)?;
        match blur {
            Blur::None => {}
            Blur::Objects => result.objects.iter().for_each(|object| picture.hide(object.bbox)),
            Blur::Frame => picture.hide(BBox::WHOLE),
        }
        Some(picture)
    }

    fn stats(&self) -> gst::Structure {
        let Some(running) = self.running() else { return gst::Structure::new_empty("stats") };
        let (report, total, recent, samples) = {
            let watch = lock(&running.watch);
            (watch.monitor.report().clone(), watch.total.clone(), watch.monitor.summary(), watch.samples)
        };
        let json = |summary: &Summary| serde_json::to_string(summary).unwrap_or_default();
        let mut stats = fields("stats", &report);
        stats.set("learned", report.learned);
        stats.set("reference", report.reference);
        stats.set("borrowed", report.borrowed);
        stats.set("samples", samples);
        stats.set("fresh", total.frames());
        stats.set("objects", total.objects());
        stats.set("predictions", json(&total));
        stats.set("recent-predictions", json(&recent));
        stats
    }
}

impl Watch {
    /// What is to be written now.
    fn save_if_due(&mut self, now: Duration, is_kept: bool) -> Option<String> {
        let last = *self.saved.get_or_insert(now);
        // A time before the last one is another stream's.
        if !is_kept || (now >= last && now - last < SAVE_INTERVAL) {
            return None;
        }
        self.saved = Some(now);
        self.monitor.save()
    }
}

impl Running {
    /// Has something written; `false` if too much waits for the disk.
    fn give(&self, task: Task) -> bool {
        let sender = lock(&self.writer).as_ref().map(|(sender, _)| sender.clone());
        sender.is_some_and(|sender| {
            !matches!(sender.try_send(task), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
        })
    }

    /// Writes what is left. It waits for the disk, as who stops an element expects.
    fn end(&self) {
        let saved = self.baseline.clone().and_then(|path| Some((path, lock(&self.watch).monitor.save()?)));
        let Some((sender, thread)) = lock(&self.writer).take() else { return };
        if let Some((path, text)) = saved {
            // Fails only if the thread is gone.
            let _ = sender.send(Task::Save(path, text));
        }
        drop(sender);
        let _ = thread.join();
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Drift {
    const NAME: &'static str = "VigilDrift";
    type Type = super::Drift;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Drift {
    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("relearn")
                    .action()
                    .class_handler(|values| {
                        let element = values.first()?.get::<super::Drift>().ok()?;
                        if let Some(running) = element.imp().running() {
                            lock(&running.watch).monitor.relearn();
                        }
                        None
                    })
                    .build(),
            ]
        });
        SIGNALS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let set = lock(&self.settings).get(pspec.name());
        set.unwrap_or_else(|| self.stats().to_value())
    }
}

impl GstObjectImpl for Drift {}

impl ElementImpl for Drift {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil drift",
                "Filter/Analyzer/Video",
                "Tells when a model's predictions are no longer what they used to be",
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

impl BaseTransformImpl for Drift {
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
        if let Some(running) = self.running() {
            running.end();
        }
        *lock(&self.stream) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        *lock(&self.stream) = frame::stream(incaps);
        Ok(())
    }

    fn transform_ip_passthrough(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let (Some(running), Some(result)) = (self.running(), meta::get(buffer)) {
            self.observe(&running, buffer, &result);
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let (Some(running), Some(result)) = (self.running(), meta::get(buffer)) {
            self.observe(&running, buffer, &result);
        }
        Ok(gst::FlowSuccess::Ok)
    }
}
