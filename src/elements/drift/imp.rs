//! The skin of `vigildrift`.
//!
//! The streaming thread counts; what is written to disk is written by a thread of its own.
//!
//! Locks: `settings`, `running` and `stream` are held for a copy only, `Running::watch` while a frame is counted or the baseline becomes
//! text; never two at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use crate::drift::{Monitor, Report, RestoreError, SampleReason, Sampler, Summary, references};
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

/// How often the baseline is written, and when it is tried again where the disk was busy.
const SAVE_INTERVAL: Duration = Duration::from_secs(3600);
const SAVE_RETRY: Duration = Duration::from_secs(10);
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
    /// When the baseline is written next, by the element's clock: a stream's time may begin anew.
    due: Duration,
    /// The stream's time at the newest frame that had one.
    streamed: Option<Duration>,
    /// The model whose reference was looked for.
    digest: String,
}

/// What the streaming thread and the one that writes know together.
#[derive(Default)]
struct Written {
    /// Samples.
    samples: AtomicU64,
    /// The baseline's file is that of another camera, and is let be as long as it is there.
    foreign: AtomicBool,
}

/// One run, from start to stop.
struct Running {
    watch: Mutex<Watch>,
    clock: SystemClock,
    baseline: Option<PathBuf>,
    /// The camera's name; empty where it has none of its own.
    camera: String,
    blur: Blur,
    written: Arc<Written>,
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
fn write(tasks: &Receiver<Task>, mut ring: Option<Ring>, count: &Written, element: &glib::WeakRef<super::Drift>) {
    let mut failing = false;
    for task in tasks {
        let written = match &task {
            Task::Save(path, _) if count.foreign.load(Ordering::SeqCst) && path.exists() => continue,
            Task::Save(path, text) => {
                count.foreign.store(false, Ordering::SeqCst);
                save(path, text).map_err(|e| format!("the baseline {}: {e}", path.display()))
            }
            Task::Sample(name, picture, record) => match (&mut ring, picture.to_jpeg()) {
                (Some(ring), Some(jpeg)) => {
                    let put = ring.put(name, &jpeg.bytes, record);
                    count.samples.fetch_add(u64::from(put.is_ok()), Ordering::Relaxed);
                    put.map_err(|e| format!("a sample: {e}"))
                }
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
        let config = settings.config();
        config.check().map_err(|e| gst::error_msg!(gst::LibraryError::Settings, ("{e}")))?;
        let mut monitor = Monitor::new(config);
        let (baseline, camera) = (settings.baseline(), settings.camera().unwrap_or_default().to_owned());
        let written = Arc::new(Written::default());
        if let Some(path) = &baseline {
            written.foreign.store(self.restore(&mut monitor, path, &camera), Ordering::SeqCst);
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
        let now = clock.now();
        let watch = Watch {
            monitor,
            sampler,
            total: Summary::default(),
            due: now.monotonic + SAVE_INTERVAL,
            streamed: None,
            digest: String::new(),
        };
        let has_files = ring.is_some() || baseline.is_some();
        let writer = if has_files { Some(self.start_writer(ring, &written)?) } else { None };
        let name = settings.camera().map_or_else(|| self.obj().name().to_string(), str::to_owned);
        Ok(Running {
            watch: Mutex::new(watch),
            clock,
            baseline,
            camera,
            blur: settings.blur,
            written,
            context: Context::new(name, now.utc_ns),
            writer: Mutex::new(writer),
        })
    }

    /// Takes the baseline from its file, if it is there and fits; whether it is that of another camera.
    fn restore(&self, monitor: &mut Monitor, path: &Path, camera: &str) -> bool {
        let (text, foreign) = match std::fs::read_to_string(path) {
            Ok(text) => match monitor.restore(&text, camera) {
                Ok(()) => return false,
                Err(error) => (error.to_string(), matches!(error, RestoreError::OtherCamera(_))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => (error.to_string(), false),
        };
        let more = if foreign {
            format!(
                " and not kept. Give each camera a file of its own; if \"{camera}\" has taken that one's place, have it relearn (signal \
                 `relearn`; in a gateway POST /api/v1/cameras/ID/relearn), or remove the file"
            )
        } else {
            String::new()
        };
        gst::element_imp_warning!(
            self,
            gst::ResourceError::Read,
            ("The baseline {} is not used, and learned anew: {text}{more}", path.display())
        );
        foreign
    }

    fn start_writer(
        &self,
        ring: Option<Ring>,
        written: &Arc<Written>,
    ) -> Result<(SyncSender<Task>, JoinHandle<()>), gst::ErrorMessage> {
        let (sender, tasks) = sync_channel(WAITING);
        let (element, written) = (self.obj().downgrade(), Arc::clone(written));
        let thread = std::thread::Builder::new().name("vigil-drift".into());
        let thread = thread.spawn(move || write(&tasks, ring, &written, &element)).map_err(|e| {
            gst::error_msg!(gst::ResourceError::Failed, ("The thread for files cannot be started: {e}"))
        })?;
        Ok((sender, thread))
    }

    /// Counts a frame; tells of a change, has the baseline written and the frame sampled where that is due.
    fn observe(&self, running: &Running, buffer: &gst::BufferRef, result: &FrameResult) {
        let clock = running.clock.now();
        let (news, save, reason) = {
            let mut watch = lock(&running.watch);
            let now = Now { monotonic: watch.time_of(result, clock.monotonic), utc_ns: clock.utc_ns };
            watch.look_for_reference(result);
            watch.total.add(result);
            let news = watch.monitor.observe(result, now).filter(|report| report.is_news()).cloned();
            let state = watch.monitor.report().state;
            let reason = watch.sampler.as_mut().and_then(|sampler| sampler.want(result, state, now));
            (news, clock.monotonic >= watch.due, reason)
        };
        if let Some(report) = news {
            self.tell(&report);
        }
        if save {
            running.save();
        }
        // Of frames that cannot be read there is no sample, and none the less for it later.
        if let Some(reason) = reason
            && let Some(picture) = self.picture(buffer, result, running.blur, reason)
        {
            let name = format!("{}-{}", compact_time(clock.utc_ns), reason.as_str());
            let record = Record::new(result, &running.context, result.frame, &Content::default()).to_line();
            running.give(Task::Sample(name, Box::new(picture), record));
            if let Some(sampler) = &mut lock(&running.watch).sampler {
                sampler.took();
            }
        }
    }

    /// Tells of a change of the state.
    fn tell(&self, report: &Report) {
        gst::info!(CAT, imp = self, "{}: {}", report.state.as_str(), report.evidence());
        let message = gst::message::Element::builder(fields("vigil-drift", report)).src(&*self.obj()).build();
        let _ = self.obj().post_message(message);
    }

    /// Has what comes now be usual, and the file say so.
    fn relearn(&self) {
        let Some(running) = self.running() else { return };
        let report = lock(&running.watch).monitor.relearn().clone();
        running.written.foreign.store(false, Ordering::SeqCst);
        running.save();
        if report.is_news() {
            self.tell(&report);
        }
    }

    /// The frame's picture with nothing on it that should not be kept; `None` where the pixels cannot be read.
    fn picture(&self, buffer: &gst::BufferRef, result: &FrameResult, blur: Blur, reason: SampleReason) -> Option<Rgb> {
        let (video, info) = lock(&self.stream).clone()?;
        let mapped = VideoFrameRef::from_buffer_ref_readable(buffer, &video).ok()?;
        let mut picture = Rgb::frame(&frame::view(&mapped, info).ok()?)?;
        if blur.is_of_all(reason, result.objects.len()) {
            picture.hide(BBox::WHOLE);
        } else if blur == Blur::Objects {
            result.objects.iter().for_each(|object| picture.hide(object.bbox));
        }
        Some(picture)
    }

    fn stats(&self) -> gst::Structure {
        let Some(running) = self.running() else { return gst::Structure::new_empty("stats") };
        let (report, total, recent) = {
            let watch = lock(&running.watch);
            (watch.monitor.report().clone(), watch.total.clone(), watch.monitor.recent())
        };
        let json = |summary: &Summary| serde_json::to_string(summary).unwrap_or_default();
        let mut stats = fields("stats", &report);
        stats.set("learned", report.learned);
        stats.set("reference", report.reference);
        stats.set("borrowed", report.borrowed);
        stats.set("samples", running.written.samples.load(Ordering::Relaxed));
        stats.set("fresh", total.frames());
        stats.set("objects", total.objects());
        stats.set("predictions", json(&total));
        stats.set("recent-predictions", json(&recent.summary));
        stats.set("recent-digest", recent.digest);
        stats.set("recent-until", recent.until_utc_ns);
        stats
    }
}

impl Watch {
    /// When a frame is, in the stream's own time: a file that is played faster than it was filmed is watched in that. A frame
    /// without a time comes with the one before it; `now` counts where no frame has one.
    fn time_of(&mut self, result: &FrameResult, now: Duration) -> Duration {
        if let Some(time) = result.running_time_ns {
            self.streamed = Some(Duration::from_nanos(time));
        }
        self.streamed.unwrap_or(now)
    }

    /// Once for each model that comes.
    fn look_for_reference(&mut self, result: &FrameResult) {
        if let Some(model) = result.model.as_ref().filter(|model| model.digest != self.digest) {
            self.digest.clone_from(&model.digest);
            if let Some(reference) = references::of(&model.digest) {
                self.monitor.set_reference(&model.digest, reference);
            }
        }
    }
}

impl Running {
    /// Has the baseline written, if it is kept and there is one; again soon if the disk is busy.
    fn save(&self) {
        let now = self.clock.now().monotonic;
        let Some(path) = &self.baseline else { return self.next_save(now + SAVE_INTERVAL) };
        let text = lock(&self.watch).monitor.save(&self.camera);
        let given = text.is_none_or(|text| self.give(Task::Save(path.clone(), text)));
        self.next_save(now + if given { SAVE_INTERVAL } else { SAVE_RETRY });
    }

    fn next_save(&self, due: Duration) {
        lock(&self.watch).due = due;
    }

    /// Has something written; `false` if too much waits for the disk.
    fn give(&self, task: Task) -> bool {
        let sender = lock(&self.writer).as_ref().map(|(sender, _)| sender.clone());
        sender.is_some_and(|sender| {
            !matches!(sender.try_send(task), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
        })
    }

    /// Writes what is left. It waits for the disk, as who stops an element expects.
    fn end(&self) {
        let saved = self.baseline.clone().and_then(|path| Some((path, lock(&self.watch).monitor.save(&self.camera)?)));
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
                        element.imp().relearn();
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
