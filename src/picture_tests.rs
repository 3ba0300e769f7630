use gst::prelude::*;
use gst_video::prelude::*;

use super::*;
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, PixelFormat};

const INFO: FrameInfo = FrameInfo {
    format: PixelFormat::Rgb,
    width: 400,
    height: 300,
    range: ColorRange::Full,
    matrix: ColorMatrix::Bt601,
};

/// Left half red, right half blue, with noise that JPEG does not like.
fn pixels() -> Vec<u8> {
    let mut noise = 1_u32;
    let pixel = |x: usize| if x < 200 { [200, 20, 20] } else { [20, 20, 200] };
    (0..300 * 400)
        .flat_map(|i| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 28) as u8;
            pixel(i % 400).map(|value| value + grain)
        })
        .collect()
}

/// Mean colour of a JPEG file, and its size.
fn look(jpeg: &Jpeg) -> [u64; 3] {
    // Read back by GStreamer, which is not our encoder.
    gst::init().unwrap();
    let line = "appsrc name=in ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    source.set_caps(Some(&gst::Caps::builder("image/jpeg").build()));
    source.push_buffer(gst::Buffer::from_slice(jpeg.bytes.clone())).unwrap();
    source.end_of_stream().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let sample = sink.pull_sample().unwrap();
    let video = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    assert_eq!((video.width(), video.height()), jpeg.size);
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &video).unwrap();
    let (stride, data) = (frame.plane_stride()[0] as usize, frame.plane_data(0).unwrap());
    let mut sums = [0; 3];
    for row in data.chunks(stride).take(video.height() as usize) {
        for pixel in row[..video.width() as usize * 3].chunks(3) {
            (0..3).for_each(|c| sums[c] += u64::from(pixel[c]));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    sums.map(|sum| sum / u64::from(video.width() * video.height()))
}

fn near(colour: [u64; 3], wanted: [u64; 3]) -> bool {
    (0..3).all(|c| colour[c].abs_diff(wanted[c]) < 16)
}

#[test]
fn an_object_is_cut_out_of_its_frame() {
    let pixels = pixels();
    let frame = FrameView::new(INFO, &[(&pixels, 1200)]).unwrap();
    let left = cut_out(&frame, BBox { x: 0.0, y: 0.2, w: 0.4, h: 0.5 }, 1 << 20).unwrap();
    // The margin is cut off at the frame's edge: 0..0.44 and 0.15..0.75.
    assert_eq!(left.size, (176, 180));
    assert!(near(look(&left), [207, 27, 27]), "{:?}", look(&left));
    let right = cut_out(&frame, BBox { x: 0.6, y: 0.0, w: 0.4, h: 1.0 }, 1 << 20).unwrap();
    assert_eq!(right.size.1, 256, "{:?}", right.size);
    assert!(near(look(&right), [27, 27, 207]), "{:?}", look(&right));
}

#[test]
fn a_picture_keeps_to_its_limit() {
    let pixels = pixels();
    let frame = FrameView::new(INFO, &[(&pixels, 1200)]).unwrap();
    let cut = |limit| cut_out(&frame, BBox { x: 0.1, y: 0.1, w: 0.8, h: 0.8 }, limit);
    let free = cut(1 << 20).unwrap();
    for limit in [free.bytes.len() - 1, free.bytes.len() / 2, 4000, 1500] {
        let jpeg = cut(limit).unwrap();
        assert!(jpeg.bytes.len() <= limit && jpeg.size.0 <= 256 && jpeg.size.0 >= 8, "{limit}: {:?}", jpeg.size);
    }
    assert_eq!(cut(100), None);
}

#[test]
fn no_box_is_no_picture() {
    let pixels = pixels();
    let frame = FrameView::new(INFO, &[(&pixels, 1200)]).unwrap();
    let boxes = [
        BBox { x: 0.5, y: 0.5, w: 0.0, h: 0.5 },
        BBox { x: 2.0, y: 0.5, w: 0.5, h: 0.5 },
        BBox { x: f32::NAN, y: 0.5, w: 0.5, h: 0.5 },
        BBox { x: 0.9, y: 0.5, w: -0.5, h: 0.5 },
        BBox { x: 0.5, y: 0.5, w: f32::INFINITY, h: f32::NEG_INFINITY },
    ];
    for bbox in boxes {
        assert_eq!(cut_out(&frame, bbox, 1 << 20), None, "{bbox:?}");
    }
}

#[test]
fn what_is_hidden_is_a_few_squares() {
    let pixels = pixels();
    let frame = FrameView::new(INFO, &[(&pixels, 1200)]).unwrap();
    let whole = Rgb::frame(&frame).unwrap();
    let mut hidden = whole.clone();
    hidden.hide(BBox { x: 0.1, y: 0.1, w: 0.3, h: 0.5 });
    let at = |rgb: &Rgb, x: usize, y: usize| rgb.pixels[(y * 400 + x) * 3..][..3].to_vec();
    assert_eq!(at(&hidden, 10, 10), at(&whole, 10, 10));
    let inside: std::collections::BTreeSet<Vec<u8>> =
        (30..180).flat_map(|y| (40..160).map(move |x| (x, y))).map(|(x, y)| at(&hidden, x, y)).collect();
    assert!(inside.len() <= 60, "{} colours", inside.len());
    for part in [BBox { x: f32::NAN, y: 0.0, w: 1.0, h: 1.0 }, BBox { x: -5.0, y: 3.0, w: 9.0, h: -1.0 }, BBox::WHOLE] {
        hidden.hide(part);
    }
    assert!(near(look(&hidden.to_jpeg().unwrap()), look(&whole.to_jpeg().unwrap())));
}
