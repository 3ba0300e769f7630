//! The skin of `vigiloverlay`.
//!
//! The base class is always in passthrough mode, so that allocation is settled between the neighbours; the element
//! makes a buffer writable by itself, and only if there is something to draw on it.
//!
//! Locks: `settings` is held for a copy only; `state` by the streaming thread, while a frame is drawn. Never both.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{BaseTransformMode, GenerateOutputSuccess};
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};

use super::properties::{SPECS, Settings};
use crate::draw::{Painter, Style};
use crate::frame::{BadPlane, FrameInfo};
use crate::gstutil::{frame, lock, pad_templates, time};
use crate::meta;
use crate::result::FrameResult;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigiloverlay", gst::DebugColorFlags::empty(), Some("Vigil overlay")));

/// What lives from start to stop.
struct State {
    painter: Painter,
    /// The frames' format, once there are caps.
    stream: Option<(VideoInfo, FrameInfo)>,
    /// The last frame that was to be drawn on could not be.
    failing: bool,
}

/// Why a frame is passed on without a drawing.
#[derive(Debug, thiserror::Error)]
enum Undrawn {
    #[error("the buffer cannot be mapped for writing as a frame of {0}x{1}")]
    Map(u32, u32),
    #[error(transparent)]
    Plane(#[from] BadPlane),
}

impl State {
    fn draw(&mut self, buffer: &mut gst::Buffer, result: &FrameResult, now_ns: u64) -> Result<(), Undrawn> {
        let Some((video, info)) = &self.stream else { return Ok(()) };
        // A copy of the buffer, and with it of its memory when that is mapped, if others hold it too.
        let mut mapped = VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), video)
            .map_err(|_| Undrawn::Map(info.width, info.height))?;
        let mut frame = frame::view_mut(&mut mapped, *info)?;
        self.painter.draw(&mut frame, result, now_ns);
        Ok(())
    }
}

/// See [`super::Overlay`].
#[derive(Default)]
pub struct Overlay {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

impl Overlay {
    fn draw(&self, buffer: &mut gst::Buffer, result: &FrameResult, style: Style) {
        let pts = buffer.pts();
        // Without a PTS, the time at which the frame was analysed.
        let now_ns = time::running_time_ns(&self.obj().segment(), pts).unwrap_or(result.utc_ns);
        let error = {
            let mut guard = lock(&self.state);
            let Some(state) = guard.as_mut() else { return };
            state.painter.set_style(style);
            let error = state.draw(buffer, result, now_ns).err();
            let first = error.is_some() && !state.failing;
            state.failing = error.is_some();
            error.filter(|_| first)
        };
        if let Some(error) = error {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Write,
                ("Frame {} is shown without a drawing: {error}. Video goes on", result.frame)
            );
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Overlay {
    const NAME: &'static str = "VigilOverlay";
    type Type = super::Overlay;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Overlay {
    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !lock(&self.settings).set(pspec.name(), value) {
            gst::warning!(CAT, imp = self, "property {} got a value of another type", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).get(pspec.name()).unwrap_or_else(|| glib::Value::from_type(pspec.value_type()))
    }
}

impl GstObjectImpl for Overlay {}

impl ElementImpl for Overlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil overlay",
                "Filter/Editor/Video",
                "Draws boxes, labels, tracks, silhouettes and keypoints on raw video",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| pad_templates(&frame::raw_caps()));
        TEMPLATES.as_slice()
    }
}

impl BaseTransformImpl for Overlay {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let painter = Painter::new(settings.style, settings.font().as_deref())
            .map_err(|e| gst::error_msg!(gst::ResourceError::Settings, ("{e}")))?;
        *lock(&self.state) = Some(State { painter, stream: None, failing: false });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let video = VideoInfo::from_caps(incaps).map_err(|_| gst::loggable_error!(CAT, "cannot read caps {incaps}"))?;
        let info = frame::frame_info(&video)
            .ok_or_else(|| gst::loggable_error!(CAT, "format {:?} is not supported", video.format()))?;
        gst::debug!(CAT, imp = self, "frames are {info:?}");
        if let Some(state) = lock(&self.state).as_mut() {
            state.stream = Some((video, info));
            state.painter.reset();
        }
        Ok(())
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(mut buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let style = lock(&self.settings).style;
        if let Some(result) = meta::get(&buffer).filter(|r| style.wants(r)) {
            self.draw(&mut buffer, &result, style);
        }
        Ok(GenerateOutputSuccess::Buffer(buffer))
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if matches!(event.view(), gst::EventView::FlushStop(_))
            && let Some(state) = lock(&self.state).as_mut()
        {
            state.painter.reset();
        }
        self.parent_sink_event(event)
    }
}
