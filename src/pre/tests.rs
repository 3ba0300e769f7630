//! Meaning (known colours, OpenCV's own numbers), bookkeeping (padding, errors), and fast code against plain code.

use half::f16;
use proptest::prelude::*;

use super::render::Renderer;
use super::*;
use crate::bundle::contract::{Align, Color, Resize};
use crate::frame::{ColorMatrix, ColorRange, Orientation, PixelFormat};

fn contract(width: u32, height: u32) -> InputContract {
    InputContract {
        layout: Layout::Nchw,
        width,
        height,
        color: Color::Rgb,
        resize: Resize::Stretch,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 114,
        mean: [0.0; 3],
        std: [1.0; 3],
        quantization: None,
    }
}

fn info(format: PixelFormat, width: u32, height: u32) -> FrameInfo {
    FrameInfo { format, width, height, range: ColorRange::Limited, matrix: ColorMatrix::Bt601 }
}

/// A frame that owns its planes; the last row has no padding, so that a read past it would leave the plane.
struct Owned {
    info: FrameInfo,
    planes: Vec<(Vec<u8>, usize)>,
}

impl Owned {
    /// `value(plane, row, byte)` says what is stored.
    fn new(info: FrameInfo, padding: usize, value: impl Fn(usize, usize, usize) -> u8) -> Self {
        let planes = (0..info.format.planes())
            .map(|p| {
                let (row, rows) = (info.format.row_bytes(p, info.width), info.format.rows(p, info.height));
                let stride = row + padding;
                let bytes = (0..stride * (rows - 1) + row).map(|i| value(p, i / stride, i % stride)).collect();
                (bytes, stride)
            })
            .collect();
        Self { info, planes }
    }

    /// All pixels alike: `samples` are Y, U, V or R, G, B.
    fn uniform(info: FrameInfo, [a, b, c]: [u8; 3]) -> Self {
        Self::new(info, 3, |plane, _, i| match info.format {
            PixelFormat::Nv12 if plane == 1 => [b, c][i % 2],
            PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Yv12 | PixelFormat::Gray8 => [a, b, c][plane],
            PixelFormat::Yuy2 => [a, b, a, c][i % 4],
            PixelFormat::Rgb => [a, b, c][i % 3],
            PixelFormat::Bgr => [c, b, a][i % 3],
            PixelFormat::Rgbx | PixelFormat::Rgba => [a, b, c, 77][i % 4],
            PixelFormat::Bgrx | PixelFormat::Bgra => [c, b, a, 77][i % 4],
        })
    }

    fn view(&self) -> FrameView<'_> {
        let planes: Vec<_> = self.planes.iter().map(|(data, stride)| (data.as_slice(), *stride)).collect();
        FrameView::new(self.info, &planes).unwrap()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    (0..tensor.data.len()).map(|i| tensor.data.get(i).unwrap()).collect()
}

fn run_as(pre: &mut Preprocessor, frame: &Owned, region: Option<BBox>, dtype: DataType) -> Vec<f32> {
    let mut out = Tensor::zeros("in", dtype, &pre.shape());
    pre.run(&frame.view(), region, &mut out, &mut Border::default()).unwrap();
    values(&out)
}

fn run(input: InputContract, frame: &Owned) -> Vec<f32> {
    run_as(&mut Preprocessor::new(input), frame, None, DataType::F32)
}

/// Byte `c` of pixel (x, y) of the picture that OpenCV 5.0 was given for the numbers below.
fn picture(x: usize, y: usize, c: usize) -> u8 {
    (x * 37 + y * 59 + c * 101 + x * y * 13) as u8
}

fn picture_frame() -> Owned {
    Owned::new(info(PixelFormat::Rgb, 7, 5), 2, |_, y, i| picture(i / 3, y, i % 3))
}

#[track_caller]
fn assert_close(have: &[f32], want: &[f32], bound: f32) {
    assert_eq!(have.len(), want.len());
    for (i, (a, b)) in have.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= bound, "value {i}: {a}, wanted {b}");
    }
}

