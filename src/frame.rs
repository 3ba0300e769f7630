//! Raw video frames as the domain sees them: planes of bytes with a stride, no GStreamer type.

use crate::result::BBox;

/// A raw video format that every stage reads and draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Y plane, then interleaved U V at half size.
    Nv12,
    /// Y, U, V planes, chroma at half size.
    I420,
    /// Y, V, U planes, chroma at half size. [`FrameView`] planes are in the order Y, U, V all the same.
    Yv12,
    /// Packed Y0 U Y1 V, chroma at half width.
    Yuy2,
    /// Packed, 3 bytes.
    Rgb,
    /// Packed, 3 bytes.
    Bgr,
    /// Packed, 4 bytes, the last ignored.
    Rgbx,
    /// Packed, 4 bytes, the last ignored.
    Bgrx,
    /// Packed, 4 bytes, the last is alpha.
    Rgba,
    /// Packed, 4 bytes, the last is alpha.
    Bgra,
    /// One plane of luma.
    Gray8,
}

impl PixelFormat {
    /// All formats, in the order of preference that caps announce.
    pub const ALL: [PixelFormat; 11] = [
        Self::Nv12,
        Self::I420,
        Self::Yv12,
        Self::Yuy2,
        Self::Rgb,
        Self::Bgr,
        Self::Rgbx,
        Self::Bgrx,
        Self::Rgba,
        Self::Bgra,
        Self::Gray8,
    ];

    /// Number of planes.
    pub fn planes(self) -> usize {
        match self {
            Self::Nv12 => 2,
            Self::I420 | Self::Yv12 => 3,
            _ => 1,
        }
    }

    /// Bytes that one row of `plane` needs for a frame `width` pixels wide (without padding).
    pub fn row_bytes(self, plane: usize, width: u32) -> usize {
        let w = width as usize;
        let half = w.div_ceil(2);
        match (self, plane) {
            (Self::Nv12 | Self::I420 | Self::Yv12 | Self::Gray8, 0) => w,
            (Self::Nv12, _) => half * 2,
            (Self::I420 | Self::Yv12, _) => half,
            (Self::Yuy2, _) => half * 4,
            (Self::Rgb | Self::Bgr, _) => w * 3,
            _ => w * 4,
        }
    }

    /// Rows of `plane` for a frame `height` pixels high.
    pub fn rows(self, plane: usize, height: u32) -> usize {
        match (self, plane) {
            (Self::Nv12 | Self::I420 | Self::Yv12, 1..) => (height as usize).div_ceil(2),
            _ => height as usize,
        }
    }

    /// Whether the format stores luma and chroma (grey counts as luma).
    pub fn is_yuv(self) -> bool {
        matches!(self, Self::Nv12 | Self::I420 | Self::Yv12 | Self::Yuy2 | Self::Gray8)
    }
}

/// Range of the stored values (ITU-T H.273 `VideoFullRangeFlag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColorRange {
    /// Luma 16..235, chroma 16..240.
    Limited,
    /// 0..255.
    Full,
}

/// Matrix from RGB to luma and chroma (ITU-T H.273 `MatrixCoefficients`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColorMatrix {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

impl ColorMatrix {
    /// The luma weights of red and blue (`Kr`, `Kb`).
    pub fn kr_kb(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
        }
    }
}

/// What a frame's bytes mean; two frames with equal layouts are processed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameInfo {
    /// Pixel format.
    pub format: PixelFormat,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Range of YUV formats; RGB is always full.
    pub range: ColorRange,
    /// Matrix of YUV formats.
    pub matrix: ColorMatrix,
}

/// How a stored picture is turned to stand upright: its axes swapped, then each one mirrored (the eight values of EXIF's
/// orientation and of GStreamer's tag `image-orientation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    /// Rows become columns.
    pub swap: bool,
    /// Left and right change places, after the swap.
    pub mirror_x: bool,
    /// Top and bottom change places, after the swap.
    pub mirror_y: bool,
}

impl Orientation {
    /// It stands upright as it is stored.
    pub const UPRIGHT: Self = Self { swap: false, mirror_x: false, mirror_y: false };
    /// It has to be turned by 90° clockwise.
    pub const CLOCKWISE: Self = Self { swap: true, mirror_x: true, mirror_y: false };

    /// The upright size of a stored one.
    pub fn size_upright<T>(self, (w, h): (T, T)) -> (T, T) {
        if self.swap { (h, w) } else { (w, h) }
    }

    /// A point of the stored picture in the upright one, both in 0..1.
    pub fn point_upright(self, (x, y): (f32, f32)) -> (f32, f32) {
        let (x, y) = if self.swap { (y, x) } else { (x, y) };
        (if self.mirror_x { 1.0 - x } else { x }, if self.mirror_y { 1.0 - y } else { y })
    }

