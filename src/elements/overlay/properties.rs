//! The properties of `vigiloverlay`.

use std::path::PathBuf;
use std::sync::LazyLock;

use glib::prelude::*;

use crate::draw::{self, Style};

/// What decides an object's colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilColorBy")]
#[repr(i32)]
pub enum ColorBy {
    /// Its class.
    #[default]
    #[enum_value(name = "Class: a label has the same colour everywhere and always", nick = "class")]
    Class,
    /// Its track.
    #[enum_value(name = "Track: each object that is followed has its own colour", nick = "track")]
    Track,
}

/// What the user has set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub style: Style,
    pub font: Option<String>,
}

impl Settings {
    /// The font's file; `None` for the built-in font.
    pub fn font(&self) -> Option<PathBuf> {
        self.font.as_ref().filter(|f| !f.is_empty()).map(PathBuf::from)
    }

    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let style = &mut self.style;
        let flag = |to: &mut bool| value.get().map(|v| *to = v).is_ok();
        let nanoseconds = |to: &mut u64| value.get().map(|v| *to = v).is_ok();
        let pixels = |to: &mut u32| value.get().map(|v| *to = v).is_ok();
        let share = |to: &mut f32| value.get().map(|v| *to = v).is_ok();
        match name {
            "show-boxes" => flag(&mut style.boxes),
            "show-labels" => flag(&mut style.labels),
            "show-confidence" => flag(&mut style.confidence),
            "show-tracks" => flag(&mut style.tracks),
            "tail-time" => nanoseconds(&mut style.tail_ns),
            "show-masks" => flag(&mut style.masks),
            "show-keypoints" => flag(&mut style.keypoints),
            "show-absent" => flag(&mut style.absent),
            "show-status" => flag(&mut style.status),
            "held-after" => nanoseconds(&mut style.held_after_ns),
            "min-confidence" => share(&mut style.min_confidence),
            "color-by" => value
                .get::<ColorBy>()
                .map(|v| {
                    style.color_by = match v {
                        ColorBy::Class => draw::ColorBy::Class,
                        ColorBy::Track => draw::ColorBy::Track,
                    };
                })
                .is_ok(),
            "line-width" => pixels(&mut style.line_width),
            "text-size" => pixels(&mut style.text_size),
            "mask-opacity" => share(&mut style.mask_opacity),
            "font" => value.get().map(|v| self.font = v).is_ok(),
            _ => false,
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let style = &self.style;
        Some(match name {
            "show-boxes" => style.boxes.to_value(),
            "show-labels" => style.labels.to_value(),
            "show-confidence" => style.confidence.to_value(),
            "show-tracks" => style.tracks.to_value(),
            "tail-time" => style.tail_ns.to_value(),
            "show-masks" => style.masks.to_value(),
            "show-keypoints" => style.keypoints.to_value(),
            "show-absent" => style.absent.to_value(),
            "show-status" => style.status.to_value(),
            "held-after" => style.held_after_ns.to_value(),
            "min-confidence" => style.min_confidence.to_value(),
            "color-by" => match style.color_by {
                draw::ColorBy::Class => ColorBy::Class.to_value(),
                draw::ColorBy::Track => ColorBy::Track.to_value(),
            },
            "line-width" => style.line_width.to_value(),
            "text-size" => style.text_size.to_value(),
            "mask-opacity" => style.mask_opacity.to_value(),
            "font" => self.font.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = what();
    specs.extend(how());
    specs
});

/// What is drawn.
fn what() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let style = Style::default();
    let show = |name: &str, nick: &str, blurb: &str, default: bool| {
        glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
    };
    vec![
        show("show-boxes", "Show boxes", "Draw the outlines of objects, dashed where they were not seen", style.boxes),
        show(
            "show-labels",
            "Show labels",
            "Write class and attributes at objects, and the frame's classes in the top left corner",
            style.labels,
        ),
        show("show-confidence", "Show confidence", "Write confidences in labels, in per cent", style.confidence),
        show("show-tracks", "Show tracks", "Write track numbers in labels", style.tracks),
        glib::ParamSpecUInt64::builder("tail-time")
            .nick("Tail time")
            .blurb("How far back the path of a track is drawn, in nanoseconds (0 = no paths)")
            .default_value(style.tail_ns)
            .mutable_playing()
            .build(),
        show("show-masks", "Show masks", "Tint the silhouettes of objects", style.masks),
        show("show-keypoints", "Show keypoints", "Draw keypoints and skeletons", style.keypoints),
        show(
            "show-absent",
            "Show absence",
            "Say in the top left corner why analysis is off and since when, unless the frame was skipped as planned",
            style.absent,
        ),
        show(
            "show-status",
            "Show status",
            "Say in the top right corner how old the frame's result is, or that it was not analysed where show-absent does not",
            style.status,
        ),
        glib::ParamSpecUInt64::builder("held-after")
            .nick("Held after")
            .blurb("Age in nanoseconds from which held results and predicted boxes are marked (0 = all of them); below it a regular inference interval does not make the picture flicker")
            .default_value(style.held_after_ns)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("min-confidence")
            .nick("Minimum confidence")
            .blurb("Lowest confidence, 0..1, of what is drawn")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(style.min_confidence)
            .mutable_playing()
            .build(),
    ]
}

/// How it is drawn.
fn how() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let style = Style::default();
    vec![
        glib::ParamSpecEnum::builder::<ColorBy>("color-by")
            .nick("Colour by")
            .blurb("What decides an object's colour")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("line-width")
            .nick("Line width")
            .blurb("Thickness of lines in pixels (0 = to suit the frame's size)")
            .maximum(64)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("text-size")
            .nick("Text size")
            .blurb("Height of a line of text in pixels (0 = to suit the frame's size)")
            .maximum(256)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("mask-opacity")
            .nick("Mask opacity")
            .blurb("Opacity of silhouettes, 0..1")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(style.mask_opacity)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("font")
            .nick("Font")
            .blurb("TrueType or OpenType file (unset = the built-in font)")
            .mutable_ready()
            .build(),
    ]
}