#[test]
fn shrinking_equals_opencv() {
    // cv2.resize(picture, (4, 3), interpolation=cv2.INTER_LINEAR)
    let opencv = [
        35, 136, 152, 107, 123, 53, 105, 195, 126, 167, 97, 145, 142, 147, 88, 220, 97, 198, 106, 207, 84, 216, 61,
        162, 184, 93, 130, 140, 70, 86, 139, 144, 85, 74, 111, 158,
    ]
    .map(|v| v as f32);
    let have = run(InputContract { layout: Layout::Nhwc, ..contract(4, 3) }, &picture_frame());
    assert_close(&have, &opencv, 1.0);
}

#[test]
fn growing_equals_opencv() {
    // The first two of the eight rows of cv2.resize(picture, (10, 8), interpolation=cv2.INTER_LINEAR)
    let opencv = [
        0, 101, 202, 20, 121, 222, 46, 147, 184, 72, 173, 31, 98, 199, 44, 124, 225, 70, 150, 238, 96, 176, 85, 122,
        202, 46, 147, 222, 67, 168, 26, 127, 116, 49, 150, 139, 79, 152, 133, 109, 103, 62, 139, 128, 85, 129, 158,
        115, 87, 180, 145, 116, 109, 174, 146, 103, 154, 170, 127, 116,
    ]
    .map(|v| v as f32);
    let have = run(InputContract { layout: Layout::Nhwc, ..contract(10, 8) }, &picture_frame());
    assert_close(&have[..60], &opencv, 1.0);
}

#[test]
fn gray_of_rgb_equals_opencv() {
    // cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (4, 3))
    let opencv = [107, 110, 160, 123, 138, 145, 163, 119, 124, 93, 136, 105].map(|v| v as f32);
    assert_close(&run(InputContract { color: Color::Gray, ..contract(4, 3) }, &picture_frame()), &opencv, 1.0);
}

#[test]
fn yuv_becomes_the_colour_that_was_meant() {
    use ColorMatrix::*;
    use ColorRange::*;
    // 8-bit Y, U, V of full red, green and grey: BT.601 and BT.709 in the video range, full range as in JPEG, BT.2020.
    for (matrix, range, yuv, rgb) in [
        (Bt601, Limited, [81, 90, 240], [255.0, 0.0, 0.0]),
        (Bt601, Limited, [145, 54, 34], [0.0, 255.0, 0.0]),
        (Bt709, Limited, [63, 102, 240], [255.0, 0.0, 0.0]),
        (Bt709, Limited, [173, 42, 26], [0.0, 255.0, 0.0]),
        (Bt2020, Limited, [74, 97, 240], [255.0, 0.0, 0.0]),
        (Bt601, Full, [76, 85, 255], [255.0, 0.0, 0.0]),
        (Bt601, Full, [29, 255, 107], [0.0, 0.0, 255.0]),
        (Bt709, Limited, [235, 128, 128], [255.0, 255.0, 255.0]),
        (Bt709, Limited, [16, 128, 128], [0.0, 0.0, 0.0]),
        (Bt709, Full, [77, 128, 128], [77.0, 77.0, 77.0]),
    ] {
        for format in [PixelFormat::Nv12, PixelFormat::I420, PixelFormat::Yv12, PixelFormat::Yuy2] {
            let frame = Owned::uniform(FrameInfo { range, matrix, ..info(format, 35, 9) }, yuv);
            let have = run(contract(1, 1), &frame);
            assert_close(&have, &rgb, 2.0);
        }
    }
}

#[test]
fn packed_rgb_keeps_its_channels() {
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_yuv()) {
        let frame = Owned::uniform(info(format, 35, 9), [10, 120, 230]);
        assert_close(&run(contract(1, 1), &frame), &[10.0, 120.0, 230.0], 0.02);
        assert_close(&run(InputContract { color: Color::Bgr, ..contract(1, 1) }, &frame), &[230.0, 120.0, 10.0], 0.02);
    }
}

#[test]
fn gray_frames_give_three_equal_channels_in_their_range() {
    let frame = |range| Owned::uniform(FrameInfo { range, ..info(PixelFormat::Gray8, 20, 3) }, [126, 0, 0]);
    assert_close(&run(contract(1, 1), &frame(ColorRange::Full)), &[126.0; 3], 0.02);
    // (126 - 16) * 255 / 219 = 128.08, a whole level.
    assert_close(&run(contract(1, 1), &frame(ColorRange::Limited)), &[128.0; 3], 0.02);
}

