//! Where a site's pictures go: files, segments, playlists, snapshots, RTSP mounts, tiles.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::site::wait_until;
use gst::prelude::*;
use gst_video::VideoFormat;
use gstvigil::secret::Secret;
use gstvigil::site::description::{Api, RtspServer};
use gstvigil::site::live::feed::{Consumer, Feed, Frame};
use gstvigil::site::live::outlet::{Outlet, Outlets};
use gstvigil::site::live::outputs::{Outputs, Owner};
use gstvigil::site::live::tile::Tile;
use gstvigil::site::live::{picture, snapshot};
use gstvigil::site::output::{Encode, Output};
use gstvigil::site::plan::{Plan, TilePlan};
use gstvigil::site::units::{Span, TextOrSecret};

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
    Plan {
        name: "test".into(),
        api: Api::default(),
        rtsp,
        telemetry: Default::default(),
        cameras: BTreeMap::new(),
        tiles: BTreeMap::new(),
    }
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
    if pipeline.set_state(gst::State::Playing).is_err() {
        panic!("{}: {:?}", path.display(), pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]));
    }
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

#[test]
fn segments_follow_one_another_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera) = (outlets(), Camera::start(320, 240, RED));
    let output = Output::File {
        path: folder.path().join("gate-%03d.mp4"),
        segment: Some(Span::from_secs(1)),
        max_files: Some(2),
        encode: Encode::default(),
    };
    let outlet = outlets.start("gate", &output, &camera.feed);
    wait_until("there is a fourth segment", || {
        assert_eq!(outlet.status().error, "");
        folder.path().join("gate-003.mp4").exists()
    });
    assert!(outlet.stop(LONG));
    let names = names(folder.path());
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        assert!(!shown(&folder.path().join(name)).is_empty(), "{name}");
    }
    // After a restart the numbers go on.
    let last: u32 = names[1].trim_start_matches("gate-").trim_end_matches(".mp4").parse().unwrap();
    let outlet = outlets.start("gate", &output, &camera.feed);
    taken(&outlet, 5);
    assert!(outlet.stop(LONG));
    assert!(folder.path().join(format!("gate-{:03}.mp4", last + 1)).exists());
}

#[test]
fn a_file_survives_other_sizes_formats_and_the_picture_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, feed, path) = (outlets(), Arc::new(Feed::default()), folder.path().join("gate.mp4"));
    let outlet = outlets.start("gate", &file(path.clone()), &feed);
    let mut wanted = 0;
    let mut show = |width: u32, height: u32, color| {
        let camera = Camera::start_on(&feed, width, height, color);
        wanted += 15;
        taken(&outlet, wanted);
        drop(camera);
    };
    show(320, 240, RED);
    show(640, 300, BLUE);
    let sample = picture::no_signal([800, 600], None, "gate", 0).unwrap();
    let before = outlet.status().frames;
    wait_until("the picture no signal is taken", || {
        feed.publish(Frame { sample: sample.clone(), at: now(), live: false });
        outlet.status().frames >= before + 5
    });
    show(320, 240, BLUE);
    assert!(outlet.stop(LONG));
    let shown = shown(&path);
    assert!(shown.iter().all(|(w, h, _)| (*w, *h) == (320, 240)), "{shown:?}");
    let seen = |color| shown.iter().filter(|(.., yuv)| is_color(*yuv, color)).count();
    assert!(seen(RED) >= 12 && seen(BLUE) >= 24, "{shown:?}");
    assert!(shown.len() >= seen(RED) + seen(BLUE) + 4, "there are pictures of neither colour between");
}

#[test]
fn the_end_of_a_camera_closes_its_file_and_its_return_begins_another() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, feed, path) = (outlets(), Arc::new(Feed::default()), folder.path().join("gate.mp4"));
    let outlet = outlets.start("gate", &file(path.clone()), &feed);
    let camera = Camera::start_on(&feed, 320, 240, RED);
    taken(&outlet, 10);
    drop(camera);
    feed.end();
    wait_until("the file is closed", || !outlet.status().active);
    assert!(shown(&path).len() >= 10);
    let camera = Camera::start_on(&feed, 160, 120, BLUE);
    taken(&outlet, 20);
    drop(camera);
    assert!(outlet.stop(LONG));
    assert!(shown(&folder.path().join("gate-2.mp4")).iter().all(|(w, h, _)| (*w, *h) == (160, 120)));
}

