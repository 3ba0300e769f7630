//! What makes a mount's pipeline when a client comes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPMedia, RTSPSuspendMode};

use super::Mounted;
use crate::gstutil::{error_text, lock};
use crate::site::live::feed::{Frame, Subscription};
use crate::site::live::intake::{Intake, Notice, SOURCE, Zero, fresh, now};
use crate::site::live::outlets::encode::{Encoding, steady};

/// Pictures that may wait for the encoder: clients want the newest.
const ROOM: u64 = 2;
/// How long a client waits for a picture that the encoder can be made for.
const WAIT: Duration = Duration::from_secs(2);
/// A picture that is older is not one of now.
const STALE: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// An intake here tells nobody: without a client there is no intake.
struct Nothing;

impl Notice for Nothing {
    fn picture(_: &Frame) -> Self {
        Self
    }

    fn ended() -> Self {
        Self
    }
}

/// Whether a picture may be a client's first one: one of a camera that is away would be taken for what is there now.
fn is_recent(frame: &Frame) -> bool {
    now().saturating_sub(frame.at) < STALE
}

/// A pipeline that clients watch.
struct Watched {
    media: glib::WeakRef<RTSPMedia>,
    _subscription: Subscription,
}

/// A mount and its pipelines: there may be two for a moment, when a client comes as the last one goes.
pub struct Showing {
    mounted: Arc<Mounted>,
    watched: Mutex<Vec<Watched>>,
}

impl Showing {
    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        lock(&self.watched)
    }

    /// Whether `media` is one of its pipelines.
    pub fn has(&self, media: &RTSPMedia) -> bool {
        self.watched().iter().any(|watched| watched.media.upgrade().as_ref() == Some(media))
    }

    /// The elements that encode and pack, or an error in the report.
    fn element(&self) -> Option<gst::Element> {
        let made = self.make();
        // "No picture yet" is for the client to hear; the camera has its own state.
        match made {
            Ok(bin) => Some(bin),
            Err(Refused::NoPicture) => None,
            Err(Refused::Broken(text)) => {
                self.mounted.report.set_error(&text);
                None
            }
        }
    }

    fn make(&self) -> Result<gst::Element, Refused> {
        let first = fresh(&self.mounted.feed, WAIT).filter(is_recent).ok_or(Refused::NoPicture)?;
        let encoding = Encoding::new(&self.mounted.encode).map_err(Refused::Broken)?;
        let payloader = encoding.payloader().map_err(Refused::Broken)?;
        let line = format!(
            "{} ! {} {} ! {payloader} name=pay0 pt=96",
            steady(&first).map_err(Refused::Broken)?,
            encoding.encoder,
            encoding.parser(),
        );
        let bin = gst::parse::bin_from_description(&line, false).map_err(|err| Refused::Broken(err.to_string()))?;
        Ok(bin.upcast())
    }

    /// The pipeline is there: it gets pictures until it has ended.
    fn begin(self: &Arc<Self>, media: &RTSPMedia) {
        let bin = media.element().downcast::<gst::Bin>().ok();
        let source = bin.and_then(|bin| bin.by_name(SOURCE)).and_then(|s| s.downcast::<gst_app::AppSrc>().ok());
        let Some(source) = source else { return };
        media.set_suspend_mode(RTSPSuspendMode::None);
        let Mounted { report, feed, .. } = &*self.mounted;
        let intake = Intake::<Nothing>::new(&report.counts, None);
        intake.open(&source, ROOM, Zero::Pipeline, feed.latest().filter(is_recent).as_ref());
        let watched = Watched { media: media.downgrade(), _subscription: feed.subscribe(intake) };
        self.watched().push(watched);
        report.set_active(true);
        report.set_error("");
        let showing = Arc::clone(self);
        media.connect_unprepared(move |media| showing.end(media));
        let bus = media.element().parent().and_then(|parent| parent.downcast::<gst::Pipeline>().ok()?.bus());
        let showing = Arc::downgrade(self);
        // The media itself hears what passes here.
        let _ = bus.map(|bus| {
            bus.set_sync_handler(move |_, message| {
                if let (gst::MessageView::Error(error), Some(showing)) = (message.view(), showing.upgrade()) {
                    showing.mounted.report.set_error(&error_text(&error.error(), error.debug().as_deref()));
                }
                gst::BusSyncReply::Pass
            });
        });
    }

    fn end(&self, media: &RTSPMedia) {
        let mut watched = self.watched();
        let (gone, left) = std::mem::take(&mut *watched)
            .into_iter()
            .partition::<Vec<_>, _>(|w| w.media.upgrade().is_none_or(|m| m == *media));
        *watched = left;
        let none = watched.is_empty();
        drop(watched);
        drop(gone);
        if none {
            self.mounted.report.set_active(false);
        }
    }
}

/// Why a client gets nothing.
enum Refused {
    NoPicture,
    Broken(String),
}

mod imp {
    use std::sync::{Arc, Mutex, OnceLock};

    use gst::prelude::*;
    use gst_rtsp_server::gst_rtsp::RTSPUrl;
    use gst_rtsp_server::subclass::prelude::*;

    use super::Showing;
    use crate::gstutil::lock;

    #[derive(Default)]
    pub struct Factory {
        pub showing: OnceLock<Arc<Showing>>,
        /// Made before it is asked for: the class cannot say that there is none.
        element: Mutex<Option<gst::Element>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Factory {
        const NAME: &'static str = "VigilRtspFactory";
        type Type = super::Factory;
        type ParentType = gst_rtsp_server::RTSPMediaFactory;
    }

    impl ObjectImpl for Factory {}

    impl RTSPMediaFactoryImpl for Factory {
        fn construct(&self, url: &RTSPUrl) -> Option<gst_rtsp_server::RTSPMedia> {
            let element = self.showing.get()?.element()?;
            *lock(&self.element) = Some(element);
            self.parent_construct(url)
        }

        fn create_element(&self, _url: &RTSPUrl) -> Option<gst::Element> {
            let made = lock(&self.element).take();
            Some(made.unwrap_or_else(|| gst::Bin::new().upcast()))
        }

        fn media_configure(&self, media: &gst_rtsp_server::RTSPMedia) {
            if let Some(showing) = self.showing.get() {
                showing.begin(media);
            }
        }
    }
}

glib::wrapper! {
    /// Makes the pipeline of a mount when its first client comes.
    pub struct Factory(ObjectSubclass<imp::Factory>) @extends gst_rtsp_server::RTSPMediaFactory;
}

/// The factory of a mount, and what it makes.
pub fn factory(mounted: &Arc<Mounted>) -> (Factory, Arc<Showing>) {
    use gst::glib::subclass::prelude::ObjectSubclassIsExt;
    let factory: Factory = glib::Object::new();
    let showing = Arc::new(Showing { mounted: Arc::clone(mounted), watched: Mutex::default() });
    let _ = factory.imp().showing.set(Arc::clone(&showing));
    factory.set_shared(true);
    (factory, showing)
}