#[test]
fn a_gray_model_takes_luma_in_full_range() {
    let gray = InputContract { color: Color::Gray, ..contract(1, 1) };
    let frame = Owned::uniform(info(PixelFormat::Nv12, 20, 3), [235, 30, 200]);
    assert_close(&run(gray, &frame), &[255.0], 0.02);
}

#[test]
fn a_chroma_sample_stands_for_all_its_pixels() {
    // V rises from 128 to 192 from the second pair of pixels to the third, full range.
    let full = FrameInfo { range: ColorRange::Full, ..info(PixelFormat::I420, 4, 2) };
    let frame = Owned::new(full, 0, |plane, _, i| if plane == 2 { [128, 192][i] } else { 128 });
    // 128 + 1.402 * 64 = 217.73, as cv2.cvtColor(COLOR_YUV2RGB_I420) gives it.
    assert_close(&run(contract(4, 2), &frame)[..4], &[128.0, 128.0, 218.0, 218.0], 0.02);
    // Between the two pairs they are blended like any two pixels.
    assert_close(&run(contract(8, 2), &frame)[..8], &[128.0, 128.0, 128.0, 151.0, 196.0, 218.0, 218.0, 218.0], 0.02);
}

/// For each format `cv2.resize(rgb, (4, 3))` and the same to (9, 2), OpenCV 5.0, `INTER_LINEAR`, where `rgb` is the 7 × 5 picture
/// that `cv2.cvtColor(stored, cv2.COLOR_YUV2RGB_NV12)` (`_I420`, `_YUY2`) makes of planes that hold
/// `(plane * 53 + row * 59 + byte * 37 + row * byte * 13 + 30) & 255`; luma was padded to even sides for it.
#[rustfmt::skip]
const CONVERTED: [(PixelFormat, [u8; 36], [u8; 54]); 3] = [
    (PixelFormat::Nv12, [
        45, 81, 7, 227, 76, 196, 33, 178, 243, 112, 228, 143, 255, 123, 209, 0, 42, 235, 142, 152, 88, 196, 87, 125, 68,
        104, 179, 125, 176, 135, 77, 192, 212, 76, 100, 117,
    ], [
        55, 92, 0, 91, 128, 26, 169, 130, 124, 246, 123, 234, 254, 167, 242, 57, 127, 236, 7, 142, 246, 42, 180, 179,
        104, 215, 29, 191, 141, 225, 121, 75, 136, 71, 91, 145, 49, 157, 208, 36, 171, 191, 157, 222, 203, 121, 174,
        127, 109, 97, 106, 197, 46, 191,
    ]),
    (PixelFormat::I420, [
        70, 68, 7, 205, 108, 125, 221, 83, 188, 249, 105, 240, 255, 121, 209, 197, 0, 140, 38, 155, 249, 30, 136, 96,
        215, 34, 179, 139, 160, 78, 110, 165, 85, 119, 118, 69,
    ], [
        81, 79, 0, 117, 115, 26, 179, 137, 93, 237, 155, 172, 246, 198, 215, 192, 65, 141, 201, 34, 146, 232, 42, 196,
        255, 49, 255, 242, 122, 225, 183, 41, 136, 181, 28, 127, 209, 67, 177, 191, 79, 191, 142, 192, 191, 85, 173,
        205, 68, 144, 146, 100, 169, 8,
    ]),
    (PixelFormat::Yuy2, [
        131, 55, 50, 73, 161, 172, 178, 116, 49, 148, 179, 186, 49, 102, 223, 60, 141, 243, 50, 141, 243, 29, 106, 216,
        83, 163, 39, 143, 118, 213, 160, 148, 54, 68, 118, 94,
    ], [
        201, 8, 80, 215, 75, 139, 163, 86, 122, 114, 77, 71, 199, 146, 98, 219, 186, 54, 161, 150, 33, 110, 142, 103,
        109, 204, 255, 191, 190, 14, 160, 155, 28, 176, 159, 105, 211, 160, 166, 193, 73, 78, 92, 126, 43, 80, 182, 99,
        62, 181, 152, 0, 116, 153,
    ]),
];