#[test]
fn a_file_whose_writer_has_died_plays() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera, path) = (outlets(), Camera::start(320, 240, RED), folder.path().join("gate.mp4"));
    let outlet = outlets.start("gate", &file(path.clone()), &camera.feed);
    let cut = folder.path().join("cut.mp4");
    wait_until("some pieces are written", || {
        assert_eq!(outlet.status().error, "");
        std::fs::metadata(&path).is_ok_and(|data| data.len() > 0) && outlet.status().frames > 80
    });
    std::fs::copy(&path, &cut).unwrap();
    assert!(shown(&cut).len() >= 25, "{}", shown(&cut).len());
    assert!(outlet.stop(LONG));
}

#[test]
fn a_full_disk_is_told_and_the_output_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.mp4");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    common::init();
    let events = Arc::<gstvigil::site::events::Events>::default();
    let outlets = Outlets::new(&plan(RtspServer::default()), Arc::clone(&events));
    let camera = Camera::start(320, 240, RED);
    let outlet = outlets.start("gate", &file(path.clone()), &camera.feed);
    wait_until("the error is told", || !outlet.status().error.is_empty());
    let status = outlet.status();
    assert!(status.error.contains("No space left"), "{}", status.error);
    std::fs::remove_file(&path).unwrap();
    wait_until("it works again", || {
        let status = outlet.status();
        status.error.is_empty() && status.active
    });
    assert!(outlet.stop(LONG));
    assert!(!shown(&path).is_empty());
    let (events, _) = events.listen(0);
    let states: Vec<_> =
        events.iter().map(|e| (e.camera.as_deref(), e.kind.as_str(), e.data["state"].as_str())).collect();
    assert_eq!(states[0], (Some("gate"), "output", Some("failed")));
    assert_eq!(states[states.len() - 1], (Some("gate"), "output", Some("working")));
}

#[test]
fn a_folder_that_goes_away_is_told_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera, path) = (outlets(), Camera::start(320, 240, RED), folder.path().join("gate/gate.mp4"));
    let outlet = outlets.start("gate", &file(path.clone()), &camera.feed);
    taken(&outlet, 5);
    std::fs::remove_dir_all(folder.path().join("gate")).unwrap();
    wait_until("it is noticed and the file is there again", || path.exists());
    assert!(outlet.stop(LONG));
    let nowhere = outlets.start("gate", &file(folder.path().join("disk/gate/gate.mp4")), &camera.feed);
    wait_until("a disk that is not there is told", || nowhere.status().error.contains("disk/gate"));
    assert!(nowhere.stop(LONG));
}

#[test]
fn an_encoder_that_is_not_there_is_named_and_others_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera) = (outlets(), Camera::start(320, 240, RED));
    let encoded = |name: &str, element: &str| {
        let encode = Encode { element: Some(element.into()), bitrate: 500 };
        let path = folder.path().join(name);
        outlets.start("gate", &Output::File { path, segment: None, max_files: None, encode }, &camera.feed)
    };
    let missing = encoded("a.mp4", "nosuchenc");
    wait_until("the error is told", || missing.status().error.contains("nosuchenc"));
    assert!(missing.stop(LONG));
    let other = encoded("b.mp4", "openh264enc bitrate=300000");
    taken(&other, 20);
    assert!(other.stop(LONG));
    assert!(shown(&folder.path().join("b.mp4")).len() >= 20);
}

