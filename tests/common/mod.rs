//! What the element tests share.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

pub mod bundles;
pub mod live;
pub mod rig;
pub mod rtsp;
pub mod site;
pub mod swap_rig;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo};
use gstvigil::result::FrameResult;

/// What GLib may warn of: GStreamer 1.22's RTSP server closes a connection on one thread while another reads from it.
const HARMLESS: &str =
    "g_pollable_input_stream_read_nonblocking: assertion 'G_IS_POLLABLE_INPUT_STREAM (stream)' failed";

/// Starts GStreamer with the plugin of this crate. Warnings of GLib are fatal, as with `G_DEBUG=fatal-warnings`.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        glib::log_set_writer_func(|level, fields| {
            let written = glib::log_writer_default(level, fields);
            let text = fields.iter().find(|field| field.key() == "MESSAGE").and_then(|field| field.value_str());
            let grave = matches!(level, glib::LogLevel::Critical | glib::LogLevel::Warning);
            if grave && text != Some(HARMLESS) {
                std::process::abort();
            }
            written
        });
        gstvigil::plugin::plugin_register_static().unwrap();
    });
}

/// Every element factory of the plugin.
pub fn factories() -> Vec<gst::ElementFactory> {
    init();
    let features = gst::Registry::get().features_by_plugin("vigil");
    let factories: Vec<_> = features.into_iter().filter_map(|f| f.downcast::<gst::ElementFactory>().ok()).collect();
    assert!(!factories.is_empty(), "the plugin has elements");
    factories
}

/// One of the small models beside the tests.
pub fn model(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(format!("{name}.onnx")).display().to_string()
}

/// A file of the test data beside the repository, or `None` with a message.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("VIGIL_TEST_DATA").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("skipped: the test data is not here ({name})");
        return None;
    }
    Some(path)
}

pub fn caps(format: VideoFormat, width: u32, height: u32) -> gst::Caps {
    init();
    VideoInfo::builder(format, width, height).fps(gst::Fraction::new(25, 1)).build().unwrap().to_caps().unwrap()
}

/// Frame `n` of 25 a second, of one colour (full range of RGB), in any format.
pub fn frame(caps: &gst::Caps, (r, g, b): (u8, u8, u8), n: u64) -> gst::Buffer {
    let info = VideoInfo::from_caps(caps).unwrap();
    let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
    let buffer_ref = buffer.get_mut().unwrap();
    buffer_ref.set_pts(gst::ClockTime::from_mseconds(40 * n));
    buffer_ref.set_duration(gst::ClockTime::from_mseconds(40));
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer_ref, &info).unwrap();
    paint(&mut frame, (r, g, b));
    drop(frame);
    buffer
}

/// Fills a frame with one colour, by the matrix and range of its caps.
pub fn paint(frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>, (r, g, b): (u8, u8, u8)) {
    use gst_video::prelude::*;
    let own = gstvigil::gstutil::frame::frame_info(frame.info()).unwrap();
    let (kr, kb) = own.matrix.kr_kb();
    let [rf, gf, bf] = [r, g, b].map(|v| f32::from(v) / 255.0);
    let luma = kr * rf + (1.0 - kr - kb) * gf + kb * bf;
    let (cb, cr) = ((bf - luma) / (2.0 * (1.0 - kb)), (rf - luma) / (2.0 * (1.0 - kr)));
    let limited = own.range == gstvigil::frame::ColorRange::Limited;
    let scale = |v: f32, zero: f32, full: f32, part: f32| (zero + v * if limited { part } else { full }).round() as u8;
    let y = scale(luma, if limited { 16.0 } else { 0.0 }, 255.0, 219.0);
    let (u, v) = (scale(cb, 128.0, 255.0, 224.0), scale(cr, 128.0, 255.0, 224.0));
    let format = frame.format();
    let strides: Vec<usize> = frame.plane_stride().iter().map(|s| *s as usize).collect();
    let mut fill = |plane: u32, pattern: &[u8]| {
        let stride = strides[plane as usize];
        for row in frame.plane_data_mut(plane).unwrap().chunks_mut(stride) {
            row.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
        }
    };
    match format {
        VideoFormat::Nv12 => {
            fill(0, &[y]);
            fill(1, &[u, v]);
        }
        VideoFormat::I420 => [y, u, v].into_iter().enumerate().for_each(|(i, value)| fill(i as u32, &[value])),
        VideoFormat::Yv12 => [y, v, u].into_iter().enumerate().for_each(|(i, value)| fill(i as u32, &[value])),
        VideoFormat::Yuy2 => fill(0, &[y, u, y, v]),
        VideoFormat::Rgb => fill(0, &[r, g, b]),
        VideoFormat::Bgr => fill(0, &[b, g, r]),
        VideoFormat::Rgbx | VideoFormat::Rgba => fill(0, &[r, g, b, 255]),
        VideoFormat::Bgrx | VideoFormat::Bgra => fill(0, &[b, g, r, 255]),
        VideoFormat::Gray8 => fill(0, &[y]),
        other => panic!("no picture for {other:?}"),
    }
}

/// The frame result on a buffer.
pub fn result(buffer: &gst::BufferRef) -> Arc<FrameResult> {
    gstvigil::meta::get(buffer).expect("the buffer has a frame result")
}

/// The messages of `kind` that an element without a bus of its own has posted to `bus`.
pub fn messages(bus: &gst::Bus, kind: gst::MessageType) -> Vec<gst::Message> {
    std::iter::from_fn(|| bus.pop_filtered(&[kind])).collect()
}

const CHILD: &str = "VIGIL_TEST_CHILD";

/// Whether this process was started by [`again`] to run `test`.
pub fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// This test binary once more, to run only `test` in a process of its own, in which [`is_child`] is true.
pub fn again(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .stdin(std::process::Stdio::null());
    command
}

/// Runs [`again`]'s command; its standard output and standard error, once it has succeeded.
#[track_caller]
pub fn output(command: &mut std::process::Command) -> (String, String) {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    (out, err)
}

/// What each open file descriptor of this process leads to, by number.
pub fn descriptors() -> std::collections::BTreeMap<String, String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let target = |path: &Path| std::fs::read_link(path).ok().map(|to| to.display().to_string());
    // The listing's own descriptor is closed by the time its link is read.
    let listed: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    listed.iter().filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), target(path)?))).collect()
}

/// Names of the threads of this process.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut names: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Builds a shared library from C.
pub fn compile(source: &str, library: &Path) {
    let file = library.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let mut cc = std::process::Command::new("cc");
    output(cc.args(["-shared", "-fPIC", "-o"]).args([library, &file]).arg("-ldl"));
}