#[test]
fn chroma_formats_equal_opencvs_conversion_and_resize_bit_by_bit() {
    for (format, small, wide) in CONVERTED {
        let frame =
            Owned::new(info(format, 7, 5), 2, |plane, y, i| (plane * 53 + y * 59 + i * 37 + y * i * 13 + 30) as u8);
        for (width, height, opencv) in [(4, 3, &small[..]), (9, 2, &wide[..])] {
            for color in [Color::Rgb, Color::Bgr] {
                let input = InputContract { layout: Layout::Nhwc, color, ..contract(width, height) };
                let renderers = [Renderer::Scalar, Renderer::detect(&input)];
                for renderer in renderers {
                    let mut pre = Preprocessor::with_renderer(input.clone(), renderer);
                    let mut have = run_as(&mut pre, &frame, None, DataType::F32);
                    if color == Color::Bgr {
                        have.chunks_mut(3).for_each(<[f32]>::reverse);
                    }
                    let opencv: Vec<f32> = opencv.iter().copied().map(f32::from).collect();
                    assert_eq!(have, opencv, "{format:?} to {width}x{height} {color:?}");
                }
            }
        }
    }
}

#[test]
fn values_are_normalised_per_channel() {
    let frame = Owned::uniform(info(PixelFormat::Rgb, 4, 4), [100, 150, 200]);
    let input = InputContract { mean: [100.0, 50.0, 0.0], std: [2.0, 50.0, 400.0], ..contract(1, 1) };
    assert_close(&run(input, &frame), &[0.0, 2.0, 0.5], 0.01);
}

#[test]
fn integers_are_rounded_and_saturated() {
    let frame = Owned::uniform(info(PixelFormat::Rgb, 40, 4), [0, 100, 255]);
    let mut pre = Preprocessor::new(InputContract { mean: [0.6, 0.4, -30.0], ..contract(1, 1) });
    assert_eq!(run_as(&mut pre, &frame, None, DataType::U8), [0.0, 100.0, 255.0]);
    let mut pre = Preprocessor::new(InputContract { mean: [0.6, 150.6, 0.0], ..contract(1, 1) });
    assert_eq!(run_as(&mut pre, &frame, None, DataType::I8), [-1.0, -51.0, 127.0]);
}

#[test]
fn half_precision_holds_the_same_values() {
    let frame = picture_frame();
    for layout in [Layout::Nchw, Layout::Nhwc] {
        let mut pre = Preprocessor::new(InputContract { layout, std: [255.0; 3], ..contract(11, 9) });
        let full: Vec<f32> = run_as(&mut pre, &frame, None, DataType::F32);
        let half = run_as(&mut pre, &frame, None, DataType::F16);
        assert_eq!(half, full.iter().map(|v| f16::from_f32(*v).to_f32()).collect::<Vec<_>>());
    }
}

#[test]
fn layouts_hold_the_same_values() {
    let planar = run(contract(6, 5), &picture_frame());
    let pixels = run(InputContract { layout: Layout::Nhwc, ..contract(6, 5) }, &picture_frame());
    let woven: Vec<f32> = (0..90).map(|i| planar[(i % 3) * 30 + i / 3]).collect();
    assert_eq!(pixels, woven);
}

#[test]
fn a_region_equals_the_frame_cut_out() {
    // Shrinking by two stays inside the region, so the neighbours outside do not count.
    let whole = Owned::new(info(PixelFormat::Rgb, 80, 40), 0, |_, y, i| picture(i / 3, y, i % 3));
    let part = Owned::new(info(PixelFormat::Rgb, 20, 10), 0, |_, y, i| picture(i / 3 + 40, y + 10, i % 3));
    let region = BBox { x: 0.5, y: 0.25, w: 0.25, h: 0.25 };
    let mut pre = Preprocessor::new(contract(10, 5));
    let have = run_as(&mut pre, &whole, Some(region), DataType::F32);
    assert_close(&have, &run(contract(10, 5), &part), 0.02);
}

#[test]
fn crop_takes_the_middle() {
    let frame = Owned::new(info(PixelFormat::Gray8, 8, 2), 0, |_, _, x| x as u8 * 10);
    let full = Owned { info: FrameInfo { range: ColorRange::Full, ..frame.info }, ..frame };
    let have = run(InputContract { resize: Resize::Crop, color: Color::Gray, ..contract(2, 2) }, &full);
    assert_close(&have, &[30.0, 40.0, 30.0, 40.0], 0.02);
}