#[test]
fn a_playlist_names_segments_that_play() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera) = (outlets(), Camera::start(320, 240, RED));
    let hls = folder.path().join("hls");
    let output = Output::Hls {
        folder: hls.clone(),
        segment: Some(Span::from_secs(1)),
        max_files: Some(3),
        encode: Encode::default(),
    };
    std::fs::create_dir(&hls).unwrap();
    std::fs::write(hls.join("1700000000-00007.ts"), "of an earlier run").unwrap();
    std::fs::write(hls.join("mine.ts"), "of somebody else").unwrap();
    let outlet = outlets.start("gate", &output, &camera.feed);
    let segments =
        || names(&hls).into_iter().filter(|name| name.ends_with(".ts") && name != "mine.ts").collect::<Vec<_>>();
    wait_until("the oldest segment has gone", || {
        assert_eq!(outlet.status().error, "");
        let segments = segments();
        segments.iter().any(|name| name.ends_with("-00003.ts"))
            && !segments.iter().any(|name| name.ends_with("-00000.ts"))
    });
    assert!(!hls.join("1700000000-00007.ts").exists(), "nobody else would ever remove it");
    assert!(outlet.stop(LONG));
    let playlist = std::fs::read_to_string(hls.join("index.m3u8")).unwrap();
    let named: Vec<_> = playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(!named.is_empty() && playlist.contains("#EXT-X-ENDLIST"), "{playlist}");
    // They follow one another: the last one may be too short to be known for what it is by itself.
    let joined: Vec<u8> = named.iter().flat_map(|name| std::fs::read(hls.join(name)).unwrap()).collect();
    std::fs::write(folder.path().join("joined.ts"), joined).unwrap();
    assert!(shown(&folder.path().join("joined.ts")).len() >= 20);
    assert!(segments().len() <= 4 && hls.join("mine.ts").exists(), "{:?}", segments());
}

#[test]
fn snapshots_are_whole_files_and_only_of_new_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, mut camera) = (outlets(), Camera::start(320, 240, RED));
    let one = folder.path().join("gate.jpg");
    let snapshot =
        |path: &Path, max_files| Output::Snapshot { path: path.into(), every: Span::from_millis(100), max_files };
    let latest = outlets.start("gate", &snapshot(&one, None), &camera.feed);
    let many = outlets.start("gate", &snapshot(&folder.path().join("old/%03d.jpg"), Some(3)), &camera.feed);
    taken(&latest, 3);
    taken(&many, 6);
    assert_eq!((shown(&one).len(), shown(&one)[0].0), (1, 320));
    camera.stop();
    let mut last = None;
    wait_until("no more are written", || last.replace(many.status().frames) == Some(many.status().frames));
    assert!(many.stop(LONG) && latest.stop(LONG));
    let names_of = names(&folder.path().join("old"));
    assert_eq!(names_of.len(), 3, "{names_of:?}");
    assert!(names(folder.path()).iter().all(|name| !name.ends_with(".part")));
}

#[test]
fn an_output_without_pictures_stops_at_once() {
    let outlets = outlets();
    let feed = Arc::new(Feed::default());
    let folder = tempfile::tempdir().unwrap();
    let outlet = outlets.start("gate", &file(folder.path().join("gate.mp4")), &feed);
    assert!(outlet.stop(LONG));
    assert!(names(folder.path()).is_empty());
    assert!(!feed.is_wanted(), "nothing is left of it");
}

/// Whether a file has the box that closes it.
fn is_closed(file: &Path) -> bool {
    std::fs::read(file).unwrap().windows(4).any(|word| word == b"mfro")
}

#[test]
fn an_output_that_hangs_is_told_and_takes_no_time_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, good) = (folder.path().join("pipe.mp4"), folder.path().join("good.mp4"));
    // Nobody reads from it: to open it never comes to an end.
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let camera = Camera::start(320, 240, RED);
    let outputs = Outputs::new(Owner::Tile("all".into()), &camera.feed, &outlets());
    outputs.set(&[file(pipe.clone()), file(good.clone())]);
    wait_until("that it hangs is told", || outputs.status()[0].error.contains("taken no picture"));
    assert_eq!((outputs.status()[1].error.as_str(), outputs.status()[1].active), ("", true));
    assert!(!outputs.stop(Duration::from_secs(8)), "one of them hangs");
    assert!(is_closed(&good));
    let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    drop(std::fs::OpenOptions::new().read(true).custom_flags(at_once).open(&pipe).unwrap());
}

