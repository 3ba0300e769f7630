//! Where a site's pictures go: files, segments, playlists, snapshots, RTSP mounts, tiles.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::site::wait_until;
use gst::prelude::*;
use gst_video::VideoFormat;
use gstvigil::site::description::{Api, RtspServer};
use gstvigil::site::live::feed::{Feed, Frame};
use gstvigil::site::live::outlet::{Outlet, Outlets};
use gstvigil::site::live::{picture, snapshot};
use gstvigil::site::output::{Encode, Output};
use gstvigil::site::plan::Plan;

const LONG: Duration = Duration::from_secs(60);
const RED: (u8, u8, u8) = (220, 30, 30);
const BLUE: (u8, u8, u8) = (30, 30, 220);

/// The time that frames count in.
fn now() -> gst::ClockTime {
    gst::SystemClock::obtain().time()
}

/// A camera's frame of one colour.
fn picture(width: u32, height: u32, color: (u8, u8, u8), at: gst::ClockTime) -> Frame {
    let caps = common::caps(VideoFormat::I420, width, height);
    let sample = gst::Sample::builder().buffer(&common::frame(&caps, color, 7)).caps(&caps).build();
    Frame { sample, at, live: true }
}

/// A camera that publishes pictures on a thread of its own, until this is dropped.
struct Camera {
    feed: Arc<Feed>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Camera {
    fn start(width: u32, height: u32, color: (u8, u8, u8)) -> Self {
        Self::start_on(&Arc::new(Feed::default()), width, height, color)
    }

    fn start_on(feed: &Arc<Feed>, width: u32, height: u32, color: (u8, u8, u8)) -> Self {
        common::init();
        let (feed, stop) = (Arc::clone(feed), Arc::new(AtomicBool::new(false)));
        let (to, stopped) = (Arc::clone(&feed), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                to.publish(picture(width, height, color, now()));
                std::thread::park_timeout(Duration::from_millis(40));
            }
        });
        Self { feed, stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(|thread| thread.join());
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop();
    }
}

fn plan(rtsp: RtspServer) -> Plan {
    Plan { name: "test".into(), api: Api::default(), rtsp, cameras: BTreeMap::new(), tiles: BTreeMap::new() }
}

fn outlets() -> Arc<Outlets> {
    common::init();
    Outlets::new(&plan(RtspServer::default()), Arc::default())
}

fn file(path: PathBuf) -> Output {
    Output::File { path, segment: None, max_files: None, encode: Encode::default() }
}

/// Waits until an output has taken so many pictures.
#[track_caller]
fn taken(outlet: &Outlet, frames: u64) {
    wait_until("an output takes pictures", || {
        let status = outlet.status();
        assert_eq!(status.error, "");
        status.frames >= frames
    });
}

/// What a file shows: for each picture its size and the luma and chroma in its middle.
fn shown(path: &Path) -> Vec<(u32, u32, [u8; 3])> {
    let line = "filesrc name=file ! decodebin ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path.to_str().unwrap());
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut pictures = Vec::new();
    while let Some(sample) = out.try_pull_sample(gst::ClockTime::from_seconds(60)) {
        pictures.push(middle(&sample));
    }
    let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(error.is_none(), "{}: {error:?}", path.display());
    pictures
}

fn middle(sample: &gst::Sample) -> (u32, u32, [u8; 3]) {
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    at(sample, info.width() / 2, info.height() / 2)
}

/// Size of an I420 or NV12 picture, and its Y, U, V at a place.
fn at(sample: &gst::Sample, x: u32, y: u32) -> (u32, u32, [u8; 3]) {
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
    let (x, y) = (x as usize, y as usize);
    let value = |plane: u32, x: usize, y: usize| {
        frame.plane_data(plane).unwrap()[y * info.stride()[plane as usize] as usize + x]
    };
    let chroma = match info.format() {
        VideoFormat::Nv12 => [value(1, x / 2 * 2, y / 2), value(1, x / 2 * 2 + 1, y / 2)],
        _ => [value(1, x / 2, y / 2), value(2, x / 2, y / 2)],
    };
    (info.width(), info.height(), [value(0, x, y), chroma[0], chroma[1]])
}

