//! Sixteen cameras: a process of its own that serves one clip, encoded once, over RTSP.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_rtsp_server::RTSPFilterResult;
use gst_rtsp_server::prelude::*;

/// Words that tell this program to be the server.
pub const SERVE: &str = "--serve-cameras";
const PERIOD: Duration = Duration::from_millis(40);

/// What one camera does from now on.
pub type Ill = &'static str;

/// The server's process; it ends when this is dropped.
pub struct Cameras {
    child: Child,
    orders: ChildStdin,
    pub port: u16,
}

impl Cameras {
    pub fn start(count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--bench", SERVE, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (orders, port) = (child.stdin.take().unwrap(), line.trim().parse().unwrap());
        Self { child, orders, port }
    }

    /// Camera 0 is well again, or `silent`, `corrupt` or `gone`.
    pub fn make(&mut self, ill: Ill) {
        writeln!(self.orders, "{ill}").unwrap();
    }

    /// Seconds of processor time that it has used.
    pub fn processor_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ten seconds of a picture with something in it, as access units.
fn clip() -> Vec<gst::Buffer> {
    let line = "videotestsrc num-buffers=250 pattern=smpte motion=wavy ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! \
         x264enc bitrate=800 key-int-max=25 bframes=0 ! video/x-h264,stream-format=byte-stream,alignment=au ! \
         appsink name=sink sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut units = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let mut unit = sample.buffer_owned().unwrap();
        let unit_mut = unit.make_mut();
        unit_mut.set_pts(None);
        unit_mut.set_dts(None);
        units.push(unit);
    }
    pipeline.set_state(gst::State::Null).unwrap();
    units
}

/// What the process does: prints its port, serves, and takes orders from standard input.
pub fn serve(count: usize) {
    let units = clip();
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service("0");
    let mounts = server.mount_points().unwrap();
    let sources: Arc<Mutex<Vec<(usize, gst_app::AppSrc)>>> = Arc::default();
    for camera in 0..count {
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        factory.set_shared(true);
        factory.set_launch(
            "( appsrc name=units is-live=true format=time do-timestamp=true caps=video/x-h264,stream-format=byte-stream,alignment=au,\
             width=640,height=360,framerate=25/1 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )",
        );
        let sources = Arc::clone(&sources);
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            let source = bin.by_name("units").unwrap().downcast::<gst_app::AppSrc>().unwrap();
            sources.lock().unwrap().push((camera, source));
        });
        mounts.add_factory(&format!("/{camera}"), factory);
    }
    server.attach(None).unwrap();
    println!("{}", server.bound_port());

    let ill: Arc<Mutex<String>> = Arc::default();
    let heard = Arc::clone(&ill);
    let orders_mounts = mounts.clone();
    let orders_server = server.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if line == "gone" {
                orders_mounts.remove_factory("/0");
                orders_server.client_filter(Some(&mut |_, client| {
                    if client.session_filter(None).iter().any(is_first) {
                        RTSPFilterResult::Remove
                    } else {
                        RTSPFilterResult::Keep
                    }
                }));
            }
            *heard.lock().unwrap() = line;
        }
        std::process::exit(0);
    });
    std::thread::spawn(move || push(&units, &sources, &ill));
    glib::MainLoop::new(None, false).run();
}

/// Whether a client's session plays the first camera.
fn is_first(session: &gst_rtsp_server::RTSPSession) -> bool {
    let of_first = |media: &gst_rtsp_server::RTSPSessionMedia| media.matches("/0").is_some();
    let found = session.filter(Some(&mut |_, media| {
        if of_first(media) { RTSPFilterResult::Ref } else { RTSPFilterResult::Keep }
    }));
    !found.is_empty()
}

/// Hands each unit to all cameras, 25 a second; one of them may be ill.
fn push(units: &[gst::Buffer], sources: &Mutex<Vec<(usize, gst_app::AppSrc)>>, ill: &Mutex<String>) {
    let begun = Instant::now();
    for (n, unit) in (0_u32..).zip(units.iter().cycle()) {
        std::thread::sleep((begun + PERIOD * n).saturating_duration_since(Instant::now()));
        let ill = ill.lock().unwrap().clone();
        sources.lock().unwrap().retain(|(camera, source)| {
            let unit = match (*camera, ill.as_str()) {
                (0, "silent") => return true,
                (0, "corrupt") => spoiled(unit),
                _ => unit.copy(),
            };
            !matches!(source.push_buffer(unit), Err(gst::FlowError::Error))
        });
    }
}

/// The same with noise in it.
fn spoiled(unit: &gst::Buffer) -> gst::Buffer {
    let mut bytes = unit.map_readable().unwrap().to_vec();
    for (n, byte) in bytes.iter_mut().enumerate().skip(8) {
        *byte ^= (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    }
    gst::Buffer::from_slice(bytes)
}
