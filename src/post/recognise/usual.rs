//! How the models of a family usually want their picture.

use crate::bundle::contract::{Align, Color, Resize};

/// How a family's models usually want their input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub color: Color,
    pub resize: Resize,
    /// Resized by PIL or torchvision, not by OpenCV.
    pub antialias: bool,
    pub crop_fraction: f32,
    pub align: Align,
    pub pad: u8,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub because: &'static str,
}

/// 0..1.
const UNIT: [f32; 3] = [255.0; 3];
/// As the picture is.
const PLAIN: [f32; 3] = [1.0; 3];
const IMAGENET: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);

impl Usual {
    /// RGB, stretched, 0..1.
    pub const fn stretched(because: &'static str) -> Self {
        Self {
            color: Color::Rgb,
            resize: Resize::Stretch,
            antialias: false,
            crop_fraction: 1.0,
            align: Align::Center,
            pad: 114,
            mean: [0.0; 3],
            std: UNIT,
            because,
        }
    }

    /// RGB, stretched, as it is.
    pub const fn plain(because: &'static str) -> Self {
        Self { std: PLAIN, ..Self::stretched(because) }
    }

    /// RGB, stretched, -1..1.
    pub const fn signed(because: &'static str) -> Self {
        Self { mean: [127.5; 3], std: [127.5; 3], ..Self::stretched(because) }
    }

    /// As PIL and torchvision resize.
    pub const fn smooth(self) -> Self {
        Self { antialias: true, ..self }
    }

    /// RGB, letterboxed in the middle, 0..1.
    pub const fn letterboxed(because: &'static str) -> Self {
        Self { resize: Resize::Letterbox, ..Self::stretched(because) }
    }

    /// RGB, cut to the middle, 0..1.
    pub const fn cropped(because: &'static str) -> Self {
        Self { resize: Resize::Crop, antialias: true, ..Self::stretched(because) }
    }

    /// RGB, stretched, ImageNet's mean and deviation.
    pub const fn imagenet(because: &'static str) -> Self {
        Self { mean: IMAGENET.0, std: IMAGENET.1, ..Self::stretched(because) }
    }

    /// The same, cut to the middle: 224 of 256 pixels.
    pub const fn torchvision() -> Self {
        let resize = Resize::Crop;
        Self {
            resize,
            antialias: true,
            crop_fraction: 0.875,
            ..Self::imagenet("the ImageNet mean and deviation of torchvision")
        }
    }

    /// Ultralytics' detectors, YOLOv5 and v7.
    pub const fn ultralytics() -> Self {
        Self::letterboxed("Ultralytics' own pre-processing")
    }

    /// YOLOX since 0.2: BGR as it is, top left.
    pub const fn yolox() -> Self {
        Self {
            color: Color::Bgr,
            resize: Resize::Letterbox,
            align: Align::TopLeft,
            std: PLAIN,
            ..Self::stretched("YOLOX's own pre-processing")
        }
    }

    /// NanoDet's configurations: BGR, stretched (`keep_ratio: False`).
    pub const fn nanodet() -> Self {
        Self {
            color: Color::Bgr,
            mean: [103.53, 116.28, 123.675],
            std: [57.375, 57.12, 58.395],
            ..Self::stretched("NanoDet's own configurations")
        }
    }

    /// CenterNet: BGR on black, mean and deviation of COCO.
    pub const fn centernet() -> Self {
        Self {
            color: Color::Bgr,
            resize: Resize::Letterbox,
            pad: 0,
            mean: [104.04, 113.985, 119.85],
            std: [73.695, 69.87, 70.89],
            ..Self::stretched("CenterNet's own pre-processing")
        }
    }

    /// YuNet as OpenCV runs it: BGR as it is, padded with black right and below.
    pub const fn yunet() -> Self {
        Self { align: Align::TopLeft, pad: 0, because: "OpenCV's FaceDetectorYN", ..Self::yolox() }
    }

    /// UltraFace: (x - 127) / 128.
    pub const fn ultraface() -> Self {
        Self { mean: [127.0; 3], std: [128.0; 3], ..Self::stretched("UltraFace's own demo") }
    }

    /// MoveNet: RGB as it is, on black.
    pub const fn movenet() -> Self {
        Self { resize: Resize::Letterbox, pad: 0, std: PLAIN, ..Self::stretched("TensorFlow's MoveNet tutorial") }
    }
}