/// Whether Y, U, V are near a colour (RGB by BT.601, which small pictures have).
fn is_color([y, u, v]: [u8; 3], (r, g, b): (u8, u8, u8)) -> bool {
    let [r, g, b] = [r, g, b].map(f32::from);
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    let wanted = [
        16.0 + luma * 219.0 / 255.0,
        128.0 + (b - luma) / 1.772 * 224.0 / 255.0,
        128.0 + (r - luma) / 1.402 * 224.0 / 255.0,
    ];
    [y, u, v].iter().zip(wanted).all(|(have, want)| (f32::from(*have) - want).abs() < 14.0)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_picture_becomes_a_jpeg() {
    common::init();
    let jpeg = snapshot::jpeg(&picture(320, 240, RED, now()), LONG).unwrap();
    assert_eq!(&jpeg[..2], [0xff, 0xd8]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    std::fs::write(&path, jpeg).unwrap();
    let shown = shown(&path);
    assert_eq!((shown.len(), shown[0].0, shown[0].1), (1, 320, 240));
    assert!(is_color(shown[0].2, RED) || shown[0].2[2] > 180, "{shown:?}");
    let broken = Frame { sample: gst::Sample::builder().build(), at: now(), live: true };
    assert!(snapshot::jpeg(&broken, LONG).unwrap_err().contains("no picture"));
}

#[test]
fn no_signal_has_the_cameras_format_and_says_so() {
    common::init();
    let caps = common::caps(VideoFormat::Rgbx, 320, 240);
    let sample = picture::no_signal([1, 1], Some(&caps), "gate", 1_000_000_000).unwrap();
    assert_eq!(sample.caps().unwrap(), caps.as_ref());
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let bright = map.chunks(4).filter(|px| px[..3].iter().all(|v| *v > 200)).count();
    assert!(bright > 100 && map.chunks(4).filter(|px| px[0] < 30).count() > 320 * 240 / 2, "{bright}");
    drop(map);
    let size = |sample: gst::Sample| {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        (info.format(), info.width(), info.height())
    };
    let made = |size, caps: Option<&gst::Caps>| picture::no_signal(size, caps, "gate", 0).unwrap();
    assert_eq!(size(made([0, 0], None)), (VideoFormat::Nv12, 640, 360));
    let encoded = gst::Caps::new_empty_simple("video/x-h264");
    assert_eq!(size(made([1280, 720], Some(&encoded))), (VideoFormat::Nv12, 1280, 720));
    let elsewhere = gst::Caps::builder("video/x-raw").features(["memory:VAMemory"]).field("format", "NV12");
    let elsewhere = elsewhere.field("width", 64).field("height", 48).build();
    assert_eq!(size(made([64, 48], Some(&elsewhere))), (VideoFormat::Nv12, 64, 48));
}

#[test]
fn a_file_plays_back_with_all_pictures_and_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, path) = (outlets(), folder.path().join("gate/gate.mp4"));
    for (color, name) in [(RED, "gate.mp4"), (BLUE, "gate-2.mp4")] {
        let camera = Camera::start(320, 240, color);
        let outlet = outlets.start("gate", &file(path.clone()), &camera.feed);
        taken(&outlet, 20);
        assert!(outlet.status().active);
        assert!(outlet.stop(LONG), "the file was closed");
        let shown = shown(&path.with_file_name(name));
        assert!(shown.len() >= 20, "{}", shown.len());
        assert!(shown.iter().all(|(w, h, yuv)| (*w, *h) == (320, 240) && is_color(*yuv, color)), "{shown:?}");
    }
}