#[test]
fn the_end_of_a_stream_may_take_as_long_as_it_was_told_last() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, feed) = (outlets(), Arc::new(Feed::default()));
    let slow = |name: &str| {
        let encode = Encode { element: Some("identity sleep-time=700000 ! openh264enc".into()), bitrate: 500 };
        let path = folder.path().join(name);
        outlets.start("gate", &Output::File { path, segment: None, max_files: None, encode }, &feed)
    };
    let (stopped, left) = (slow("stopped.mp4"), slow("left.mp4"));
    wait_until("both have much to do", || {
        feed.publish(picture(320, 240, RED, now()));
        stopped.status().frames > 20 && left.status().frames > 20
    });
    feed.end();
    assert!(stopped.stop(LONG), "it has the time that it needs");
    assert!(is_closed(&folder.path().join("stopped.mp4")));
    wait_until("that it was cut is told", || left.status().error.contains("did not end within 10 s"));
    assert!(left.stop(LONG));
}

#[test]
fn an_output_that_is_dropped_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, camera, path) = (outlets(), Camera::start(320, 240, RED), folder.path().join("gate.mp4"));
    let outlet = outlets.start("gate", &file(path.clone()), &camera.feed);
    taken(&outlet, 20);
    drop(outlet);
    wait_until("its file is closed", || is_closed(&path));
    wait_until("nobody takes pictures", || !camera.feed.is_wanted());
}

#[test]
fn who_comes_after_the_end_is_told_of_it_until_there_are_pictures_again() {
    struct Told(AtomicBool);
    impl Consumer for Told {
        fn frame(&self, _: &Frame) {}

        fn ended(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    common::init();
    let feed = Arc::new(Feed::default());
    let is_told = || {
        let told = Arc::new(Told(AtomicBool::new(false)));
        drop(feed.subscribe(Arc::clone(&told) as Arc<dyn Consumer>));
        told.0.load(Ordering::SeqCst)
    };
    assert!(!is_told());
    feed.end();
    assert!(is_told());
    feed.publish(picture(320, 240, RED, now()));
    assert!(!is_told());
}

fn rtsp(mount: &str) -> Output {
    Output::Rtsp { mount: mount.into(), encode: Encode::default() }
}

/// Outputs with an RTSP server on any free port.
fn serving(user: Option<TextOrSecret>, password: Option<Secret>) -> Arc<Outlets> {
    common::init();
    Outlets::new(&plan(RtspServer { listen: "127.0.0.1:0".into(), user, password }), Arc::default())
}

/// A client of an RTSP mount.
struct Client {
    pipeline: gst::Pipeline,
    out: gst_app::AppSink,
}

impl Client {
    fn start(outlet: &Outlet, user: Option<(&str, &str)>) -> Self {
        wait_until("the mount has an address", || outlet.status().target.starts_with("rtsp://"));
        let line = "rtspsrc name=source protocols=tcp latency=0 ! decodebin ! videoconvert ! video/x-raw,format=I420 ! \
                    appsink name=out sync=false max-buffers=5 drop=true";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("source").unwrap();
        source.set_property("location", outlet.status().target);
        if let Some((user, password)) = user {
            source.set_property("user-id", user);
            source.set_property("user-pw", password);
        }
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, out }
    }

    /// The next picture; `None` with the error if there is none.
    fn picture(&self) -> Result<(u32, u32, [u8; 3]), String> {
        if let Some(sample) = self.out.try_pull_sample(gst::ClockTime::from_seconds(30)) {
            return Ok(middle(&sample));
        }
        Err(self.error())
    }

    fn error(&self) -> String {
        let bus = self.pipeline.bus().unwrap();
        let message =
            bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Error, gst::MessageType::Eos]);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => format!("{} {:?}", error.error(), error.debug()),
            other => format!("{other:?}"),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[test]
fn a_mount_is_encoded_only_while_clients_watch() {
    let (outlets, camera) = (serving(None, None), Camera::start(320, 240, RED));
    let (gate, yard) = (rtsp("/gate"), rtsp("/yard"));
    let (gate, yard) = (outlets.start("gate", &gate, &camera.feed), outlets.start("yard", &yard, &camera.feed));
    let client = Client::start(&gate, None);
    let (width, height, yuv) = client.picture().unwrap();
    assert_eq!((width, height), (320, 240));
    assert!(is_color(yuv, RED), "{yuv:?}");
    let second = Client::start(&gate, None);
    assert!(second.picture().is_ok());
    assert!(gate.status().active && gate.status().frames > 0, "{:?}", gate.status());
    assert_eq!((yard.status().active, yard.status().frames, yard.status().dropped), (false, 0, 0));
    drop((client, second));
    wait_until("nobody watches", || !gate.status().active);
    wait_until("and nobody takes pictures", || !camera.feed.is_wanted());
    // And it goes on when somebody comes again.
    assert!(Client::start(&gate, None).picture().is_ok());
    // A mount that goes takes its clients with it; the other one stays.
    let (left, stays) = (Client::start(&gate, None), Client::start(&yard, None));
    assert!(left.picture().is_ok() && stays.picture().is_ok());
    assert!(gate.stop(LONG));
    while left.out.try_pull_sample(gst::ClockTime::from_seconds(60)).is_some() {}
    assert!(left.out.is_eos(), "its connection was closed");
    assert!(stays.picture().is_ok());
    assert!(yard.stop(LONG));
    wait_until("the server has gone", || !common::threads().iter().any(|name| name == "vigil-rtsp"));
}

#[test]
fn a_mount_with_a_password_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "geheim\n").unwrap();
    let outlets = serving(Some(TextOrSecret::Text("ann".into())), Some(Secret::File(password)));
    let camera = Camera::start(320, 240, BLUE);
    let outlet = outlets.start("gate", &rtsp("/gate"), &camera.feed);
    for wrong in [None, Some(("ann", "falsch"))] {
        let error = Client::start(&outlet, wrong).error();
        assert!(error.contains("nauthorized"), "{error}");
    }
    assert_eq!(outlet.status().frames, 0, "nothing is encoded for strangers");
    let (.., yuv) = Client::start(&outlet, Some(("ann", "geheim"))).picture().unwrap();
    assert!(is_color(yuv, BLUE), "{yuv:?}");
    assert!(outlet.stop(LONG));
}