fn letterbox(align: Align, layout: Layout) -> InputContract {
    InputContract { resize: Resize::Letterbox, align, layout, std: [2.0; 3], ..contract(8, 8) }
}

#[test]
fn letterbox_pads_around_the_picture() {
    let frame = Owned::uniform(info(PixelFormat::Rgb, 16, 8), [200, 200, 200]);
    for (align, rows) in [(Align::Center, 2..6), (Align::TopLeft, 0..4)] {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            for dtype in [DataType::F32, DataType::F16, DataType::U8, DataType::I8] {
                let have = run_as(&mut Preprocessor::new(letterbox(align, layout)), &frame, None, dtype);
                for (i, value) in have.iter().enumerate() {
                    let y = if layout == Layout::Nchw { i / 8 % 8 } else { i / 24 };
                    assert_eq!(*value, if rows.contains(&y) { 100.0 } else { 57.0 }, "{align:?} {layout:?} value {i}");
                }
            }
        }
    }
}

#[test]
fn padding_is_written_only_when_it_changes() {
    let wide = Owned::uniform(info(PixelFormat::Rgb, 16, 8), [200; 3]);
    let high = Owned::uniform(info(PixelFormat::Rgb, 8, 16), [200; 3]);
    let mut pre = Preprocessor::new(letterbox(Align::Center, Layout::Nchw));
    let (mut out, mut border) = (Tensor::zeros("in", DataType::F32, &pre.shape()), Border::default());
    let mut go = |frame: &Owned, out: &mut Tensor| {
        pre.run(&frame.view(), None, out, &mut border).unwrap();
        let v = values(out);
        // A corner, the middle of the upper edge, the middle of the left edge.
        (v[0], v[4], v[32])
    };
    assert_eq!(go(&wide, &mut out), (57.0, 57.0, 100.0));
    let TensorData::F32(v) = &mut out.data else { unreachable!() };
    v[0] = -1.0;
    assert_eq!(go(&wide, &mut out), (-1.0, 57.0, 100.0));
    assert_eq!(go(&high, &mut out), (57.0, 100.0, 57.0));
    assert_eq!(go(&wide, &mut out), (57.0, 57.0, 100.0));
    // The border of another tensor does not hide that this one has no padding.
    let mut other = Tensor::zeros("in", DataType::F32, &out.shape);
    assert_eq!(go(&wide, &mut other), (57.0, 57.0, 100.0));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let frame = picture_frame();
    let mut pre = Preprocessor::new(contract(4, 3));
    let mut go = |region, shape: &[usize], dtype| {
        pre.run(&frame.view(), region, &mut Tensor::zeros("in", dtype, shape), &mut Border::default()).unwrap_err()
    };
    let shape = PreError::Shape { have: vec![1, 3, 4, 3], need: [1, 3, 3, 4], item: 0 };
    assert_eq!(go(None, &[1, 3, 4, 3], DataType::F32), shape);
    assert!(matches!(go(None, &[3, 4, 3], DataType::F32), PreError::Shape { .. }));
    assert_eq!(go(None, &[1, 3, 3, 4], DataType::I64), PreError::DataType(DataType::I64));
    let nan = BBox { x: f32::NAN, ..BBox::default() };
    assert!(matches!(go(Some(nan), &[1, 3, 3, 4], DataType::F32), PreError::Region(_)));
    let mut empty = Preprocessor::new(contract(0, 3));
    let mut out = Tensor::zeros("in", DataType::F32, &empty.shape());
    let error = empty.run(&frame.view(), None, &mut out, &mut Border::default()).unwrap_err();
    assert_eq!(error, PreError::Size { from: (7, 5), to: (0, 3) });
}

/// A picture whose pixel at x, y (upright) is `value(x, y)`, stored so that `orientation` brings it upright.
fn stored(orientation: Orientation, (w, h): (u32, u32), value: impl Fn(usize, usize) -> [u8; 3]) -> Owned {
    let (sw, sh) = orientation.size_upright((w, h));
    Owned::new(info(PixelFormat::Rgb, sw, sh), 1, |_, row, byte| {
        let middle = ((byte / 3) as f32 + 0.5) / sw as f32;
        let (x, y) = orientation.point_upright((middle, (row as f32 + 0.5) / sh as f32));
        value((x * w as f32) as usize, (y * h as f32) as usize)[byte % 3]
    })
}

