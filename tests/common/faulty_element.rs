//! The element `vigilfaulty` itself.

use super::*;

/// What an instance knows about its stream.
#[derive(Default)]
struct Stream {
    /// The frame that waits to be overtaken.
    held: Option<gst::Buffer>,
    /// Caps were refused, so are frames.
    refused: bool,
    sleep: Option<gst::SingleShotClockId>,
    /// Nobody may go to sleep.
    stopped: bool,
    flushing: bool,
}

pub struct Faulty {
    sink: gst::Pad,
    src: gst::Pad,
    control: Mutex<Option<Arc<Control>>>,
    stream: Mutex<Stream>,
    number: usize,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if let Some(control) = self.control() {
            control.instances.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Faulty {
    fn control(&self) -> Option<Arc<Control>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, point: Point, frame: u64) -> Option<Fault> {
        self.control()?.strike(point, frame)
    }

    /// What everybody does who calls an element that has a lock: takes it, for a moment.
    fn touch(&self) {
        if let Some(control) = self.control() {
            control.lock(self.number, 0, control.round());
            control.unlock(self.number, 0);
        }
    }

    fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.touch();
        if self.stream().refused {
            return Err(gst::FlowError::NotNegotiated);
        }
        match self.strike(Point::Frame, buffer.offset()) {
            None => self.pass(buffer),
            Some(fault) => self.fail(fault, buffer),
        }
    }

    /// The frame as it leaves where nothing is wrong.
    fn work(mut buffer: gst::Buffer) -> gst::Buffer {
        let mut map = buffer.make_mut().map_writable().unwrap();
        map[0] = !map[0];
        drop(map);
        buffer
    }

    fn rebuild(buffer: &gst::Buffer) -> gst::Buffer {
        let pixels = buffer.map_readable().unwrap().to_vec();
        let mut new = gst::Buffer::from_mut_slice(pixels);
        let fields = new.get_mut().unwrap();
        fields.set_pts(buffer.pts());
        fields.set_duration(buffer.duration());
        new
    }

    fn pass(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let held = self.stream().held.take();
        let answer = self.src.push(Self::work(buffer));
        held.map_or(answer, |held| self.src.push(held))
    }

    fn fail(&self, fault: Fault, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let control = self.control().unwrap();
        match fault {
            Fault::Sleep(time) => self.sleep(time),
            Fault::Hang => control.hang(),
            Fault::Panic => panic!("a panic that a test asked for"),
            Fault::Deadlock => control.deadlock(self.number),
            Fault::LockedObject => self.hang_locked(&control),
            Fault::ErrorMessage => gst::element_imp_error!(self, gst::StreamError::Failed, ["asked for by a test"]),
            Fault::Flow(error) => return Err(error),
            Fault::Swallow => return Ok(gst::FlowSuccess::Ok),
            Fault::Duplicate => {
                self.pass(buffer.clone())?;
            }
            Fault::Swap => {
                self.stream().held = Some(Self::work(buffer));
                return Ok(gst::FlowSuccess::Ok);
            }
            Fault::ShiftTime => {
                let time = buffer.pts().map(|time| time + gst::ClockTime::SECOND);
                buffer.make_mut().set_pts(time);
            }
            Fault::ClearTime => buffer.make_mut().set_pts(gst::ClockTime::NONE),
            Fault::ConstantTime => buffer.make_mut().set_pts(gst::ClockTime::ZERO),
            Fault::Rebuild => buffer = Self::rebuild(&buffer),
            Fault::RebuildTwice => {
                buffer = Self::rebuild(&buffer);
                self.pass(Self::rebuild(&buffer))?;
            }
            Fault::Eos => {
                self.src.push_event(gst::event::Eos::new());
            }
            Fault::ChangeCaps => {
                let mut caps = self.src.current_caps().unwrap();
                let width: i32 = caps.structure(0).unwrap().get("width").unwrap();
                caps.make_mut().set("width", width + 1);
                self.src.push_event(gst::event::Caps::new(&caps));
            }
            _ => unreachable!("no fault of a frame: {fault:?}"),
        }
        self.pass(buffer)
    }

    fn sleep(&self, time: gst::ClockTime) {
        // It comes with PLAYING.
        let clock = loop {
            match self.obj().clock() {
                Some(clock) => break clock,
                None if self.stream().stopped => return,
                None => std::thread::park_timeout(Duration::from_millis(1)),
            }
        };
        let id = clock.new_single_shot_id(clock.time() + time);
        let mut stream = self.stream();
        if stream.stopped || stream.flushing {
            return;
        }
        stream.sleep = Some(id.clone());
        drop(stream);
        let _ = id.wait();
    }