    /// A point of the upright picture in the stored one, both in 0..1.
    pub fn point_stored(self, (x, y): (f32, f32)) -> (f32, f32) {
        let (x, y) = (if self.mirror_x { 1.0 - x } else { x }, if self.mirror_y { 1.0 - y } else { y });
        if self.swap { (y, x) } else { (x, y) }
    }

    /// A box of the stored picture in the upright one, both in 0..1.
    pub fn bbox_upright(self, b: BBox) -> BBox {
        self.mapped(b, Self::point_upright)
    }

    /// A box of the upright picture in the stored one, both in 0..1.
    pub fn bbox_stored(self, b: BBox) -> BBox {
        self.mapped(b, Self::point_stored)
    }

    fn mapped(self, b: BBox, point: fn(Self, (f32, f32)) -> (f32, f32)) -> BBox {
        if self == Self::UPRIGHT {
            return b;
        }
        let (x1, y1) = point(self, (b.x, b.y));
        let (x2, y2) = point(self, (b.x2(), b.y2()));
        BBox::from_corners(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2))
    }
}

/// What there is to see of a stored picture, and how.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct View {
    /// The part that is shown, 0..1 of the stored picture; `None`: all of it.
    pub visible: Option<BBox>,
    /// How it is turned to stand upright.
    pub orientation: Orientation,
}

/// A frame does not have the planes that its [`FrameInfo`] promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plane {plane} of a {width}x{height} {format:?} frame has {have} bytes, {need} are needed (stride {stride})")]
pub struct BadPlane {
    /// Format.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Which plane.
    pub plane: usize,
    /// Its stride in bytes.
    pub stride: usize,
    /// Bytes it has.
    pub have: usize,
    /// Bytes it needs.
    pub need: usize,
}

impl FrameInfo {
    /// Checks that `plane` with `len` bytes at `stride` holds all rows.
    fn check(&self, plane: usize, len: usize, stride: usize) -> Result<(), BadPlane> {
        let row = self.format.row_bytes(plane, self.width);
        let rows = self.format.rows(plane, self.height);
        let need = stride.saturating_mul(rows.saturating_sub(1)).saturating_add(row);
        if stride < row || len < need {
            return Err(BadPlane {
                format: self.format,
                width: self.width,
                height: self.height,
                plane,
                stride,
                have: len,
                need: need.max(row),
            });
        }
        Ok(())
    }
}

/// A frame to read: checked planes in the order Y, U, V (or Y, UV, or packed).
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    info: FrameInfo,
    planes: [(&'a [u8], usize); 3],
}

impl<'a> FrameView<'a> {
    /// A view of `planes` (bytes, stride in bytes); YV12 planes are given in the order Y, U, V.
    ///
    /// # Errors
    /// [`BadPlane`] if a plane is missing, its stride is shorter than a row, or it lacks rows.
    pub fn new(info: FrameInfo, planes: &[(&'a [u8], usize)]) -> Result<Self, BadPlane> {
        let mut own: [(&'a [u8], usize); 3] = [(&[], 0); 3];
        for (i, slot) in own.iter_mut().enumerate().take(info.format.planes()) {
            let (data, stride) = planes.get(i).copied().unwrap_or((&[], 0));
            info.check(i, data.len(), stride)?;
            *slot = (data, stride);
        }
        Ok(Self { info, planes: own })
    }

    /// What the bytes mean.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Bytes and stride of a plane; empty for planes that the format has not.
    pub fn plane(&self, i: usize) -> (&'a [u8], usize) {
        self.planes.get(i).copied().unwrap_or((&[], 0))
    }
}

/// A frame to draw on: as [`FrameView`], with writable planes.
#[derive(Debug)]
pub struct FrameMut<'a> {
    info: FrameInfo,
    planes: [(&'a mut [u8], usize); 3],
}

impl<'a> FrameMut<'a> {
    /// A writable view of `planes`; see [`FrameView::new`].
    ///
    /// # Errors
    /// [`BadPlane`] as for [`FrameView::new`].
    pub fn new(info: FrameInfo, planes: [(&'a mut [u8], usize); 3]) -> Result<Self, BadPlane> {
        for (i, (data, stride)) in planes.iter().enumerate().take(info.format.planes()) {
            info.check(i, data.len(), *stride)?;
        }
        Ok(Self { info, planes })
    }

    /// What the bytes mean.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Bytes and stride of a plane; empty for planes that the format has not.
    pub fn plane_mut(&mut self, i: usize) -> (&mut [u8], usize) {
        match self.planes.get_mut(i) {
            Some((data, stride)) => (data, *stride),
            None => (&mut [], 0),
        }
    }

    /// The same frame to read.
    pub fn view(&self) -> FrameView<'_> {
        let [a, b, c] = &self.planes;
        FrameView { info: self.info, planes: [(&*a.0, a.1), (&*b.0, b.1), (&*c.0, c.1)] }
    }
}