#[test]
fn a_turned_picture_gives_the_tensor_of_the_upright_one() {
    let value = |x: usize, y: usize| [(x * 31 + y * 7) as u8, (x * y) as u8, (200 - y * 9) as u8];
    for resize in [Resize::Stretch, Resize::Letterbox, Resize::Crop] {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let input = InputContract { resize, layout, align: Align::TopLeft, ..contract(20, 14) };
            let upright = stored(Orientation::UPRIGHT, (13, 17), value);
            let expected = run_as(&mut Preprocessor::new(input.clone()), &upright, None, DataType::F32);
            for bits in 0..8 {
                let orientation = Orientation { swap: bits & 1 > 0, mirror_x: bits & 2 > 0, mirror_y: bits & 4 > 0 };
                let frame = stored(orientation, (13, 17), value);
                let mut pre = Preprocessor::new(input.clone());
                let mut out = Tensor::zeros("in", DataType::F32, &pre.shape());
                let view = View { orientation, ..View::default() };
                pre.run_item(&frame.view(), &view, None, (&mut out, 0), &mut Border::default()).unwrap();
                // OpenCV's arithmetic rounds along the rows first, and the turn has made them columns.
                for (i, (seen, expected)) in values(&out).iter().zip(&expected).enumerate() {
                    assert!((seen - expected).abs() <= 1.0, "{orientation:?} {resize:?} {i}: {seen} not {expected}");
                }
            }
        }
    }
}

#[test]
fn only_the_visible_part_of_a_picture_is_looked_at() {
    let part = stored(Orientation::UPRIGHT, (10, 8), |x, y| if x >= 4 && y >= 2 { [200; 3] } else { [0; 3] });
    let mut pre = Preprocessor::new(contract(6, 6));
    let mut out = Tensor::zeros("in", DataType::F32, &pre.shape());
    let visible = Some(BBox { x: 0.5, y: 0.5, w: 0.5, h: 0.5 });
    let view = View { visible, ..View::default() };
    let geometry = pre.run_item(&part.view(), &view, None, (&mut out, 0), &mut Border::default()).unwrap();
    assert!(values(&out).iter().all(|v| *v == 200.0));
    assert_eq!(geometry.point_to_frame(0.0, 0.0), (0.0, 0.0));
}

#[test]
fn every_picture_of_a_batch_lies_in_its_place() {
    let input = InputContract { resize: Resize::Letterbox, ..contract(4, 3) };
    let mut pre = Preprocessor::new(input);
    let len = pre.shape().iter().product::<usize>();
    for dtype in [DataType::F32, DataType::F16, DataType::U8, DataType::I8] {
        let mut out = Tensor::zeros("in", dtype, &[3, 3, 3, 4]);
        let mut borders = vec![Border::default(); 3];
        for item in [2, 0] {
            let frame = Owned::uniform(info(PixelFormat::Rgb, 4, 1), [item as u8 * 10 + 20; 3]);
            let place = (&mut out, item);
            pre.run_item(&frame.view(), &View::default(), None, place, &mut borders[item]).unwrap();
        }
        let all = values(&out);
        for (item, row) in [(0, 20.0), (1, 0.0), (2, 40.0)] {
            let pad = if item == 1 { 0.0 } else { 114.0 };
            let expected: Vec<f32> =
                (0..3).flat_map(|_| [pad; 4].into_iter().chain([row; 4]).chain([pad; 4])).collect();
            assert_eq!(all[item * len..(item + 1) * len], expected, "{dtype:?} {item}");
        }
        let frame = Owned::uniform(info(PixelFormat::Rgb, 4, 1), [0; 3]);
        let error = pre.run_item(&frame.view(), &View::default(), None, (&mut out, 3), &mut Border::default());
        assert!(matches!(error, Err(PreError::Shape { item: 3, .. })), "{error:?}");
    }
}