#[test]
fn a_server_without_its_secret_or_its_port_says_so_and_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    let outlets = serving(Some(TextOrSecret::Text("ann".into())), Some(Secret::File(password.clone())));
    let camera = Camera::start(320, 240, BLUE);
    let outlet = outlets.start("gate", &rtsp("/gate"), &camera.feed);
    wait_until("the missing secret is told", || outlet.status().error.contains("password"));
    std::fs::write(&password, "geheim").unwrap();
    wait_until("it runs", || outlet.status().error.is_empty());
    // Another address, which is taken for now; the second output of a path is told, too.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    outlets.set_rtsp(&RtspServer { listen: address.clone(), user: None, password: None });
    wait_until("the taken port is told", || outlet.status().error.contains(&address));
    let twice = outlets.start("yard", &rtsp("gate"), &camera.feed);
    wait_until("that its path is another's is told", || twice.status().error.contains("the mount /gate already"));
    drop(taken);
    let there = format!("rtsp://{address}/gate");
    wait_until("it runs there", || outlet.status().target == there);
    assert!(Client::start(&outlet, None).picture().is_ok());
    // Who waits for the path gets it.
    assert!(outlet.stop(LONG));
    wait_until("the other one is mounted", || twice.status().target == there && twice.status().error.is_empty());
    assert!(Client::start(&twice, None).picture().is_ok());
    assert!(twice.stop(LONG));
}