    fn hang_locked(&self, control: &Arc<Control>) {
        let (element, for_thread, round) = (self.obj().clone(), Arc::clone(control), control.round());
        let thread = std::thread::spawn(move || {
            let locked = element.object_lock();
            for_thread.hang_since(round);
            drop(locked);
        });
        control.hang_since(round);
        let _ = thread.join();
    }

    fn wake(&self) {
        if let Some(sleep) = self.stream().sleep.take() {
            sleep.unschedule();
        }
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => {
                if self.strike(Point::Flush, u64::MAX).is_some() {
                    self.control().unwrap().hang();
                }
                self.stream().flushing = true;
                self.wake();
                return gst::Pad::event_default(&self.sink, Some(&*self.obj()), event);
            }
            gst::EventType::FlushStop => {
                let mut stream = self.stream();
                (stream.held, stream.flushing) = (None, false);
            }
            gst::EventType::Caps => {
                let refused = self.strike(Point::Caps, u64::MAX).is_some();
                self.stream().refused = refused;
                if refused {
                    return false;
                }
            }
            _ => {}
        }
        self.touch();
        let setup = matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Segment);
        if event.is_serialized() && !setup && self.strike(Point::Event, u64::MAX).is_some() {
            return true;
        }
        let held = if event.type_() == gst::EventType::Eos { self.stream().held.take() } else { None };
        if let Some(held) = held {
            let _ = self.src.push(held);
        }
        gst::Pad::event_default(&self.sink, Some(&*self.obj()), event)
    }

    fn query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        self.touch();
        gst::Pad::query_default(pad, Some(&*self.obj()), query)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Faulty {
    const NAME: &'static str = "VigilTestFaulty";
    type Type = super::Faulty;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        static INSTANCES: AtomicUsize = AtomicUsize::new(0);
        let refuse = || Err(gst::FlowError::Error);
        let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
        let sink = gst::Pad::builder_from_template(&class.pad_template("sink").unwrap())
            .flags(flags)
            .chain_function(move |_, parent, buffer| {
                Self::catch_panic_pad_function(parent, refuse, |faulty| faulty.chain(buffer))
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |faulty| faulty.sink_event(event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |faulty| faulty.query(pad, query))
            })
            .build();
        let src = gst::Pad::builder_from_template(&class.pad_template("src").unwrap())
            .flags(flags)
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |faulty| faulty.query(pad, query))
            })
            .build();
        let number = INSTANCES.fetch_add(1, Ordering::SeqCst);
        Self { sink, src, control: Mutex::default(), stream: Mutex::default(), number }
    }
}

impl ObjectImpl for Faulty {
    fn constructed(&self) {
        self.parent_constructed();
        self.obj().add_pad(&self.sink).unwrap();
        self.obj().add_pad(&self.src).unwrap();
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(|| vec![glib::ParamSpecString::builder("control").build()]);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, _spec: &glib::ParamSpec) {
        let name: Option<String> = value.get().unwrap();
        let control = name.and_then(|name| Control::find(&name));
        if let Some(control) = &control {
            control.instances.fetch_add(1, Ordering::SeqCst);
        }
        let old = std::mem::replace(&mut *self.control.lock().unwrap_or_else(PoisonError::into_inner), control);
        if let Some(old) = old {
            old.instances.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn property(&self, _id: usize, _spec: &glib::ParamSpec) -> glib::Value {
        self.control().map(|control| control.name.clone()).to_value()
    }
}

impl GstObjectImpl for Faulty {}

impl ElementImpl for Faulty {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new("Faulty", "Filter/Video", "Does what a test asks for", "Tests")
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            let pad = |name, way| gst::PadTemplate::new(name, way, gst::PadPresence::Always, &any).unwrap();
            vec![pad("sink", gst::PadDirection::Sink), pad("src", gst::PadDirection::Src)]
        });
        &TEMPLATES
    }

    fn change_state(&self, change: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        self.touch();
        let fault = match change {
            gst::StateChange::NullToReady => self.strike(Point::ToReady, u64::MAX),
            gst::StateChange::ReadyToPaused => self.strike(Point::ToPaused, u64::MAX),
            gst::StateChange::PausedToReady => self.strike(Point::FromPaused, u64::MAX),
            _ => None,
        };
        match fault {
            Some(Fault::RefuseReady | Fault::RefusePaused) => return Err(gst::StateChangeError),
            Some(_) => self.control().unwrap().hang(),
            None => {}
        }
        match change {
            gst::StateChange::ReadyToPaused => *self.stream() = Stream::default(),
            gst::StateChange::PausedToReady => {
                self.stream().stopped = true;
                self.wake();
            }
            _ => {}
        }
        self.parent_change_state(change)
    }
}