#[test]
fn a_quantized_input_gets_the_integers_that_stand_for_the_values() {
    use crate::bundle::contract::Quantization;
    let quantization = Some(Quantization { scale: 1.0 / 128.0, zero_point: -3 });
    let input =
        InputContract { mean: [127.5; 3], std: [127.5; 3], quantization, resize: Resize::Letterbox, ..contract(4, 3) };
    let frame = Owned::uniform(info(PixelFormat::Rgb, 4, 1), [255, 0, 191]);
    let seen = run_as(&mut Preprocessor::new(input), &frame, None, DataType::I8);
    // 1 → 125, -1 → -131 saturated, .498 → 60.75; the padding's -.106 → -16.55.
    assert_eq!(seen[4..8], [125.0; 4]);
    assert_eq!(seen[16..20], [-128.0; 4]);
    assert_eq!(seen[28..32], [61.0; 4]);
    assert_eq!(seen[0], -17.0);
}

/// PIL's `Image.resize((4, 3), Image.BILINEAR)` of the 8 × 6 picture whose value at x, y is (x * 29 + y * 17 + x * y) % 256.
#[rustfmt::skip]
const PIL: [f32; 12] = [33.0, 87.0, 146.0, 199.0, 65.0, 122.0, 181.0, 172.0, 97.0, 156.0, 195.0, 78.0];

#[test]
fn an_antialiased_reduction_equals_pils() {
    let frame = Owned::new(info(PixelFormat::Gray8, 8, 6), 2, |_, y, x| (x * 29 + y * 17 + x * y) as u8);
    let frame = Owned { info: FrameInfo { range: ColorRange::Full, ..frame.info }, ..frame };
    let input = InputContract { antialias: true, color: Color::Gray, ..contract(4, 3) };
    let seen = run_as(&mut Preprocessor::new(input), &frame, None, DataType::F32);
    assert_eq!(seen, PIL);
}

#[test]
fn an_antialiased_picture_of_one_color_keeps_it_in_every_format() {
    for format in PixelFormat::ALL {
        for (resize, w, h) in [(Resize::Letterbox, 64, 48), (Resize::Crop, 33, 17), (Resize::Stretch, 1, 1)] {
            let input = InputContract { resize, crop_fraction: 0.75, ..contract(9, 7) };
            let frame = Owned::uniform(info(format, w, h), [100, 140, 90]);
            let plain = run_as(&mut Preprocessor::new(input.clone()), &frame, None, DataType::F32);
            let smooth = InputContract { antialias: true, ..input };
            let smooth = run_as(&mut Preprocessor::new(smooth), &frame, None, DataType::F32);
            assert!(plain.iter().zip(&smooth).all(|(a, b)| (a - b).abs() < 0.5), "{format:?} {w}x{h}");
        }
    }
}

#[test]
fn a_tensor_without_a_batch_takes_one_picture() {
    let mut pre = Preprocessor::new(contract(4, 3));
    let mut with = Tensor::zeros("in", DataType::F32, &[1, 3, 3, 4]);
    let mut without = Tensor::zeros("in", DataType::F32, &[3, 3, 4]);
    for out in [&mut with, &mut without] {
        pre.run(&picture_frame().view(), None, out, &mut Border::default()).unwrap();
    }
    assert_eq!(with.data, without.data);
}

#[test]
fn lying_tensors_are_refused() {
    let mut pre = Preprocessor::new(contract(4, 3));
    let mut out =
        Tensor { data: TensorData::F32(vec![0.0; 5].into()), ..Tensor::zeros("in", DataType::F32, &pre.shape()) };
    let result = pre.run(&picture_frame().view(), None, &mut out, &mut Border::default());
    assert!(matches!(result, Err(PreError::Shape { .. })));
}

#[test]
fn extreme_sizes_keep_their_colour() {
    for format in PixelFormat::ALL {
        for (width, height) in [(1, 1), (1, 700), (16384, 1), (16383, 3), (2, 1)] {
            let full = FrameInfo { range: ColorRange::Full, ..info(format, width, height) };
            let frame = Owned::uniform(full, [90, 128, 128]);
            let have = run(InputContract { color: Color::Gray, ..contract(37, 5) }, &frame);
            // 0.299 * 90 + 0.701 * 128 = 116.64, a whole level.
            let want = if format.is_yuv() { 90.0 } else { 117.0 };
            assert_close(&have, &[want; 37 * 5], 0.02);
        }
    }
}