#[test]
fn a_client_of_a_camera_without_pictures_is_refused_and_others_are_served() {
    let (outlets, camera) = (serving(None, None), Camera::start(320, 240, RED));
    let dark = outlets.start("dark", &rtsp("/dark"), &Arc::new(Feed::default()));
    let gate = outlets.start("gate", &rtsp("/gate"), &camera.feed);
    let refused = Client::start(&dark, None);
    assert!(Client::start(&gate, None).picture().is_ok());
    let error = refused.error();
    assert!(error.contains("(400)") || error.contains("(503)"), "{error}");
    assert_eq!(dark.status().error, "");
    assert!(dark.stop(LONG) && gate.stop(LONG));
}

fn tile_plan(columns: u32) -> TilePlan {
    TilePlan { cameras: Vec::new(), columns, size: [640, 480], fps: 20, outputs: Vec::new() }
}

#[test]
fn a_tile_shows_each_camera_in_its_place_and_that_one_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (outlets, red, blue) = (outlets(), Camera::start(320, 240, RED), Camera::start(640, 240, BLUE));
    let away = Arc::new(Feed::default());
    let feeds = |list: &[(&str, &Arc<Feed>)]| list.iter().map(|(id, feed)| ((*id).into(), Arc::clone(feed))).collect();
    let tile = Tile::start("all", &tile_plan(2), feeds(&[("red", &red.feed), ("blue", &blue.feed), ("away", &away)]));
    let outlet = outlets.start_tile("all", &file(folder.path().join("all.mp4")), tile.feed());
    taken(&outlet, 10);
    let sample = tile.feed().latest().unwrap().sample;
    let color = |x, y| at(&sample, x, y).2;
    assert!(is_color(color(4, 4), RED) && is_color(color(316, 236), RED), "{:?}", color(4, 4));
    // The wide picture stands in the middle of its place, between black borders.
    assert!(is_color(color(480, 120), BLUE) && is_color(color(480, 20), (0, 0, 0)), "{:?}", color(480, 20));
    // The place of the camera that is away has text, the fourth place has nothing.
    let luma = |x0: u32, y0: u32| {
        (y0..y0 + 240)
            .step_by(2)
            .flat_map(|y| (x0..x0 + 320).step_by(2).map(move |x| (x, y)))
            .map(|(x, y)| color(x, y)[0])
            .max()
    };
    assert!(luma(0, 240) > Some(200) && luma(320, 240) == Some(16), "{:?} {:?}", luma(0, 240), luma(320, 240));
    // Laid out anew, without a break for the output.
    tile.set(&tile_plan(1), feeds(&[("blue", &blue.feed)]));
    wait_until("the other camera is everywhere", || {
        let sample = tile.feed().latest().unwrap().sample;
        is_color(at(&sample, 20, 240).2, BLUE) && is_color(at(&sample, 620, 240).2, BLUE)
    });
    assert_eq!(outlet.status().error, "");
    assert!(outlet.stop(LONG));
    wait_until("nobody wants it", || !tile.feed().is_wanted());
    let (mut last, mut still) = (None, 0);
    wait_until("nothing is composed", || {
        let at = tile.feed().latest().map(|frame| frame.at);
        still = if last == at { still + 1 } else { 0 };
        last = at;
        // Each look comes two milliseconds after the one before at the earliest; a picture would come each 50.
        still > 100
    });
    drop(tile);
    wait_until("its thread has gone", || !common::threads().iter().any(|name| name == "vigil-tile"));
}

#[test]
fn a_tile_is_composed_for_whoever_comes() {
    let (outlets, camera) = (serving(None, None), Camera::start(320, 240, RED));
    let tile = Tile::start("all", &tile_plan(1), vec![("gate".into(), Arc::clone(&camera.feed))]);
    let outlet = outlets.start_tile("all", &rtsp("/all"), tile.feed());
    assert!(tile.feed().latest().is_none());
    let (width, height, yuv) = Client::start(&outlet, None).picture().unwrap();
    assert_eq!((width, height), (640, 480));
    assert!(is_color(yuv, RED), "{yuv:?}");
    wait_until("nobody watches", || !outlet.status().active && !tile.feed().is_wanted());
    assert!(outlet.stop(LONG));
}