prop_compose! {
    fn any_input()(
        (width, height, nhwc, channels) in (1u32..70, 1u32..30, any::<bool>(), 0usize..3),
        (resize, top_left) in (0usize..3, any::<bool>()),
        mean in [0f32..200.0, 0f32..200.0, 0f32..200.0],
        std in [1f32..300.0, 1f32..300.0, 1f32..300.0],
    ) -> InputContract {
        InputContract {
            layout: if nhwc { Layout::Nhwc } else { Layout::Nchw },
            width,
            height,
            color: [Color::Rgb, Color::Bgr, Color::Gray][channels],
            resize: [Resize::Stretch, Resize::Letterbox, Resize::Crop][resize],
            antialias: false,
            crop_fraction: 1.0,
            align: if top_left { Align::TopLeft } else { Align::Center },
            pad: 114,
            mean,
            std,
            quantization: None,
        }
    }
}

prop_compose! {
    fn any_frame()(
        format in 0..PixelFormat::ALL.len(),
        (width, height, padding) in (1u32..150, 1u32..40, 0usize..70),
        (full, matrix, seed) in (any::<bool>(), 0usize..3, any::<u32>()),
    ) -> Owned {
        let info = FrameInfo {
            format: PixelFormat::ALL[format],
            width,
            height,
            range: if full { ColorRange::Full } else { ColorRange::Limited },
            matrix: [ColorMatrix::Bt601, ColorMatrix::Bt709, ColorMatrix::Bt2020][matrix],
        };
        Owned::new(info, padding, |plane, y, i| {
            let mixed = (seed ^ (plane << 20 | y << 10 | i) as u32).wrapping_mul(0x9E37_79B1);
            (mixed ^ mixed >> 15).wrapping_mul(0x85EB_CA77).to_be_bytes()[0]
        })
    }
}

impl std::fmt::Debug for Owned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let strides: Vec<usize> = self.planes.iter().map(|p| p.1).collect();
        write!(f, "{:?}, strides {strides:?}", self.info)
    }
}

proptest! {
    /// Fast code finds the levels that plain code finds; only the last bit of a normalised value may differ.
    #[test]
    fn fast_code_equals_plain_code(
        input in any_input(),
        frame in any_frame(),
        region in proptest::option::of((-0.2f32..1.2, -0.2f32..1.2, -0.1f32..1.2, -0.1f32..1.2)),
        dtype in 0usize..4,
    ) {
        let region = region.map(|(x, y, w, h)| BBox { x, y, w, h });
        let dtype = [DataType::F32, DataType::F16, DataType::U8, DataType::I8][dtype];
        let mut plain = Preprocessor::with_renderer(input.clone(), Renderer::Scalar);
        let mut fast = Preprocessor::new(input.clone());
        let want = run_as(&mut plain, &frame, region, dtype);
        let have = run_as(&mut fast, &frame, region, dtype);
        for (i, (a, b)) in have.iter().zip(&want).enumerate() {
            let rounding = match dtype {
                DataType::F32 => b.abs() * 1e-6 + 1e-5,
                DataType::F16 => b.abs() / 1024.0 + 1e-5,
                _ => 1.0,
            };
            prop_assert!((a - b).abs() <= rounding, "value {}: {} and {}", i, a, b);
        }
    }

    /// A processor that has seen another frame, another region and a used tensor answers like a fresh one.
    #[test]
    fn what_was_before_does_not_matter(
        input in any_input(),
        frames in [any_frame(), any_frame()],
        region in (0f32..0.8, 0f32..0.8, 0f32..0.5, 0f32..0.5),
    ) {
        let region = BBox { x: region.0, y: region.1, w: region.2, h: region.3 };
        let mut used = Preprocessor::new(input.clone());
        let (mut out, mut border) = (Tensor::zeros("in", DataType::F32, &used.shape()), Border::default());
        for (frame, region) in [(&frames[0], None), (&frames[1], Some(region)), (&frames[0], Some(region))] {
            used.run(&frame.view(), region, &mut out, &mut border).unwrap();
            let fresh = run_as(&mut Preprocessor::new(input.clone()), frame, region, DataType::F32);
            prop_assert_eq!(values(&out), fresh);
        }
    }
}
